//! Sends log lines to syslog, with the severity of each event.

use std::io::{self, Write};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::system::Syslog;

pub(super) struct SyslogWriter(pub(super) Arc<Syslog>);

/// The writer of one line.
pub(super) struct LineWriter {
    syslog: Arc<Syslog>,
    severity: u8,
}

impl<'a> MakeWriter<'a> for SyslogWriter {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { syslog: self.0.clone(), severity: severity(Level::INFO) }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter {
        LineWriter { syslog: self.0.clone(), severity: severity(*event.level()) }
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.syslog.send(self.severity, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the number of a severity: syslog(3).
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
