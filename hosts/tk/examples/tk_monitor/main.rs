//! A window of Tk that shows the connections to a TCP service in the same loop.
//!
//! Run `cargo run --example tk_monitor` in `hosts/`, then `nc 127.0.0.1 8007` in another terminal. The service echoes
//! lines. The line `ask MAY I?` opens a dialog, and the answer is sent back. Other connections continue meanwhile.
//!
//! `tk_monitor 127.0.0.1:9000` listens elsewhere. `--demo` adds a few clients, one of which asks after three seconds.
//!
//! Tk is loaded by `package require Tk`, so nothing but Tcl is linked.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

#[allow(dead_code)] // the specifications use more of it
mod interpreter;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::task::LoopingCall;

use interpreter::Interpreter;

const WINDOW: &str = include_str!("window.tcl");
/// The time between two looks at the counters.
const REFRESH: Duration = Duration::from_millis(200);
/// The number of rates that the graph shows.
const RATES: usize = 100;

/// A connection, as the window shows it.
struct Peer {
    lines: LineTransport,
    address: String,
    received: Cell<u64>,
    received_bytes: Cell<usize>,
    sent_bytes: Cell<usize>,
}

/// The window and the connections that it shows.
struct Monitor {
    window: Interpreter,
    /// The address of the service, once it listens.
    address: RefCell<String>,
    peers: RefCell<BTreeMap<u64, Peer>>,
    last_number: Cell<u64>,
    /// The lines since the last look.
    lines: Cell<u32>,
    rates: RefCell<VecDeque<u32>>,
}

impl Monitor {
    /// Calls a procedure of the window. Connections may live longer than the window, so a failure means that it has
    /// gone.
    fn window(&self, words: &[&str]) -> Option<String> {
        self.window.try_call(words).ok()
    }

    /// Shows the counters. They are shown five times a second, not for each line, so that a busy peer costs no more.
    fn refresh(&self) {
        for (number, peer) in &*self.peers.borrow() {
            let counters = [peer.received.get().to_string(), peer.received_bytes.get().to_string()];
            let sent = peer.sent_bytes.get().to_string();
            self.window(&["show_peer", &number.to_string(), &peer.address, &counters[0], &counters[1], &sent]);
        }
        let rate = self.lines.take() * 5;
        let mut rates = self.rates.borrow_mut();
        rates.push_back(rate);
        if rates.len() > RATES {
            rates.pop_front();
        }
        let rates = rates.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        self.window(&["show_rates", &rates]);
        let count = self.peers.borrow().len().to_string();
        self.window(&["show_totals", &self.address.borrow(), &count, &rate.to_string()]);
    }

    fn disconnect(&self, number: &str) {
        if let Some(peer) = number.parse().ok().and_then(|number| Some(self.peers.borrow().get(&number)?.lines.clone()))
        {
            peer.lose_connection();
        }
    }
}

/// The service: echoes lines, and asks the user.
struct Conversation {
    monitor: Rc<Monitor>,
    number: u64,
}

impl Conversation {
    fn answer(&self, line: &str) -> String {
        let Some(question) = line.strip_prefix("ask ") else { return line.to_owned() };
        let peer = self.monitor.peers.borrow()[&self.number].address.clone();
        // The loop runs in here until the dialog is closed. Other connections are served, and this one waits.
        match self.monitor.window(&["ask", &peer, question]) {
            Some(answer) if !answer.is_empty() => answer,
            _ => "there is no visitor".to_owned(),
        }
    }
}

impl LineProtocol for Conversation {
    fn connection_made(&mut self, lines: &LineTransport) {
        self.number = self.monitor.last_number.get() + 1;
        self.monitor.last_number.set(self.number);
        let peer = Peer {
            lines: lines.clone(),
            address: lines.peer().to_string(),
            received: Cell::default(),
            received_bytes: Cell::default(),
            sent_bytes: Cell::default(),
        };
        self.monitor.peers.borrow_mut().insert(self.number, peer);
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let line = String::from_utf8_lossy(line).replace('\0', "");
        let answer = self.answer(&line);
        lines.send_line(&answer);
        self.monitor.lines.set(self.monitor.lines.get() + 1);
        if let Some(peer) = self.monitor.peers.borrow().get(&self.number) {
            peer.received.set(peer.received.get() + 1);
            peer.received_bytes.set(peer.received_bytes.get() + line.len() + 1);
            peer.sent_bytes.set(peer.sent_bytes.get() + answer.len() + 1);
        }
    }

