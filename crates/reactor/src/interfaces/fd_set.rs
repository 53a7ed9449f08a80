//! IReactorFDSet: descriptors that the program reads and writes itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ropewalk_proto::Key;
use ropewalk_sys::{Interest, RawWaitable, Ready};

use super::Interface;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Feature, Reactor, Source, name_of};

/// An object with a descriptor that can be watched: IReadWriteDescriptor.
///
/// Methods take `&self`, because they may use the reactor, for example to remove the object itself. The reactor calls
/// them on its own thread.
///
/// ```
/// # #[cfg(unix)] {
/// use std::io::{Read, Write};
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
/// use std::rc::Rc;
/// use ropewalk::{Descriptor, Reactor};
///
/// /// Stops the reactor when a byte arrives.
/// struct StopButton(UnixStream);
///
/// impl Descriptor for StopButton {
///     fn raw_io(&self) -> ropewalk::sys::RawWaitable {
///         self.0.as_raw_fd()
///     }
///
///     fn do_read(&self, reactor: &Reactor) -> ropewalk::Result<()> {
///         (&self.0).read(&mut [0])?;
///         reactor.stop()
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let (mut finger, button) = UnixStream::pair().unwrap();
/// let button: Rc<dyn Descriptor> = Rc::new(StopButton(button));
/// reactor.add_reader(&button)?;
/// finger.write_all(b"!").unwrap();
/// reactor.run()?;
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait Descriptor {
    /// Returns the descriptor, which the program continues to own. Called once each time the object is added.
    fn raw_io(&self) -> RawWaitable;

    /// Called when reading would not block. An error stops the watching.
    ///
    /// # Errors
    /// Any error, which is passed to `connection_lost`.
    fn do_read(&self, reactor: &Reactor) -> Result<()> {
        let _ = reactor;
        Ok(())
    }

    /// Called when writing would not block. An error stops the watching.
    ///
    /// # Errors
    /// Any error, which is passed to `connection_lost`.
    fn do_write(&self, reactor: &Reactor) -> Result<()> {
        let _ = reactor;
        Ok(())
    }

    /// Called when the reactor has removed the object, because one of its methods failed, its descriptor was closed, or
    /// the reactor shuts down.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::cell::Cell;
    /// use std::os::fd::AsRawFd;
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use ropewalk::{Descriptor, Error, Reactor};
    ///
    /// /// Fails to read.
    /// struct Broken(UnixStream, Rc<Cell<bool>>);
    ///
    /// impl Descriptor for Broken {
    ///     fn raw_io(&self) -> ropewalk::sys::RawWaitable {
    ///         self.0.as_raw_fd()
    ///     }
    ///
    ///     fn do_read(&self, _reactor: &Reactor) -> ropewalk::Result<()> {
    ///         Err(Error::Closed)
    ///     }
    ///
    ///     fn connection_lost(&self, _reactor: &Reactor, _reason: &Error) {
    ///         self.1.set(true);
    ///     }
    ///
    ///     fn log_prefix(&self) -> &'static str {
    ///         "broken"
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let (socket, peer) = UnixStream::pair().unwrap();
    /// let told = Rc::new(Cell::new(false));
    /// let broken: Rc<dyn Descriptor> = Rc::new(Broken(socket, told.clone()));
    /// reactor.add_reader(&broken)?;
    /// drop(peer); // makes the socket readable
    /// while !told.get() {
    ///     reactor.iterate(Some(std::time::Duration::from_secs(1)))?;
    /// }
    /// assert!(reactor.get_readers().is_empty());
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn connection_lost(&self, reactor: &Reactor, reason: &Error) {
        let _ = (reactor, reason);
    }

    /// Returns the name of the object in log lines. The default is the name of its type.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

type Operation = fn(&dyn Descriptor, &Reactor) -> Result<()>;

/// A watched descriptor.
struct Watch {
    descriptor: Rc<dyn Descriptor>,
    key: Key,
    interest: Cell<Interest>,
}

/// The watches, by the address of the watched object.
#[derive(Default)]
struct Watches(RefCell<HashMap<*const (), Rc<Watch>>>);

impl Feature for Watches {
    fn new(_reactor: &Reactor) -> Watches {
        Watches::default()
    }
}

impl Reactor {
    /// Starts calling `do_read` whenever reading would not block. Adding an object twice has no further effect.
    ///
    /// Any pollable descriptor can be added. A regular file is always ready, so watching a file keeps the loop busy.
    /// Several objects may watch one descriptor, and one of them may watch the [`handle`](crate::Transport::handle) of a
    /// connection. Each is notified.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::fd::{AsRawFd, OwnedFd};
    /// use std::rc::Rc;
    /// use ropewalk::{Descriptor, Reactor};
    ///
    /// struct Camera(OwnedFd);
    ///
    /// impl Descriptor for Camera {
    ///     fn raw_io(&self) -> ropewalk::sys::RawWaitable {
    ///         self.0.as_raw_fd()
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    /// let camera: Rc<dyn Descriptor> = Rc::new(Camera(socket.into()));
    /// reactor.add_reader(&camera)?;
    /// reactor.add_writer(&camera)?;
    /// assert_eq!((reactor.get_readers().len(), reactor.get_writers().len()), (1, 1));
    /// reactor.remove_writer(&camera);
    /// reactor.remove_reader(&camera);
    /// assert!(reactor.remove_all().is_empty()); // none was left
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the provider cannot watch descriptors. [`Error::Io`] when the system refuses, for
    /// example because the descriptor is closed, or is too large for select.
    pub fn add_reader(&self, descriptor: &Rc<dyn Descriptor>) -> Result<()> {
        self.add_interest(descriptor, Interest::READ)
    }

    /// Starts calling `do_write` whenever writing would not block. Adding an object twice has no further effect.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::io::Write;
    /// use std::os::fd::AsRawFd;
    /// use std::rc::Rc;
    /// use ropewalk::{Descriptor, Reactor};
    ///
    /// /// Writes one line when there is room, and stops.
    /// struct OneLine(std::os::unix::net::UnixStream);
    ///
    /// impl Descriptor for OneLine {
    ///     fn raw_io(&self) -> ropewalk::sys::RawWaitable {
    ///         self.0.as_raw_fd()
    ///     }
    ///
    ///     fn do_write(&self, reactor: &Reactor) -> ropewalk::Result<()> {
    ///         (&self.0).write_all(b"done\n").expect("room in the buffer");
    ///         reactor.remove_all();
    ///         reactor.stop()
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    /// let line: Rc<dyn Descriptor> = Rc::new(OneLine(socket));
    /// reactor.add_writer(&line)?;
    /// reactor.run()?;
    /// let mut text = [0; 5];
    /// std::io::Read::read_exact(&mut peer, &mut text).unwrap();
    /// assert_eq!(&text, b"done\n");
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`add_reader`](Reactor::add_reader).
    pub fn add_writer(&self, descriptor: &Rc<dyn Descriptor>) -> Result<()> {
        self.add_interest(descriptor, Interest::WRITE)
    }

    /// Stops the calls that [`add_reader`](Reactor::add_reader) started. Removing an unknown object has no effect.
    pub fn remove_reader(&self, descriptor: &Rc<dyn Descriptor>) {
        self.remove_interest(descriptor, Interest::READ);
    }

    /// Stops the calls that [`add_writer`](Reactor::add_writer) started. Removing an unknown object has no effect.
    pub fn remove_writer(&self, descriptor: &Rc<dyn Descriptor>) {
        self.remove_interest(descriptor, Interest::WRITE);
    }

    /// Removes all readers and writers of the program, and returns them. The reactor's own sources are kept.
    pub fn remove_all(&self) -> Vec<Rc<dyn Descriptor>> {
        let watches = self.feature::<Watches>().0.take();
        let removed = watches.into_values().map(|watch| {
            self.unwatch(watch.key);
            watch.descriptor.clone()
        });
        removed.collect()
    }

    /// Returns the objects added with [`add_reader`](Reactor::add_reader), in no particular order.
    pub fn get_readers(&self) -> Vec<Rc<dyn Descriptor>> {
        self.watched_for(Interest::READ)
    }

    /// Returns the objects added with [`add_writer`](Reactor::add_writer), in no particular order.
    pub fn get_writers(&self) -> Vec<Rc<dyn Descriptor>> {
        self.watched_for(Interest::WRITE)
    }

    fn watched_for(&self, interest: Interest) -> Vec<Rc<dyn Descriptor>> {
        let watches = self.feature::<Watches>();
        let watches = watches.0.borrow();
        let wanted = watches.values().filter(|watch| watch.interest.get().contains(interest));
        wanted.map(|watch| watch.descriptor.clone()).collect()
    }

    fn add_interest(&self, descriptor: &Rc<dyn Descriptor>, added: Interest) -> Result<()> {
        self.require(Interface::FdSet)?;
        let watches = self.feature::<Watches>();
        let known = watches.0.borrow().get(&identity(descriptor)).cloned();
        let cannot = Error::io("cannot watch a descriptor");
        let Some(watch) = known else {
            let io = descriptor.raw_io();
            let key = self.0.watches(|watches| watches.watch(io, added))?.map_err(cannot)?;
            let watch = Rc::new(Watch { descriptor: descriptor.clone(), key, interest: Cell::new(added) });
            watches.0.borrow_mut().insert(identity(descriptor), watch.clone());
            self.0.add_source(key, watch);
            return Ok(());
        };
        let interest = watch.interest.get() | added;
        if interest != watch.interest.get() {
            self.0.watches(|watches| watches.set_interest(watch.key, interest))?.map_err(cannot)?;
            watch.interest.set(interest);
        }
        Ok(())
    }

    fn remove_interest(&self, descriptor: &Rc<dyn Descriptor>, removed: Interest) {
        let watches = self.feature::<Watches>();
        let Some(watch) = watches.0.borrow().get(&identity(descriptor)).cloned() else { return };
        let interest = watch.interest.get() - removed;
        watch.interest.set(interest);
        if interest.is_empty() {
            watches.0.borrow_mut().remove(&identity(descriptor));
            self.unwatch(watch.key);
            return;
        }
        // The closure takes only the key. The watch holds the user's object, whose destructor must not run within the
        // provider.
        let key = watch.key;
        self.0.tell_watches(move |watches| {
            if let Err(error) = watches.set_interest(key, interest) {
                // The descriptor may have been closed before the object was removed.
                tracing::debug!(%error, "cannot change the interest in a watched descriptor");
            }
        });
    }

    fn unwatch(&self, key: Key) {
        drop(self.0.remove_source(key));
        self.0.tell_watches(move |watches| watches.unwatch(key));
    }
}

