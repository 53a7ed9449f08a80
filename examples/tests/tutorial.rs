//! Runs each step of the tutorial as a user would. A tidy test compares the book's chapter with the files.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running step, which is killed when it is dropped.
struct Step {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Step {
    fn start(program: &str, arguments: &[&str]) -> Step {
        let mut child =
            Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Step { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn address(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("unexpected output: '{line}'")).to_owned()
    }

    fn connect(&mut self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An empty folder, which is removed with its files.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ropewalk-tutorial-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Copies a file of the tutorial with another place to listen at.
    fn configure(&self, file: &str, listen: &str) -> String {
        let original = concat!(env!("CARGO_MANIFEST_DIR"), "/tutorial/").to_owned() + file;
        let text = fs::read_to_string(original).unwrap();
        let changed = text.replace("tcp:8000:interface=127.0.0.1", listen);
        assert_ne!(changed, text, "the file names its default endpoint");
        fs::write(self.0.join(file), changed).unwrap();
        self.path(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends `text`, and returns the reply of the same length.
fn reply(mut stream: impl Read + Write, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

/// Runs a program that ends by itself, and returns its standard output.
fn output(program: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn step_1_echoes() {
    let mut step = Step::start(env!("CARGO_BIN_EXE_tutorial_1"), &["127.0.0.1:0"]);
    assert_eq!(reply(step.connect(), "good morning"), "good morning");
}

#[test]
fn step_2_answers_lines() {
    let mut step = Step::start(env!("CARGO_BIN_EXE_tutorial_2"), &["127.0.0.1:0"]);
    assert_eq!(reply(step.connect(), "good\nmorning\n"), "GOOD\nMORNING\n");
}

#[test]
fn step_3_disconnects_a_silent_client() {
    let mut step = Step::start(env!("CARGO_BIN_EXE_tutorial_3"), &["127.0.0.1:0", "1"]);
    let mut client = step.connect();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let name = client.local_addr().unwrap();
    assert_eq!(step.line(), format!("{name} was silent for too long"));
}

#[test]
fn step_4_asks_its_own_server() {
    let program = env!("CARGO_BIN_EXE_tutorial_4");
    let mut step = Step::start(program, &["serve", "127.0.0.1:0"]);
    let address = step.address();
    assert_eq!(output(program, &["ask", &address, "good morning"]), "GOOD MORNING\n");
    drop(step);
    let refused = Command::new(program).args(["ask", &address, "good morning"]).output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && message.contains("was refused"), "{message}");
}

#[test]
fn steps_5_to_6_serve_as_their_file_says() {
    for program in [env!("CARGO_BIN_EXE_tutorial_5"), env!("CARGO_BIN_EXE_tutorial_6")] {
        let folder = Folder::new("service");
        let socket = folder.path("shout");
        let file = folder.configure("5_service.toml", &format!("unix:{socket}"));
        let _step = Step::start(program, &["serve", &file]);
        eventually("the service listens", || UnixStream::connect(&socket).is_ok());
        assert_eq!(output(program, &["ask", &format!("unix:{socket}"), "good morning"]), "GOOD MORNING\n");
        let broken = folder.path("broken.toml");
        fs::write(&broken, "lisen = 'tcp:8000'").unwrap();
        let refused = Command::new(program).args(["serve", &broken]).output().unwrap();
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && message.contains("unknown field `lisen`"), "{message}");
    }
}

#[test]
fn step_7_runs_in_the_background() {
    let program = env!("CARGO_BIN_EXE_tutorial_7");
    let folder = Folder::new("daemon");
    let file = folder.configure("7_daemon.toml", "unix:shout");
    // Returns when the service has started.
    output(program, &["--config", &file, "--daemon", "--rundir", &folder.path("")]);
    let number: i32 = fs::read_to_string(folder.path("shout.pid")).unwrap().trim().parse().unwrap();
    let daemon = Pid::from_raw(number).unwrap();
    let answer = output(program, &["ask", &format!("unix:{}", folder.path("shout")), "good morning"]);
    kill_process(daemon, Signal::TERM).unwrap();
    eventually("the daemon ends", || test_kill_process(daemon).is_err());
    assert_eq!(answer, "GOOD MORNING\n");
    assert!(fs::read_to_string(folder.path("shout.log")).unwrap().contains("started"));
}
