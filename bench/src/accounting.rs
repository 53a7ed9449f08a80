//! The resources that a process used, as the kernel accounts them, and summaries of samples.

use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

/// Returns the processor time of all threads of a process so far: `/proc/PID/task/*/schedstat`, proc(5).
///
/// # Errors
/// If there is no such process.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        nanos += parse_schedstat(&fs::read_to_string(task?.path().join("schedstat"))?)?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Returns the bytes of private memory that the process has written to: `/proc/PID/smaps_rollup`. Kernel memory is not
/// included.
///
/// # Errors
/// If there is no such process, or the kernel lacks the file.
pub(crate) fn private_dirty_bytes(pid: u32) -> io::Result<u64> {
    parse_private_dirty(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?)
}

fn parse_schedstat(text: &str) -> io::Result<u64> {
    let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
    first.ok_or_else(|| unreadable("schedstat", text))
}

fn parse_private_dirty(text: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map(|count| count * 1024).ok_or_else(|| unreadable("smaps_rollup", text))
}

fn unreadable(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot read {what}: {text:?}"))
}

/// Returns the cost of one more message: the difference of two runs that differ only in their number of messages.
///
/// # Panics
/// If the second run did not serve more messages than the first.
pub(crate) fn per_message(few: (u64, u64), many: (u64, u64)) -> f64 {
    let messages = many.0.checked_sub(few.0).filter(|&more| more > 0).expect("the second run serves more messages");
    (many.1 as f64 - few.1 as f64) / messages as f64
}

/// The median, the least and the greatest of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The least one.
    pub least: f64,
    /// The greatest one.
    pub greatest: f64,
}

impl Summary {
    /// Sums up samples, or returns `None` without any.
    pub fn of(samples: &[f64]) -> Option<Summary> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Summary { median, least, greatest })
    }

    /// Divides each sample by the other's sample of the same round, so that a drift of the machine cancels out.
    pub fn of_ratios(samples: &[f64], others: &[f64]) -> Option<Summary> {
        let ratios: Vec<f64> = samples.iter().zip(others).map(|(ours, theirs)| ours / theirs).collect();
        Summary::of(&ratios)
    }

    /// Returns half the distance between the extremes, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.greatest - self.least) / 2.0 / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let odd = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd, Summary { median: 2.0, least: 1.0, greatest: 3.0 });
        assert_eq!(Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(odd.spread(), 0.5);
    }

    #[test]
    fn ratios_pair_the_samples_of_one_round() {
        // The machine was twice as slow in the second round, and the ratio does not change.
        let ratio = Summary::of_ratios(&[2.0, 4.0, 3.0], &[1.0, 2.0, 1.5]).unwrap();
        assert_eq!(ratio, Summary { median: 2.0, least: 2.0, greatest: 2.0 });
    }

    #[test]
    fn start_up_cancels_out_of_the_cost_of_a_message() {
        assert_eq!(per_message((1000, 5_000_000 + 1000 * 90), (11_000, 5_000_000 + 11_000 * 90)), 90.0);
    }

    #[test]
    #[should_panic(expected = "serves more messages")]
    fn two_runs_of_one_length_have_no_cost_of_a_message() {
        per_message((10, 1), (10, 2));
    }

    #[test]
    fn proc_files_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_schedstat("77505 59860 2\n").unwrap(), 77505);
        let rollup = "55a4-7ffe ---p 00000000 00:00 0    [rollup]\nRss:  900 kB\nPrivate_Clean:  8 kB\n\
                      Private_Dirty:       304 kB\n";
        assert_eq!(parse_private_dirty(rollup).unwrap(), 304 * 1024);
        assert!(parse_private_dirty("Rss: 900 kB").is_err());
    }

    #[test]
    fn written_memory_counts_as_private() {
        let written = vec![1u8; 8 << 20];
        let bytes = private_dirty_bytes(std::process::id()).unwrap();
        assert!(bytes >= written.len() as u64, "{bytes}");
    }

    #[test]
    fn a_working_process_is_charged_for_its_time() {
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        while processor_time(busy.id()).unwrap() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(processor_time(busy.id()).is_err());
    }
}
