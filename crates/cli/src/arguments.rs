//! The command line. A service in the configuration file has the same options.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ropewalk_runner::RunnerOptions;
use serde::Deserialize;

use crate::foreign_options::ForeignOptions;
use crate::process_options::Procmon;
use crate::values::deserialize;
use crate::values::{
    IdleLimit, any_client_endpoint, any_server_endpoint, at_least_one, client_endpoint, duration, http_endpoint,
    keep_alive_count, keep_alive_idle, keep_alive_interval, port, seconds, server_endpoint, whole_seconds,
};
use crate::watch_options::Watch;

/// The default endpoints of the small services and of `serve`.
const LOCAL_8000: &str = "tcp:8000:interface=127.0.0.1";
const LOCAL_8080: &str = "tcp:8080:interface=127.0.0.1";

/// The default times and count of keep-alive probes. A peer that has vanished is noticed within eight minutes.
const KEEP_ALIVE_IDLE: u32 = 300;
const KEEP_ALIVE_INTERVAL: u32 = 30;
const KEEP_ALIVE_COUNT: u32 = 5;

/// The name of the program.
pub(crate) const PROGRAM: &str = "ropewalk";

const EXAMPLES: &str = "\
Examples:
  ropewalk serve .                             serve this directory at http://127.0.0.1:8080/
  ropewalk serve site --listen tcp:80          serve a directory on port 80, to other machines too
  ropewalk -r poll echo --listen tcp:7000      run echo on the reactor named poll
  ropewalk portforward --listen tcp:8000:interface=127.0.0.1 --to tcp:example.com:80
  ropewalk portforward --listen unix:/run/web.sock --to tcp:127.0.0.1:8080
  ropewalk portforward --listen udp:5353:interface=127.0.0.1 --to udp:192.0.2.1:53
  printf 'hello\\n' | ropewalk connect tcp:localhost:8000    send input, print the answer
  ropewalk procmon -- python3 app.py           run a program, and start it again when it ends
  ropewalk watch src -- python3 app.py         run a program, and start it again when a file changes
  ropewalk --config services.toml --daemon     run several services in the background

