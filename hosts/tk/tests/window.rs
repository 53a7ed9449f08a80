//! Uses the window of the example as a person does.

use ropewalk_desktop::{Desktop, Lines, Program, example, wait_for};

const TITLE: &str = "tk_monitor";
const DIALOG: &str = "Question";

/// Opens the program. Returns also its address.
fn open(desktop: &Desktop, arguments: &[&str]) -> (Program, String) {
    let program = desktop.open(&example("tk_monitor"), &[&["127.0.0.1:0"], arguments].concat());
    let address = program.expect("listening on ");
    (program, address)
}

#[track_caller]
fn wait_for_dialog(desktop: &Desktop) {
    wait_for("the dialog", || desktop.window(DIALOG));
}

#[test]
fn connections_continue_while_a_dialog_is_open() {
    let Some(desktop) = Desktop::start(640, 480) else { return };
    let (mut program, address) = open(&desktop, &[]);
    let (mut ada, mut bob) = (Lines::connect(&address), Lines::connect(&address));
    ada.send("ask Is it raining?");
    wait_for_dialog(&desktop);
    bob.send("good evening");
    assert_eq!(bob.receive(), "good evening");
    desktop.activate(DIALOG);
    desktop.press("alt+y");
    assert_eq!(ada.receive(), "yes");
    desktop.close(TITLE);
    assert_eq!((ada.receive(), bob.receive()), (String::new(), String::new()));
    program.expect_success();
}

#[test]
fn a_busy_window_shows_its_connections() {
    let Some(desktop) = Desktop::start(640, 480) else { return };
    let (mut program, _) = open(&desktop, &["--demo"]);
    wait_for_dialog(&desktop);
    // Beside the table, which the dialog would hide otherwise.
    desktop.move_to(DIALOG, 140, 275);
    desktop.picture("tk_monitor");
    desktop.press("alt+n");
    desktop.close(TITLE);
    program.expect_success();
}

#[test]
fn a_signal_stops_the_program_while_a_dialog_is_open() {
    let Some(desktop) = Desktop::start(640, 480) else { return };
    let (mut program, address) = open(&desktop, &[]);
    let mut ada = Lines::connect(&address);
    ada.send("ask Is it raining?");
    wait_for_dialog(&desktop);
    program.signal("INT");
    program.expect_success();
}
