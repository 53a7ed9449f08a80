//! Reading the command line, and what is said about it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

use crate::announce;
use crate::options::{DAEMON, RunnerOptions};
use crate::reactors;

/// Reads the command line. Help and version are printed, and a wrong argument is explained in one line on standard
/// error; then the status to end with is returned.
///
/// ```
/// use std::process::ExitCode;
/// use clap::Parser;
/// use ropewalk_runner::RunnerOptions;
///
/// #[derive(Parser)]
/// struct CommandLine {
///     #[command(flatten)]
///     runner: RunnerOptions,
/// }
///
/// fn main() -> ExitCode {
///     match ropewalk_runner::parse::<CommandLine>("echod") {
///         Ok(_line) => ExitCode::SUCCESS, // here the program runs
///         Err(status) => status,
///     }
/// }
/// ```
///
/// # Errors
/// The status: success after help and version, 1 where those could not be printed, 2 after a wrong argument.
pub fn parse<P: Parser>(program: &str) -> Result<P, ExitCode> {
    let parsed = options_once(P::command())
        .try_get_matches()
        .and_then(|mut matches| P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut P::command())));
    parsed.map_err(|error| explain(program, &error))
}

/// Has the help of a command leave out how to run as a daemon, which that of the program explains.
fn options_once(mut command: Command) -> Command {
    if !command.has_subcommands() {
        return command;
    }
    let name = command.get_name().to_owned();
    // Only then do the commands have the options of the program.
    command.build();
    command.mut_subcommands(|command| {
        let elsewhere = format!("{DAEMON}: {name} --help");
        let after = command.get_after_help().map_or(elsewhere.clone(), |after| format!("{after}\n\n{elsewhere}"));
        let is_daemons = |option: &Arg| option.get_help_heading() == Some(DAEMON);
        command.mut_args(|option| if is_daemons(&option) { option.hide(true) } else { option }).after_help(after)
    })
}

impl RunnerOptions {
    /// Prints what an option asks for instead of running: the reactors, or completions for `command`. Returns the status
    /// to end with, if there was such an option: 1 where it could not be printed, which is said.
    ///
    /// ```
    /// use clap::{CommandFactory, Parser};
    /// use ropewalk_runner::RunnerOptions;
    ///
    /// #[derive(Parser)]
    /// #[command(name = "echod")]
    /// struct CommandLine {
    ///     #[command(flatten)]
    ///     runner: RunnerOptions,
    /// }
    ///
    /// let line = CommandLine::parse_from(["echod", "--help-reactors"]);
    /// assert!(line.runner.answer(CommandLine::command()).is_some()); // the list is printed: nothing else is to be done
    /// ```
    pub fn answer(&self, mut command: Command) -> Option<ExitCode> {
        let name = command.get_name().to_owned();
        let text = if self.help_reactors {
            reactors::table(&ropewalk::reactors())
        } else if let Some(shell) = self.completions {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut script);
            String::from_utf8_lossy(&script).into_owned()
        } else {
            return None;
        };
        Some(told(&name, announce::say(&text)))
    }
}

/// The status of a program that was only to say something.
fn told(program: &str, outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            announce::complain(program, &format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn explain(program: &str, error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            told(program, announce::heard(error.print().and_then(|()| io::stdout().flush())))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            announce::complain(program, &one_line(&error.to_string()));
            ExitCode::from(2)
        }
    }
}

/// clap's several paragraphs as one line, without the usage.
fn one_line(message: &str) -> String {
    let paragraphs = message.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let said: Vec<_> = paragraphs
        .take_while(|text| !text.starts_with("Usage:") && !text.starts_with("For more information"))
        .collect();
    let said = said.join("; ");
    format!("{} (try --help)", said.strip_prefix("error: ").unwrap_or(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        runner: RunnerOptions,
    }

    fn complaint(arguments: &[&str]) -> String {
        let error = Line::try_parse_from([&["test"], arguments].concat()).expect_err("these arguments are wrong");
        one_line(&error.to_string())
    }

    #[test]
    fn a_wrong_argument_is_one_line_that_names_it() {
        assert_eq!(
            complaint(&["--pidfil", "x"]),
            "unexpected argument '--pidfil' found; tip: a similar argument exists: '--pidfile' (try --help)"
        );
        assert_eq!(
            complaint(&["--umask", "999"]),
            "invalid value '999' for '--umask <MASK>': expected permissions in octal up to 0777, as in 0027 (try --help)"
        );
        assert!(complaint(&["--syslog", "--logfile", "x"]).contains("cannot be used with"));
    }
}
