//! Replaces the program `graceful_restart` under load.

#![cfg(unix)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);
const CLIENTS: usize = 3;

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Sends a word, and returns the id of the process that echoes it.
    fn echo(&mut self, word: &str) -> io::Result<i32> {
        self.0.get_mut().write_all(format!("{word}\n").as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        let number = answer.trim_end().strip_suffix(word).and_then(|number| number.trim_end().parse().ok());
        number.ok_or_else(|| io::Error::other(format!("'{answer}' does not echo '{word}'")))
    }
}

/// The first process of the program and its successors.
struct Server {
    first: Child,
    output: BufReader<ChildStdout>,
    address: String,
    /// The current process.
    serving: Pid,
}

impl Server {
    fn start(reactor: &str) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graceful_restart"));
        command.env("ROPEWALK_REACTOR", reactor);
        let mut first = command.arg("127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(first.stdout.take().unwrap());
        let serving = Pid::from_child(&first);
        let mut server = Server { first, output, address: String::new(), serving };
        server.address = server.line().rsplit(' ').next().unwrap().to_owned();
        server
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Replaces the current process, and waits for the start line of its successor.
    fn replace(&mut self) {
        kill_process(self.serving, Signal::HUP).unwrap();
        let line = self.line();
        let number = line.strip_suffix(&format!(" serves on {}", self.address)).and_then(|number| number.parse().ok());
        self.serving = Pid::from_raw(number.unwrap_or_else(|| panic!("'{line}'"))).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        let _ = kill_process(self.serving, Signal::KILL);
    }
}

/// Connects to `address` repeatedly until `stop` is set. Sends the id of each answering process, or the error.
fn connect_repeatedly(address: &str, stop: &AtomicBool, results: &mpsc::Sender<io::Result<i32>>) {
    while !stop.load(Ordering::Relaxed) {
        let answered = Client::connect(address).and_then(|mut client| client.echo("hello"));
        if results.send(answered).is_err() {
            return;
        }
    }
}

/// Waits until `process` has answered a client. Any error before that fails the test.
fn wait_for(process: Pid, answers: &mpsc::Receiver<io::Result<i32>>) {
    loop {
        let answer = answers.recv_timeout(PATIENCE).expect("an answer in time");
        if answer.expect("no connection is refused") == process.as_raw_nonzero().get() {
            return;
        }
    }
}

#[test]
fn a_restart_refuses_no_connection_on_any_reactor() {
    for entry in ropewalk::reactors().iter().filter(|entry| entry.unavailable.is_none()) {
        println!("on {}", entry.name);
        replace_twice(Server::start(entry.name));
    }
}

fn replace_twice(mut server: Server) {
    let first = server.serving;
    let mut old_client = Client::connect(&server.address).unwrap();
    assert_eq!(old_client.echo("before").unwrap(), first.as_raw_nonzero().get());

    let (address, stop) = (server.address.clone(), AtomicBool::new(false));
    let (results, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| connect_repeatedly(&address, &stop, &results.clone()));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(server.serving, &answers);
            for _ in 0..2 {
                server.replace();
                wait_for(server.serving, &answers);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    answers.try_iter().for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));

    // The first process serves its last client, and exits when that client disconnects.
    assert_eq!(old_client.echo("after").unwrap(), first.as_raw_nonzero().get());
    assert!(server.first.try_wait().unwrap().is_none());
    drop(old_client);
    assert_eq!(server.first.wait().unwrap().code(), Some(0));

    kill_process(server.serving, Signal::TERM).unwrap();
    assert_eq!(server.line(), "", "the output is closed with the last process");
}
