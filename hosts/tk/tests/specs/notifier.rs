//! Specifications of Tcl's event loop without windows. The commands `.` stand for main windows.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Reactor, RunOptions};

use crate::support::{Fuse, Interpreter, strict_reactor};

/// Longer than a specification takes.
const HOUR: Duration = Duration::from_secs(3600);

fn quiet() -> RunOptions {
    RunOptions::default().without_signal_handlers()
}

/// Runs a reactor whose interpreter has a main window, and evaluates `script` in a callback of Tcl. The run ends by it.
fn run_until_the_window_ends(script: &str) {
    let _fuse = Fuse::light(|| ());
    let (reactor, tcl) = (strict_reactor(), Interpreter::new());
    tcl.eval("proc . {} {}");
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    reactor.call_later(HOUR, |_| panic!("the run has ended before"));
    tcl.eval(&format!("after 1 {{{script}}}"));
    reactor.run_with(quiet()).unwrap();
}

#[test]
fn the_end_of_the_main_window_stops_the_reactor() {
    run_until_the_window_ends("rename . {}");
}

#[test]
fn a_renamed_main_window_stops_the_reactor() {
    // A widget that wraps the main window renames its command.
    run_until_the_window_ends("rename . wrapped; after 1 {rename wrapped {}}");
}

#[test]
fn a_main_window_that_is_made_later_stops_the_reactor() {
    // A program may load Tk after the installation, and may load Tk again after the end of the main window.
    let _fuse = Fuse::light(|| ());
    let (reactor, tcl) = (strict_reactor(), Interpreter::new());
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    for _ in 0..2 {
        tcl.eval("after 1 {proc . {} {}; after 1 {rename . {}}}");
        reactor.run_with(quiet()).unwrap();
    }
}

#[test]
fn the_end_of_the_interpreter_stops_the_reactor() {
    let _fuse = Fuse::light(|| ());
    let (reactor, tcl) = (strict_reactor(), Interpreter::new());
    tcl.eval("proc . {} {}");
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let deleted = tcl.clone();
    reactor.call_later(Duration::ZERO, move |_| deleted.delete());
    reactor.run_with(quiet()).unwrap();
    // The host does not look for a main window in an interpreter that has been deleted.
    reactor.call_later(Duration::ZERO, |reactor| reactor.stop().unwrap());
    reactor.run_with(quiet()).unwrap();
}

#[test]
fn a_main_window_that_ends_after_the_host_stops_nothing() {
    let _fuse = Fuse::light(|| ());
    let (reactor, tcl) = (strict_reactor(), Interpreter::new());
    tcl.eval("proc . {} {}");
    drop(ropewalk_tk::install(&reactor, &tcl).unwrap());
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    reactor.call_later(Duration::ZERO, move |reactor| {
        tcl.eval("rename . {}");
        reactor.call_later(Duration::from_millis(1), move |reactor| {
            end.set(true);
            reactor.stop().unwrap();
        });
    });
    reactor.run_with(quiet()).unwrap();
    assert!(ended.get());
}

#[test]
fn a_host_is_dropped_in_a_callback() {
    // The source is in use then, and an event of it may be queued.
    let _fuse = Fuse::light(|| ());
    for provider in ["epoll", "poll"] {
        let reactor = Reactor::with(provider).unwrap();
        let tcl = Interpreter::new();
        let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
        let dropped = Rc::new(Cell::new(false));
        let drops = dropped.clone();
        reactor.start_running(quiet()).unwrap();
        reactor.call_later(Duration::ZERO, move |_| {
            drop(tk);
            drops.set(true);
        });
        tcl.eval("after 200 {set done yes}; vwait done; update");
        assert!(dropped.get());
        drop(reactor);
        tcl.eval("after 1 {set done yes}; vwait done");
    }
}

#[test]
fn a_dropped_reactor_leaves_files_of_tcl_alone() {
    // Tcl's notifier reports no file any more while it watches a descriptor that has been closed. A new file may have
    // the number of that descriptor.
    let _fuse = Fuse::light(|| ());
    let tcl = Interpreter::new();
    let reactor = Reactor::with("epoll").unwrap();
    let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    reactor.call_later(Duration::ZERO, |reactor| reactor.stop().unwrap());
    reactor.run_with(quiet()).unwrap();
    drop(reactor);
    tcl.eval("lassign [chan pipe] reader writer; fileevent $reader readable {gets $reader got}");
    tcl.eval("puts $writer hello; flush $writer; vwait got; close $reader; close $writer");
    assert_eq!(tcl.eval("set got"), "hello");
    drop(tk);
}

#[test]
fn a_pass_with_a_delay_limits_no_loop_inside_of_it() {
    // The inner loop would spin once the time of the outer pass is over.
    let _fuse = Fuse::light(|| ());
    let (reactor, tcl) = (strict_reactor(), Interpreter::new());
    let tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let turns = Rc::new(Cell::new(0));
    let count = turns.clone();
    tk.guest().on_sooner(move || count.set(count.get() + 1));
    let is_made = Rc::new(Cell::new(false));
    let made = is_made.clone();
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(Duration::from_millis(1), move |_| {
        tcl.eval("after 300 {set done yes}; vwait done");
        made.set(true);
    });
    while !is_made.get() {
        reactor.iterate(Some(Duration::from_millis(20))).unwrap();
    }
    assert!(turns.get() < 100, "{} turns", turns.get());
    reactor.crash();
}
