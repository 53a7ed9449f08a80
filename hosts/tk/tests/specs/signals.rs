//! Signals, which are sent to a process of their own.

use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk_desktop::{Desktop, Program, own_test};

use crate::support::screen::open_window;
use crate::support::strict_reactor;

/// The name of the scenario for the process that plays it.
const SCENARIO: &str = "ROPEWALK_TK_SCENARIO";

/// Plays `scenario` in a process, sends the signal when it is ready, and expects that the run ends as it should.
fn play(scenario: &str, signal: &str) {
    let Some(desktop) = Desktop::start(800, 600) else { return };
    let (program, arguments) = own_test("signals::scenario");
    // SIGINT may be ignored here, for example under nohup(1), and the reactor would leave it so.
    let mut command = desktop.command("env");
    command.arg("--default-signal=INT,TERM").arg(program).args(arguments).env(SCENARIO, scenario);
    let mut process = Program::start(&mut command);
    process.expect("ready");
    process.signal(signal);
    process.expect("ended Ok(())");
    process.expect_success();
}

#[test]
fn an_interrupt_stops_the_run() {
    play("window", "INT");
}

#[test]
fn a_termination_stops_the_run() {
    play("window", "TERM");
}

#[test]
fn an_interrupt_stops_the_run_while_a_dialog_is_open() {
    // After the end of the reactor nothing would close the dialog.
    play("dialog", "INT");
}

#[test]
#[ignore = "the process of the other specifications"]
#[allow(clippy::print_stdout)] // the parent process reads it
fn scenario() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let tcl = open_window(&std::env::var("DISPLAY").unwrap());
    let reactor = strict_reactor();
    let _tk = ropewalk_tk::install(&reactor, &tcl).unwrap();
    let closes = tcl.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
        closes.eval("destroy .__tk__messagebox");
        reactor.defer_later(Duration::from_millis(100), |_| ())
    });
    tcl.add_command(c"ready", |_| println!("ready"));
    if scenario == "dialog" {
        let opens = tcl.clone();
        reactor.call_later(Duration::ZERO, move |_| drop(opens.eval("tk_messageBox -type ok")));
        // The dialog waits for its button once it has the grab.
        tcl.eval("proc watch {} {if {[grab current] eq {}} {after 10 watch} else ready}; watch");
    } else {
        tcl.eval("after 1 ready");
    }
    let outcome = reactor.run();
    println!("ended {outcome:?}");
}
