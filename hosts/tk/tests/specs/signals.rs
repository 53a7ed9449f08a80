//! Signals, which are sent to a process of their own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use ropewalk::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::display::open_window;
use crate::support::{Display, strict_reactor};

/// The name of the scenario for the process that plays it.
const SCENARIO: &str = "ROPEWALK_TK_SCENARIO";

/// Plays `scenario` in a process, sends the signal when it is ready, and expects that the run ends as it should.
fn play(scenario: &str, signal: Signal) {
    let display = Display::open();
    let program = std::env::current_exe().unwrap();
    // SIGINT may be ignored here, for example under nohup(1), and the reactor would leave it so.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM").arg(program);
    command.args(["--exact", "signals::scenario", "--ignored", "--nocapture"]);
    command.env(SCENARIO, scenario).env("DISPLAY", display.name());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim() != "ready" {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the process has ended");
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success() && rest.contains("ended Ok(())"), "{rest}");
}

#[test]
fn an_interrupt_stops_the_run() {
    play("window", Signal::INT);
}

#[test]
fn a_termination_stops_the_run() {
    play("window", Signal::TERM);
}

#[test]
fn an_interrupt_stops_the_run_while_a_dialog_is_open() {
    // After the end of the reactor nothing would close the dialog.
    play("dialog", Signal::INT);
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
