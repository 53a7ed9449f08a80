//! A tree of services that a file describes, for `nc 127.0.0.1 8003`:
//! `cargo run -p ropewalk-examples --bin service_tree -- --config examples/service_tree.toml`.
//!
//! A *board* shows its visitors the last notes that it was given, and takes one from each who writes a line. A *courier*
//! keeps a connection to a board and brings it a note now and then; he waits, patiently, where there is no board yet. The
//! program knows these two kinds; the file says which of them run, how many, and where.

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

/// A notice board and those who write on it, as a file describes them.
#[derive(Parser)]
#[command(name = "service_tree")]
struct CommandLine {
    #[command(flatten)]
    runner: RunnerOptions,
}

/// What a file says about a board.
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

/// What a file says about a courier.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CourierOptions {
    to: String,
    note: String,
    seconds: f64,
}

/// The last notes.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<VecDeque<Vec<u8>>>>);

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
    let visitors = move || LineReceiver::new(Visitor { notes: notes.clone(), limit }).delimiter(&b"\n"[..]);
    Ok(StreamServerEndpointService::new(endpoint, visitors))
}

/// What he hears does not matter to him.
struct Courier;

impl Protocol for Courier {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

/// A service of two: the connection, and the clock that says when to use it.
fn courier(reactor: &Reactor, options: CourierOptions) -> Result<MultiService, BoxedError> {
    let connection = ClientService::new(client_from_string(reactor, &options.to)?, || Courier);
    let note = format!("{}\n", options.note);
    let (bring, every) = (connection.clone(), Duration::try_from_secs_f64(options.seconds)?);
    let clock = TimerService::new(every, move |_: &Reactor| {
        let note = note.clone();
        // Not before there is a board; a note that nobody waits for any more is none.
        let brought = bring.when_connected(None).add_callback(move |board| board.write(note.as_bytes()));
        brought.add_errback(|failure| tracing::debug!(%failure, "a note was not brought"))
    });
    let services = MultiService::new();
    services.add_named("connection", connection)?;
    services.add_named("clock", clock)?;
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
    // Everything is in the file.
    Runner::new("service_tree", line.runner).kinds(kinds).run(|_reactor, _services| Ok(()))
}
