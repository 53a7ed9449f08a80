//! Two pumps between descriptors and a socket pair.
//!
//! ```text
//!   input  ---- pump ----> ours )==( theirs ----> data_received
//!   output <--- pump ----- ours )==( theirs <---- write
//! ```
//!
//! A pump watches the end it reads from, or, while it holds bytes, the end it writes to. The descriptors stay blocking,
//! because other processes may share them. A read from a readable descriptor does not block, and neither does a write
//! of PIPE_BUF bytes to a writable one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Deferred, Resolver, succeed};

use crate::error::{Error, Result};
use crate::interfaces::core::{Phase, TriggerId};
use crate::interfaces::fd_set::Descriptor;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Origin, Transport, WeakTransport};

/// The buffer size of a pump.
const HELD_MAX: usize = 64 * 1024;
/// The smallest PIPE_BUF that POSIX allows. A writable pipe accepts that many bytes without blocking.
const BLOCKING_WRITE_MAX: usize = 512;
/// The time that a stopped reactor waits for the output of a connection that is closing or has ended.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

pub(super) fn adopt_pipes(
    reactor: &Reactor,
    input: OwnedFd,
    output: OwnedFd,
    factory: &dyn Factory,
) -> Result<Transport> {
    let cannot = Error::io("cannot connect a pair of descriptors");
    let made = (|| -> io::Result<_> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // The pumps need two descriptors of the socket, because each pump watches a separate descriptor.
        Ok((ours.try_clone()?, ours, theirs))
    })();
    let (for_writing, for_reading, theirs) = made.map_err(cannot)?;
    let incoming = Pump::new(Rc::new(File::from(input)), Rc::new(for_writing));
    let outgoing = Pump::new(Rc::new(for_reading), Rc::new(File::from(output)));
    outgoing.partner.replace(Rc::downgrade(&incoming));
    let pumps = Rc::new(Pumps { incoming: Rc::downgrade(&incoming), outgoing: Rc::downgrade(&outgoing) });
    let transport = reactor.adopt_connection(theirs.into(), factory, Some(pumps))?;
    let watched = incoming.watch_reader(reactor).and_then(|()| outgoing.watch_reader(reactor));
    if watched.is_err() {
        transport.abort_connection();
    }
    let (going, connection) = (Rc::downgrade(&outgoing), transport.downgrade());
    let trigger = reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
        // The shutdown closes a connection that is still open, like all others. So this trigger waits only for the
        // output of a connection that is closing or has ended.
        let is_over = |transport: Transport| transport.is_disconnecting() || !transport.is_connected();
        let is_over = connection.upgrade().is_none_or(is_over);
        match going.upgrade().filter(|_| is_over) {
            Some(pump) => pump.wait_for_end(reactor),
            None => succeed(()),
        }
    });
    outgoing.trigger.replace(Some(trigger));
    watched.map(|()| transport)
}

/// The pumps of a connection.
struct Pumps {
    incoming: Weak<Pump>,
    outgoing: Weak<Pump>,
}

impl Origin for Pumps {
    fn connected(&self, transport: &Transport) {
        transport.wait_for_pump();
        if let Some(outgoing) = self.outgoing.upgrade() {
            outgoing.connection.replace(Some(transport.downgrade()));
        }
    }

    /// Stops reading the input. Output of a connection that did not end in order is still written.
    fn connection_lost(self: Rc<Pumps>, reactor: &Reactor, _reason: &Error) {
        if let Some(incoming) = self.incoming.upgrade() {
            incoming.end(reactor);
        }
    }

    fn forget(&self) {}

    fn as_any(self: Rc<Pumps>) -> Rc<dyn Any> {
        self
    }
}

/// A descriptor from which a pump reads, or to which it writes.
trait End: AsRawFd {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Called after the last write.
    fn finish(&self);
}

impl End for File {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, &bytes[..bytes.len().min(BLOCKING_WRITE_MAX)])
    }

    fn finish(&self) {
        // The file is closed when its pump is dropped.
    }
}

