//! The machine that was measured.

use std::fs;

use serde::Serialize;

/// The machine that was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Its kernel, such as `Linux 6.18.44`.
    pub kernel: String,
    /// The model name of its processor.
    pub processor: String,
    /// The number of its logical processors.
    pub cores: usize,
}

impl Machine {
    /// Returns this machine, as proc(5) describes it.
    pub fn here() -> Machine {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            processor: model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned()),
            cores: processor.lines().filter(|line| line.starts_with("processor")).count(),
        }
    }
}