    fn connection_lost(&mut self, _lines: &LineTransport, _reason: &Error) {
        self.monitor.peers.borrow_mut().remove(&self.number);
        self.monitor.window(&["forget_peer", &self.number.to_string()]);
    }
}

/// A client for `--demo`, which sends lines faster and slower, and asks once.
struct Visitor {
    pace: u32,
    question: Option<&'static str>,
}

impl LineProtocol for Visitor {
    fn connection_made(&mut self, lines: &LineTransport) {
        let (lines, pace, count) = (lines.downgrade(), self.pace, Cell::new(0_u32));
        let question = self.question.take();
        let Some(reactor) = lines.upgrade().and_then(|lines| lines.try_reactor()) else { return };
        let talk = LoopingCall::new(&reactor, move |call| {
            let Some(transport) = lines.upgrade() else { return call.stop() };
            count.set(count.get() + 1);
            let wave = 4 + (count.get() / 8 * pace) % 7;
            (0..wave).for_each(|_| transport.write(b"how are you?\n"));
            if let Some(question) = question.filter(|_| count.get() == 60) {
                transport.write(format!("ask {question}\n").as_bytes());
            }
        });
        // The call stops with the connection.
        drop(talk.start(Duration::from_millis(50)));
    }

    fn line_received(&mut self, _lines: &LineTransport, _line: &[u8]) {}
}

fn start_demo(reactor: &Reactor, address: &str) -> ropewalk::Result<()> {
    for (pace, question) in [(1, None), (3, None), (5, Some("May I send you the file report.pdf?"))] {
        let visitor = move || LineReceiver::new(Visitor { pace, question }).delimiter("\n");
        reactor.connect_tcp(address, visitor)?;
    }
    Ok(())
}

fn main() -> ropewalk::Result<()> {
    let mut address = "127.0.0.1:8007".to_owned();
    let mut is_demo = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--demo" => is_demo = true,
            _ => address = argument,
        }
    }

    let window = Interpreter::new();
    if let Err(error) = window.try_eval(WINDOW) {
        eprintln!("cannot open the window: {error}");
        std::process::exit(1);
    }
    let reactor = Reactor::new()?;
    let _tk = ropewalk_tk::install(&reactor, &window)?; // the reactor stops when the window is closed

    let monitor = Rc::new_cyclic(|monitor: &std::rc::Weak<Monitor>| {
        let monitor = monitor.clone();
        window.add_command(c"disconnect", move |arguments| {
            if let (Some(monitor), [number]) = (monitor.upgrade(), arguments) {
                monitor.disconnect(number);
            }
        });
        Monitor {
            window: window.clone(),
            address: RefCell::default(),
            peers: RefCell::default(),
            last_number: Cell::default(),
            lines: Cell::default(),
            rates: RefCell::default(),
        }
    });
    let serving = monitor.clone();
    let conversation = move || Conversation { monitor: serving.clone(), number: 0 };
    let port = reactor.listen_tcp(&address, paced(move || LineReceiver::new(conversation()).delimiter("\n")))?;
    let address = port.host()?.to_string();
    println!("listening on {address}");
    monitor.address.replace(address.clone());

    let refreshed = monitor.clone();
    let refresh = LoopingCall::new(&reactor, move |_| refreshed.refresh());
    drop(refresh.start(REFRESH));
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| {
        refresh.stop();
        // Nothing serves a dialog after the shutdown, so an open one would keep its connection waiting.
        monitor.window(&["close_dialogs"]);
    });

    if is_demo {
        start_demo(&reactor, &address)?;
    }
    reactor.run() // runs Tk's event loop
}
