//! Runs the programs of `examples/` on a display, with a user.

mod common;

use std::process::{Child, Stdio};

use common::{Display, example, read_until};

fn start(display: &Display, name: &str, arguments: &[&str]) -> Child {
    display.command(&example(name)).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

fn output_of(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_window_of_winit_talks_while_it_is_used() {
    let display = Display::new();
    let program = start(&display, "winit_echo", &[]);
    let window = display.activate("winit_echo");
    display.xdotool(&["type", "hello"]);
    display.window("winit_echo: hello");
    display.xdotool(&["windowsize", &window, "300", "250"]);
    display.xdotool(&["type", " world"]);
    display.window("winit_echo: hello world");
    display.close_active();
    assert_eq!(output_of(program), "11 sent, 11 back: hello world\n");
}

#[test]
fn a_game_of_sdl_is_played_with_its_echo() {
    let display = Display::new();
    let program = start(&display, "sdl2_pong", &[]);
    display.activate("sdl2_pong");
    display.xdotool(&["keydown", "Up"]);
    display.xdotool(&["keyup", "Up"]);
    display.close_active();
    assert!(output_of(program).contains(" to "));
}

#[test]
fn a_game_of_sdl_is_played_by_two() {
    // The second player sees what the first one does, so its game ends with a score of the first one.
    let display = Display::new();
    let mut first = start(&display, "sdl2_pong", &["listen", "127.0.0.1:0"]);
    let line = read_until(first.stdout.as_mut().unwrap(), "\n");
    let port = line.trim().strip_prefix("listening on ").unwrap();
    let second = start(&display, "sdl2_pong", &["connect", port]);
    display.activate("sdl2_pong connect");
    display.close_active();
    assert!(output_of(second).contains(" to "));
    display.activate("sdl2_pong listen");
    display.close_active();
    assert!(output_of(first).contains(" to "));
}
