//! Uses the window as a person does.

use ropewalk_desktop::{Desktop, Lines, Program, free_address};

fn open(desktop: &Desktop) -> (Program, String) {
    let address = free_address();
    let program = desktop.open(env!("CARGO_BIN_EXE_gtk3_dialog"), &[&address]);
    desktop.activate("Questions on");
    (program, address)
}

#[test]
fn connections_continue_while_a_dialog_is_open() {
    let Some(desktop) = Desktop::start(420, 260) else { return };
    let (mut program, address) = open(&desktop);
    let (mut ada, mut bob) = (Lines::connect(&address), Lines::connect(&address));
    ada.send("Is it raining?");
    wait_for_dialogs(&desktop, 1);
    desktop.picture("gtk3_dialog");
    // A second dialog opens in the loop of the first, and has its answer first.
    bob.send("Is it cold?");
    wait_for_dialogs(&desktop, 2);
    desktop.press("Escape");
    assert_eq!(bob.receive(), "no answer");
    wait_for_dialogs(&desktop, 1);
    desktop.press("alt+y");
    assert_eq!(ada.receive(), "yes");
    desktop.close("Questions on");
    assert_eq!((ada.receive(), bob.receive()), (String::new(), String::new()));
    program.expect_success();
}

#[test]
fn a_signal_stops_the_program_while_a_dialog_is_open() {
    let Some(desktop) = Desktop::start(420, 260) else { return };
    let (mut program, address) = open(&desktop);
    let mut ada = Lines::connect(&address);
    ada.send("Is it raining?");
    wait_for_dialogs(&desktop, 1);
    program.signal("INT");
    program.expect_success();
}

#[track_caller]
fn wait_for_dialogs(desktop: &Desktop, count: usize) {
    ropewalk_desktop::wait_for("the dialogs", || (desktop.windows_of_class("gtk3_dialog") == count + 1).then_some(()));
}
