//! Modal dialogs, and other loops inside callbacks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::RunOptions;

use crate::support::peers::{connect, listen};
use crate::support::{Interpreter, Screen, strict_reactor};

const MS: Duration = Duration::from_millis(1);

const OPEN_DIALOG: &str = "tk_messageBox -type ok -message {Is all well?}";

fn dialog_is_open(tcl: &Interpreter) -> bool {
    tcl.eval("winfo exists .__tk__messagebox.ok") == "1"
}

fn press_ok(tcl: &Interpreter) {
    tcl.eval(".__tk__messagebox.ok invoke");
}

#[test]
fn a_dialog_in_a_delayed_call_leaves_other_calls_running() {
    // Nothing wakes Tcl but the call itself.
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let (opens, closes) = (tcl.clone(), tcl.clone());
    reactor.call_later(MS, move |reactor| {
        reactor.call_later(50 * MS, move |_| press_ok(&closes));
        assert_eq!(opens.eval(OPEN_DIALOG), "ok");
        reactor.stop().unwrap();
    });
    reactor.run().unwrap();
}

#[test]
fn a_dialog_in_data_received_lets_others_echo() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let address = listen(&reactor);
    let (rounds, opens) = (Rc::new(Cell::new(0)), tcl.clone());
    let count = rounds.clone();
    connect(&reactor, &address, b"open", move |transport, _| {
        assert_eq!(opens.eval(OPEN_DIALOG), "ok");
        assert!(rounds.get() >= 100);
        transport.reactor().stop().unwrap();
    });
    let closes = tcl.clone();
    connect(&reactor, &address, b"ping", move |transport, data| {
        if dialog_is_open(&closes) {
            count.set(count.get() + 1);
            if count.get() == 100 {
                press_ok(&closes);
            }
        }
        transport.write(data);
    });
    reactor.run().unwrap();
}

#[test]
fn a_dialog_of_tk_itself_is_an_ordinary_pass() {
    // The dialog is opened by a button, outside of any turn.
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let address = listen(&reactor);
    tcl.eval(&format!("button .open -command {{{OPEN_DIALOG}; set answered yes}}; after 1 {{.open invoke}}"));
    let rounds = Cell::new(0);
    let closes = tcl.clone();
    connect(&reactor, &address, b"ping", move |transport, data| {
        if dialog_is_open(&closes) {
            rounds.set(rounds.get() + 1);
            if rounds.get() == 100 {
                press_ok(&closes);
            }
        }
        if closes.eval("info exists answered") == "1" {
            transport.reactor().stop().unwrap();
        }
        transport.write(data);
    });
    reactor.run().unwrap();
}

#[test]
fn loops_inside_of_loops_end_in_order() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let turns = Rc::new(Cell::new(0));
    let count = turns.clone();
    tk.guest().on_sooner(move || count.set(count.get() + 1));
    for depth in 1..=5 {
        let waits = tcl.clone();
        reactor.call_later(MS * depth, move |reactor| {
            let ends = waits.clone();
            reactor.call_later(MS * (300 - 10 * depth), move |_| drop(ends.eval(&format!("set done{depth} yes"))));
            waits.eval(&format!("vwait done{depth}; lappend ended {depth}; update"));
            if depth == 1 {
                reactor.stop().unwrap();
            }
        });
    }
    reactor.run_with(RunOptions::default().without_signal_handlers()).unwrap();
    assert_eq!(tcl.eval("set ended"), "5 4 3 2 1");
    // Inner loops sleep until the next call. A loop that polls makes thousands of turns.
    assert!(turns.get() < 500, "{} turns", turns.get());
}
