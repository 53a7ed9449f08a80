//! Counts lines that could not be written. The first line written later reports their number.

use std::io;

use super::own_line::warning;
use crate::options::LogFormat;

/// The number of lost lines, and the error for the first one.
#[derive(Debug)]
pub(super) struct LostLines {
    count: u64,
    reason: String,
}

impl LostLines {
    pub(super) fn because(error: &io::Error) -> LostLines {
        LostLines { count: 0, reason: error.to_string() }
    }

    pub(super) fn count_one(&mut self) {
        self.count += 1;
    }

    /// Returns the log line that reports the loss.
    pub(super) fn report(&self, format: LogFormat) -> Vec<u8> {
        let lines = if self.count == 1 { "line" } else { "lines" };
        let message = format!("{} log {lines} lost: the log could not be written", self.count);
        warning(format, &message, &self.reason)
    }
}
