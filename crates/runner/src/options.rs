//! The options of every program on the runner, on the command line and in `[runner]` of the configuration file.

use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, ValueEnum};
use clap_complete::Shell;
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::reactors::Hosts;

const GENERAL: &str = "Options for all commands";
pub(crate) const DAEMON: &str = "Running as a daemon";

/// The options of every program on the runner. Add them to a [`clap::Parser`] with `#[command(flatten)]`.
///
/// Most of them may also be set in the table `[runner]` of the file that `--config` names, under their long names. The
/// command line overrides the file.
///
/// ```
/// use clap::Parser;
/// use ropewalk_runner::{LogFormat, RunnerOptions, Size, Umask};
///
/// #[derive(Parser)]
/// struct CommandLine {
///     #[command(flatten)]
///     runner: RunnerOptions,
/// }
///
/// let line = CommandLine::parse_from(["echod", "-n", "--log-format", "json", "--log-rotate-size", "10M", "--umask", "027"]);
/// assert!(line.runner.nodaemon && !line.runner.daemon);
/// assert_eq!(line.runner.log_format, Some(LogFormat::Json));
/// assert_eq!((line.runner.log_rotate_size, line.runner.umask), (Some(Size(10 << 20)), Some(Umask(0o027))));
/// ```
#[derive(Args, Clone, Debug, Default)]
pub struct RunnerOptions {
    /// Reactors in the loops of toolkits, which the program adds to those that `-r` chooses from
    #[arg(skip)]
    pub hosts: Hosts,

    /// Reactor to run on [default: the best one available]
    #[arg(short, long, value_name = "NAME", global = true, help_heading = GENERAL)]
    pub reactor: Option<String>,

    /// List the reactors, with the reason for each unavailable one, and exit
    #[arg(long)]
    pub help_reactors: bool,

    /// Print the manual page (roff, for man) and exit
    #[arg(long)]
    pub man: bool,

    /// Print shell completions and exit
    #[arg(long, value_name = "SHELL")]
    pub completions: Option<Shell>,

    /// Log closed connections and requests, too (-vv: debug messages, -vvv: everything)
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = GENERAL)]
    pub verbose: u8,

    /// Print and log only errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GENERAL)]
    pub quiet: bool,

    /// Run the services in this TOML file, whose table 'runner' can set these options
    #[arg(short, long, value_name = "FILE", global = true, help_heading = GENERAL)]
    pub config: Option<PathBuf>,

    /// Format of log lines
    #[arg(long, value_name = "FORMAT", global = true, help_heading = GENERAL)]
    pub log_format: Option<LogFormat>,

    /// Run in the background, and return when the services have started or failed to start
    #[arg(long, global = true, conflicts_with = "nodaemon", help_heading = DAEMON)]
    pub daemon: bool,

    /// Run in the foreground
    #[arg(short, long, global = true, help_heading = DAEMON)]
    pub nodaemon: bool,

    /// Write the process id to this file, which is locked while the process runs; '--pidfile=' disables it [default for a
    /// daemon: PROGRAM.pid]
    #[arg(long, value_name = "FILE", global = true, value_parser = possibly_empty_path(), help_heading = DAEMON)]
    pub pidfile: Option<PathBuf>,

    /// Log to this file, which SIGHUP reopens and SIGUSR1 rotates, or to standard output if FILE is '-' [default for a
    /// daemon: PROGRAM.log]
    #[arg(short = 'L', long, value_name = "FILE", global = true, conflicts_with = "syslog", help_heading = DAEMON)]
    pub logfile: Option<PathBuf>,

    /// Rotate the log file before it exceeds this size, such as 500K (0 disables) [default: 10M]
    #[arg(long, value_name = "SIZE", global = true, help_heading = DAEMON)]
    pub log_rotate_size: Option<Size>,

    /// Number of rotated log files to keep, of which FILE.1 is the newest [default: 10]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, global = true, help_heading = DAEMON)]
    pub log_rotate_count: Option<u32>,

    /// Log to syslog through this socket [default socket: /dev/log]
    #[arg(long, value_name = "SOCKET", global = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "/dev/log", help_heading = DAEMON)]
    pub syslog: Option<PathBuf>,

    /// Change to this directory, from which services, logs and the pid file resolve relative paths
    #[arg(short = 'd', long, value_name = "DIR", global = true, help_heading = DAEMON)]
    pub rundir: Option<PathBuf>,

    /// Change the root directory (chroot) before --rundir
    #[arg(long, value_name = "DIR", global = true, help_heading = DAEMON)]
    pub chroot: Option<PathBuf>,

    /// File mode creation mask, in octal [default for a daemon: 0077]
    #[arg(long, value_name = "MASK", global = true, help_heading = DAEMON)]
    pub umask: Option<Umask>,

    /// Switch to this user (name or id) after privileged start-up, such as binding ports below 1024
    #[arg(short, long, value_name = "USER", global = true, help_heading = DAEMON)]
    pub uid: Option<String>,

    /// Switch to this group (name or id) [default: the group of the user]
    #[arg(short, long, value_name = "GROUP", global = true, help_heading = DAEMON)]
    pub gid: Option<String>,
}