impl End for UnixStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn finish(&self) {
        // The shutdown fails if the other side is closed.
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// Copies bytes from one end to the other. After the end of the connection, only the reactor's watch keeps the pump
/// alive.
struct Pump {
    from: Rc<dyn End>,
    to: Rc<dyn End>,
    held: RefCell<Vec<u8>>,
    /// The number of bytes of `held` that were written.
    written: Cell<usize>,
    watched: RefCell<Option<Weak<dyn Descriptor>>>,
    /// The pump of the other direction. A failed write of this pump also stops the other pump.
    partner: RefCell<Weak<Pump>>,
    /// The connection whose output this pump writes.
    connection: RefCell<Option<WeakTransport>>,
    /// The trigger that delays a shutdown until all output is written.
    trigger: RefCell<Option<TriggerId>>,
    ended: RefCell<Option<Resolver<()>>>,
}

impl Pump {
    fn new(from: Rc<dyn End>, to: Rc<dyn End>) -> Rc<Pump> {
        Rc::new(Pump {
            from,
            to,
            held: RefCell::default(),
            written: Cell::default(),
            watched: RefCell::default(),
            partner: RefCell::default(),
            connection: RefCell::default(),
            trigger: RefCell::default(),
            ended: RefCell::default(),
        })
    }

    fn watch_reader(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        self.stop(reactor);
        let reader: Rc<dyn Descriptor> = Rc::new(PumpReader(self.clone()));
        self.watched.replace(Some(Rc::downgrade(&reader)));
        reactor.add_reader(&reader)
    }

    fn watch_writer(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        self.stop(reactor);
        let writer: Rc<dyn Descriptor> = Rc::new(PumpWriter(self.clone()));
        self.watched.replace(Some(Rc::downgrade(&writer)));
        reactor.add_writer(&writer)
    }

    /// Returns a Deferred that fires when all output is written, and at the latest after [`SHUTDOWN_GRACE`].
    fn wait_for_end(&self, reactor: &Reactor) -> Deferred<()> {
        if self.watched.borrow().is_none() {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        self.ended.replace(Some(resolver.clone()));
        reactor.call_later(SHUTDOWN_GRACE, move |_| {
            let _ = resolver.callback(());
        });
        deferred
    }

    /// Stops the pump, and reports the outcome to the connection whose output it has written.
    fn finish(&self, reactor: &Reactor, outcome: io::Result<()>) {
        self.end(reactor);
        if outcome.is_err() {
            // Otherwise the connection might receive for ever before its end.
            if let Some(incoming) = self.partner.borrow().upgrade() {
                incoming.end(reactor);
            }
        }
        let connection = self.connection.take().and_then(|connection| connection.upgrade());
        if let Some(connection) = connection {
            connection.pump_ended(outcome);
        }
    }

    /// Stops the pump. Dropping the pump closes its ends.
    fn end(&self, reactor: &Reactor) {
        self.stop(reactor);
        if let Some(trigger) = self.trigger.take() {
            // Removing the trigger fails while it runs.
            let _ = reactor.remove_system_event_trigger(&trigger);
        }
        if let Some(ended) = self.ended.take() {
            let _ = ended.callback(());
        }
    }

    /// Stops watching.
    fn stop(&self, reactor: &Reactor) {
        let watched = self.watched.take().and_then(|watched| watched.upgrade());
        if let Some(watched) = watched {
            reactor.remove_reader(&watched);
            reactor.remove_writer(&watched);
        }
    }

    fn pull(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        let mut buffer = vec![0; HELD_MAX];
        match self.from.read(&mut buffer) {
            Err(error) if is_early(&error) => Ok(()),
            // Any read error counts as the end: a terminal that hung up returns EIO.
            Err(_) | Ok(0) => {
                self.to.finish();
                self.finish(reactor, Ok(()));
                Ok(())
            }
            Ok(count) => {
                buffer.truncate(count);
                self.held.replace(buffer);
                self.written.set(0);
                self.watch_writer(reactor)
            }
        }
    }

    fn push(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        let written = self.written.get();
        let outcome = self.to.write(&self.held.borrow()[written..]);
        match outcome {
            Err(error) if is_early(&error) => return Ok(()),
            Err(error) => {
                self.finish(reactor, Err(error));
                return Ok(());
            }
            Ok(count) => self.written.set(written + count),
        }
        if self.written.get() < self.held.borrow().len() {
            return Ok(());
        }
        // An idle pump keeps no buffer.
        self.held.take();
        self.watch_reader(reactor)
    }
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

struct PumpReader(Rc<Pump>);

impl Descriptor for PumpReader {
    fn raw_io(&self) -> RawFd {
        self.0.from.as_raw_fd()
    }

    fn do_read(&self, reactor: &Reactor) -> Result<()> {
        self.0.pull(reactor)
    }
}

struct PumpWriter(Rc<Pump>);

impl Descriptor for PumpWriter {
    fn raw_io(&self) -> RawFd {
        self.0.to.as_raw_fd()
    }

    fn do_write(&self, reactor: &Reactor) -> Result<()> {
        self.0.push(reactor)
    }
}
