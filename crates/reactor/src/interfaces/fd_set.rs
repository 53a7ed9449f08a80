//! IReactorFDSet: descriptors that the program reads and writes itself.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use ropewalk_proto::Key;
use ropewalk_sys::{Interest, RawIo, Ready};

use crate::error::{Error, Result};
use crate::kernel::{Interface, Reactor, Source, guard, name_of};

/// Something with a descriptor that can be watched: IReadWriteDescriptor.
///
/// Methods take `&self`: they may use the reactor, also to remove themselves.
///
/// ```
/// # #[cfg(unix)] {
/// use std::io::{Read, Write};
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
/// use std::rc::Rc;
/// use ropewalk::{Descriptor, Error, Reactor};
///
/// /// Stops the reactor when a byte comes.
/// struct StopButton(UnixStream);
///
/// impl Descriptor for StopButton {
///     fn raw_io(&self) -> ropewalk::sys::RawIo {
///         self.0.as_raw_fd()
///     }
///
///     fn do_read(&self, reactor: &Reactor) -> ropewalk::Result<()> {
///         (&self.0).read(&mut [0]).map_err(|error| Error::Failed(error.to_string().into()))?;
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
    /// The descriptor, which stays the program's own. Asked once for each time it is added.
    fn raw_io(&self) -> RawIo;

    /// Reading would not block. An error ends watching, as does one from `do_write`.
    ///
    /// # Errors
    /// Any; `connection_lost` is told.
    fn do_read(&self, reactor: &Reactor) -> Result<()> {
        let _ = reactor;
        Ok(())
    }

    /// Writing would not block.
    ///
    /// # Errors
    /// Any; `connection_lost` is told.
    fn do_write(&self, reactor: &Reactor) -> Result<()> {
        let _ = reactor;
        Ok(())
    }

    /// The reactor has removed it, because it failed, was closed by somebody, or because the reactor shuts down.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::cell::Cell;
    /// use std::os::fd::AsRawFd;
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use ropewalk::{Descriptor, Error, Reactor};
    ///
    /// /// Cannot read what it is for.
    /// struct Broken(UnixStream, Rc<Cell<bool>>);
    ///
    /// impl Descriptor for Broken {
    ///     fn raw_io(&self) -> ropewalk::sys::RawIo {
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
    /// drop(peer); // the end can be read
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

    /// How log lines name it; its type by default.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

type Operation = fn(&dyn Descriptor, &Reactor) -> Result<()>;

/// A watched descriptor.
pub(crate) struct Watch {
    descriptor: Rc<dyn Descriptor>,
    key: Key,
    interest: Cell<Interest>,
}

/// Watched descriptors by the identity of their objects.
#[derive(Default)]
pub(crate) struct Watches(HashMap<*const (), Rc<Watch>>);

