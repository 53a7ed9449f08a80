//! Uses the windows of the examples as a person does.

use std::time::Duration;

use ropewalk_desktop::{Desktop, example, wait_for};

#[test]
fn a_window_of_winit_talks_while_it_is_used() {
    let Some(desktop) = Desktop::start(480, 300) else { return };
    let mut program = desktop.open(&example("winit_echo"), &[]);
    desktop.type_text("winit_echo", "hello");
    wait_for("the echo", || desktop.window("winit_echo: hello"));
    desktop.resize("winit_echo", 420, 200);
    desktop.type_text("winit_echo", " from the reactor: one thread, one loop");
    wait_for("the second echo", || desktop.window("winit_echo: hello from the reactor: one thread, one loop"));
    desktop.picture("winit_echo");
    desktop.close("winit_echo");
    program.expect("44 sent, 44 back: hello from the reactor: one thread, one loop");
    program.expect_success();
}

#[test]
fn a_game_of_sdl_is_played_with_its_echo() {
    let Some(desktop) = Desktop::start(480, 300) else { return };
    let mut game = desktop.open(&example("sdl2_pong"), &[]);
    desktop.activate("sdl2_pong");
    desktop.press("Up");
    desktop.close("sdl2_pong");
    game.expect(" to ");
    game.expect_success();
}

#[test]
fn a_game_of_sdl_is_played_by_two() {
    // The second player sees what the first one does, so its game ends with a score of the first one.
    let Some(desktop) = Desktop::start(900, 320) else { return };
    let mut first = desktop.open(&example("sdl2_pong"), &["listen", "127.0.0.1:0"]);
    let address = first.expect("listening on ");
    desktop.move_to("sdl2_pong listen", 16, 24);
    let mut second = desktop.open(&example("sdl2_pong"), &["connect", &address]);
    desktop.move_to("sdl2_pong connect", 460, 24);
    desktop.hold("Down", Duration::from_millis(300));
    desktop.activate("sdl2_pong listen");
    desktop.hold("Up", Duration::from_millis(300));
    desktop.picture("sdl2_pong");
    for (title, game) in [("sdl2_pong connect", &mut second), ("sdl2_pong listen", &mut first)] {
        desktop.close(title);
        game.expect(" to ");
        game.expect_success();
    }
}
