//! The log: to standard error, standard output, a file or syslog, as text or JSON.

mod file;
mod lost_lines;
mod own_line;
mod syslog_writer;

use std::fmt::{self, Debug, Write};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use ropewalk::application::Identity;
use ropewalk::proto::escape::Escaped;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry};

pub(crate) use file::{LogFile, Rotation};

use crate::console;
use crate::options::{LogFormat, RunnerOptions};
use crate::system::Syslog;
use syslog_writer::SyslogWriter;

/// The target of lines about the life of the program, such as "started". A log file or syslog contains them without
/// `--verbose`.
///
/// ```
/// use ropewalk_runner::LIFECYCLE;
///
/// tracing::info!(target: LIFECYCLE, "the cache is warm"); // once in a run, not once for each peer
/// ```
pub const LIFECYCLE: &str = "ropewalk_runner";

/// The target of the library for such lines.
const LIFECYCLE_OF_LIBRARY: &str = "ropewalk::lifecycle";

/// The variable with filters by target, such as `ropewalk=debug,hyper=warn`.
const FILTER_VARIABLE: &str = "ROPEWALK_LOG";

const ROTATE_SIZE: u64 = 10 << 20;
const ROTATE_COUNT: u32 = 10;

/// The destination of the log.
pub(crate) enum Target {
    StandardError,
    StandardOutput,
    File(Arc<LogFile>),
    Syslog(Syslog),
}

impl Target {
    /// Opens the destination that the options name.
    pub(crate) fn open(options: &RunnerOptions, program: &'static str, identity: Identity) -> Result<Target, String> {
        if let Some(path) = &options.syslog {
            let socket = Syslog::connect(path, program);
            let socket = socket.map_err(|error| format!("cannot connect to syslog at {}: {error}", path.display()));
            return socket.map(Target::Syslog);
        }
        let Some(path) = &options.logfile else { return Ok(Target::StandardError) };
        if is_standard_output(path) {
            return Ok(Target::StandardOutput);
        }
        let rotation = Rotation {
            size: options.log_rotate_size.map_or(ROTATE_SIZE, |size| size.0),
            count: options.log_rotate_count.unwrap_or(ROTATE_COUNT),
        };
        let file = LogFile::open(path, rotation, options.log_format.unwrap_or_default(), program, identity);
        let file = file.map_err(|error| format!("cannot open the log file {}: {error}", path.display()))?;
        Ok(Target::File(Arc::new(file)))
    }

    /// Returns the log file, for reopening and rotation.
    pub(crate) fn file(&self) -> Option<Arc<LogFile>> {
        match self {
            Target::File(file) => Some(file.clone()),
            _ => None,
        }
    }

    /// Starts to log. Has no effect in a process that logs already.
    pub(crate) fn start(self, options: &RunnerOptions, program: &str) {
        let format = options.log_format.unwrap_or_default();
        let filter = filter(options, program, !matches!(self, Target::StandardError));
        let layer = match self {
            Target::StandardError => lines(format, io::stderr, Style { ansi: io::stderr().is_terminal(), time: true }),
            Target::StandardOutput => lines(format, io::stdout, Style { ansi: io::stdout().is_terminal(), time: true }),
            Target::File(file) => lines(format, file, Style { ansi: false, time: true }),
            // syslog adds the time, and has a severity for the level.
            Target::Syslog(syslog) => lines(format, SyslogWriter(Arc::new(syslog)), Style { ansi: false, time: false }),
        };
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    }
}

/// Whether the path of a log means standard output.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-")
}

struct Style {
    ansi: bool,
    time: bool,
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn lines<W>(format: LogFormat, writer: W, style: Style) -> BoxedLayer
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Internal errors would be printed on standard error. If that is closed, printing panics.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(style.ansi).log_internal_errors(false);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            let lines = lines.with_target(false).fmt_fields(debug_fn(write_field).delimited(" "));
            if style.time { lines.boxed() } else { lines.with_level(false).without_time().boxed() }
        }
    }
}

/// Writes a field of a text line. A peer chooses parts of many values, such as the path of its socket, and must not
/// begin another line or write commands for the terminal.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    write!(Escaped(writer), "{value:?}")
}

fn filter<S: Subscriber>(
    options: &RunnerOptions,
    program: &str,
    has_lifecycle: bool,
) -> impl tracing_subscriber::layer::Filter<S> + use<S> {
    // An empty variable is ignored.
    if let Some(text) = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.trim().is_empty()) {
        match text.parse::<Targets>() {
            Ok(targets) => return targets,
            Err(error) => console::print_error(program, &format!("{FILTER_VARIABLE}: invalid filter: {error}")),
        }
    }
    let level = match (options.quiet, options.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // h2 warns about single frames of a peer, which can send any number of them.
    let frames = if level <= LevelFilter::INFO { LevelFilter::ERROR } else { level };
    let targets = Targets::new().with_default(level).with_target("h2", frames);
    match has_lifecycle && level == LevelFilter::WARN {
        true => targets.with_targets([LIFECYCLE_OF_LIBRARY, LIFECYCLE].map(|target| (target, LevelFilter::INFO))),
        false => targets,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Collects lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_value_cannot_begin_another_line() {
        // A client may bind its UNIX socket to a path with any characters.
        let peer = "/tmp/a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J";
        for format in [LogFormat::Text, LogFormat::Json] {
            let written = Lines::default();
            let writer = written.clone();
            let layer = lines(format, move || writer.clone(), Style { ansi: false, time: true });
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::warn!(%peer, path = peer, "closed {peer}");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches("forged").count(), 3, "{text}");
            assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text}");
        }
    }
}