impl Reactor {
    /// Has `do_read` called whenever reading would not block. Adding twice is nothing.
    ///
    /// Any pollable descriptor will do. A regular file is always ready; watching one keeps the loop busy.
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
    ///     fn raw_io(&self) -> ropewalk::sys::RawIo {
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
    /// assert!(reactor.remove_all().is_empty()); // nothing was left
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`]; [`Error::Io`] when the system refuses, for instance because the descriptor is not open,
    /// is watched for another object, or is too large for select.
    pub fn add_reader(&self, descriptor: &Rc<dyn Descriptor>) -> Result<()> {
        self.add_interest(descriptor, Interest::READ)
    }

    /// Has `do_write` called whenever writing would not block. Adding twice is nothing.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::io::Write;
    /// use std::os::fd::AsRawFd;
    /// use std::rc::Rc;
    /// use ropewalk::{Descriptor, Reactor};
    ///
    /// /// Writes one line when there is room, and ends.
    /// struct OneLine(std::os::unix::net::UnixStream);
    ///
    /// impl Descriptor for OneLine {
    ///     fn raw_io(&self) -> ropewalk::sys::RawIo {
    ///         self.0.as_raw_fd()
    ///     }
    ///
    ///     fn do_write(&self, reactor: &Reactor) -> ropewalk::Result<()> {
    ///         (&self.0).write_all(b"done\n").expect("there is room");
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
    /// As [`add_reader`](Reactor::add_reader).
    pub fn add_writer(&self, descriptor: &Rc<dyn Descriptor>) -> Result<()> {
        self.add_interest(descriptor, Interest::WRITE)
    }

    /// Ends what [`add_reader`](Reactor::add_reader) began. Removing an unknown one is nothing.
    pub fn remove_reader(&self, descriptor: &Rc<dyn Descriptor>) {
        self.remove_interest(descriptor, Interest::READ);
    }

    /// Ends what [`add_writer`](Reactor::add_writer) began. Removing an unknown one is nothing.
    pub fn remove_writer(&self, descriptor: &Rc<dyn Descriptor>) {
        self.remove_interest(descriptor, Interest::WRITE);
    }

    /// Removes all readers and writers of the program, and returns them. The reactor's own sources stay.
    pub fn remove_all(&self) -> Vec<Rc<dyn Descriptor>> {
        let watches = std::mem::take(&mut self.0.watches.borrow_mut().0);
        let removed = watches.into_values().map(|watch| {
            self.unwatch(watch.key);
            watch.descriptor.clone()
        });
        removed.collect()
    }

    /// What was added by [`add_reader`](Reactor::add_reader), in no particular order.
    pub fn get_readers(&self) -> Vec<Rc<dyn Descriptor>> {
        self.watched_for(Interest::READ)
    }

    /// What was added by [`add_writer`](Reactor::add_writer), in no particular order.
    pub fn get_writers(&self) -> Vec<Rc<dyn Descriptor>> {
        self.watched_for(Interest::WRITE)
    }

    fn watched_for(&self, interest: Interest) -> Vec<Rc<dyn Descriptor>> {
        let watches = self.0.watches.borrow();
        let wanted = watches.0.values().filter(|watch| watch.interest.get().contains(interest));
        wanted.map(|watch| watch.descriptor.clone()).collect()
    }

    fn add_interest(&self, descriptor: &Rc<dyn Descriptor>, added: Interest) -> Result<()> {
        self.require(Interface::FdSet)?;
        let known = self.0.watches.borrow().0.get(&identity(descriptor)).cloned();
        let cannot = Error::io("cannot watch a descriptor");
        let Some(watch) = known else {
            let io = descriptor.raw_io();
            let key = self.0.provider(|provider| provider.watch(io, added))?.map_err(cannot)?;
            let watch = Rc::new(Watch { descriptor: descriptor.clone(), key, interest: Cell::new(added) });
            self.0.watches.borrow_mut().0.insert(identity(descriptor), watch.clone());
            self.0.sources.borrow_mut().insert(key, Source::Watch(watch));
            return Ok(());
        };
        let interest = watch.interest.get() | added;
        if interest != watch.interest.get() {
            self.0.provider(|provider| provider.set_interest(watch.key, interest))?.map_err(cannot)?;
            watch.interest.set(interest);
        }
        Ok(())
    }

    fn remove_interest(&self, descriptor: &Rc<dyn Descriptor>, removed: Interest) {
        let Some(watch) = self.0.watches.borrow().0.get(&identity(descriptor)).cloned() else { return };
        let interest = watch.interest.get() - removed;
        watch.interest.set(interest);
        if interest.is_empty() {
            self.0.watches.borrow_mut().0.remove(&identity(descriptor));
            self.unwatch(watch.key);
            return;
        }
        self.0.tell_provider(move |provider| {
            if let Err(error) = provider.set_interest(watch.key, interest) {
                // The descriptor may have been closed before it was removed.
                tracing::debug!(%error, "cannot change what a descriptor is watched for");
            }
        });
    }

    fn unwatch(&self, key: Key) {
        self.0.sources.borrow_mut().remove(key);
        self.0.tell_provider(move |provider| provider.close(key));
    }
}

impl Watch {
    pub(crate) fn ready(&self, reactor: &Reactor, ready: Ready) {
        if ready.contains(Ready::GONE) {
            return self.lose(reactor, &Error::ConnectionFdescWentAway);
        }
        // A hang-up or an error is found by the operation that the descriptor waits for, after all unread data.
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
            let outcome = guard(&reactor.0, name, || operation(&*self.descriptor, reactor));
            if let Err(reason) = outcome.and_then(|outcome| outcome) {
                return self.lose(reactor, &reason);
            }
        }
    }

    /// Stops watching and tells the descriptor, unless it was removed before. If it was also added again since, then it is
    /// the new watch that ends.
    pub(crate) fn lose(&self, reactor: &Reactor, reason: &Error) {
        let present = reactor.0.watches.borrow_mut().0.remove(&identity(&self.descriptor));
        if let Some(present) = present {
            present.interest.set(Interest::empty());
            reactor.unwatch(present.key);
            let name = name_of(|| self.descriptor.log_prefix());
            let _ = guard(&reactor.0, name, || self.descriptor.connection_lost(reactor, reason));
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

    /// Fails to read after it has removed and added itself.
    struct Restless {
        socket: UnixStream,
        itself: RefCell<Option<Rc<dyn Descriptor>>>,
        events: RefCell<Vec<&'static str>>,
    }

    impl Descriptor for Restless {
        fn raw_io(&self) -> RawIo {
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
    fn a_descriptor_that_fails_after_it_was_added_again_is_removed() {
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
