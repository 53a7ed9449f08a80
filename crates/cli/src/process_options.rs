//! The options of `procmon`, and of a service of kind `process` in the configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use ropewalk::application::Restart;
use serde::Deserialize;

use crate::values::{client_endpoint, deserialize, duration};

#[derive(Args, Deserialize)]
#[command(group = ArgGroup::new("programs").required(true).multiple(true).args(["command", "process"]))]
#[command(group = ArgGroup::new("readiness").args(["ready_line", "ready_port"]))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Procmon {
    /// Program to run, with its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    #[serde(deserialize_with = "deserialize::command")]
    pub(crate) command: Vec<OsString>,

    /// Name of CMD in messages and before its output [default: the last part of its path]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Another program under a name of its own (repeatable): a line for sh
    #[arg(long, value_name = "NAME=CMD", value_parser = named_command)]
    #[serde(skip)]
    pub(crate) process: Vec<(String, String)>,

    /// When to start a program again after its end
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    #[serde(default)]
    pub(crate) restart: RestartWhen,

    /// Life that does not count as a quick exit. After it, the next start has no delay
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "1", value_parser = duration)]
    #[serde(default = "one_second", deserialize_with = "deserialize::duration")]
    pub(crate) threshold: Duration,

    /// Delay after the first quick exit or failed start. It doubles with each further one
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "1", value_parser = duration)]
    #[serde(default = "one_second", deserialize_with = "deserialize::duration")]
    pub(crate) min_restart_delay: Duration,

    /// Longest delay
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "60", value_parser = duration)]
    #[serde(default = "one_minute", deserialize_with = "deserialize::duration")]
    pub(crate) max_restart_delay: Duration,

    /// Time between TERM and KILL when a program is stopped
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "5", value_parser = duration)]
    #[serde(default = "five_seconds", deserialize_with = "deserialize::duration")]
    pub(crate) kill_time: Duration,

    /// A program is ready when it prints a line with this text. The next program starts then
    #[arg(long, value_name = "TEXT")]
    pub(crate) ready_line: Option<String>,

    /// A program is ready when this endpoint accepts a connection. The next program starts then
    #[arg(long, value_name = "ENDPOINT", value_parser = client_endpoint, conflicts_with = "ready_line")]
    #[serde(default, deserialize_with = "deserialize::optional_client_endpoint")]
    pub(crate) ready_port: Option<String>,

    /// Time to become ready (0 disables). A program that is late is stopped, and counts as a failed start
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = duration, requires = "readiness")]
    #[serde(default, deserialize_with = "deserialize::optional_duration")]
    pub(crate) ready_timeout: Option<Duration>,

    /// Directory to run in
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// User to run as, with the groups of that user (only root may)
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Variable of the environment (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = named_value)]
    #[serde(default, deserialize_with = "deserialize::table")]
    pub(crate) env: Vec<(String, String)>,

    /// Print lines of output without the name of the program
    #[arg(long)]
    #[serde(default)]
    pub(crate) no_prefix: bool,

    /// Write lines of output to the log, as information (-v shows it), instead of standard output
    #[arg(long)]
    #[serde(default)]
    pub(crate) log_output: bool,
}

/// The values of `--restart`.
#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RestartWhen {
    /// After every end
    #[default]
    Always,
    /// After another status than 0, a signal or a failed start
    OnFailure,
    /// After no end
    Never,
}

impl From<RestartWhen> for Restart {
    fn from(when: RestartWhen) -> Restart {
        match when {
            RestartWhen::Always => Restart::Always,
            RestartWhen::OnFailure => Restart::OnFailure,
            RestartWhen::Never => Restart::Never,
        }
    }
}

impl Procmon {
    /// Returns the programs by name, with their arguments.
    pub(crate) fn programs(&self) -> Vec<(String, Vec<OsString>)> {
        let name = || self.name.clone().unwrap_or_else(|| name_of(&self.command));
        let own = (!self.command.is_empty()).then(|| (name(), self.command.clone()));
        let others = self.process.iter().map(|(name, line)| (name.clone(), shell(line)));
        own.into_iter().chain(others).collect()
    }

    /// Returns the reason if the programs cannot run in the background.
    pub(crate) fn needs_foreground(&self) -> Option<String> {
        let reason = "the programs write to standard output, which a daemon does not have (or use --log-output)";
        (!self.log_output).then(|| reason.to_owned())
    }
}

/// Returns the command that runs a line in the shell.
pub(crate) fn shell(line: &str) -> Vec<OsString> {
    ["sh", "-c", line].map(OsString::from).into()
}

fn name_of(command: &[OsString]) -> String {
    let program = command.first().map(Path::new);
    let name = program.and_then(Path::file_name);
    name.map_or_else(|| "program".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn named_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a name before '=', as in NAME=VALUE".to_owned()),
    }
}

fn named_command(text: &str) -> Result<(String, String), String> {
    match named_value(text)? {
        (_, line) if line.trim().is_empty() => {
            Err("expected a command behind '=', as in web='python3 app.py'".to_owned())
        }
        named => Ok(named),
    }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_after_its_file() {
        let command = |program: &str| vec![OsString::from(program), OsString::from("-v")];
        assert_eq!(name_of(&command("/usr/bin/python3")), "python3");
        assert_eq!(name_of(&command("sleep")), "sleep");
    }

    #[test]
    fn a_named_value_needs_a_name() {
        assert_eq!(named_value("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(named_value("=b").is_err() && named_value("b").is_err());
        assert_eq!(named_value("A="), Ok(("A".to_owned(), String::new())));
    }

    #[test]
    fn a_named_command_is_not_empty() {
        // A shell without a command succeeds at once, and would be started again and again.
        assert_eq!(named_command("a=true"), Ok(("a".to_owned(), "true".to_owned())));
        assert!(named_command("a=").is_err() && named_command("a= ").is_err());
    }
}
