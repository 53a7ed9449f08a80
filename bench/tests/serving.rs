//! The programs as the benchmark starts them: a port on standard output, commands on standard input.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

const PLAIN: &str = env!("CARGO_BIN_EXE_ropewalk-bench");
const COUNTED: &str = env!("CARGO_BIN_EXE_counted");

fn serve(program: &str, candidate: &str) -> (Child, BufReader<ChildStdout>, u16) {
    let mut command = Command::new(program);
    command.args(["serve", candidate]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let port = answer(&mut output).parse().unwrap();
    (child, output, port)
}

fn answer(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn live_bytes(child: &mut Child, output: &mut BufReader<ChildStdout>) -> usize {
    writeln!(child.stdin.as_mut().unwrap(), "memory").unwrap();
    answer(output).parse().unwrap()
}

fn echo(peer: &mut TcpStream) {
    let mut reply = [0; 5];
    peer.write_all(b"hello").unwrap();
    peer.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"hello");
}

#[test]
fn a_server_exits_when_its_parent_closes_the_pipe() {
    for candidate in ["raw-epoll", "mio", "tokio", "ropewalk-epoll", "ropewalk-poll", "ropewalk-select"] {
        let (mut child, _output, port) = serve(PLAIN, candidate);
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        echo(&mut peer);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success(), "{candidate}");
    }
}

#[test]
fn the_counted_program_reports_the_memory_of_a_connection() {
    let (mut child, mut output, port) = serve(COUNTED, "tokio");
    // The first connection allocates things that stay. Freeing them would hide the allocations of the second one.
    let mut first = TcpStream::connect(("127.0.0.1", port)).unwrap();
    echo(&mut first);
    let before = live_bytes(&mut child, &mut output);
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    echo(&mut peer);
    let buffer = 64 * 1024;
    assert!(live_bytes(&mut child, &mut output) >= before + buffer);
    drop(peer);
    while live_bytes(&mut child, &mut output) >= before + buffer {}
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_unknown_candidate_is_an_error_that_lists_all() {
    let output = Command::new(PLAIN).args(["serve", "nginx"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(complaint.contains("raw-epoll") && complaint.contains("ropewalk-select"), "{complaint}");
}
