//! Keeps programs running: starts each of them again when it has ended, and stops their groups in reverse order.
//!
//! Run `cargo run -p ropewalk-examples --bin supervisor -- 'echo hello; sleep 1' 'ping localhost'`. Each argument is a
//! command for sh(1). Ctrl-C stops the programs.
//!
//! The pause before a start grows with each quick exit, and is short again after a program has run for a while.
//!
//! `tests/supervisor.rs` tests all of this in virtual time and without a process, and then once with real programs. For
//! use, prefer `ropewalk::application::ProcessMonitor`, which has more options.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use ropewalk::prelude::*;
use ropewalk::processes::{ChildDescriptor, Command, Process};
use ropewalk::task::{AsyncChild, Scope};

/// The times of a supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The pause before the first new start. Each pause is twice as long as the one before.
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    /// The running time after which a program counts as stable, so that the pauses are short again.
    pub(crate) stable_after: Duration,
    /// The time between TERM and KILL.
    pub(crate) grace: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(60),
            stable_after: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }
}

/// A program and the name by which it is reported.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) command: Command,
}

/// Keeps programs running.
#[derive(Clone)]
pub(crate) struct Supervisor(Rc<State>);

struct State {
    reactor: Reactor,
    times: Times,
    report: Box<dyn Fn(String)>,
    /// The running process of each program.
    processes: RefCell<Vec<Option<Process>>>,
    /// A task for each program. `None` after a stop.
    tasks: RefCell<Option<Scope>>,
}

impl Supervisor {
    /// Starts the programs. Each event is passed to `report` as a line of text.
    pub(crate) fn start(
        reactor: &Reactor,
        times: Times,
        programs: Vec<Program>,
        report: impl Fn(String) + 'static,
    ) -> Supervisor {
        let supervisor = Supervisor(Rc::new(State {
            reactor: reactor.clone(),
            times,
            report: Box::new(report),
            processes: RefCell::new(vec![None; programs.len()]),
            tasks: RefCell::new(Some(Scope::new(reactor))),
        }));
        for (place, program) in programs.into_iter().enumerate() {
            let task = supervisor.clone().keep_running(place, program);
            if let Some(tasks) = &*supervisor.0.tasks.borrow() {
                tasks.spawn(task);
            }
        }
        supervisor
    }

    /// Starts nothing any more, and stops the groups of all programs, the last one first.
    pub(crate) fn stop(&self) -> Deferred<()> {
        drop(self.0.tasks.take());
        let supervisor = self.clone();
        self.0.reactor.spawn(async move {
            for process in supervisor.0.processes.take().into_iter().flatten().rev() {
                // It fails only if the reactor stops meanwhile.
                if let Ok(status) = process.end_group(supervisor.0.times.grace).await {
                    (supervisor.0.report)(format!("process {} {status}", process.pid()));
                }
            }
        })
    }

    async fn keep_running(self, place: usize, Program { name, command }: Program) {
        let State { reactor, times, report, processes, .. } = &*self.0;
        let mut pause = times.first_pause;
        loop {
            let began = reactor.now();
            let outcome = match AsyncChild::spawn(reactor, &command) {
                Ok(mut child) => {
                    report(format!("{name} runs as {}", child.process().pid()));
                    processes.borrow_mut()[place] = Some(child.process().clone());
                    let Ok(status) = child.wait().await else { return };
                    // Programs that it has left behind would disturb the next start.
                    let _ = child.process().end_group(times.grace).await;
                    processes.borrow_mut()[place] = None;
                    status.to_string()
                }
                Err(error) => error.to_string(),
            };
            if reactor.now().since(began) >= times.stable_after {
                pause = times.first_pause;
            }
            report(format!("{name} {outcome}: starts again in {pause:?}"));
            reactor.sleep(pause).await;
            pause = (2 * pause).min(times.longest_pause);
        }
    }
}

/// Keeps programs running, and stops them when it is stopped
#[derive(Parser)]
#[command(name = "supervisor")]
struct Options {
    /// Commands for sh(1)
    #[arg(required = true)]
    commands: Vec<String>,
}

fn program(text: &str) -> Program {
    let command = Command::new("sh").args(["-c", text]).own_group().stdin(ChildDescriptor::Null);
    let command = command.stdout(ChildDescriptor::Inherited(1)).stderr(ChildDescriptor::Inherited(2));
    Program { name: format!("'{text}'"), command }
}

fn main() -> ropewalk::Result<()> {
    let programs = Options::parse().commands.iter().map(|text| program(text)).collect();
    let reactor = Reactor::new()?;
    let supervisor = Supervisor::start(&reactor, Times::default(), programs, |line| println!("* {line}"));
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| supervisor.stop());
    reactor.run()
}
