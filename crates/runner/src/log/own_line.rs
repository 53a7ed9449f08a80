//! Lines about the log itself. The log writes them while it handles another line, so they do not pass the subscriber.

use std::fmt::Display;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::options::LogFormat;

/// Returns a warning as a line of the log.
pub(super) fn warning(format: LogFormat, message: &str, error: impl Display) -> Vec<u8> {
    let mut time = String::new();
    // On failure the line has no time.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    // The error must be valid inside a JSON string.
    let error = error.to_string().replace(['"', '\\'], "'");
    let line = match format {
        LogFormat::Text => format!("{time}  WARN {message} error={error}\n"),
        LogFormat::Json => {
            format!("{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\",\"error\":\"{error}\"}}\n")
        }
    };
    line.into_bytes()
}
