//! The program as a child process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the tests listen.
pub(crate) const ANYWHERE: &str = "tcp:0:interface=127.0.0.1";

/// The names of the reactors that work here.
pub(crate) fn reactors() -> impl Iterator<Item = &'static str> {
    let all = ropewalk::reactors().into_iter();
    all.filter(|reactor| reactor.unavailable.is_none()).map(|reactor| reactor.name)
}

/// The program with these arguments, not started.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
    command
        .args(arguments)
        .env_remove("ROPEWALK_REACTOR")
        .env_remove("ROPEWALK_LOG")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn outcome(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program starts")
}

/// A program that listens. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) start_line: String,
}

impl Running {
    /// Starts it with these arguments, listening on a port of 127.0.0.1 that the system chooses.
    pub(crate) fn start(arguments: &[&str]) -> Running {
        let arguments = [arguments, &["--listen", ANYWHERE]].concat();
        Running::start_command(program(&arguments))
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start_command(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut start_line = String::new();
        output.read_line(&mut start_line).expect("a start line");
        let mut running = Running { child, output, start_line };
        if running.start_line.is_empty() {
            panic!("it did not start: {}", running.log());
        }
        running
    }

    /// The first TCP address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        let words = self.start_line.split([' ', ',', '/', '\n']);
        words.filter_map(|word| word.parse().ok()).next().expect("an address in the start line")
    }

    /// A connection to it, whose reads and writes fail after a while.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address(), PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// Ends it by SIGTERM, and returns its status and how long it took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal(Signal::TERM);
        (self.wait(), began.elapsed())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it does not end");
    }

    /// Ends it, and returns what it wrote to standard error.
    pub(crate) fn log(&mut self) -> String {
        let _ = self.child.kill();
        let mut log = String::new();
        let mut errors = self.child.stderr.take().expect("a pipe that nobody took");
        errors.read_to_string(&mut log).expect("text");
        log
    }

    /// Ends it, and returns what it wrote to standard output after the start line.
    pub(crate) fn rest_of_output(&mut self) -> String {
        let _ = self.child.kill();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("text");
        rest
    }

    /// Its memory that is not shared with files, in bytes: proc(5), RssAnon.
    pub(crate) fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("proc(5)");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// The processor time that it has used: proc(5), utime and stime in ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("proc(5)");
        let (_name, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("proc(5)").count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