impl Source for Watch {
    fn ready(self: Rc<Watch>, reactor: &Reactor, _key: Key, ready: Ready, _scratch: &mut [u8]) {
        self.act(reactor, ready);
    }

    fn panicked(self: Rc<Watch>, reactor: &Reactor, error: Error) {
        self.lose(reactor, &error);
    }

    fn shut_down(self: Rc<Watch>, reactor: &Reactor) {
        self.lose(reactor, &Error::ConnectionLost(None));
    }
}

impl Watch {
    fn act(&self, reactor: &Reactor, ready: Ready) {
        if ready.contains(Ready::GONE) {
            return self.lose(reactor, &Error::ConnectionFdescWentAway);
        }
        // On a hang-up or an error, each watched operation is called. The operation finds the error after it has read
        // all data.
        let trouble = ready.intersects(Ready::HANGUP | Ready::ERROR);
        let operations: [(Interest, Ready, Operation); 2] = [
            (Interest::READ, Ready::READ, |descriptor, reactor| descriptor.do_read(reactor)),
            (Interest::WRITE, Ready::WRITE, |descriptor, reactor| descriptor.do_write(reactor)),
        ];
        for (interest, possible, operation) in operations {
            if !self.interest.get().contains(interest) || !(trouble || ready.contains(possible)) {
                continue;
            }
            let name = name_of(|| self.descriptor.log_prefix());
            let operation = || operation(&*self.descriptor, reactor);
            let outcome = reactor.0.guard(CallbackKind::Descriptor, name, operation);
            if let Err(reason) = outcome.and_then(|outcome| outcome) {
                return self.lose(reactor, &reason);
            }
        }
    }

