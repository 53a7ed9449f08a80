//! Parses the command line, and prints help and errors.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

use crate::console;
use crate::manual;
use crate::options::{DAEMON, RunnerOptions};
use crate::reactors;

/// Parses the command line. Prints help and version, or one line on standard error for a wrong argument.
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
///         Ok(_line) => ExitCode::SUCCESS, // run the program here
///         Err(status) => status,
///     }
/// }
/// ```
///
/// # Errors
/// The exit status: 0 after help or version, 1 if those could not be printed, 2 after a wrong argument.
pub fn parse<P: Parser>(program: &str) -> Result<P, ExitCode> {
    let parsed = hide_daemon_options(P::command())
        .try_get_matches()
        .and_then(|mut matches| P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut P::command())));
    parsed.map_err(|error| print_outcome(program, &error))
}

/// Hides the daemon options in the help of commands. The help of the program explains them.
fn hide_daemon_options(mut command: Command) -> Command {
    if !command.has_subcommands() {
        return command;
    }
    let name = command.get_name().to_owned();
    // Building copies the global options to the commands.
    command.build();
    command.mut_subcommands(|command| {
        let hint = format!("{DAEMON}: see {name} --help");
        let after = command.get_after_help().map_or(hint.clone(), |after| format!("{after}\n\n{hint}"));
        let is_daemon_option = |option: &Arg| option.get_help_heading() == Some(DAEMON);
        command.mut_args(|option| if is_daemon_option(&option) { option.hide(true) } else { option }).after_help(after)
    })
}

impl RunnerOptions {
    /// Prints the list of reactors, or the manual page or shell completions of `command`, if an option asks for it.
    ///
    /// Then it returns the exit status: 1 if that could not be printed. Otherwise it returns `None`, and the program runs.
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
    /// assert!(line.runner.answer(CommandLine::command()).is_some()); // the list is printed, and the program exits
    /// ```
    pub fn answer(&self, mut command: Command) -> Option<ExitCode> {
        let name = command.get_name().to_owned();
        let text = if self.help_reactors {
            reactors::table(&ropewalk::reactors(), &self.hosts)
        } else if self.man {
            manual::page(command)
        } else if let Some(shell) = self.completions {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut script);
            String::from_utf8_lossy(&script).into_owned()
        } else {
            return None;
        };
        Some(output_status(&name, console::print(&text)))
    }
}

/// Returns the exit status after output, and prints an error if the output failed.
fn output_status(program: &str, outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::print_error(program, &format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn print_outcome(program: &str, error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output_status(program, console::ignore_broken_pipe(error.print().and_then(|()| io::stdout().flush())))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            console::print_error(program, &one_line(&error.to_string()));
            ExitCode::from(2)
        }
    }
}

/// Joins the paragraphs of clap's message in one line, and leaves out the usage.
fn one_line(message: &str) -> String {
    let paragraphs = message.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut line = String::new();
    for paragraph in paragraphs {
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            break;
        }
        match suggestion(&paragraph) {
            Some(similar) => line += &format!(" (did you mean {similar}?)"),
            None if line.is_empty() => line += paragraph.strip_prefix("error: ").unwrap_or(&paragraph),
            None => line += &format!("; {paragraph}"),
        }
    }
    line + " (try --help)"
}

/// Returns the similar words that clap suggests in a paragraph.
fn suggestion(paragraph: &str) -> Option<&str> {
    let (start, similar) = paragraph.strip_prefix("tip: ")?.split_once(": ")?;
    // Another tip may follow, on using the word as a value.
    let similar = similar.split(" tip: ").next()?;
    (start.contains("similar") && start.contains("exist")).then_some(similar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        runner: RunnerOptions,
    }

    fn error_line(arguments: &[&str]) -> String {
        let error = Line::try_parse_from([&["test"], arguments].concat()).expect_err("these arguments are wrong");
        one_line(&error.to_string())
    }

    #[test]
    fn a_wrong_argument_is_named_in_one_line() {
        assert_eq!(
            error_line(&["--pidfil", "x"]),
            "unexpected argument '--pidfil' found (did you mean '--pidfile'?) (try --help)"
        );
        assert_eq!(
            error_line(&["--umask", "999"]),
            "invalid value '999' for '--umask <MASK>': expected an octal mask up to 0777, such as 0027 (try --help)"
        );
        assert!(error_line(&["--syslog", "--logfile", "x"]).contains("cannot be used with"));
    }
}
