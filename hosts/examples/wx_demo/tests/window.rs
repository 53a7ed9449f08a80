//! Uses the windows as a person does.

use ropewalk_desktop::{Desktop, Lines, Program, free_address, wait_for};

fn open(desktop: &Desktop, program: &str) -> (Program, Lines) {
    let address = free_address();
    let program = desktop.open(program, &[&address]);
    let guest = Lines::connect(&address);
    desktop.activate("Chat");
    (program, guest)
}

/// Types a line, and lets a guest say one.
fn talk(desktop: &Desktop, guest: &mut Lines) {
    desktop.type_line("Chat", "good evening");
    assert_eq!(guest.receive(), "good evening");
    guest.send("a fine evening");
}

#[test]
fn the_window_chats_with_guests() {
    let Some(desktop) = Desktop::start(420, 320) else { return };
    let (mut program, mut guest) = open(&desktop, env!("CARGO_BIN_EXE_wx_demo"));
    talk(&desktop, &mut guest);
    desktop.resize("Chat", 380, 200);
    guest.send("Is it raining?");
    wait_for("the dialog", || desktop.window("Question"));
    desktop.picture("wx_demo");
    desktop.press("alt+y");
    assert_eq!(guest.receive(), "yes");
    desktop.close("Chat");
    assert_eq!(guest.receive(), "");
    program.expect_success();
}

#[test]
fn a_signal_stops_the_program_while_a_dialog_is_open() {
    let Some(desktop) = Desktop::start(420, 320) else { return };
    let (mut program, mut guest) = open(&desktop, env!("CARGO_BIN_EXE_wx_demo"));
    guest.send("Is it raining?");
    wait_for("the dialog", || desktop.window("Question"));
    program.signal("INT");
    program.expect_success();
}

#[test]
fn a_signal_stops_the_program_under_several_dialogs() {
    // Each of them has a loop inside the one before, and only the innermost loop can be ended.
    let Some(desktop) = Desktop::start(420, 320) else { return };
    let (mut program, mut guest) = open(&desktop, env!("CARGO_BIN_EXE_wx_demo"));
    let address = guest.peer();
    guest.send("one!");
    wait_for("the first dialog", || desktop.window("one!"));
    let mut others = ["two!", "three?"].map(|line| {
        let mut other = Lines::connect(&address);
        other.send(line);
        wait_for("a dialog inside", || desktop.window(if line == "two!" { line } else { "Question" }));
        other
    });
    program.signal("TERM");
    program.expect_success();
    others.iter_mut().for_each(|other| drop(other.receive()));
}

#[test]
fn a_reactor_in_another_thread_talks_with_the_window() {
    let Some(desktop) = Desktop::start(420, 320) else { return };
    let (mut program, mut guest) = open(&desktop, env!("CARGO_BIN_EXE_wx_thread"));
    talk(&desktop, &mut guest);
    desktop.close("Chat");
    assert_eq!(guest.receive(), "");
    program.expect_success();
}
