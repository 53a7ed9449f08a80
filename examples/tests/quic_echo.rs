//! Runs the server and the client of the program `quic_echo`.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The server, which is killed at the end.
struct Server {
    process: Child,
    address: String,
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(reactor: &str) -> Server {
        let mut command = program(&["server", "127.0.0.1:0"]);
        command.env("ROPEWALK_REACTOR", reactor);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut output, mut line) = (BufReader::new(process.stdout.take().unwrap()), String::new());
        output.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("echoing on ").expect("an address").to_owned();
        Server { process, address, _output: output }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quic_echo"));
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_client_prints_what_comes_back() {
    for info in ropewalk::reactors().into_iter().filter(|info| info.unavailable.is_none()) {
        let mut server = Server::start(info.name);
        let arguments = ["client", &server.address, "good", "morning", "--bytes", "3000000"];
        let Output { stdout, stderr, status } =
            program(&arguments).env("ROPEWALK_REACTOR", info.name).output().unwrap();
        assert!(status.success(), "{}: {}", info.name, text(&stderr));
        let stdout = text(&stdout);
        let lines = Vec::from_iter(stdout.lines());
        assert_eq!(lines[..2], ["good", "morning"]);
        assert!(lines[2].starts_with("3000000 bytes and back in "), "{}", lines[2]);
        kill_process(Pid::from_child(&server.process), Signal::TERM).unwrap();
        assert!(server.process.wait().unwrap().success());
    }
}

#[test]
fn the_help_names_both_parts() {
    let output = program(&["--help"]).output().unwrap();
    let help = text(&output.stdout);
    assert!(output.status.success() && help.contains("server") && help.contains("client"), "{help}");
    let output = program(&["client", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "without a text there is nothing to send");
}
