//! Runs the program as a child process.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The time after which a wait fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The endpoint that the tests listen on.
pub(crate) const ANYWHERE: &str = "tcp:0:interface=127.0.0.1";

/// Returns the names of the available reactors.
pub(crate) fn reactors() -> impl Iterator<Item = &'static str> {
    let all = ropewalk::reactors().into_iter();
    all.filter(|reactor| reactor.unavailable.is_none()).map(|reactor| reactor.name)
}

/// Returns a command for the program with these arguments.
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

/// Runs the program until it exits.
pub(crate) fn outcome(arguments: &[&str]) -> Output {
    finish(program(arguments))
}

/// Runs a command until it exits, and kills it after [`PATIENCE`]: a program that should refuse its arguments may
/// serve.
pub(crate) fn finish(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let pid = Pid::from_child(&child);
    let (ended, running) = mpsc::channel::<()>();
    let limit = thread::spawn(move || {
        if running.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("the output of a child");
    drop(ended);
    limit.join().expect("the thread does not panic");
    output
}

/// A running program that listens. Dropping it kills the program.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The first line of output.
    pub(crate) start_line: String,
    /// Whether the start is known to be over.
    has_started: Cell<bool>,
}

impl Running {
    /// Starts the program with these arguments. It listens on a free port of 127.0.0.1.
    pub(crate) fn start(arguments: &[&str]) -> Running {
        let arguments = [arguments, &["--listen", ANYWHERE]].concat();
        Running::start_command(program(&arguments))
    }

    /// Starts a command, and waits for its start line.
    pub(crate) fn start_command(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut start_line = String::new();
        output.read_line(&mut start_line).expect("a start line");
        let mut running = Running { child, output, start_line, has_started: Cell::new(false) };
        if running.start_line.is_empty() {
            panic!("the program did not start: {}", running.log());
        }
        running
    }

    /// Returns the first TCP address in the start line.
    pub(crate) fn address(&self) -> SocketAddr {
        let words = self.start_line.split([' ', ',', '/', '\n']);
        words.filter_map(|word| word.parse().ok()).next().expect("an address in the start line")
    }

    /// Connects to the program. Reads and writes time out after [`PATIENCE`].
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address(), PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process exists");
    }

    /// Sends SIGTERM, and returns the exit status and the time until the exit.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal(Signal::TERM);
        (self.wait(), began.elapsed())
    }

    /// Waits until the program exits.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("the status of a child") {
                return status;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("the program does not exit");
    }

    /// Kills the program, and returns its standard error.
    pub(crate) fn log(&mut self) -> String {
        let _ = self.child.kill();
        let mut log = String::new();
        let mut errors = self.child.stderr.take().expect("log is called once");
        errors.read_to_string(&mut log).expect("text");
        log
    }

    /// Waits until the standard error of the program contains `part`, and returns what it has read.
    pub(crate) fn log_until(&mut self, part: &str) -> String {
        let errors = self.child.stderr.as_mut().expect("log is called later");
        let (mut log, mut byte) = (Vec::new(), [0]);
        while !log.ends_with(part.as_bytes()) {
            errors.read_exact(&mut byte).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&log)));
            log.extend(byte);
        }
        String::from_utf8(log).expect("text")
    }

    /// Kills the program, and returns its standard output after the start line.
    pub(crate) fn rest_of_output(&mut self) -> String {
        let _ = self.child.kill();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("text");
        rest
    }

    /// Returns the anonymous memory in bytes: RssAnon of proc(5).
    pub(crate) fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("proc(5)");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// Returns the processor time used so far: utime and stime of proc(5), in ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("proc(5)");
        let (_name, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Waits until the start is over. That is shortly after the start line: a thread called `start` ends, and then its
    /// descriptors are closed.
    fn wait_for_start(&self) {
        let tasks = || fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("proc(5)").map_while(Result::ok);
        let is_of_start =
            |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|it| it == "start\n");
        eventually("the start is over", || !tasks().any(is_of_start));
        std::thread::sleep(Duration::from_millis(50));
    }

    /// Returns the number of open descriptors, without those of the start.
    pub(crate) fn descriptors(&self) -> usize {
        if !self.has_started.replace(true) {
            self.wait_for_start();
        }
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
        assert!(began.elapsed() < PATIENCE, "timed out: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
