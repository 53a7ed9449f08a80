//! A window with and without traffic.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::task::LoopingCall;

use crate::support::{Screen, strict_reactor};

/// Returns how often the threads of this process have gone to sleep.
fn context_switches() -> u64 {
    let count = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    statuses.filter_map(count).sum()
}

#[test]
fn an_idle_window_makes_no_turns() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let turns = Rc::new(Cell::new(0));
    let count = turns.clone();
    tk.guest().on_sooner(move || count.set(count.get() + 1));
    let _port = reactor.listen_tcp("127.0.0.1:0", Flood::default).unwrap();
    let samples: Rc<Cell<[(u64, u64); 2]>> = Rc::default();
    let [begin, end] = [0, 1].map(|index| {
        let (samples, turns) = (samples.clone(), turns.clone());
        move |_: &[String]| {
            let mut taken = samples.get();
            taken[index] = (turns.get(), context_switches());
            samples.set(taken);
        }
    });
    tcl.add_command(c"begin", begin);
    tcl.add_command(c"end", end);
    tcl.eval("after 500 begin; after 2500 {end; destroy .}");
    reactor.run().unwrap();
    let [(turns_before, before), (turns_after, after)] = samples.get();
    assert_eq!(turns_after - turns_before, 0);
    // A poll each 10 ms is 200, in each of the threads.
    assert!(after - before < 50, "{} context switches in two seconds", after - before);
}

/// Sends as much as the peer reads, and counts what is received.
#[derive(Default)]
struct Flood {
    received: Rc<Cell<usize>>,
}

const CHUNK: &[u8] = &[b'x'; 64 * 1024];

impl Protocol for Flood {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(CHUNK);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.set(self.received.get() + data.len());
        transport.write(data);
    }
}

fn flood(reactor: &Reactor, connections: usize) -> Rc<Cell<usize>> {
    let received = Rc::new(Cell::new(0));
    let (served, called) = (received.clone(), received.clone());
    let port = reactor.listen_tcp("127.0.0.1:0", move || Flood { received: served.clone() }).unwrap();
    let address = port.host().unwrap().to_string();
    let client = move || Flood { received: called.clone() };
    for _ in 0..connections {
        reactor.connect_tcp(&address, client.clone()).unwrap();
    }
    received
}

#[test]
fn a_window_is_drawn_while_connections_are_always_ready() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let received = flood(&reactor, 8);
    // Tk draws a widget in an idle callback, as here.
    tcl.eval("set asked 0; set drawn 0; pack [label .count -textvariable drawn]");
    tcl.eval("proc draw {} {incr ::drawn; if {$::drawn == 100} {destroy .}}");
    tcl.eval("proc tick {} {incr ::asked; after idle draw; after 10 tick}; tick");
    reactor.run().unwrap();
    let asked = tcl.eval("set asked").parse::<u32>().unwrap();
    assert!(asked < 110, "{asked} were asked for when 100 were drawn");
    assert!(received.get() > 1_000_000, "{} bytes", received.get());
}

#[test]
fn idle_callbacks_that_repeat_leave_connections_running() {
    // `update idletasks` would never return.
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let received = flood(&reactor, 2);
    tcl.eval("proc again {} {after idle again}; again");
    let check = LoopingCall::new(&reactor, move |call| {
        if received.get() > 10_000_000 {
            call.reactor().stop().unwrap();
        }
    });
    let _checked = check.start(Duration::from_millis(1));
    reactor.run().unwrap();
}
