//! ropewalk's delayed calls, and calls from another thread.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};
use ropewalk::{Reactor, ThreadHandle};

use super::{Calls, Queue, Spawns, Timers};

pub(super) struct RopewalkTimers {
    reactor: Reactor,
    fired: Rc<Cell<usize>>,
}

impl RopewalkTimers {
    pub(super) fn new() -> io::Result<RopewalkTimers> {
        Ok(RopewalkTimers { reactor: reactor()?, fired: Rc::default() })
    }
}

impl Timers for RopewalkTimers {
    fn schedule(&mut self, delay: Duration) {
        let fired = self.fired.clone();
        self.reactor.call_later(delay, move |_| fired.set(fired.get() + 1));
    }

    fn schedule_and_cancel(&mut self, delay: Duration) {
        let fired = self.fired.clone();
        let call = self.reactor.call_later(delay, move |_| fired.set(fired.get() + 1));
        call.cancel().expect("the call is still to be made");
    }

    fn fire(&mut self, count: usize) -> io::Result<usize> {
        while self.fired.get() < count {
            self.reactor.iterate(Some(Duration::from_millis(1))).map_err(io::Error::other)?;
        }
        Ok(self.fired.get())
    }
}

pub(super) struct RopewalkCalls(Reactor);

pub(super) struct RopewalkQueue(ThreadHandle);

impl RopewalkCalls {
    pub(super) fn new() -> io::Result<RopewalkCalls> {
        reactor().map(RopewalkCalls)
    }
}

impl Calls for RopewalkCalls {
    type Queue = RopewalkQueue;

    fn queue(&self) -> RopewalkQueue {
        RopewalkQueue(self.0.thread_handle())
    }

    fn run(&mut self) -> io::Result<()> {
        self.0.run().map_err(io::Error::other)
    }
}

impl Queue for RopewalkQueue {
    fn call(&self, callback: impl FnOnce() + Send + 'static) {
        self.0.call_from_thread(move |_| callback());
    }

    fn stop(&self) {
        self.0.call_from_thread(|reactor| reactor.stop().expect("the reactor runs"));
    }
}

fn reactor() -> io::Result<Reactor> {
    Reactor::with("epoll").map_err(io::Error::other)
}

pub(super) struct RopewalkSpawns {
    reactor: Reactor,
    command: Command,
}

/// Closes the input, and notes the end.
struct Watch(Rc<Cell<bool>>);

impl ProcessProtocol for Watch {
    fn connection_made(&mut self, process: &Process) {
        process.close_stdin();
    }

    fn process_ended(&mut self, _process: &Process, _status: ExitStatus) {
        self.0.set(true);
    }
}

impl RopewalkSpawns {
    pub(super) fn new(provider: &str) -> io::Result<RopewalkSpawns> {
        let reactor = Reactor::with(provider).map_err(io::Error::other)?;
        Ok(RopewalkSpawns { reactor, command: Command::new("/bin/true") })
    }
}

impl Spawns for RopewalkSpawns {
    fn spawn(&mut self) -> io::Result<()> {
        let ended = Rc::new(Cell::new(false));
        self.reactor.spawn_process(&self.command, Watch(ended.clone())).map_err(io::Error::other)?;
        while !ended.get() {
            self.reactor.iterate(None).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
