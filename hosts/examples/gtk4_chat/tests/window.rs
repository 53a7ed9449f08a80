//! Uses the window as a person does.

use ropewalk_desktop::{Desktop, Lines, Program, free_address};

const TITLE: &str = "Chat on";

/// Opens the program, and connects a guest.
fn open(desktop: &Desktop) -> (Program, Lines) {
    let address = free_address();
    let program = desktop.open(env!("CARGO_BIN_EXE_gtk4_chat"), &[&address]);
    let mut guest = Lines::connect(&address);
    guest.expect("* a guest joined");
    (program, guest)
}

#[test]
fn lines_travel_between_window_and_guests() {
    let Some(desktop) = Desktop::start(420, 320) else { return };
    let (mut program, mut guest) = open(&desktop);
    desktop.type_line(TITLE, "good evening");
    guest.expect("host: good evening");
    desktop.resize(TITLE, 400, 220);
    guest.send("ada: is it raining?");
    guest.expect("ada: is it raining?");
    desktop.picture("gtk4_chat");
    // The reactor stops with the last window, and the connection is closed in order.
    desktop.close(TITLE);
    assert_eq!(guest.receive(), "");
    program.expect_success();
}

#[test]
fn a_signal_closes_the_window() {
    let Some(desktop) = Desktop::start(420, 320) else { return };
    for signal in ["INT", "TERM"] {
        let (mut program, mut guest) = open(&desktop);
        desktop.activate(TITLE);
        program.signal(signal);
        assert_eq!(guest.receive(), "");
        program.expect_success();
    }
}
