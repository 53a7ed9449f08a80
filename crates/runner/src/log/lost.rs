//! Lines that could not be written: what the log says of them when it can be written again.

use std::io;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::options::LogFormat;

/// How many, and why the first.
#[derive(Debug)]
pub(super) struct Lost {
    count: u64,
    reason: String,
}

impl Lost {
    pub(super) fn because(error: &io::Error) -> Lost {
        Lost { count: 0, reason: error.to_string() }
    }

    pub(super) fn count_one(&mut self) {
        self.count += 1;
    }

    /// A line like the others.
    pub(super) fn note(&self, format: LogFormat) -> Vec<u8> {
        let mut time = String::new();
        // There is a time, or the line does without.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let lines = if self.count == 1 { "line" } else { "lines" };
        let message = format!("{} {lines} could not be written here", self.count);
        // As it may stand in an object.
        let reason = self.reason.replace(['"', '\\'], "'");
        let line = match format {
            LogFormat::Text => format!("{time}  WARN {message} error={reason}\n"),
            LogFormat::Json => format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\",\"error\":\"{reason}\"}}\n"
            ),
        };
        line.into_bytes()
    }
}