/// Parses a path that may be empty, which clap's own parser refuses.
fn possibly_empty_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The options that the configuration file can set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct FileOptions {
    reactor: Option<String>,
    verbose: Option<u8>,
    quiet: Option<bool>,
    log_format: Option<LogFormat>,
    daemon: Option<bool>,
    pidfile: Option<PathBuf>,
    logfile: Option<PathBuf>,
    #[serde(deserialize_with = "from_string")]
    log_rotate_size: Option<Size>,
    log_rotate_count: Option<u32>,
    syslog: Option<Syslog>,
    rundir: Option<PathBuf>,
    chroot: Option<PathBuf>,
    #[serde(deserialize_with = "from_string")]
    umask: Option<Umask>,
    #[serde(deserialize_with = "from_string")]
    uid: Option<NameOrNumber>,
    #[serde(deserialize_with = "from_string")]
    gid: Option<NameOrNumber>,
}

/// The format of log lines.
///
/// ```
/// use ropewalk_runner::LogFormat;
///
/// assert_eq!(LogFormat::default(), LogFormat::Text);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Plain text, for people
    #[default]
    Text,
    /// One JSON object per line, for programs
    Json,
}

/// A number of bytes.
///
/// ```
/// use ropewalk_runner::Size;
///
/// assert_eq!("500K".parse(), Ok(Size(500 * 1024)));
/// assert!("half a megabyte".parse::<Size>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let (digits, factor) = match text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']) {
            Some(digits) => (digits, factor(&text[digits.len()..])),
            None => (text, 1),
        };
        let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        size.map(Size).ok_or_else(|| "expected a size in bytes, such as 500K or 10M".to_owned())
    }
}

fn factor(unit: &str) -> u64 {
    match unit {
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        _ => 1 << 30,
    }
}

/// A file mode creation mask: umask(2).
///
/// ```
/// use ropewalk_runner::Umask;
///
/// assert_eq!("0027".parse(), Ok(Umask(0o027)));
/// assert!("9".parse::<Umask>().is_err()); // 9 is not an octal digit
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

impl FromStr for Umask {
    type Err = String;

    fn from_str(text: &str) -> Result<Umask, String> {
        let mask = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8);
        let mask = mask.ok().filter(|mask| *mask <= 0o777);
        mask.map(Umask).ok_or_else(|| "expected an octal mask up to 0777, such as 0027".to_owned())
    }
}

/// The name or id of a user or group.
#[derive(Debug)]
struct NameOrNumber(String);

impl FromStr for NameOrNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<NameOrNumber, String> {
        if text.is_empty() { Err("expected a name or a number".to_owned()) } else { Ok(NameOrNumber(text.to_owned())) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected true, false or the path of a socket")]
enum Syslog {
    Switch(bool),
    Socket(PathBuf),
}

/// Reads a value that the file may write as a string or a number: `"10M"` or `0`.
fn from_string<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(FromString(PhantomData)).map(Some)
}

struct FromString<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for FromString<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The error for an empty string names the expected value.
        f.write_str(&"".parse::<T>().err().unwrap_or_default())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_str(&number.to_string()),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

impl FileOptions {
    /// Returns two options that cannot be used together, if both are set.
    pub(crate) fn conflict(&self) -> Option<(&'static str, &'static str)> {
        let is_verbose = self.verbose.is_some_and(|verbose| verbose > 0);
        let is_syslog = self.syslog.as_ref().is_some_and(|syslog| !matches!(syslog, Syslog::Switch(false)));
        if is_verbose && self.quiet == Some(true) {
            Some(("quiet", "verbose"))
        } else if is_syslog && self.logfile.is_some() {
            Some(("logfile", "syslog"))
        } else {
            None
        }
    }
}

impl RunnerOptions {
    /// Whether the command line overrides an option of the file.
    pub(crate) fn overrides(&self, option: &str) -> bool {
        match option {
            "reactor" => self.reactor.is_some(),
            "pidfile" => self.pidfile.is_some(),
            "logfile" | "syslog" => self.logfile.is_some() || self.syslog.is_some(),
            "rundir" => self.rundir.is_some(),
            "chroot" => self.chroot.is_some(),
            "uid" => self.uid.is_some(),
            "gid" => self.gid.is_some(),
            _ => false,
        }
    }

