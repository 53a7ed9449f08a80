//! The end of windows and of the reactor.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::RunOptions;
use ropewalk::prelude::*;
use ropewalk::task::LoopingCall;

use crate::support::peers::{connect, listen};
use crate::support::{Interpreter, Screen, strict_reactor};

const HOUR: Duration = Duration::from_secs(3600);

/// Adds work to a reactor that its end must not wait for, and a shutdown that it must wait for.
fn with_pending_work(reactor: &Reactor) -> Rc<Cell<bool>> {
    reactor.call_later(HOUR, |_| panic!("the run has ended before"));
    let is_saved = Rc::new(Cell::new(false));
    let saved = is_saved.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
        reactor.defer_later(Duration::from_millis(100), move |_| saved.set(true))
    });
    is_saved
}

/// Moves the mouse or presses keys until the window reacts, because the window may not be ready the first time.
fn repeat(reactor: &Reactor, screen: &Screen, input: &[&str]) -> Deferred<()> {
    let mut command = screen.command("xdotool");
    command.args(input);
    LoopingCall::new(reactor, move |_| assert!(command.status().unwrap().success())).start(Duration::from_millis(300))
}

fn window_exists(tcl: &Interpreter, window: &str) -> bool {
    tcl.try_eval(&format!("winfo exists {window}")).is_ok_and(|answer| answer == "1")
}

#[test]
fn a_click_that_closes_the_main_window_stops_the_reactor() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let is_saved = with_pending_work(&reactor);
    tcl.eval("pack [button .quit -text Quit -command {destroy .}] -fill both -expand yes; update");
    let _click = repeat(&reactor, &screen, &["mousemove", "100", "70", "click", "1"]);
    reactor.run().unwrap();
    assert!(is_saved.get() && !window_exists(&tcl, "."));
}

#[test]
fn the_window_manager_closes_the_main_window() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let is_saved = with_pending_work(&reactor);
    // A click gives the window the focus, which gets the keys.
    let _press = repeat(&reactor, &screen, &["mousemove", "100", "70", "click", "1", "key", "alt+F4"]);
    reactor.run().unwrap();
    assert!(is_saved.get() && !window_exists(&tcl, "."));
}

#[test]
fn a_callback_destroys_the_main_window_twice() {
    // The second time, Tk answers that there is no application any more.
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let is_saved = with_pending_work(&reactor);
    tcl.eval("after 3600000 {.late configure -text late}");
    let address = listen(&reactor);
    let destroys = tcl.clone();
    connect(&reactor, &address, b"go", move |_, _| {
        destroys.eval("destroy .");
        let second = destroys.try_eval("destroy .");
        assert!(second.is_err_and(|error| error.contains("application has been destroyed")));
    });
    reactor.run().unwrap();
    assert!(is_saved.get());
}

#[test]
fn a_protocol_outlives_its_widgets() {
    // Data comes until the shutdown is complete.
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let is_saved = with_pending_work(&reactor);
    tcl.eval("pack [label .count]");
    let late = Rc::new(Cell::new(0));
    let (counts, shows) = (late.clone(), tcl.clone());
    let address = listen(&reactor);
    connect(&reactor, &address, b"ping", move |transport, data| {
        if window_exists(&shows, ".count") {
            shows.eval(".count configure -text received; destroy .");
        } else {
            assert!(shows.try_eval(".count configure -text late").is_err());
            counts.set(counts.get() + 1);
        }
        transport.write(data);
    });
    reactor.run().unwrap();
    assert!(is_saved.get() && late.get() > 0);
}

#[test]
fn a_stop_leaves_the_windows() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    tcl.eval("toplevel .second; update");
    let is_saved = with_pending_work(&reactor);
    reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().unwrap());
    reactor.run().unwrap();
    assert!(is_saved.get() && window_exists(&tcl, ".") && window_exists(&tcl, ".second"));
}

#[test]
fn a_second_window_closes_while_connections_run() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let address = listen(&reactor);
    let (rounds, opens) = (Cell::new(0), tcl.clone());
    connect(&reactor, &address, b"ping", move |transport, data| {
        rounds.set(rounds.get() + 1);
        match rounds.get() {
            10 => drop(opens.eval("toplevel .second; pack [label .second.text -text hello]; update")),
            50 => drop(opens.eval("destroy .second; update")),
            100 => transport.reactor().stop().unwrap(),
            _ => {}
        }
        transport.write(data);
    });
    reactor.run().unwrap();
    assert!(window_exists(&tcl, ".") && !window_exists(&tcl, ".second"));
}

#[test]
fn a_reactor_with_windows_runs_again() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    for _ in 0..2 {
        reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().unwrap());
        reactor.run().unwrap();
        tcl.eval("update");
    }
    tcl.eval("after 1 {destroy .}");
    reactor.run().unwrap();
}

#[test]
fn a_program_waits_for_the_main_window_itself() {
    // `tkwait window .` ends as Tk_MainLoop does. The reactor makes the turns of its shutdown by itself.
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let is_saved = with_pending_work(&reactor);
    reactor.start_running(RunOptions::default()).unwrap();
    let closes = tcl.clone();
    reactor.call_later(Duration::from_millis(1), move |_| drop(closes.eval("destroy .")));
    tcl.eval("tkwait window .");
    tk.guest().finish().unwrap();
    assert!(is_saved.get() && !reactor.is_started());
}

#[test]
fn the_end_of_the_reactor_closes_the_programs_loop() {
    let Some(screen) = Screen::open() else { return };
    let (reactor, tcl) = (strict_reactor(), screen.interpreter());
    let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let quits = tcl.clone();
    tk.guest().on_end(move || drop(quits.eval("destroy .")));
    reactor.start_running(RunOptions::default()).unwrap();
    reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().unwrap());
    tcl.eval("tkwait window .");
    tk.guest().finish().unwrap();
}
