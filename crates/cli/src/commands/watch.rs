//! Runs a program, and starts it again when a watched path changes.
//!
//! ```text
//!   idle -> running -> ended by itself, or stopped because of a change -> ending: its group gets TERM, later KILL
//!     ^                                                                     |
//!     +---------------------------------------------------------------------+   started again if a change wants that
//! ```

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::files::{FileEvent, FileWatcher, WatchOptions};
use ropewalk::processes::{ChildDescriptor, Command, ExitStatus, Process, ProcessProtocol, Signal};
use ropewalk::sys::signals::STOP_SIGNALS;
use ropewalk::{Deferred, Reactor, Resolver, SignalWatch, succeed};
use ropewalk_runner::{BoxedError, LIFECYCLE, fail};

use super::Begun;
use crate::watch_options::Watch;

/// Watches the paths. The program starts when the loop runs.
pub(super) fn begin(reactor: &Reactor, options: &Watch) -> Result<Begun, BoxedError> {
    let watching = Watching::begin(reactor, options)?;
    let signals = kill_at_second_signal(reactor, &watching)?;
    let paths = Vec::from_iter(options.paths.iter().map(|path| path.display().to_string()));
    let effect = if options.run { "running again" } else { "restarting" };
    let (name, paths) = (watching.name(), paths.join(", "));
    let start_line = format!("watch on {}, {effect} {name} when {paths} changes", reactor.name());
    let starting = watching.clone();
    let work = move |reactor: &Reactor| {
        // A program that cannot be run at all is an error of the command line. Later it may just be written.
        if let Err(error) = starting.start(reactor) {
            fail(reactor, error);
        }
        succeed(())
    };
    let close = move || {
        let stopped = watching.stop();
        stopped.then(move |outcome| {
            drop(signals);
            outcome
        })
    };
    Ok(Begun { start_line, work: Some(Box::new(work)), close: Some(Box::new(close)), ..Begun::default() })
}

/// Kills the program when a second signal arrives, because this program then exits without waiting for it.
fn kill_at_second_signal(reactor: &Reactor, watching: &Rc<Watching>) -> ropewalk::Result<Vec<SignalWatch>> {
    let is_second = Rc::new(Cell::new(false));
    let watch = |signal: &i32| {
        let (is_second, watching) = (is_second.clone(), watching.clone());
        reactor.on_signal(*signal, move |_| {
            if is_second.replace(true) {
                watching.kill();
            }
        })
    };
    STOP_SIGNALS.iter().map(watch).collect()
}

/// The program and its watcher.
struct Watching {
    command: Command,
    kill_time: Duration,
    /// Whether a running program finishes after a change.
    finishes: bool,
    is_recursive: bool,
    watcher: RefCell<Option<FileWatcher>>,
    /// The number of paths that are watched.
    watched: Cell<usize>,
    state: RefCell<State>,
    /// Whether the program starts when it has ended.
    is_wanted: Cell<bool>,
    stopped: RefCell<Option<Resolver<()>>>,
    is_stopping: Cell<bool>,
}

enum State {
    Idle,
    Running(Process),
    Ending(Process),
}

impl Watching {
    fn begin(reactor: &Reactor, options: &Watch) -> Result<Rc<Watching>, BoxedError> {
        let watching = Rc::new(Watching {
            command: command_of(options),
            kill_time: options.kill_time,
            finishes: options.run,
            is_recursive: !options.no_recursive,
            watcher: RefCell::default(),
            watched: Cell::new(options.paths.len()),
            state: RefCell::new(State::Idle),
            is_wanted: Cell::default(),
            stopped: RefCell::default(),
            is_stopping: Cell::default(),
        });
        let weak = Rc::downgrade(&watching);
        let watcher = reactor.watch_files(watch_options(options), move |reactor, events| {
            if let Some(watching) = weak.upgrade() {
                watching.changed(reactor, events);
            }
        })?;
        for path in &options.paths {
            if !path.exists() {
                let path = path.display();
                return Err(
                    format!("cannot watch '{path}': there is no such file or directory: create it first").into()
                );
            }
            watching.add(&watcher, path)?;
        }
        watching.watcher.replace(Some(watcher));
        Ok(watching)
    }

    fn name(&self) -> String {
        let program = Path::new(&self.command.plan().program);
        program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
    }

    fn add(&self, watcher: &FileWatcher, path: &Path) -> ropewalk::Result<()> {
        match path.is_dir() {
            true if self.is_recursive => watcher.add_tree(path),
            true => watcher.add_directory(path),
            false => watcher.add_file(path),
        }
    }

