//! Lines of output on standard output, which all monitors of the program share.
//!
//! A reader that is slower than the programs pauses them: `procmon ... | less`. If standard output cannot be written,
//! the programs continue, and their output is dropped.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use ropewalk::application::ProcessMonitor;
use ropewalk::sys::{PipeEnd, Sharing};
use ropewalk::transports::{Producer, PushProducer};
use ropewalk::{Error, Protocol, Reactor, Result, Transport};

use super::stdout;

thread_local! {
    /// The connection that the monitors on this thread share.
    static SHARED: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

/// A monitor's share of standard output. The connection closes with the last one.
pub(super) struct StandardOutput(Rc<Shared>);

struct Shared {
    transport: Transport,
    monitors: Rc<Monitors>,
}

/// The producers of the connection.
#[derive(Default)]
struct Monitors(RefCell<Vec<ProcessMonitor>>);

/// Writes lines. Holding one does not keep the connection open.
pub(super) struct LineWriter(Transport);

impl StandardOutput {
    /// Opens standard output, unless another monitor has it open.
    pub(super) fn open(reactor: &Reactor) -> Result<StandardOutput> {
        if let Some(shared) = SHARED.with_borrow(Weak::upgrade) {
            return Ok(StandardOutput(shared));
        }
        let handle = stdout::duplicate().map_err(|error| Error::Failed(format!("standard output: {error}").into()))?;
        let transport = reactor.adopt_pipe(handle, PipeEnd::Writer, Sharing::Shared, &|| Lost)?;
        let monitors = Rc::<Monitors>::default();
        transport.register_producer(Producer::push(monitors.clone()))?;
        let shared = Rc::new(Shared { transport, monitors });
        SHARED.set(Rc::downgrade(&shared));
        Ok(StandardOutput(shared))
    }

    pub(super) fn writer(&self) -> LineWriter {
        LineWriter(self.0.transport.clone())
    }

    /// Pauses the programs of `monitor` while much is queued.
    pub(super) fn pace(&self, monitor: &ProcessMonitor) {
        self.0.monitors.0.borrow_mut().push(monitor.clone());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.transport.unregister_producer();
        self.transport.lose_connection();
    }
}

impl LineWriter {
    pub(super) fn write_line(&self, prefix: &str, text: &[u8]) {
        self.0.write(&[prefix.as_bytes(), text, b"\n"].concat());
    }
}

impl PushProducer for Monitors {
    fn pause_producing(&self) {
        self.each(ProcessMonitor::pause_producing);
    }

    fn resume_producing(&self) {
        self.each(ProcessMonitor::resume_producing);
    }

    fn stop_producing(&self) {
        self.each(ProcessMonitor::stop_producing);
    }
}

impl Monitors {
    fn each(&self, call: impl Fn(&ProcessMonitor)) {
        let monitors = self.0.borrow().clone();
        monitors.iter().for_each(call);
    }
}

/// The protocol of standard output, which has no input.
struct Lost;

impl Protocol for Lost {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        if let Error::ConnectionLost(Some(error)) = reason {
            tracing::warn!(%error, "cannot write to standard output: dropping the output of the programs");
        }
    }

    fn log_prefix(&self) -> &'static str {
        "standard output"
    }
}
