//! Lines for the system's log, each with the severity of its event.

use std::io::{self, Write};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::system::Syslog;

pub(super) struct ToSyslog(pub(super) Arc<Syslog>);

/// One event's line.
pub(super) struct Line {
    syslog: Arc<Syslog>,
    severity: u8,
}

impl<'a> MakeWriter<'a> for ToSyslog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { syslog: self.0.clone(), severity: severity(Level::INFO) }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line {
        Line { syslog: self.0.clone(), severity: severity(*event.level()) }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.syslog.send(self.severity, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As syslog(3) numbers them.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
