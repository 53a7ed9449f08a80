//! Uses the window as a person does.

use ropewalk_desktop::Desktop;

#[test]
fn the_window_counts_until_it_is_closed() {
    let Some(desktop) = Desktop::start(320, 160) else { return };
    let mut program = desktop.open(env!("CARGO_BIN_EXE_gtk2_counter"), &[]);
    desktop.resize("Echoes", 260, 100);
    desktop.picture("gtk2_counter");
    desktop.close("Echoes");
    program.expect_success();
}

#[test]
fn a_signal_stops_the_program() {
    let Some(desktop) = Desktop::start(320, 160) else { return };
    let mut program = desktop.open(env!("CARGO_BIN_EXE_gtk2_counter"), &[]);
    desktop.activate("Echoes");
    program.signal("TERM");
    program.expect_success();
}
