//! Programs of a simulated network.

use std::rc::Rc;
use std::time::Duration;

use super::simulated_child::SimulatedChild;
use crate::processes::Signal;

/// A program that children of a simulated network run. Clones are the same program.
///
/// A closure converts into a program, and a [`Script`] does. The others imitate the programs of their names.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::processes::Command;
/// use ropewalk::testing::{MemoryReactor, Program, SimulatedChild};
///
/// let net = MemoryReactor::new();
/// net.install_program("cat", Program::cat());
/// net.install_program("echo", Program::echo());
/// net.install_program("sleep", Program::sleep());
/// net.install_program("false", Program::exit(1));
/// net.install_program("worker", Program::script().write(1, "ready\n").sleep(Duration::from_secs(2)).exit(3));
/// net.install_program("forever", Program::new(|_: &SimulatedChild| ()));
/// let value = net.process_value(&Command::new("worker"));
/// net.advance(Duration::from_secs(2));
/// assert_eq!(value.try_result().unwrap().unwrap().code(), Some(3));
/// ```
#[derive(Clone)]
pub struct Program(Rc<dyn Fn(&SimulatedChild)>);

impl Program {
    /// Creates a program that begins with `start`.
    pub fn new(start: impl Fn(&SimulatedChild) + 'static) -> Program {
        Program(Rc::new(start))
    }

    /// Creates a program that does one thing after another.
    pub fn script() -> Script {
        Script::default()
    }

    /// Creates a program that exits at once, as `true` and `false` do.
    pub fn exit(code: i32) -> Program {
        Program::new(move |child| child.exit(code))
    }

    /// Creates a program that copies its standard input to its standard output: cat(1) without arguments.
    pub fn cat() -> Program {
        Program::new(|child| {
            child.on_data(0, |child, data| child.write(1, data));
            child.on_end(0, |child| child.exit(0));
        })
    }

    /// Creates a program that writes its arguments: echo(1).
    pub fn echo() -> Program {
        Program::new(|child| {
            let words: Vec<&[u8]> = child.args().iter().map(|word| word.as_encoded_bytes()).collect();
            child.write(1, [&words.join(&b' ')[..], b"\n"].concat());
            child.exit(0);
        })
    }

    /// Creates a program that waits for the number of seconds that its argument is: sleep(1). It exits with 1 if that is
    /// not a number.
    pub fn sleep() -> Program {
        Program::new(|child| {
            let seconds = child.args().first().and_then(|argument| argument.to_str()?.parse().ok());
            match seconds.map(Duration::try_from_secs_f64) {
                Some(Ok(time)) => child.call_later(time, |child| child.exit(0)),
                _ => child.exit(1),
            }
        })
    }

    pub(super) fn start(&self, child: &SimulatedChild) {
        (self.0)(child);
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

impl<F: Fn(&SimulatedChild) + 'static> From<F> for Program {
    fn from(start: F) -> Program {
        Program::new(start)
    }
}

/// A program that does one thing after another. Behind the last step it exits with 0.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::processes::{Capture, Command, Signal};
/// use ropewalk::testing::{MemoryReactor, Program};
///
/// let net = MemoryReactor::new();
/// let script = Program::script().ignore(Signal::TERM).write(1, "working\n").close(1).sleep(Duration::from_secs(60));
/// net.install_program("stubborn", script.kill(Signal::KILL));
/// let limited = Capture::new().limit(Duration::from_secs(10)).grace(Duration::from_secs(5));
/// let output = net.process_output(&Command::new("stubborn"), limited);
/// net.advance(Duration::from_secs(15));
/// let output = output.try_result().unwrap().unwrap();
/// assert_eq!((&*output.out, output.status.signal()), (&b"working\n"[..], Some(Signal::KILL.number())));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Write(u32, Vec<u8>),
    Close(u32),
    Ignore(Signal),
    Kill(Signal),
    Sleep(Duration),
    Exit(i32),
}

impl Script {
    /// Writes to a descriptor.
    pub fn write(self, fd: u32, bytes: impl AsRef<[u8]>) -> Script {
        self.then(Step::Write(fd, bytes.as_ref().to_vec()))
    }

    /// Closes a descriptor.
    pub fn close(self, fd: u32) -> Script {
        self.then(Step::Close(fd))
    }

    /// Ignores a signal from now on.
    pub fn ignore(self, signal: impl Into<Signal>) -> Script {
        self.then(Step::Ignore(signal.into()))
    }

    /// Sends a signal to the process itself.
    pub fn kill(self, signal: impl Into<Signal>) -> Script {
        self.then(Step::Kill(signal.into()))
    }

    /// Waits in virtual time.
    pub fn sleep(self, time: Duration) -> Script {
        self.then(Step::Sleep(time))
    }

    /// Exits.
    pub fn exit(self, code: i32) -> Script {
        self.then(Step::Exit(code))
    }

    fn then(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }
}

impl From<Script> for Program {
    fn from(script: Script) -> Program {
        let steps: Rc<[Step]> = script.steps.into();
        Program::new(move |child| play(child, &steps, 0))
    }
}

/// Does the steps behind the first `done` ones.
fn play(child: &SimulatedChild, steps: &Rc<[Step]>, done: usize) {
    for (place, step) in steps.iter().enumerate().skip(done) {
        match step {
            Step::Write(fd, bytes) => child.write(*fd, bytes),
            Step::Close(fd) => child.close(*fd),
            Step::Ignore(signal) => child.on_signal(*signal, |_| ()),
            Step::Kill(signal) => child.kill(*signal),
            Step::Exit(code) => child.exit(*code),
            Step::Sleep(time) => {
                let steps = steps.clone();
                return child.call_later(*time, move |child| play(child, &steps, place + 1));
            }
        }
    }
    child.exit(0);
}
