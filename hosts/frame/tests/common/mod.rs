//! A display without a screen and its user, and tests in processes of their own.

#![allow(dead_code)] // each file of tests uses a part

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// An X server with a window manager. Both end when this is dropped.
pub(crate) struct Display {
    server: Child,
    windows: Child,
    name: String,
}

impl Display {
    /// Starts a server with a free number.
    pub(crate) fn new() -> Display {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"]);
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Xvfb is installed");
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        let name = format!(":{}", number.trim());
        // A window that is opened while the manager starts may never be shown.
        let mut windows = on_display(&name, "openbox");
        windows.args(["--startup", "echo ready"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut windows = windows.spawn().expect("openbox is installed");
        read_until(windows.stdout.as_mut().unwrap(), "ready");
        Display { server, windows, name }
    }

    /// Returns a command whose windows are on this display.
    pub(crate) fn command(&self, program: &str) -> Command {
        on_display(&self.name, program)
    }

    /// Lets the user act. Returns the output, or `None` if that was not possible.
    pub(crate) fn try_xdotool(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command("xdotool").args(arguments).output().expect("xdotool is installed");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// Lets the user act until that is possible. A hang is a failure.
    pub(crate) fn xdotool(&self, arguments: &[&str]) -> String {
        loop {
            if let Some(output) = self.try_xdotool(arguments) {
                return output;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a visible window has a name that contains `name`, and returns the window.
    pub(crate) fn window(&self, name: &str) -> String {
        self.xdotool(&["search", "--onlyvisible", "--name", name])
    }

    /// Activates the window of this name, so that keys reach it, and returns the window.
    pub(crate) fn activate(&self, name: &str) -> String {
        loop {
            let window = self.window(name);
            self.try_xdotool(&["windowactivate", &window]);
            thread::sleep(Duration::from_millis(20));
            if self.try_xdotool(&["getactivewindow"]) == Some(window.clone()) {
                return window;
            }
        }
    }

    /// Closes the active window as its button does.
    pub(crate) fn close_active(&self) {
        self.xdotool(&["key", "alt+F4"]);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        for child in [&mut self.windows, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn on_display(name: &str, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DISPLAY", name).env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET");
    command
}

/// Returns the path of an example of this package.
pub(crate) fn example(name: &str) -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name).to_str().unwrap().to_owned()
}

/// Returns the path of this program, and the arguments for one of its ignored tests.
pub(crate) fn own_test(name: &str) -> (String, [&str; 4]) {
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    (program, ["--exact", name, "--ignored", "--nocapture"])
}

/// Runs an ignored test of this program on a display.
pub(crate) fn run_on_display(name: &str) {
    let display = Display::new();
    let (program, arguments) = own_test(name);
    let status = display.command(&program).args(arguments).status().unwrap();
    assert!(status.success(), "{name}: {status}");
}

/// Reads until the child has written `word`, and returns all of it.
pub(crate) fn read_until(output: &mut ChildStdout, word: &str) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(word.as_bytes()) {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}