Endpoints to listen on:
  tcp:PORT[:interface=IP]    TCP, on all interfaces or on one (port 0: any free port)
  tcp6:PORT[:interface=IP]   TCP over IPv6 only
  unix:PATH[:mode=666]       UNIX socket (@NAME: abstract address)
  systemd:[index=N|name=S]   socket passed by the service manager (socket activation)
  fd:NUMBER                  listening socket inherited as this file descriptor
  stdio:                     standard input and output (the program exits when they close)
  serial:DEVICE[:speed=9600] serial port, as one connection (the program exits when it closes)
  tls:PATH[:port=443]        TLS, with the certificates in PATH: a PEM file or a folder of them
  ssl:PORT[:privateKey=FILE][:certKey=FILE]    TLS, with one certificate (Twisted's form)
  self-signed:PORT           TLS on 127.0.0.1 with a new certificate, for trying out
  haproxy:ENDPOINT           any of these, behind a load balancer that sends PROXY headers
Endpoints to connect to:
  tcp:HOST:PORT[:timeout=30] TCP, to a host name or an IP address
  tcp6:HOST:PORT             TCP over IPv6 only
  unix:PATH                  UNIX socket
  serial:DEVICE[:speed=9600] serial port, such as serial:/dev/ttyUSB0:speed=115200
  tls:HOST:PORT              TLS, checked against the authorities of the system (trustRoots=PATH: others)
  ssl:HOST:PORT              TLS (Twisted's form)
  process:PROGRAM[:ARGUMENT] standard input and output of a program, such as process:sh:-c:date
Datagram endpoints (of echo, discard, chargen, daytime and portforward) to receive at:
  udp:PORT[:interface=IP]    UDP, on all interfaces or on one (port 0: any free port)
  unix-datagram:PATH[:mode=666]    UNIX datagram socket (@NAME: abstract address)
Datagram endpoints (of portforward) to send to:
  udp:HOST:PORT              UDP, to a host name or an IP address
  unix-datagram:PATH         UNIX datagram socket
Write \\: for a colon inside an argument, as in tcp:8000:interface=\\:\\:1

Ctrl-C or SIGTERM stops the program. Logs go to standard error. The environment variable
ROPEWALK_LOG filters them by source, as in ROPEWALK_LOG=ropewalk=debug,hyper=warn.";

const CONNECT_EXAMPLES: &str = "\
Examples:
  printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | ropewalk connect tcp:example.com:80
  ropewalk connect unix:/run/web.sock <request >answer
  ropewalk connect serial:/dev/ttyUSB0:speed=115200     talk to a device (end with Ctrl-C)";

const PROCMON_EXAMPLES: &str = "\
Examples:
  ropewalk procmon -- python3 app.py --listen 8000
  ropewalk procmon --process 'web=python3 app.py' --process 'worker=python3 worker.py'
  ropewalk procmon --restart on-failure --ready-port tcp:127.0.0.1:5432 -- postgres -D data";

const WATCH_EXAMPLES: &str = "\
Examples:
  ropewalk watch src -- python3 src/app.py              restart a server when its source changes
  ropewalk watch --run --ignore target . -- cargo test  run the tests after each change
  ropewalk watch cert.pem key.pem -- nginx -g 'daemon off;'";

const PORTFORWARD_EXAMPLES: &str = "\
Examples:
  ropewalk portforward --listen tcp:8000:interface=127.0.0.1 --to tcp:example.com:80
  ropewalk portforward --listen tls:cert.pem --to unix:/run/app.sock     take TLS off
  ropewalk portforward --listen unix:/run/db.sock --to tls:db.example.org:5433
  ropewalk portforward --listen haproxy:tcp:8443 --to tls:web.example.org:443 --send-proxy v2";

const SERVE_EXAMPLES: &str = "\
Examples:
  ropewalk serve .                                   serve this directory at http://127.0.0.1:8080/
  ropewalk serve site --listen self-signed:8443      try HTTPS out on this machine
  ropewalk serve site --listen tls:cert.pem --redirect-from tcp:80 --hsts 31536000
  ropewalk serve site --listen tls:cert.pem:port=8443:alpn=http/1.1      without HTTP/2";

/// Small network services on a choice of reactors (event loops).
///
/// The program runs on one thread. It uses the best reactor for this machine, unless -r or the environment variable
/// ROPEWALK_REACTOR names another one.
#[derive(Parser)]
#[command(name = "ropewalk", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) runner: RunnerOptions,

    #[command(subcommand)]
    pub(crate) command: Option<Action>,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    #[command(flatten)]
    Serve(Command),
    /// Connect standard input and output to an endpoint
    ///
    /// Input is sent to the peer, and bytes of the peer are the output. The end of the input closes the sending direction,
    /// and the program ends when the peer has ended its direction too. Neither side is read faster than the other one
    /// takes the bytes.
    ///
    /// The status is 0 if both directions ended in order, and 1 if the connection could not be made, was lost, or was
    /// idle for too long.
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(Connect),
    /// Check what works on this machine, and say why the rest does not
    ///
    /// Prints a line for each reactor, and for open files, the listen queue, low ports, IPv6, names, systemd and syslog.
    /// The status is 0 if at least one reactor works.
    Doctor,
}

/// A service to run.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send back everything that is received (RFC 862)
    ///
    /// With a datagram endpoint, each datagram is sent back to its sender.
    Echo(SmallService),
    /// Read everything and send nothing (RFC 863)
    ///
    /// With a datagram endpoint, datagrams are dropped.
    Discard(SmallService),
    /// Send a pattern of characters until the peer closes (RFC 864)
    ///
    /// With a datagram endpoint, each datagram is answered with one of 0 to 512 characters.
    Chargen(SmallService),
    /// Send the date and time, then close (RFC 867)
    ///
    /// With a datagram endpoint, each datagram is answered with one that contains the date and time.
    Daytime(SmallService),
    /// Forward connections or datagrams to another endpoint
    ///
    /// Each side of a connection is read only as fast as the other side accepts the data. Each direction closes on its
    /// own. If the target cannot be reached, the connection of the client is closed.
    ///
    /// Between datagram endpoints, each client has a flow: a socket of its own towards the target. Answers return to the
    /// client. Datagrams that a side does not take at once are dropped.
    #[command(after_help = PORTFORWARD_EXAMPLES)]
    Portforward(Portforward),
    /// Keep programs running: start them, start them again when they end, and stop them together
    ///
    /// Everything after the options is the program with its arguments. --process adds more programs. Each program runs in
    /// a process group of its own. Lines of its output are printed after its name.
    ///
    /// Ctrl-C or SIGTERM stops the programs in reverse order: TERM to the group, and KILL after --kill-time. Without
    /// --restart always, procmon exits after the last program: with status 0 if all have succeeded, and else with 1.
    #[command(after_help = PROCMON_EXAMPLES)]
    Procmon(Box<Procmon>),
    /// Serve the files of a directory over HTTP
    ///
    /// A directory without an index.html is listed. Files outside the directory are never served, even if symbolic links
    /// lead to them.
    ///
    /// An endpoint with TLS, such as tls:PATH, serves HTTPS: HTTP/2 to clients that offer it, and HTTP/1.1 to others.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Run a program, and start it again when a file changes
    ///
    /// The program runs at once. After a change it is stopped, TERM to its process group and KILL after --kill-time, and
    /// is started again. With --run it finishes first, and a program that has finished waits for the next change.
    ///
    /// A file is watched by its name, so it may be replaced. Directories that appear later are watched too. Names that
    /// begin with a dot are skipped, unless --hidden is given. If the program itself writes to a watched directory, it
    /// starts again and again: name such a directory with --ignore.
    ///
    /// Ctrl-C or SIGTERM stops the program, and the status is 0. The status is 1 if a path cannot be watched, or if the
    /// program cannot be run at first.
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(Watch),
}

