//! Connects to the program `dispatcher`, whose workers serve the connections.

#![cfg(unix)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// The program, which is killed at the end. Its workers end with it.
struct Dispatcher {
    process: Child,
    address: String,
    _output: BufReader<ChildStdout>,
}

impl Dispatcher {
    fn start(reactor: &str) -> Dispatcher {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
        command.arg("127.0.0.1:0").env("ROPEWALK_REACTOR", reactor);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut output, mut line) = (BufReader::new(process.stdout.take().unwrap()), String::new());
        output.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        Dispatcher { process, address, _output: output }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(address: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Sends a word, and returns the id of the process that echoes it.
fn echo(client: &mut BufReader<TcpStream>, word: &str) -> u32 {
    client.get_mut().write_all(format!("{word}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    let (number, echoed) = answer.trim_end().split_once(' ').expect("a number and the word");
    assert_eq!(echoed, word);
    number.parse().unwrap()
}

#[test]
fn workers_serve_the_connections_in_turn() {
    for info in ropewalk::reactors().into_iter().filter(|info| info.unavailable.is_none()) {
        let mut dispatcher = Dispatcher::start(info.name);
        let mut clients = [(); 6].map(|()| connect(&dispatcher.address));
        let serving = clients.each_mut().map(|client| echo(client, "hello"));
        assert_eq!(serving[0], serving[2]);
        assert_eq!(BTreeSet::from(serving).len(), 2, "on {}", info.name);
        assert!(!serving.contains(&dispatcher.process.id()));
        assert_eq!(clients.each_mut().map(|client| echo(client, "again")), serving);
        assert!(dispatcher.process.try_wait().unwrap().is_none());
    }
}
