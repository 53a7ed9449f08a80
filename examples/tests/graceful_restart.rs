//! The program `graceful_restart`, replaced under load.

#![cfg(unix)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);
const VISITORS: usize = 3;

struct Conversation(BufReader<TcpStream>);

impl Conversation {
    fn begin(address: &str) -> io::Result<Conversation> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Conversation(BufReader::new(stream)))
    }

    /// Says something, and returns the number of the process that repeats it.
    fn say(&mut self, word: &str) -> io::Result<i32> {
        self.0.get_mut().write_all(format!("{word}\n").as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        let number = answer.trim_end().strip_suffix(word).and_then(|number| number.trim_end().parse().ok());
        number.ok_or_else(|| io::Error::other(format!("'{answer}' does not repeat '{word}'")))
    }
}

/// The processes of the program, whoever started them.
struct Server {
    first: Child,
    output: BufReader<ChildStdout>,
    address: String,
    /// The one that serves.
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

    /// Has it replaced, and waits until its successor says that it serves.
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

/// Visits `address` again and again until `enough`; tells who answered each time, or what went wrong.
fn visit(address: &str, enough: &AtomicBool, tell: &mpsc::Sender<io::Result<i32>>) {
    while !enough.load(Ordering::Relaxed) {
        let answered = Conversation::begin(address).and_then(|mut conversation| conversation.say("hello"));
        if tell.send(answered).is_err() {
            return;
        }
    }
}

/// Waits until `process` has answered somebody. What went wrong before is a failure.
fn wait_for(process: Pid, answers: &mpsc::Receiver<io::Result<i32>>) {
    loop {
        let answer = answers.recv_timeout(PATIENCE).expect("it answers");
        if answer.expect("nobody is refused") == process.as_raw_nonzero().get() {
            return;
        }
    }
}

#[test]
fn nobody_is_refused_or_cut_off_while_the_server_is_replaced_twice_on_any_reactor() {
    for entry in ropewalk::reactors().iter().filter(|entry| entry.unavailable.is_none()) {
        println!("on {}", entry.name);
        is_replaced_twice(Server::start(entry.name));
    }
}

fn is_replaced_twice(mut server: Server) {
    let first = server.serving;
    let mut old_friend = Conversation::begin(&server.address).unwrap();
    assert_eq!(old_friend.say("before").unwrap(), first.as_raw_nonzero().get());

    let (address, enough) = (server.address.clone(), AtomicBool::new(false));
    let (tell, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..VISITORS {
            scope.spawn(|| visit(&address, &enough, &tell.clone()));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(server.serving, &answers);
            for _ in 0..2 {
                server.replace();
                wait_for(server.serving, &answers);
            }
        }));
        enough.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    answers.try_iter().for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));

    // The first process serves who came to it, and ends when he has gone.
    assert_eq!(old_friend.say("after").unwrap(), first.as_raw_nonzero().get());
    assert!(server.first.try_wait().unwrap().is_none());
    drop(old_friend);
    assert_eq!(server.first.wait().unwrap().code(), Some(0));

    kill_process(server.serving, Signal::TERM).unwrap();
    assert_eq!(server.line(), "", "its output ends with the last process");
}