/// Options of connect.
#[derive(Args)]
pub(crate) struct Connect {
    /// Endpoint to connect to: see 'ropewalk --help'
    #[arg(value_name = "ENDPOINT", value_parser = client_endpoint)]
    pub(crate) endpoint: String,

    /// Close the connection after this time without data in any direction (0 disables). After the end of the input this
    /// is no failure
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0", value_parser = seconds)]
    pub(crate) idle_timeout: IdleLimit,
}

/// Options of echo, discard, chargen and daytime.
#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SmallService {
    /// Endpoint to listen on, for streams or for datagrams (repeatable)
    #[arg(short, long, value_name = "ENDPOINT", default_value = LOCAL_8000, value_parser = any_server_endpoint)]
    #[serde(default = "local_8000", deserialize_with = "deserialize::any_server_endpoints")]
    pub(crate) listen: Vec<String>,

    /// Maximum number of open connections, beyond which new ones wait [default: 10000, or fewer if the limit on open
    /// files is low]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    #[serde(default, deserialize_with = "deserialize::at_least_one")]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection after this time without activity (0 disables)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0", value_parser = seconds)]
    #[serde(default, deserialize_with = "deserialize::seconds")]
    pub(crate) idle_timeout: IdleLimit,

    /// Answer datagrams on other addresses than loopback too. Senders of datagrams can be forged, so attackers can direct
    /// the answers at others
    #[arg(long)]
    #[serde(default)]
    pub(crate) allow_reflection: bool,

    #[command(flatten)]
    #[serde(skip)]
    pub(crate) foreign: ForeignOptions,
}

#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Portforward {
    /// Endpoint to listen on (repeatable)
    #[arg(short, long, value_name = "ENDPOINT", required = true, value_parser = any_server_endpoint)]
    #[serde(deserialize_with = "deserialize::any_server_endpoints")]
    pub(crate) listen: Vec<String>,

    /// Endpoint to forward connections or datagrams to
    #[arg(short, long, value_name = "ENDPOINT", value_parser = any_client_endpoint)]
    #[serde(deserialize_with = "deserialize::any_client_endpoint")]
    pub(crate) to: String,

    /// Begin each connection to the target with a PROXY header, which names the addresses of a TCP client. With --listen
    /// haproxy:..., the addresses are those of the header that was received
    #[arg(long, value_name = "VERSION")]
    #[serde(default)]
    pub(crate) send_proxy: Option<ProxyVersion>,

    /// Maximum number of open connections, beyond which new ones wait, or of flows, beyond which a new client replaces
    /// the flow that was idle for longest [default: 10000, or fewer if the limit on open files is low]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    #[serde(default, deserialize_with = "deserialize::at_least_one")]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection or a flow after this time without activity (0 disables) [default: 14400 for connections, 300
    /// for flows]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    #[serde(default, deserialize_with = "deserialize::optional_seconds")]
    pub(crate) idle_timeout: Option<IdleLimit>,

    /// Probe a TCP peer after this time without data from it, to notice one that has vanished (0 disables)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = KEEP_ALIVE_IDLE, value_parser = keep_alive_idle)]
    #[serde(default = "default_keep_alive_idle", deserialize_with = "deserialize::keep_alive_idle")]
    pub(crate) keep_alive_idle: u32,

    /// Time between two probes
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = KEEP_ALIVE_INTERVAL, value_parser = keep_alive_interval)]
    #[serde(default = "default_keep_alive_interval", deserialize_with = "deserialize::keep_alive_interval")]
    pub(crate) keep_alive_interval: u32,

    /// Number of unanswered probes after which a connection is lost
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = KEEP_ALIVE_COUNT, value_parser = keep_alive_count)]
    #[serde(default = "default_keep_alive_count", deserialize_with = "deserialize::keep_alive_count")]
    pub(crate) keep_alive_count: u32,

    #[command(flatten)]
    #[serde(skip)]
    pub(crate) foreign: ForeignOptions,
}