    /// Stops watching, and calls `connection_lost`, unless the object has been removed. If the object was removed and
    /// added again, its new watch is stopped.
    fn lose(&self, reactor: &Reactor, reason: &Error) {
        let present = reactor.feature::<Watches>().0.borrow_mut().remove(&identity(&self.descriptor));
        if let Some(present) = present {
            present.interest.set(Interest::empty());
            reactor.unwatch(present.key);
            let name = name_of(|| self.descriptor.log_prefix());
            let lost = || self.descriptor.connection_lost(reactor, reason);
            let _ = reactor.0.guard(CallbackKind::Descriptor, name, lost);
        }
    }
}

fn identity(descriptor: &Rc<dyn Descriptor>) -> *const () {
    Rc::as_ptr(descriptor).cast()
}

#[cfg(all(test, unix))]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// Removes and adds itself, and then fails to read.
    struct Restless {
        socket: UnixStream,
        itself: RefCell<Option<Rc<dyn Descriptor>>>,
        events: RefCell<Vec<&'static str>>,
    }

    impl Descriptor for Restless {
        fn raw_io(&self) -> RawWaitable {
            self.socket.as_raw_fd()
        }

        fn do_read(&self, reactor: &Reactor) -> Result<()> {
            self.events.borrow_mut().push("read");
            let itself = self.itself.borrow().clone().unwrap();
            reactor.remove_reader(&itself);
            reactor.add_reader(&itself)?;
            Err(Error::TimedOut)
        }

        fn connection_lost(&self, _reactor: &Reactor, _reason: &Error) {
            self.events.borrow_mut().push("lost");
        }
    }

    #[test]
    fn a_descriptor_that_fails_after_re_adding_itself_is_removed() {
        let reactor = Reactor::new().unwrap();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let restless = Rc::new(Restless { socket, itself: RefCell::default(), events: RefCell::default() });
        let descriptor: Rc<dyn Descriptor> = restless.clone();
        *restless.itself.borrow_mut() = Some(descriptor.clone());
        reactor.add_reader(&descriptor).unwrap();
        peer.write_all(b"x").unwrap();
        for _ in 0..3 {
            reactor.iterate(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(*restless.events.borrow(), ["read", "lost"]);
        assert_eq!(reactor.source_count(), 0);
        restless.itself.take();
    }
}