    /// Starts the program again because of `events`.
    fn changed(self: &Rc<Watching>, reactor: &Reactor, events: &[FileEvent]) {
        for event in events {
            tracing::debug!(%event, "a watched path");
            match event {
                FileEvent::Ended(path, _) => self.lost(reactor, event, path),
                FileEvent::Created(path) | FileEvent::Changed(path) => self.found(path),
                _ => {}
            }
        }
        if self.is_stopping.get() {
            return;
        }
        let cause = events.first().map(ToString::to_string).unwrap_or_default();
        tracing::info!(target: LIFECYCLE, cause, "a change");
        self.is_wanted.set(true);
        let running = match &*self.state.borrow() {
            State::Running(process) if !self.finishes => Some(process.clone()),
            State::Running(_) | State::Ending(_) => return,
            State::Idle => None,
        };
        match running {
            Some(process) => self.end(process),
            None => self.start_if_wanted(reactor),
        }
    }

    /// Waits for a directory that is gone. A directory below it that cannot be watched is only reported.
    fn lost(&self, reactor: &Reactor, event: &FileEvent, path: &Path) {
        tracing::warn!("{event}");
        let Some(watcher) = &*self.watcher.borrow() else { return };
        if path.is_dir() {
            return;
        }
        if watcher.add_file(path).is_err() {
            self.watched.set(self.watched.get() - 1);
        }
        if self.watched.get() == 0 {
            fail(reactor, "no path is left to watch: create it, and start again");
        }
    }

    /// Watches a directory again that was gone.
    fn found(&self, path: &Path) {
        let Some(watcher) = &*self.watcher.borrow() else { return };
        if path.is_dir() && watcher.remove(path) {
            if let Err(error) = self.add(watcher, path) {
                tracing::warn!("{error}");
            }
        }
    }

    fn start_if_wanted(self: &Rc<Watching>, reactor: &Reactor) {
        if !self.is_wanted.get() || self.is_stopping.get() {
            return;
        }
        if let Err(error) = self.start(reactor) {
            tracing::warn!("{error}: waiting for the next change");
        }
    }

    fn start(self: &Rc<Watching>, reactor: &Reactor) -> ropewalk::Result<()> {
        self.is_wanted.set(false);
        let process = reactor.spawn_process(&self.command, Program(self.clone()))?;
        tracing::info!(target: LIFECYCLE, pid = process.pid(), "started {}", self.name());
        self.state.replace(State::Running(process));
        Ok(())
    }

    /// Handles the end of the program itself.
    fn exited(self: &Rc<Watching>, process: &Process, status: ExitStatus) {
        if !matches!(*self.state.borrow(), State::Running(_)) {
            return;
        }
        match status.is_success() {
            true => tracing::info!(target: LIFECYCLE, "{} {status}: waiting for a change", self.name()),
            false => tracing::warn!("{} {status}: waiting for a change", self.name()),
        }
        self.end(process.clone());
    }

    /// Stops the program and everything that it has started.
    fn end(self: &Rc<Watching>, process: Process) {
        self.state.replace(State::Ending(process.clone()));
        let watching = self.clone();
        process.end_group(self.kill_time).add_both(move |_| watching.over(&process.reactor()));
    }

    fn over(self: &Rc<Watching>, reactor: &Reactor) {
        self.state.replace(State::Idle);
        let stopped = self.stopped.take();
        if let Some(stopped) = stopped {
            let _ = stopped.callback(());
        }
        self.start_if_wanted(reactor);
    }

    /// Stops watching, and stops the program. The Deferred fires when the program has ended.
    fn stop(self: &Rc<Watching>) -> Deferred<()> {
        self.is_stopping.set(true);
        drop(self.watcher.take());
        let process = match &*self.state.borrow() {
            State::Idle => return succeed(()),
            State::Running(process) | State::Ending(process) => process.clone(),
        };
        let (deferred, resolver) = Deferred::new();
        self.stopped.replace(Some(resolver));
        if matches!(*self.state.borrow(), State::Running(_)) {
            self.end(process);
        }
        deferred
    }

    fn kill(&self) {
        if let State::Running(process) | State::Ending(process) = &*self.state.borrow() {
            // It fails if the group has ended.
            let _ = process.signal_group(Signal::KILL);
        }
    }
}

fn watch_options(options: &Watch) -> WatchOptions {
    let watch = WatchOptions::new().settle(options.settle);
    let watch = options.ignore.iter().fold(watch, WatchOptions::skip);
    if options.hidden { watch } else { watch.skip_hidden() }
}

fn command_of(options: &Watch) -> Command {
    let mut words = options.command.iter();
    let command = Command::new(words.next().cloned().unwrap_or_default()).args(words).own_group();
    // A group in the background may not read from the terminal.
    let command = command.stdin(ChildDescriptor::Null).stdout(ChildDescriptor::Inherited(1));
    command.stderr(ChildDescriptor::Inherited(2))
}

/// The protocol of the program, whose output is that of this program.
struct Program(Rc<Watching>);

impl ProcessProtocol for Program {
    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.0.exited(process, status);
    }

    fn log_prefix(&self) -> &'static str {
        "watch"
    }
}
