//! Step 7: a daemon.
//!
//! Run `cargo run -p ropewalk-examples --bin tutorial_7 -- --config examples/tutorial/7_daemon.toml`, with `--daemon`
//! to run in the background. In another terminal, run
//! `cargo run -p ropewalk-examples --bin tutorial_7 -- ask tcp:127.0.0.1:8000 "good morning"`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use ropewalk::application::StreamServerEndpointService;
use ropewalk::endpoints::{client_from_string, server_from_string};
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::TimeoutFactory;
use ropewalk::task::AsyncStream;
use ropewalk_runner::{BoxedError, Kinds, Runner, RunnerOptions};
use serde::Deserialize;

/// The time that the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers each line in capital letters.
#[derive(Parser)]
#[command(name = "shout", version)]
struct CommandLine {
    #[command(flatten)]
    runner: RunnerOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Send a line to a server, and print the answer
    Ask { place: String, line: String },
}

/// The options of the server, as the file names them.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    /// The description of the endpoint to listen on.
    listen: String,
    /// The time after which an idle connection is closed.
    #[serde(default = "one_minute")]
    idle_seconds: u64,
}

fn one_minute() -> u64 {
    60
}

/// Answers each line in capital letters.
struct Shout;

impl LineProtocol for Shout {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        lines.send_line(&line.to_ascii_uppercase());
    }

    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        if matches!(reason, Error::TimedOut) {
            tracing::info!(peer = %lines.peer(), "closed a silent connection");
        }
    }
}

/// Builds the protocol of each connection, and closes connections that were idle for `idle`.
fn shouting(idle: Duration) -> impl Factory {
    TimeoutFactory::new(paced(|| LineReceiver::new(Shout).delimiter("\n")), idle)
}

/// Returns the server as a service. It listens while it runs.
fn shout(reactor: &Reactor, options: Options) -> Result<StreamServerEndpointService, BoxedError> {
    let endpoint = server_from_string(reactor, &options.listen)?;
    Ok(StreamServerEndpointService::new(endpoint, shouting(Duration::from_secs(options.idle_seconds))))
}

/// Sends `line` to the server at `place`, and returns the answer.
async fn ask(reactor: Reactor, place: String, line: String) -> Result<String, Failure> {
    let endpoint = client_from_string(&reactor, &place)?;
    let conversation = async {
        let mut stream = AsyncStream::connect(&reactor, &endpoint).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = stream.next_line(16 * 1024).await?;
        let answer = answer.ok_or_else(|| Failure::new("the server closed the connection without an answer"))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    reactor.timeout(PATIENCE, conversation).await?
}

fn main() -> ExitCode {
    let arguments = match ropewalk_runner::parse::<CommandLine>("shout") {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    if let Some(status) = arguments.runner.answer(CommandLine::command()) {
        return status; // --help-reactors, --completions
    }
    if let Some(Command::Ask { place, line }) = arguments.command {
        return ropewalk::react(move |reactor| async move {
            println!("{}", ask(reactor, place, line).await?);
            Ok::<(), Failure>(())
        });
    }
    let mut kinds = Kinds::default();
    kinds.add("shout", shout);
    Runner::new("shout", arguments.runner).kinds(kinds).run(|_reactor, _services| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::application::ServiceHandle;
    use ropewalk::testing::{Faults, MemoryReactor};

    /// Starts the service on a network in memory. A minute of its time takes no time.
    fn started(net: &MemoryReactor) -> ServiceHandle {
        let options = Options { listen: "tcp:80:interface=10.0.0.1".to_owned(), idle_seconds: 60 };
        let service = ServiceHandle::new(shout(net, options).unwrap());
        assert!(service.start(net).is_done());
        service
    }

    #[test]
    fn each_line_is_answered_despite_short_reads() {
        let net = MemoryReactor::seeded(7).with_faults(Faults::none().short_reads());
        let _service = started(&net);
        let client = net.connect_stream("10.0.0.1:80");
        client.write(b"good morning\nand good night\n");
        net.advance(Duration::from_secs(1));
        assert_eq!(client.received(), b"GOOD MORNING\nAND GOOD NIGHT\n");
    }

    #[test]
    fn a_silent_client_is_disconnected_after_a_minute() {
        let net = MemoryReactor::new();
        let _service = started(&net);
        let client = net.connect_stream("10.0.0.1:80");
        net.advance(Duration::from_secs(59));
        assert!(client.is_connected());
        net.advance(Duration::from_secs(2));
        assert!(client.is_eof());
    }

    #[test]
    fn a_stopped_service_accepts_no_connection() {
        let net = MemoryReactor::new();
        let service = started(&net);
        let stopped = service.stop(&net);
        net.settle();
        assert!(stopped.is_done());
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert_eq!(client.failure(), Some(std::io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn the_client_gets_the_answer_of_the_server() {
        let net = MemoryReactor::new();
        let _service = started(&net);
        let answer = net.spawn(ask(Reactor::clone(&net), "tcp:10.0.0.1:80".to_owned(), "good morning".to_owned()));
        net.settle();
        assert_eq!(answer.try_result().unwrap().unwrap().unwrap(), "GOOD MORNING");
    }

    #[test]
    fn the_client_gives_up_on_a_silent_server() {
        let net = MemoryReactor::new();
        let _server = net.listen_stream("10.0.0.1:80").unwrap();
        let answer = net.spawn(ask(Reactor::clone(&net), "tcp:10.0.0.1:80".to_owned(), "good morning".to_owned()));
        net.advance(PATIENCE);
        assert_eq!(answer.try_result().unwrap().unwrap().unwrap_err().to_string(), "timed out after 5s");
    }
}
