//! The mode of a terminal is restored, however the program ends. Each program is a child with a pseudo-terminal: this
//! file again, which then runs the test `child` alone.
#![cfg(unix)]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ropewalk_sys::{TerminalMode, TerminalModeGuard, WindowSize, take_standard_streams, window_size};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Termios, Winsize, tcgetattr, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(20);

/// The variable that says what the child does.
const TASK: &str = "ROPEWALK_TERMINAL_TASK";

/// The part of the child.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let guard = TerminalModeGuard::set(if task == "jobs" { TerminalMode::Cbreak } else { TerminalMode::Raw }).unwrap();
    let mut key = [0];
    let mut wait_for_key = || std::io::stdin().read_exact(&mut key).unwrap();
    wait_for_key();
    match &*task {
        "drop" => drop(guard),
        "exit" => std::process::exit(3),
        "panic" => panic!("on purpose"),
        "abort" => std::process::abort(),
        // SAFETY: the page at zero is never mapped, so the write kills the process, as the test wants.
        "fault" => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        "change" => {
            guard.change(TerminalMode::NoEcho).unwrap();
            assert_eq!(TerminalModeGuard::set(TerminalMode::Raw).unwrap_err().kind(), ErrorKind::AlreadyExists);
            std::thread::sleep(PATIENCE);
        }
        "taken" => {
            drop(guard);
            let [input, output] = take_standard_streams().unwrap();
            let guard = TerminalModeGuard::set(TerminalMode::Cbreak).unwrap();
            assert_eq!(window_size().unwrap(), WindowSize::new(50, 132));
            File::from(input).read_exact(&mut key).unwrap();
            drop((guard, output));
        }
        _ => loop {
            wait_for_key();
        },
    }
}

/// A program on a pseudo-terminal.
struct Program {
    master: OwnedFd,
    child: Child,
    before: String,
}

impl Program {
    /// Starts the child, and waits until it has set the mode.
    fn start(task: &str) -> Program {
        Program::start_by(task, &[])
    }

    /// Starts the child by a shell.
    fn start_by(task: &str, shell: &[&str]) -> Program {
        let (master, slave) = pseudo_terminal();
        let before = shown(&tcgetattr(&slave).unwrap());
        let slaves = [slave.try_clone().unwrap(), slave.try_clone().unwrap()];
        let [input, output] = slaves.map(Stdio::from);
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(shell);
        if shell.is_empty() {
            command.arg(std::env::current_exe().unwrap()).args(["--exact", "child", "--nocapture"]);
        }
        // A sanitizer would report the fault itself, and exit.
        command.env("ASAN_OPTIONS", "detect_leaks=0:handle_segv=0:handle_abort=0");
        let child = command.env(TASK, task).stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap();
        let program = Program { master, child, before };
        program.wait_for(|modes| !modes.local_modes.contains(LocalModes::ICANON));
        drop(slave);
        program
    }

    fn wait_for(&self, reached: impl Fn(&Termios) -> bool) {
        let began = Instant::now();
        while !reached(&tcgetattr(&self.master).unwrap()) {
            assert!(began.elapsed() < PATIENCE, "the mode is {:?}", tcgetattr(&self.master));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads what is printed until `text` comes.
    fn wait_for_output(&self, text: &str) {
        let mut printed = Vec::new();
        while !String::from_utf8_lossy(&printed).contains(text) {
            let mut byte = [0];
            assert_eq!(rustix::io::read(&self.master, &mut byte).unwrap(), 1);
            printed.push(byte[0]);
        }
    }

    fn type_keys(&self, keys: &[u8]) {
        rustix::io::write(&self.master, keys).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and asserts that the earlier mode is back.
    #[track_caller]
    fn ends(mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the program does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(shown(&tcgetattr(&self.master).unwrap()), self.before);
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = Winsize { ws_row: 50, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master.as_fd(), size).unwrap();
    (master, slave.into())
}

fn shown(modes: &Termios) -> String {
    format!("{modes:?}")
}

#[test]
fn the_mode_is_restored_when_the_guard_is_dropped() {
    let program = Program::start("drop");
    program.wait_for(|modes| !modes.output_modes.contains(OutputModes::OPOST));
    program.type_keys(b"k");
    assert_eq!(program.ends().code(), Some(0));
}

#[test]
fn the_mode_is_restored_by_exit() {
    let program = Program::start("exit");
    program.type_keys(b"k");
    assert_eq!(program.ends().code(), Some(3));
}

#[test]
fn the_mode_is_restored_after_a_panic() {
    let program = Program::start("panic");
    program.type_keys(b"k");
    assert_eq!(program.ends().code(), Some(101));
}

#[test]
fn the_mode_is_restored_before_a_fault_kills_the_program() {
    for (task, signal) in [("abort", libc::SIGABRT), ("fault", libc::SIGSEGV)] {
        let program = Program::start(task);
        program.type_keys(b"k");
        assert_eq!(program.ends().signal(), Some(signal), "{task}");
    }
}

#[test]
fn the_mode_is_restored_before_a_signal_kills_the_program() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::ABORT] {
        let program = Program::start("wait");
        program.signal(signal);
        assert_eq!(program.ends().signal(), Some(signal.as_raw()), "{signal:?}");
    }
}

#[test]
fn the_mode_can_be_changed_by_its_guard_alone() {
    let program = Program::start("change");
    program.type_keys(b"k");
    program.wait_for(|modes| {
        modes.local_modes.contains(LocalModes::ICANON) && !modes.local_modes.contains(LocalModes::ECHO)
    });
    program.signal(Signal::TERM);
    assert_eq!(program.ends().signal(), Some(libc::SIGTERM));
}

/// `stdio:` takes the streams, and leaves /dev/null in their place.
#[test]
fn the_mode_can_be_set_after_the_streams_were_taken() {
    let program = Program::start("taken");
    program.type_keys(b"k");
    program.wait_for(|modes| {
        modes.output_modes.contains(OutputModes::OPOST) && !modes.local_modes.contains(LocalModes::ICANON)
    });
    program.type_keys(b"k");
    assert_eq!(program.ends().code(), Some(0));
}

/// A shell with job control: Ctrl-Z stops the program, `fg` continues it.
#[test]
fn the_mode_is_restored_while_the_program_is_stopped() {
    let exe = std::env::current_exe().unwrap();
    let script = format!("'{}' --exact child --nocapture; echo it stopped; read answer; fg", exe.display());
    let program = Program::start_by("jobs", &["sh", "-mc", &script]);
    program.type_keys(&[0x1a]);
    program.wait_for(|modes| shown(modes) == program.before);
    // Until the program has stopped, it may read the keys itself.
    program.wait_for_output("it stopped");
    program.type_keys(b"go on\n");
    program.wait_for(|modes| !modes.local_modes.contains(LocalModes::ICANON));
    program.type_keys(&[0x03]);
    // The shell ends as its job did.
    assert_eq!(program.ends().signal(), Some(libc::SIGINT));
}

#[test]
fn a_stream_that_is_not_a_terminal_has_no_mode() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(TASK, "drop")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input is not a terminal"));
}
