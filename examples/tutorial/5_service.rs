//! Step 5: the server is a service, and its options are in a file.
//!
//! Run `cargo run -p ropewalk-examples --bin tutorial_5 -- serve examples/tutorial/5_service.toml`, and in another
//! terminal `cargo run -p ropewalk-examples --bin tutorial_5 -- ask tcp:127.0.0.1:8000 "good morning"`.

use std::error::Error as StdError;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use ropewalk::application::{Application, StreamServerEndpointService};
use ropewalk::endpoints::{client_from_string, server_from_string};
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::TimeoutFactory;
use ropewalk::task::AsyncStream;
use serde::Deserialize;

/// The time that the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

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
            println!("{} was silent for too long", lines.peer());
        }
    }
}

/// Builds the protocol of each connection, and closes connections that were idle for `idle`.
fn shouting(idle: Duration) -> impl Factory {
    TimeoutFactory::new(paced(|| LineReceiver::new(Shout).delimiter("\n")), idle)
}

/// Returns the server as a service. It listens while it runs.
fn shout(reactor: &Reactor, options: Options) -> Result<StreamServerEndpointService, Box<dyn StdError + Send + Sync>> {
    let endpoint = server_from_string(reactor, &options.listen)?;
    Ok(StreamServerEndpointService::new(endpoint, shouting(Duration::from_secs(options.idle_seconds))))
}

fn serve(file: &str) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let options = toml::from_str(&std::fs::read_to_string(file)?)?;
    let reactor = Reactor::new()?;
    let application = Application::new("shout");
    application.services().add(shout(&reactor, options)?);
    application.run(&reactor)?;
    Ok(())
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [command, file] if command == "serve" => serve(file).report(),
        [command, place, line] if command == "ask" => {
            let (place, line) = (place.clone(), line.clone());
            ropewalk::react(move |reactor| async move {
                println!("{}", ask(reactor, place, line).await?);
                Ok::<(), Failure>(())
            })
        }
        _ => {
            eprintln!("usage: tutorial_5 serve FILE, or tutorial_5 ask ENDPOINT LINE");
            ExitCode::from(2)
        }
    }
}
