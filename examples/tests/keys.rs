//! Runs the program `keys` on a pseudo-terminal.
#![cfg(unix)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Starts the program, and returns the user's side of its terminal.
fn start() -> (Child, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let [input, output] = [slave.try_clone().unwrap(), slave].map(OwnedFd::from).map(Stdio::from);
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(env!("CARGO_BIN_EXE_keys")).stdin(input).stdout(output);
    (command.spawn().unwrap(), master.into())
}

/// Reads until `text` has been shown.
fn shown(terminal: &mut File, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut piece = [0; 256];
        let count = terminal.read(&mut piece).unwrap();
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
}

fn echoes(terminal: &File) -> bool {
    tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
}

#[test]
fn keys_arrive_one_at_a_time() {
    let (mut child, mut terminal) = start();
    shown(&mut terminal, "press keys");
    assert!(!echoes(&terminal));
    rustix::io::write(&terminal, b"a").unwrap();
    shown(&mut terminal, "a\r\n");
    tcsetwinsize(&terminal, Winsize { ws_row: 30, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    shown(&mut terminal, "30 lines of 70 characters\r\n");
    rustix::io::write(&terminal, b"q").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(echoes(&terminal), "the terminal is as before");
}

#[test]
fn the_terminal_is_as_before_after_a_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (mut child, mut terminal) = start();
        shown(&mut terminal, "press keys");
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        assert!(echoes(&terminal), "{signal:?}");
    }
}
