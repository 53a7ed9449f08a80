//! The command line, and the same options in a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use ropewalk::endpoints::Endpoints;
use ropewalk::proto::description::DescriptionError;
use ropewalk_runner::RunnerOptions;
use serde::Deserialize;

use crate::described;

/// Where the small services, and `serve`, listen unless told otherwise.
const LOCAL_8000: &str = "tcp:8000:interface=127.0.0.1";
const LOCAL_8080: &str = "tcp:8080:interface=127.0.0.1";

/// The name of the program.
pub(crate) const PROGRAM: &str = "ropewalk";

const EXAMPLES: &str = "\
Examples:
  ropewalk serve .                             share this directory at http://127.0.0.1:8080/
  ropewalk serve site --listen tcp:80          the same for everybody, on the usual port
  ropewalk -r poll echo --listen tcp:7000      echo, on another reactor than the best one
  ropewalk portforward --listen tcp:8000:interface=127.0.0.1 --to tcp:example.com:80
  ropewalk portforward --listen unix:/run/web.sock --to tcp:127.0.0.1:8080
  ropewalk --config services.toml --daemon     several services, in the background

Endpoints to listen on:
  tcp:PORT[:interface=IP]    TCP, on every interface or on one; port 0 lets the system choose
  tcp6:PORT[:interface=IP]   TCP over IPv6 alone
  unix:PATH[:mode=666]       a UNIX socket; @NAME is an abstract one
  systemd:[index=N|name=S]   a socket that a service manager hands over
  fd:NUMBER                  a listening socket that this process was started with
  stdio:                     standard input and output; the program ends with them
  haproxy:ENDPOINT           one of the others, behind a load balancer that sends PROXY headers
Endpoints to connect to:
  tcp:HOST:PORT[:timeout=30] TCP, to a name or an address
  tcp6:HOST:PORT             TCP over IPv6 alone
  unix:PATH                  a UNIX socket
A colon inside an argument is written \\:, as in tcp:8000:interface=\\:\\:1

Ctrl-C or SIGTERM stops it. What there is to say about trouble goes to standard error; the
variable ROPEWALK_LOG chooses it by source, as in ROPEWALK_LOG=ropewalk=debug,hyper=warn.";

/// Small network services on any reactor.
///
/// Each runs on one thread, on the best event provider of this machine or on the one that -r or the variable
/// ROPEWALK_REACTOR names.
#[derive(Parser)]
#[command(name = "ropewalk", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) runner: RunnerOptions,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send everything back (RFC 862)
    Echo(SmallService),
    /// Read everything and answer nothing (RFC 863)
    Discard(SmallService),
    /// Send a pattern of characters for as long as somebody reads (RFC 864)
    Chargen(SmallService),
    /// Send the date and the time, and close (RFC 867)
    Daytime(SmallService),
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
#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SmallService {
    /// Where to listen; may be given several times
    #[arg(short, long, value_name = "ENDPOINT", default_value = LOCAL_8000, value_parser = server_endpoint)]
    #[serde(default = "local_8000", deserialize_with = "described::server_endpoints")]
    pub(crate) listen: Vec<String>,

    /// Accept at most this many connections at once [default: 10000, or what the limit on open files allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    #[serde(default, deserialize_with = "described::at_least_one")]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection on which nothing moves for so long; 0 is never
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0", value_parser = seconds)]
    #[serde(default, deserialize_with = "described::seconds")]
    pub(crate) idle_timeout: IdleLimit,
}

#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Portforward {
    /// Where to listen; may be given several times
    #[arg(short, long, value_name = "ENDPOINT", required = true, value_parser = server_endpoint)]
    #[serde(deserialize_with = "described::server_endpoints")]
    pub(crate) listen: Vec<String>,

    /// Whither to forward
    #[arg(short, long, value_name = "ENDPOINT", value_parser = client_endpoint)]
    #[serde(deserialize_with = "described::client_endpoint")]
    pub(crate) to: String,

    /// Accept at most this many connections at once [default: 10000, or what the limit on open files allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    #[serde(default, deserialize_with = "described::at_least_one")]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection on which nothing moves for so long; 0 is never
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0", value_parser = seconds)]
    #[serde(default, deserialize_with = "described::seconds")]
    pub(crate) idle_timeout: IdleLimit,
}

#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Serve {
    /// The directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Where to listen; may be given several times
    #[arg(short, long, value_name = "ENDPOINT", default_value = LOCAL_8080, value_parser = server_endpoint)]
    #[serde(default = "local_8080", deserialize_with = "described::server_endpoints")]
    pub(crate) listen: Vec<String>,

    /// Serve and list names that begin with a dot, too
    #[arg(long)]
    #[serde(default)]
    pub(crate) hidden: bool,

    /// Accept at most this many connections at once [default: 10000, or what the limit on open files allows]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    #[serde(default, deserialize_with = "described::at_least_one")]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection when no whole request comes for so long, or when a response does not move for ten times as
    /// long; 0 is never
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "60", value_parser = seconds)]
    #[serde(default = "a_minute", deserialize_with = "described::seconds")]
    pub(crate) idle_timeout: IdleLimit,

    /// When it is told to stop, give the responses that are under way so long; more than 30 makes no difference
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0.3", value_parser = duration)]
    #[serde(default = "a_moment", deserialize_with = "described::duration")]
    pub(crate) grace: Duration,
}

/// How long a connection may be idle; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdleLimit(pub(crate) Option<Duration>);

/// The description of a server endpoint, once it has been found to be right.
pub(crate) fn server_endpoint(text: &str) -> Result<String, DescriptionError> {
    Endpoints::new().server(text).map(|_| text.to_owned())
}

/// The same of a client endpoint.
pub(crate) fn client_endpoint(text: &str) -> Result<String, DescriptionError> {
    Endpoints::new().client(text).map(|_| text.to_owned())
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("expected a whole number from 1 to {}", usize::MAX))
}

pub(crate) fn seconds(text: &str) -> Result<IdleLimit, String> {
    let number = text.parse::<f64>().map_err(|_| "expected a number of seconds".to_owned())?;
    let limit = Duration::try_from_secs_f64(number).map_err(|_| "expected a number of seconds from 0 on".to_owned())?;
    Ok(IdleLimit((!limit.is_zero()).then_some(limit)))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    seconds(text).map(|limit| limit.0.unwrap_or_default())
}

/// Where the small services listen in a file that does not say so: as on the command line.
fn local_8000() -> Vec<String> {
    vec![LOCAL_8000.to_owned()]
}

fn local_8080() -> Vec<String> {
    vec![LOCAL_8080.to_owned()]
}

/// Within half a second everything has ended.
fn a_moment() -> Duration {
    Duration::from_millis(300)
}

fn a_minute() -> IdleLimit {
    IdleLimit(Some(Duration::from_secs(60)))
}

/// Reads the command line. What it asks to print, or is wrong with it, is printed; then the status is returned.
pub(crate) fn parse() -> Result<CommandLine, ExitCode> {
    let line = ropewalk_runner::parse::<CommandLine>(PROGRAM)?;
    if let Some(status) = line.runner.answer(CommandLine::command()) {
        return Err(status);
    }
    if line.command.is_none() && line.runner.config.is_none() {
        ropewalk_runner::announce::complain(PROGRAM, "what shall it do? (try --help)");
        return Err(ExitCode::from(2));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
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
