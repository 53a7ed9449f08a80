//! Uses the window as a person does.

use ropewalk_desktop::{Bus, Desktop, Lines, Program, free_address};

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
fn the_window_chats_with_guests() {
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

#[test]
fn a_second_instance_activates_the_first() {
    let (Some(desktop), Some(bus)) = (Desktop::start(420, 320), Bus::start()) else { return };
    let address = free_address();
    let mut first = desktop.open_on(&bus, env!("CARGO_BIN_EXE_gtk4_chat"), &[&address]);
    desktop.activate(TITLE);
    // The second would fail to listen on this port. It does not start its reactor.
    desktop.open_on(&bus, env!("CARGO_BIN_EXE_gtk4_chat"), &[&address]).expect_success();
    assert_eq!(desktop.windows_of_class("gtk4_chat"), 1);
    desktop.close(TITLE);
    first.expect_success();
}