    /// Returns the options of the command line, completed with those of the file.
    pub(crate) fn or(self, file: FileOptions) -> RunnerOptions {
        let is_mode_unset = !self.daemon && !self.nodaemon;
        let syslog = match file.syslog {
            Some(Syslog::Switch(true)) => Some(PathBuf::from(OsStr::new("/dev/log"))),
            Some(Syslog::Socket(path)) => Some(path),
            _ => None,
        };
        let is_log_set = self.logfile.is_some() || self.syslog.is_some();
        RunnerOptions {
            reactor: self.reactor.or(file.reactor),
            verbose: if self.verbose == 0 && !self.quiet { file.verbose.unwrap_or(0) } else { self.verbose },
            quiet: self.quiet || (self.verbose == 0 && file.quiet.unwrap_or(false)),
            log_format: self.log_format.or(file.log_format),
            daemon: if is_mode_unset { file.daemon == Some(true) } else { self.daemon },
            nodaemon: if is_mode_unset { file.daemon == Some(false) } else { self.nodaemon },
            pidfile: self.pidfile.or(file.pidfile),
            logfile: self.logfile.or(file.logfile.filter(|_| !is_log_set)),
            log_rotate_size: self.log_rotate_size.or(file.log_rotate_size),
            log_rotate_count: self.log_rotate_count.or(file.log_rotate_count),
            syslog: self.syslog.or(syslog.filter(|_| !is_log_set)),
            rundir: self.rundir.or(file.rundir),
            chroot: self.chroot.or(file.chroot),
            umask: self.umask.or(file.umask),
            uid: self.uid.or(file.uid.map(|user| user.0)),
            gid: self.gid.or(file.gid.map(|group| group.0)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: RunnerOptions,
    }

    fn line(arguments: &[&str]) -> RunnerOptions {
        Line::try_parse_from([&["test"], arguments].concat()).unwrap().options
    }

    fn file(text: &str) -> FileOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn sizes_may_have_units() {
        assert_eq!(
            ["0", "500K", "10M", "2g"].map(|text| text.parse::<Size>().unwrap()),
            [0, 500 << 10, 10 << 20, 2 << 30].map(Size)
        );
        for wrong in ["", "M", "-1", "1.5M", "99999999999G", "10MB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(["022", "0o77", "777"].map(|text| text.parse::<Umask>().unwrap()), [0o22, 0o77, 0o777].map(Umask));
        for wrong in ["", "8", "1000", "rwx"] {
            assert!(wrong.parse::<Umask>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn background_excludes_foreground() {
        for both in [["--daemon", "-n"], ["--nodaemon", "--daemon"]] {
            let error = Line::try_parse_from([&["test"], &both[..]].concat()).err().expect("a conflict");
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{both:?}");
        }
    }

    #[test]
    fn an_empty_pid_file_is_accepted() {
        assert_eq!(line(&["--pidfile="]).pidfile, Some(PathBuf::new()));
        assert_eq!(line(&["--pidfile="]).or(file("pidfile = '/run/x'")).pidfile, Some(PathBuf::new()));
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let text =
            "reactor = 'poll'\ndaemon = true\nverbose = 2\nlogfile = 'f'\nuid = 33\numask = '027'\nlog-rotate-size = 0";
        let alone = line(&[]).or(file(text));
        assert_eq!(alone.reactor.as_deref(), Some("poll"));
        assert_eq!((alone.daemon, alone.verbose, alone.uid.as_deref()), (true, 2, Some("33")));
        assert_eq!((alone.umask, alone.log_rotate_size), (Some(Umask(0o27)), Some(Size(0))));
        let line = line(&["-r", "select", "-n", "-q", "--syslog", "--uid", "nobody"]).or(file(text));
        assert_eq!(line.reactor.as_deref(), Some("select"));
        assert!(line.nodaemon && !line.daemon && line.quiet && line.verbose == 0);
        assert_eq!(line.uid.as_deref(), Some("nobody"));
        assert_eq!((line.logfile, line.syslog), (None, Some("/dev/log".into())));
    }

    #[test]
    fn the_file_enables_syslog_or_names_its_socket() {
        for (text, socket) in
            [("syslog = true", Some("/dev/log")), ("syslog = false", None), ("syslog = '/s'", Some("/s"))]
        {
            assert_eq!(line(&[]).or(file(text)).syslog, socket.map(PathBuf::from), "{text}");
        }
    }
}
