//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};
use ropewalk::endpoints::Endpoints;
use ropewalk::proto::description::DescriptionError;

use crate::announce;
use crate::log::Verbosity;

/// What was asked for.
pub(crate) struct Arguments {
    pub(crate) verbosity: Verbosity,
    pub(crate) invocation: Invocation,
}

pub(crate) enum Invocation {
    /// `--help-reactors`
    ListReactors,
    /// A command.
    Serve { reactor: Option<String>, command: Command, quiet: bool },
}

const EXAMPLES: &str = "\
Examples:
  ropewalk serve .                             share this directory at http://127.0.0.1:8080/
  ropewalk serve site --listen tcp:80          the same for everybody, on the usual port
  ropewalk -r poll echo --listen tcp:7000      echo, on another reactor than the best one
  ropewalk portforward --listen tcp:8000:interface=127.0.0.1 --to tcp:example.com:80
  ropewalk portforward --listen unix:/run/web.sock --to tcp:127.0.0.1:8080

Endpoints:
  tcp:PORT[:interface=IP]    TCP, on every interface or on one; port 0 lets the system choose
  unix:PATH[:mode=666]       a UNIX socket; @NAME is an abstract one
  A colon inside an argument is written \\:, as in tcp:8000:interface=\\:\\:1

Ctrl-C or SIGTERM stops it. What there is to say about trouble goes to standard error; the
variable ROPEWALK_LOG chooses it by source, as in ROPEWALK_LOG=ropewalk=debug,hyper=warn.";

const COMMON: &str = "Options of every command";

/// Small network services on any reactor.
///
/// Each runs on one thread, on the best event provider of this machine or on the one that -r or the variable
/// ROPEWALK_REACTOR names.
#[derive(Parser)]
#[command(name = "ropewalk", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true)]
struct CommandLine {
    /// Run on this reactor instead of the best one here
    #[arg(short, long, value_name = "NAME", global = true, help_heading = COMMON)]
    reactor: Option<String>,

    /// List the reactors, with the reason where one does not work here, and exit
    #[arg(long)]
    help_reactors: bool,

    /// Say more: connections and requests; twice for debugging, three times for everything
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = COMMON)]
    verbose: u8,

    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = COMMON)]
    quiet: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send everything back (RFC 862)
    Echo(Service),
    /// Read everything and answer nothing (RFC 863)
    Discard(Service),
    /// Send a pattern of characters for as long as somebody reads (RFC 864)
    Chargen(Service),
    /// Send the date and the time, and close (RFC 867)
    Daytime(Service),
    /// Forward connections to another place
    ///
    /// Neither side is read faster than the other one takes it, and each direction ends by itself. When the target cannot
    /// be reached, the client is closed.
    Portforward(Portforward),
    /// Serve the files of a directory over HTTP
    ///
    /// Directories without an index.html are listed. Nothing outside the directory is served, whatever links point there.
    Serve(Serve),
}

/// Options of the small services.
#[derive(Args)]
pub(crate) struct Service {
    /// Where to listen; may be given several times
    #[arg(short, long, value_name = "ENDPOINT", default_value = "tcp:8000:interface=127.0.0.1", value_parser = server_endpoint)]
    pub(crate) listen: Vec<String>,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

#[derive(Args)]
pub(crate) struct Portforward {
    /// Where to listen; may be given several times
    #[arg(short, long, value_name = "ENDPOINT", required = true, value_parser = server_endpoint)]
    pub(crate) listen: Vec<String>,

    /// Whither to forward: tcp:HOST:PORT or unix:PATH
    #[arg(short, long, value_name = "ENDPOINT", value_parser = client_endpoint)]
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// The directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Where to listen; may be given several times
    #[arg(short, long, value_name = "ENDPOINT", default_value = "tcp:8080:interface=127.0.0.1", value_parser = server_endpoint)]
    pub(crate) listen: Vec<String>,

    /// Serve and list names that begin with a dot, too
    #[arg(long)]
    pub(crate) hidden: bool,

    /// Accept at most this many connections at once [default: 10000, or what the limit on open files allows]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection when no whole request comes for so long, or when a response does not move for ten times as
    /// long; 0 is never
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) idle_timeout: IdleLimit,
}

/// What a peer may take.
#[derive(Args)]
pub(crate) struct Bounds {
    /// Accept at most this many connections at once [default: 10000, or what the limit on open files allows]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection on which nothing moves for so long; 0 is never
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) idle_timeout: IdleLimit,
}

/// How long a connection may be idle; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdleLimit(pub(crate) Option<Duration>);

/// The description of a server endpoint, once it has been found to be right.
fn server_endpoint(text: &str) -> Result<String, DescriptionError> {
    Endpoints::new().server(text).map(|_| text.to_owned())
}

/// The same of a client endpoint.
fn client_endpoint(text: &str) -> Result<String, DescriptionError> {
    Endpoints::new().client(text).map(|_| text.to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a number of at least 1".to_owned())
}

fn seconds(text: &str) -> Result<IdleLimit, String> {
    let number = text.parse::<f64>().map_err(|_| "expected a number of seconds".to_owned())?;
    let limit = Duration::try_from_secs_f64(number).map_err(|_| "expected a number of seconds from 0 on".to_owned())?;
    Ok(IdleLimit((!limit.is_zero()).then_some(limit)))
}

/// Reads the command line. What it asks to print, or is wrong with it, is printed; then the status is returned.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    let line = CommandLine::try_parse().map_err(|error| explain(&error))?;
    let verbosity = if line.quiet { Verbosity::Quiet } else { Verbosity::Verbose(line.verbose) };
    let invocation = match line.command {
        _ if line.help_reactors => Invocation::ListReactors,
        Some(command) => Invocation::Serve { reactor: line.reactor, command, quiet: line.quiet },
        None => {
            announce::complain("what shall it do? (try --help)");
            return Err(ExitCode::from(2));
        }
    };
    Ok(Arguments { verbosity, invocation })
}

fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            announce::complain(&one_line(&error.to_string()));
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
    use clap::CommandFactory;

    use super::*;

    fn complaint(arguments: &[&str]) -> String {
        let error = CommandLine::try_parse_from(arguments).err().expect("these arguments are wrong");
        one_line(&error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_wrong_argument_is_one_line_that_names_it() {
        assert_eq!(
            complaint(&["ropewalk", "echo", "--lisen", "tcp:1"]),
            "unexpected argument '--lisen' found; tip: a similar argument exists: '--listen' (try --help)"
        );
        assert_eq!(
            complaint(&["ropewalk", "portforward", "--listen", "tcp:1"]),
            "the following required arguments were not provided: --to <ENDPOINT> (try --help)"
        );
        let wrong_port = complaint(&["ropewalk", "echo", "--listen", "tcp:eighty"]);
        assert!(wrong_port.starts_with("invalid value 'tcp:eighty' for '--listen <ENDPOINT>': "), "{wrong_port}");
        assert!(!wrong_port.contains('\n'));
    }

    #[test]
    fn an_idle_timeout_of_zero_is_none() {
        assert_eq!(seconds("0"), Ok(IdleLimit(None)));
        assert_eq!(seconds("1.5"), Ok(IdleLimit(Some(Duration::from_millis(1500)))));
        for wrong in ["-1", "NaN", "inf", "ten", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
