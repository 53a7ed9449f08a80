//! A tree of services from a configuration file.
//!
//! Run `cargo run -p ropewalk-examples --bin service_tree -- --config examples/service_tree.toml`, then
//! `nc 127.0.0.1 8003`.
//!
//! A *board* sends the last notes to each client, and stores each line of a client as a note. A *courier* stays
//! connected to a board and sends it a note at regular intervals. The courier waits if the board does not exist yet.
//! The program defines these two kinds of services, and the file lists the services to run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use ropewalk::application::{ClientService, MultiService, StreamServerEndpointService, TimerService};
use ropewalk::endpoints::{client_from_string, server_from_string};
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk_runner::{BoxedError, Kinds, Runner, RunnerOptions};
use serde::Deserialize;

/// Notice boards and their couriers, from a configuration file.
#[derive(Parser)]
#[command(name = "service_tree")]
struct CommandLine {
    #[command(flatten)]
    runner: RunnerOptions,
}

/// The options of a board.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BoardOptions {
    listen: String,
    #[serde(default = "ten")]
    notes: usize,
}

fn ten() -> usize {
    10
}

/// The options of a courier.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CourierOptions {
    to: String,
    note: String,
    seconds: f64,
}

/// The stored notes, oldest first.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<VecDeque<Vec<u8>>>>);

/// The protocol of a client of a board.
struct Visitor {
    notes: Notes,
    limit: usize,
}

impl LineProtocol for Visitor {
    fn connection_made(&mut self, lines: &LineTransport) {
        for note in self.notes.0.borrow().iter() {
            lines.send_line(note);
        }
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        let mut notes = self.notes.0.borrow_mut();
        notes.push_back(line.to_vec());
        while notes.len() > self.limit {
            notes.pop_front();
        }
    }
}

fn board(reactor: &Reactor, options: BoardOptions) -> Result<StreamServerEndpointService, BoxedError> {
    let endpoint = server_from_string(reactor, &options.listen)?;
    let (notes, limit) = (Notes::default(), options.notes);
    let visitors = move || LineReceiver::new(Visitor { notes: notes.clone(), limit }).delimiter("\n");
    Ok(StreamServerEndpointService::new(endpoint, visitors))
}

/// The protocol of a courier, which ignores input.
struct Courier;

impl Protocol for Courier {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

/// Returns a service with two children: a connection, and a timer that sends notes on it.
fn courier(reactor: &Reactor, options: CourierOptions) -> Result<MultiService, BoxedError> {
    let connection = ClientService::new(client_from_string(reactor, &options.to)?, || Courier);
    let note = format!("{}\n", options.note);
    let (client, interval) = (connection.clone(), Duration::try_from_secs_f64(options.seconds)?);
    let timer = TimerService::new(interval, move |_: &Reactor| {
        let note = note.clone();
        // Waits for a connection. The Deferred fails only if the service stops before.
        let sent = client.when_connected(None).add_callback(move |board| board.write(note.as_bytes()));
        sent.add_errback(|failure| tracing::debug!(%failure, "note not sent"))
    });
    let services = MultiService::new();
    services.add_named("connection", connection)?;
    services.add_named("timer", timer)?;
    Ok(services)
}

fn main() -> ExitCode {
    let line = match ropewalk_runner::parse::<CommandLine>("service_tree") {
        Ok(line) => line,
        Err(status) => return status,
    };
    if let Some(status) = line.runner.answer(CommandLine::command()) {
        return status;
    }
    let mut kinds = Kinds::default();
    kinds.add("board", board);
    kinds.add("courier", courier);
    // All services are in the file.
    Runner::new("service_tree", line.runner).kinds(kinds).run(|_reactor, _services| Ok(()))
}