/// The values of `--send-proxy`.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProxyVersion {
    /// A line of text
    V1,
    /// Binary
    V2,
}

#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Serve {
    /// Directory to serve
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Endpoint to listen on (repeatable)
    #[arg(short, long, value_name = "ENDPOINT", default_value = LOCAL_8080, value_parser = http_endpoint)]
    #[serde(default = "local_8080", deserialize_with = "deserialize::http_endpoints")]
    pub(crate) listen: Vec<String>,

    /// Also serve and list names that begin with a dot
    #[arg(long)]
    #[serde(default)]
    pub(crate) hidden: bool,

    /// Maximum number of open connections, beyond which new ones wait [default: 10000, or fewer if the limit on open
    /// files is low]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    #[serde(default, deserialize_with = "deserialize::at_least_one")]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection that sends no complete request within this time, or accepts no response data for ten times as
    /// long (0 disables)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "60", value_parser = seconds)]
    #[serde(default = "default_idle_timeout", deserialize_with = "deserialize::seconds")]
    pub(crate) idle_timeout: IdleLimit,

    /// Tell browsers to use only HTTPS for this host during this time, with each response over TLS
    /// (Strict-Transport-Security; 0 makes them forget it)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = whole_seconds)]
    #[serde(default, deserialize_with = "deserialize::whole_seconds")]
    pub(crate) hsts: Option<u32>,

    /// With --hsts: also for all subdomains of this host (includeSubDomains)
    #[arg(long)]
    #[serde(default)]
    pub(crate) hsts_include_subdomains: bool,

    /// Endpoint without TLS, such as tcp:80, whose requests are redirected to HTTPS (repeatable)
    #[arg(long, value_name = "ENDPOINT", value_parser = server_endpoint)]
    #[serde(default, deserialize_with = "deserialize::server_endpoints")]
    pub(crate) redirect_from: Vec<String>,

    /// Port that redirects lead to [default: that of the first endpoint with TLS]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true, value_parser = port)]
    #[serde(default, deserialize_with = "deserialize::port")]
    pub(crate) redirect_port: Option<u16>,

    /// On shutdown, wait this long for responses in progress, but at most 30 seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0.3", value_parser = duration)]
    #[serde(default = "default_grace", deserialize_with = "deserialize::duration")]
    pub(crate) grace: Duration,

    #[command(flatten)]
    #[serde(skip)]
    pub(crate) foreign: ForeignOptions,
}

impl Serve {
    /// Returns all endpoints that the program listens on.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &String> {
        self.listen.iter().chain(&self.redirect_from)
    }
}

fn local_8000() -> Vec<String> {
    vec![LOCAL_8000.to_owned()]
}

fn local_8080() -> Vec<String> {
    vec![LOCAL_8080.to_owned()]
}

/// Returns a short time, so that the program exits within half a second of a signal.
fn default_grace() -> Duration {
    Duration::from_millis(300)
}

fn default_keep_alive_idle() -> u32 {
    KEEP_ALIVE_IDLE
}

fn default_keep_alive_interval() -> u32 {
    KEEP_ALIVE_INTERVAL
}

fn default_keep_alive_count() -> u32 {
    KEEP_ALIVE_COUNT
}

fn default_idle_timeout() -> IdleLimit {
    IdleLimit(Some(Duration::from_secs(60)))
}

/// Reads the command line.
///
/// # Errors
/// The exit status, after help, version or an error message was printed.
pub(crate) fn parse() -> Result<CommandLine, ExitCode> {
    let line = ropewalk_runner::parse::<CommandLine>(PROGRAM)?;
    if let Some(status) = line.runner.answer(CommandLine::command()) {
        return Err(status);
    }
    let fault = match &line.command {
        None if line.runner.config.is_none() => Some("no command given (try --help)".to_owned()),
        Some(Action::Serve(command)) => command.check().err(),
        _ => None,
    };
    match fault {
        Some(fault) => {
            ropewalk_runner::console::print_error(PROGRAM, &fault);
            Err(ExitCode::from(2))
        }
        None => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_declared_arguments() {
        CommandLine::command().debug_assert();
    }
}
