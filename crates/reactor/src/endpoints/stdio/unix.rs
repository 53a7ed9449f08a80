//! Two pumps between descriptors and a socket pair.
//!
//! ```text
//!   input  ---- pump ----> ours )==( theirs ----> data_received
//!   output <--- pump ----- ours )==( theirs <---- write
//! ```
//!
//! A pump watches its source, or its sink while it holds bytes. The descriptors stay blocking, for others may share
//! them: one that is readable gives what it has, and one that is writable takes PIPE_BUF bytes, without blocking.

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
use crate::kernel::{Reactor, WeakReactor};
use crate::protocols::Factory;
use crate::transports::Transport;

/// How much one pump holds.
const HELD_MAX: usize = 64 * 1024;
/// POSIX promises 512 for PIPE_BUF, and that a pipe which is writable takes as much at once.
const BLOCKING_WRITE_MAX: usize = 512;
/// How long a reactor that was stopped waits for the output of a connection that had ended.
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
        // Each pump watches a descriptor of its own.
        Ok((ours.try_clone()?, ours, theirs))
    })();
    let (sink, source, theirs) = made.map_err(cannot)?;
    let incoming = Pump::new(Rc::new(File::from(input)), Rc::new(sink));
    let outgoing = Pump::new(Rc::new(source), Rc::new(File::from(output)));
    outgoing.partner.replace(Rc::downgrade(&incoming));
    let transport = reactor.adopt_stream_connection(OwnedFd::from(theirs), factory)?;
    let watched = incoming.watch_source(reactor).and_then(|()| outgoing.watch_source(reactor));
    // What comes in is of no use to anybody when the connection is over; what is to go out still goes.
    transport.keep_until_lost(Connected { reactor: reactor.downgrade(), incoming: Rc::downgrade(&incoming) });
    if watched.is_err() {
        transport.abort_connection();
    }
    let (going, connection) = (Rc::downgrade(&outgoing), transport.downgrade());
    let trigger = reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
        // A connection that is still there is cut off, as all are.
        let is_over = connection.upgrade().is_none_or(|transport| !transport.is_connected());
        match going.upgrade().filter(|_| is_over) {
            Some(pump) => pump.wait_for_end(reactor),
            None => succeed(()),
        }
    });
    outgoing.trigger.replace(Some(trigger));
    watched.map(|()| transport)
}

/// Dropped at the end of the connection.
struct Connected {
    reactor: WeakReactor,
    incoming: Weak<Pump>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let (Some(reactor), Some(incoming)) = (self.reactor.upgrade(), self.incoming.upgrade()) {
            incoming.end(&reactor);
        }
    }
}

/// One end of a pump.
trait End: AsRawFd {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// No more will be written.
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
        // It is closed with its pump.
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
        // The other side may be gone.
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// Carries bytes from one end to the other. The reactor's watch keeps it alive, and nobody else does after the end of
/// the connection.
struct Pump {
    from: Rc<dyn End>,
    to: Rc<dyn End>,
    held: RefCell<Vec<u8>>,
    /// How much of what is held has been written.
    written: Cell<usize>,
    watched: RefCell<Option<Weak<dyn Descriptor>>>,
    /// The other direction, which ends when this one breaks.
    partner: RefCell<Weak<Pump>>,
    /// What holds a shutdown back until everything has gone out.
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
            trigger: RefCell::default(),
            ended: RefCell::default(),
        })
    }

    fn watch_source(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        self.stop(reactor);
        let source: Rc<dyn Descriptor> = Rc::new(Source(self.clone()));
        self.watched.replace(Some(Rc::downgrade(&source)));
        reactor.add_reader(&source)
    }

    fn watch_sink(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        self.stop(reactor);
        let sink: Rc<dyn Descriptor> = Rc::new(Sink(self.clone()));
        self.watched.replace(Some(Rc::downgrade(&sink)));
        reactor.add_writer(&sink)
    }

    /// Fires when everything has gone out, or soon: who stops a reactor does not wait for long.
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

    /// Both ends are closed when nobody else has them.
    fn end(&self, reactor: &Reactor) {
        self.stop(reactor);
        if let Some(trigger) = self.trigger.take() {
            // It may be running.
            let _ = reactor.remove_system_event_trigger(&trigger);
        }
        if let Some(ended) = self.ended.take() {
            let _ = ended.callback(());
        }
    }

    /// Watches nothing any more.
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
            // A terminal that hung up says EIO, and a broken connection has ended, too.
            Err(_) | Ok(0) => {
                self.to.finish();
                self.end(reactor);
                Ok(())
            }
            Ok(count) => {
                buffer.truncate(count);
                self.held.replace(buffer);
                self.written.set(0);
                self.watch_sink(reactor)
            }
        }
    }

    fn push(self: &Rc<Pump>, reactor: &Reactor) -> Result<()> {
        let written = self.written.get();
        let outcome = self.to.write(&self.held.borrow()[written..]);
        match outcome {
            Err(error) if is_early(&error) => return Ok(()),
            Err(_) => {
                // Who writes is told when nobody has the other end of its socket any more.
                if let Some(incoming) = self.partner.borrow().upgrade() {
                    incoming.end(reactor);
                }
                self.end(reactor);
                return Ok(());
            }
            Ok(count) => self.written.set(written + count),
        }
        if self.written.get() < self.held.borrow().len() {
            return Ok(());
        }
        // An idle pump holds nothing.
        self.held.take();
        self.watch_source(reactor)
    }
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

struct Source(Rc<Pump>);

impl Descriptor for Source {
    fn raw_io(&self) -> RawFd {
        self.0.from.as_raw_fd()
    }

    fn do_read(&self, reactor: &Reactor) -> Result<()> {
        self.0.pull(reactor)
    }
}

struct Sink(Rc<Pump>);

impl Descriptor for Sink {
    fn raw_io(&self) -> RawFd {
        self.0.to.as_raw_fd()
    }

    fn do_write(&self, reactor: &Reactor) -> Result<()> {
        self.0.push(reactor)
    }
}
