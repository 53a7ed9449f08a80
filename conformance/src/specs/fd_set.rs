//! IReactorFDSet: descriptors that the program reads and writes itself.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::thread;
use std::time::Duration;

use ropewalk::{Descriptor, Error, Reactor, Result};
use rustix::io::{Errno, dup2, fcntl_dupfd_cloexec, ioctl_fionbio, read, write};

use crate::links::Transports;
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{iterate_until, run_and_expect};
use crate::{run, specifications};

const MOMENT: Duration = Duration::from_millis(1);

type Hook = Box<dyn Fn(&Rc<Watched>, &Reactor) -> Result<()>>;

/// A descriptor made of closures. By default it reads one byte, and only logs that it may write.
struct Watched {
    name: &'static str,
    log: Log,
    fd: RefCell<Option<OwnedFd>>,
    raw: Cell<RawFd>,
    on_read: RefCell<Hook>,
    on_write: RefCell<Hook>,
    itself: Weak<Watched>,
}

impl Watched {
    fn new(log: &Log, name: &'static str, fd: OwnedFd) -> Rc<Watched> {
        Rc::new_cyclic(|itself| Watched {
            name,
            log: log.clone(),
            raw: Cell::new(fd.as_raw_fd()),
            fd: RefCell::new(Some(fd)),
            on_read: RefCell::new(Box::new(|watched, _| watched.take_byte().map(drop))),
            on_write: RefCell::new(Box::new(|_, _| Ok(()))),
            itself: itself.clone(),
        })
    }

    fn on_read(self: Rc<Self>, hook: impl Fn(&Rc<Watched>, &Reactor) -> Result<()> + 'static) -> Rc<Watched> {
        *self.on_read.borrow_mut() = Box::new(hook);
        self
    }

    fn on_write(self: Rc<Self>, hook: impl Fn(&Rc<Watched>, &Reactor) -> Result<()> + 'static) -> Rc<Watched> {
        *self.on_write.borrow_mut() = Box::new(hook);
        self
    }

    /// Stops the reactor when the descriptor is readable.
    fn stops(self: Rc<Self>) -> Rc<Watched> {
        self.on_read(|watched, reactor| {
            watched.take_byte()?;
            stop(reactor);
            Ok(())
        })
    }

    /// Takes one byte, or `None` at the end of the input.
    fn take_byte(&self) -> Result<Option<u8>> {
        let mut byte = [0];
        match read(self.fd.borrow().as_ref().expect("it is open"), &mut byte) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(byte[0])),
            Err(error) => Err(Error::Io("cannot read", io(error).into())),
        }
    }

    fn close(&self) -> OwnedFd {
        self.fd.take().expect("it is open")
    }

    fn add_reader(self: &Rc<Self>, reactor: &Reactor) {
        reactor.add_reader(&self.any()).unwrap();
    }

    fn add_writer(self: &Rc<Self>, reactor: &Reactor) {
        reactor.add_writer(&self.any()).unwrap();
    }

    fn remove(self: &Rc<Self>, reactor: &Reactor) {
        reactor.remove_reader(&self.any());
        reactor.remove_writer(&self.any());
    }

    fn any(self: &Rc<Self>) -> Rc<dyn Descriptor> {
        self.clone()
    }
}

impl Descriptor for Watched {
    fn raw_io(&self) -> RawFd {
        self.raw.get()
    }

    fn do_read(&self, reactor: &Reactor) -> Result<()> {
        self.log.add(format!("{} read", self.name));
        let itself = self.itself.upgrade().expect("the reactor holds it");
        (self.on_read.borrow())(&itself, reactor)
    }

    fn do_write(&self, reactor: &Reactor) -> Result<()> {
        self.log.add(format!("{} write", self.name));
        let itself = self.itself.upgrade().expect("the reactor holds it");
        (self.on_write.borrow())(&itself, reactor)
    }

    fn connection_lost(&self, _reactor: &Reactor, reason: &Error) {
        self.log.add(format!("{} lost {}", self.name, reason_name(reason)));
    }
}

/// Watches the descriptor of another object, and only logs what is possible.
struct Twin {
    name: &'static str,
    log: Log,
    fd: RawFd,
}

impl Twin {
    fn of(watched: &Watched, name: &'static str) -> Rc<dyn Descriptor> {
        Rc::new(Twin { name, log: watched.log.clone(), fd: watched.raw.get() })
    }
}

impl Descriptor for Twin {
    fn raw_io(&self) -> RawFd {
        self.fd
    }

    fn do_read(&self, _reactor: &Reactor) -> Result<()> {
        self.log.add(format!("{} read", self.name));
        Ok(())
    }

    fn do_write(&self, _reactor: &Reactor) -> Result<()> {
        self.log.add(format!("{} write", self.name));
        Ok(())
    }
}

fn io(error: Errno) -> std::io::Error {
    error.into()
}

/// Returns the reading end and the writing end of a non-blocking pipe.
fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    ioctl_fionbio(&reader, true).unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    (reader, writer)
}

/// Returns a reading end with a byte in it, and its writing end.
fn ready_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe();
    write(&writer, b"x").unwrap();
    (reader, writer)
}

fn turn(reactor: &Reactor) {
    reactor.iterate(Some(Duration::ZERO)).unwrap();
}

/// Wakes the loop `wakes` times from another thread, then stops it. No other event should wake the loop.
fn stop_after_wakes(reactor: &Reactor, wakes: usize) -> thread::JoinHandle<()> {
    let handle = reactor.thread_handle();
    thread::spawn(move || {
        for _ in 0..wakes {
            handle.blocking_call_from_thread(|_| {}).unwrap();
        }
        handle.call_from_thread(stop);
    })
}

specifications! {
    fd_set;

    fn a_reader_is_called_while_there_is_data(subject: &Subject) {
        // IReadDescriptor.doRead: data that one read leaves is reported again.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, writer) = pipe();
        write(&writer, b"abc").unwrap();
        let reader = Watched::new(&log, "pipe", fd).on_read(|watched, reactor| {
            if watched.take_byte()? == Some(b'c') {
                stop(reactor);
            }
            Ok(())
        });
        reader.add_reader(&reactor);
        run(&reactor);
        assert_eq!(log.entries(), ["pipe read", "pipe read", "pipe read", "pipe lost ConnectionLost"]);
    }

    fn a_writer_is_called_until_it_is_removed(subject: &Subject) {
        // IWriteDescriptor.doWrite
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_reader, fd) = pipe();
        let left = Cell::new(3);
        let writer = Watched::new(&log, "pipe", fd).on_write(move |watched, reactor| {
            left.set(left.get() - 1);
            if left.get() == 0 {
                reactor.remove_writer(&watched.any());
                reactor.call_later(MOMENT, stop);
            }
            Ok(())
        });
        writer.add_writer(&reactor);
        run(&reactor);
        log.expect(&["pipe write"; 3]);
    }

    fn a_full_pipe_becomes_writable_after_a_read(subject: &Subject) {
        // IReactorFDSet.addWriter
        let (reactor, log) = (subject.reactor(), Log::new());
        let (reader, fd) = pipe();
        while write(&fd, &[0; 4096]).is_ok() {}
        let writer = Watched::new(&log, "pipe", fd).on_write(|_, reactor| {
            stop(reactor);
            Ok(())
        });
        writer.add_writer(&reactor);
        let drained = log.clone();
        reactor.call_later(MOMENT, move |_| {
            drained.add("drained");
            let mut buffer = [0; 4096];
            while read(&reader, &mut buffer).is_ok() {}
        });
        run(&reactor);
        assert_eq!(log.entries()[..2], ["drained", "pipe write"]);
    }

    fn adding_a_descriptor_twice_equals_adding_it_once(subject: &Subject) {
        // IReactorFDSet.addReader: adding twice is a no-op.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, _writer) = ready_pipe();
        let reader = Watched::new(&log, "pipe", fd);
        reader.add_reader(&reactor);
        reader.add_reader(&reactor);
        assert_eq!(reactor.get_readers().len(), 1);
        turn(&reactor);
        log.expect(&["pipe read"]);
        reactor.remove_reader(&reader.any());
        assert!(reactor.get_readers().is_empty());
        turn(&reactor);
        log.expect(&["pipe read"]);
    }

    fn removing_an_unknown_descriptor_has_no_effect(subject: &Subject) {
        // IReactorFDSet.removeReader: removing an unknown descriptor is a no-op.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, _writer) = pipe();
        let watched = Watched::new(&log, "pipe", fd);
        watched.remove(&reactor);
        watched.add_reader(&reactor);
        reactor.remove_writer(&watched.any());
        assert_eq!(reactor.get_readers().len(), 1);
        watched.remove(&reactor);
        watched.remove(&reactor);
        assert_eq!(reactor.source_count(), 0);
    }

    fn reading_is_switched_independently_of_writing(subject: &Subject) {
        // IReactorFDSet: one object, such as a socket, is used for both directions.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, theirs) = socket_pair();
        write(&theirs, b"xxxx").unwrap();
        let socket = Watched::new(&log, "socket", ours);
        socket.add_reader(&reactor);
        socket.add_writer(&reactor);
        turn(&reactor);
        log.expect(&["socket read", "socket write"]);
        reactor.remove_reader(&socket.any());
        turn(&reactor);
        assert_eq!(log.entries()[2..], ["socket write"]);
        socket.add_reader(&reactor);
        reactor.remove_writer(&socket.any());
        turn(&reactor);
        assert_eq!(log.entries()[3..], ["socket read"]);
    }

    fn get_readers_lists_all_readers(subject: &Subject) {
        // IReactorFDSet.getReaders. getWriters works likewise.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (reader, writer) = pipe();
        let reader = Watched::new(&log, "reader", reader);
        let writer = Watched::new(&log, "writer", writer);
        reader.add_reader(&reactor);
        writer.add_writer(&reactor);
        let listed = |list: Vec<Rc<dyn Descriptor>>| Vec::from_iter(list.iter().map(|entry| entry.raw_io()));
        assert_eq!(listed(reactor.get_readers()), [reader.raw_io()]);
        assert_eq!(listed(reactor.get_writers()), [writer.raw_io()]);
    }

    fn remove_all_returns_only_the_programs_descriptors(subject: &Subject) {
        // IReactorFDSet.removeAll: internal readers such as the waker stay.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (first, _kept) = ready_pipe();
        let (_other, second) = pipe();
        Watched::new(&log, "first", first).add_reader(&reactor);
        Watched::new(&log, "second", second).add_writer(&reactor);
        let removed = reactor.remove_all();
        assert_eq!(removed.len(), 2);
        assert!(reactor.get_readers().is_empty() && reactor.get_writers().is_empty() && reactor.remove_all().is_empty());
        let handle = reactor.thread_handle();
        let thread = thread::spawn(move || handle.call_from_thread(stop));
        run(&reactor);
        thread.join().unwrap();
        log.expect(&[]);
    }

    fn a_read_error_stops_the_watch_once(subject: &Subject) {
        // IReadDescriptor.doRead returns an exception: connectionLost gets it, and doWrite is not called (posixbase).
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, theirs) = socket_pair();
        write(&theirs, b"x").unwrap();
        let socket = Watched::new(&log, "socket", ours).on_read(|_, _| Err(Error::TimedOut));
        socket.add_reader(&reactor);
        socket.add_writer(&reactor);
        turn(&reactor);
        turn(&reactor);
        log.expect(&["socket read", "socket lost TimedOut"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_write_error_stops_the_watch_once(subject: &Subject) {
        // IWriteDescriptor.doWrite, here without a reader of the pipe: EPIPE.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (reader, fd) = pipe();
        let writer = Watched::new(&log, "pipe", fd).on_write(|watched, _| {
            let outcome = write(watched.fd.borrow().as_ref().unwrap(), b"x");
            outcome.map(drop).map_err(|error| Error::Io("cannot write", io(error).into()))
        });
        drop(reader);
        writer.add_writer(&reactor);
        run_and_expect(&reactor, &log, &["pipe write", "pipe lost Io"]);
    }

    fn a_panic_ends_only_its_own_watch(subject: &Subject) {
        // A panic in one callback must not drop the rest of the batch.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let (bad, _first) = ready_pipe();
        let (good, _second) = ready_pipe();
        Watched::new(&log, "bad", bad).on_read(|_, _| panic!("in a read")).add_reader(&reactor);
        Watched::new(&log, "good", good).add_reader(&reactor);
        turn(&reactor);
        turn(&reactor);
        for (entry, count) in [("bad read", 1), ("bad lost Panicked", 1), ("good read", 1)] {
            assert_eq!(log.count(entry), count, "{entry}");
        }
    }

    fn a_descriptor_removed_in_the_same_batch_is_not_called(subject: &Subject) {
        // A callback may close its own or another descriptor between two events of one batch.
        let (reactor, log) = (subject.reactor(), Log::new());
        let pair: Rc<RefCell<Vec<Rc<Watched>>>> = Rc::default();
        let mut writers = Vec::new();
        for name in ["a", "b"] {
            let (fd, writer) = ready_pipe();
            let both = pair.clone();
            // The callback that runs first removes and closes both descriptors.
            let watched = Watched::new(&log, name, fd).on_read(move |_, reactor| {
                for watched in both.take() {
                    watched.remove(reactor);
                    drop(watched.close());
                }
                Ok(())
            });
            watched.add_reader(&reactor);
            pair.borrow_mut().push(watched);
            writers.push(writer);
        }
        turn(&reactor);
        turn(&reactor);
        assert_eq!(log.entries().len(), 1);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_reused_descriptor_number_gets_no_stale_event(subject: &Subject) {
        // An event of a closed descriptor must not reach the next descriptor with its number.
        let (reactor, log) = (subject.reactor(), Log::new());
        let victims: Rc<RefCell<Vec<Rc<Watched>>>> = Rc::default();
        let (quiet, _open) = pipe();
        let mut writers = Vec::new();
        for name in ["a", "b"] {
            let (fd, writer) = ready_pipe();
            let (both, log_again, quiet) = (victims.clone(), log.clone(), quiet.try_clone().unwrap());
            let watched = Watched::new(&log, name, fd).on_read(move |_, reactor| {
                for watched in both.take() {
                    watched.remove(reactor);
                    let number = watched.close().as_raw_fd();
                    // The lowest free number that is not below `number`: the one just closed, unless a thread took it.
                    let heir = fcntl_dupfd_cloexec(&quiet, number).unwrap();
                    Watched::new(&log_again, "heir", heir).add_reader(reactor);
                }
                Ok(())
            });
            watched.add_reader(&reactor);
            victims.borrow_mut().push(watched);
            writers.push(writer);
        }
        turn(&reactor);
        turn(&reactor);
        assert_eq!(log.entries().len(), 1, "{:?}", log.entries());
        assert_eq!(log.count("heir read"), 0);
        assert_eq!(reactor.get_readers().len(), 2);
    }

    fn callbacks_add_descriptors_two_levels_deep(subject: &Subject) {
        // IReactorFDSet: a callback may add and remove descriptors.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (outer, _first) = ready_pipe();
        let inner_log = log.clone();
        let outer = Watched::new(&log, "outer", outer).on_read(move |watched, reactor| {
            watched.remove(reactor);
            let (middle, _kept) = ready_pipe();
            let log = inner_log.clone();
            let middle = Watched::new(&inner_log, "middle", middle).on_read(move |watched, reactor| {
                watched.remove(reactor);
                let (inner, _kept) = ready_pipe();
                Watched::new(&log, "inner", inner).stops().add_reader(reactor);
                Ok(())
            });
            middle.add_reader(reactor);
            Ok(())
        });
        outer.add_reader(&reactor);
        run(&reactor);
        assert_eq!(log.entries()[..3], ["outer read", "middle read", "inner read"]);
    }

    fn a_reader_may_remove_itself_then_add_itself_again(subject: &Subject) {
        // The rest of the current event is stale. The next event is not.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, theirs) = socket_pair();
        write(&theirs, b"xy").unwrap();
        let socket = Watched::new(&log, "socket", ours).on_read(|watched, reactor| {
            watched.take_byte()?;
            watched.remove(reactor);
            watched.add_reader(reactor);
            Ok(())
        });
        socket.add_reader(&reactor);
        socket.add_writer(&reactor);
        turn(&reactor);
        turn(&reactor);
        turn(&reactor);
        log.expect(&["socket read", "socket read"]);
    }

    fn data_before_a_hang_up_is_read_before_the_end(subject: &Subject) {
        // poll(2): POLLHUP may come with POLLIN. All data is read first, then the end of the input.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, writer) = pipe();
        let written = write(&writer, &[b'x'; 10_000]).unwrap();
        drop(writer);
        let taken = Rc::new(Cell::new(0));
        let count = taken.clone();
        let reader = Watched::new(&log, "pipe", fd).on_read(move |watched, reactor| {
            let mut buffer = [0; 1000];
            match read(watched.fd.borrow().as_ref().unwrap(), &mut buffer).unwrap() {
                0 => stop(reactor),
                bytes => count.set(count.get() + bytes),
            }
            Ok(())
        });
        reader.add_reader(&reactor);
        run(&reactor);
        assert_eq!(taken.get(), written);
    }

    fn an_unwatched_hang_up_does_not_keep_the_loop_awake(subject: &Subject) {
        // poll(2) reports POLLHUP unasked, so an idle source must leave the selector.
        let (reactor, counts) = subject.counted();
        let log = Log::new();
        let (ours, theirs) = socket_pair();
        let socket = Watched::new(&log, "socket", ours);
        socket.add_reader(&reactor);
        reactor.remove_reader(&socket.any());
        drop(theirs);
        let thread = stop_after_wakes(&reactor, 50);
        run(&reactor);
        thread.join().unwrap();
        log.expect(&[]);
        assert!(counts.now().waits <= 102, "{:?}", counts.now());
    }

    fn a_copy_of_a_closed_descriptor_does_not_wake_the_loop(subject: &Subject) {
        // epoll(7): a registration lives until the last copy of its descriptor is closed, so it must be removed.
        for removed_first in [true, false] {
            let (reactor, counts) = subject.counted();
            let log = Log::new();
            let (fd, _writer) = ready_pipe();
            let _copy = fd.try_clone().unwrap();
            let watched = Watched::new(&log, "pipe", fd);
            watched.add_reader(&reactor);
            if removed_first {
                watched.remove(&reactor);
                drop(watched.close());
            } else {
                drop(watched.close());
                watched.remove(&reactor);
            }
            let thread = stop_after_wakes(&reactor, 50);
            run(&reactor);
            thread.join().unwrap();
            log.expect(&[]);
            assert!(counts.now().waits <= 104, "{:?}", counts.now());
        }
    }

    fn a_descriptor_removed_during_a_detached_wait_stays_silent(subject: &Subject) {
        // The removal must reach the provider after the wait. Otherwise the provider would report the descriptor for
        // ever.
        let (reactor, counts) = subject.counted();
        let log = Log::new();
        let (ours, theirs) = socket_pair();
        let socket = Watched::new(&log, "socket", ours);
        socket.add_reader(&reactor);
        reactor.prepare().unwrap();
        let wait = reactor.detach_wait().unwrap();
        reactor.remove_reader(&socket.any());
        drop(wait);
        write(&theirs, b"x").unwrap();
        let thread = stop_after_wakes(&reactor, 50);
        run(&reactor);
        thread.join().unwrap();
        log.expect(&[]);
        assert!(counts.now().waits <= 102, "{:?}", counts.now());
    }

    fn a_descriptor_closed_behind_the_reactor_affects_no_other(subject: &Subject) {
        // ConnectionFdescWentAway (fileno() == -1), on providers that notice a closed descriptor. epoll forgets the
        // descriptor silently.
        let (reactor, counts) = subject.counted();
        let log = Log::new();
        let (fd, _writer) = ready_pipe();
        let (other, other_writer) = pipe();
        let gone = Watched::new(&log, "gone", fd);
        gone.add_reader(&reactor);
        drop(gone.close());
        Watched::new(&log, "other", other).stops().add_reader(&reactor);
        let thread = {
            let handle = reactor.thread_handle();
            thread::spawn(move || {
                for _ in 0..50 {
                    handle.blocking_call_from_thread(|_| {}).unwrap();
                }
                write(&other_writer, b"x").unwrap();
            })
        };
        run(&reactor);
        thread.join().unwrap();
        assert_eq!(log.count("gone read"), 0);
        assert_eq!(log.count("other read"), 1);
        let told = usize::from(subject.name() != "epoll");
        assert_eq!(log.count("gone lost ConnectionFdescWentAway"), told);
        assert!(counts.now().waits <= 110, "{:?}", counts.now());
    }

    fn several_objects_may_watch_one_descriptor(subject: &Subject) {
        // IReactorFDSet.addReader takes any object. epoll_ctl(2) refuses to register a descriptor twice.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (ours, theirs) = socket_pair();
        let first = Watched::new(&log, "first", ours);
        let [second, writer] = ["second", "writer"].map(|name| Twin::of(&first, name));
        first.add_reader(&reactor);
        reactor.add_reader(&second).unwrap();
        reactor.add_writer(&writer).unwrap();
        let seen = log.clone();
        iterate_until(&reactor, || seen.contains("writer write"));
        reactor.remove_writer(&writer);
        assert_eq!((log.count("first read"), log.count("second read")), (0, 0));

        write(&theirs, b"x").unwrap();
        iterate_until(&reactor, || seen.contains("first read"));
        assert!(log.contains("second read"), "{:?}", log.entries());
        first.remove(&reactor);
        let before = log.count("second read");
        write(&theirs, b"x").unwrap();
        iterate_until(&reactor, || seen.count("second read") > before);
        assert_eq!(log.count("first read"), 1);
        reactor.remove_reader(&second);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_connection_works_while_its_handle_is_watched(subject: &Subject) {
        // ISystemHandle.getHandle. The connection takes the data, and the watch is only notified.
        let (reactor, log, servers) = (subject.reactor(), Log::new(), Transports::new());
        let server = Script::logged(&log, "server").listed_in(&servers);
        let client = Script::new().on_made(|client| client.write(b"one"));
        let clients = Transports::new();
        subject.join(&reactor, &server, &client.listed_in(&clients));
        iterate_until(&reactor, || log.contains("server data one"));
        let fd = servers.first().handle().expect("a socket of the system");
        let watch: Rc<dyn Descriptor> = Rc::new(Twin { name: "watch", log: log.clone(), fd });
        reactor.add_writer(&watch).unwrap();
        iterate_until(&reactor, || log.contains("watch write"));
        reactor.remove_writer(&watch);
        reactor.add_reader(&watch).unwrap();
        clients.first().write(b"two");
        iterate_until(&reactor, || log.contains("server data two"));
        reactor.remove_reader(&watch);
        clients.first().write(b"three");
        iterate_until(&reactor, || log.contains("server data three"));
        clients.first().lose_connection();
        iterate_until(&reactor, || log.contains("server lost ConnectionDone"));
        assert!(log.contains("server lost ConnectionDone"), "{:?}", log.entries());
    }

    fn the_end_of_an_old_watch_leaves_a_reused_number_alone(subject: &Subject) {
        // The descriptor of the first watch was closed behind the reactor, and the second one has the same number.
        for acts in [Reactor::remove_reader, Reactor::remove_writer] {
            let (reactor, log) = (subject.reactor(), Log::new());
            let ((fd, _kept), (other, writer)) = (pipe(), pipe());
            let old = Watched::new(&log, "old", fd);
            old.add_reader(&reactor);
            old.add_writer(&reactor);
            let mut reused = old.close();
            // Closes the descriptor, and opens its number again.
            dup2(&other, &mut reused).unwrap();
            let new = Watched::new(&log, "new", reused);
            new.add_reader(&reactor);
            acts(&reactor, &old.any());
            old.remove(&reactor);
            write(&writer, b"x").unwrap();
            iterate_until(&reactor, || log.contains("new read"));
            log.expect(&["new read"]);
        }
    }

    fn an_invalid_descriptor_is_rejected(subject: &Subject) {
        // IReactorFDSet.addReader: fileno() may be -1.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, _writer) = pipe();
        let watched = Watched::new(&log, "pipe", fd);
        watched.raw.set(-1);
        assert!(matches!(reactor.add_reader(&watched.any()), Err(Error::Io(..))));
        // No descriptor with this number is open.
        watched.raw.set(1 << 20);
        let refused = reactor.add_writer(&watched.any()).unwrap_err();
        assert!(matches!(refused, Error::Io(..)), "{refused}");
        assert_eq!(reactor.source_count(), 0);
        assert!(reactor.get_readers().is_empty() && reactor.get_writers().is_empty());
    }

    fn select_rejects_a_descriptor_above_its_limit(subject: &Subject) {
        // select(2): numbers from FD_SETSIZE on are undefined behaviour. Other providers watch the descriptor.
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limits = getrlimit(Resource::Nofile);
        limits.current = limits.current.max(limits.maximum.map(|most| most.min(4096)));
        setrlimit(Resource::Nofile, limits).unwrap();
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, _writer) = ready_pipe();
        let high = fcntl_dupfd_cloexec(&fd, 1030).unwrap();
        let (number, watched) = (high.as_raw_fd(), Watched::new(&log, "high", high));
        let outcome = reactor.add_reader(&watched.any());
        if subject.name() == "select" {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains(&number.to_string()) && message.contains("1023"), "{message}");
            assert_eq!(reactor.source_count(), 0);
        } else {
            outcome.unwrap();
            turn(&reactor);
            log.expect(&["high read"]);
        }
        let (low, _kept) = ready_pipe();
        Watched::new(&log, "low", low).add_reader(&reactor);
        turn(&reactor);
        assert_eq!(log.count("low read"), 1);
    }

    fn a_regular_file_is_always_ready_without_starving_others(subject: &Subject) {
        // epoll_ctl(2): EPERM for files. Twisted uses _ContinuousPolling when stdio is redirected from a file.
        let (reactor, log) = (subject.reactor(), Log::new());
        let path = std::env::temp_dir().join(format!("ropewalk-file-{}-{}", std::process::id(), subject.name()));
        std::fs::write(&path, b"abc").unwrap();
        let file = Watched::new(&log, "file", std::fs::File::open(&path).unwrap().into());
        std::fs::remove_file(&path).unwrap();
        let (fd, writer) = pipe();
        let file = file.on_read(move |watched, reactor| {
            if watched.take_byte()?.is_none() {
                watched.remove(reactor);
                write(&writer, b"x").unwrap();
            }
            Ok(())
        });
        Watched::new(&log, "pipe", fd).stops().add_reader(&reactor);
        file.add_reader(&reactor);
        reactor.call_later(Duration::ZERO, log.note("call"));
        run(&reactor);
        assert_eq!((log.count("file read"), log.count("pipe read"), log.count("call")), (4, 1, 1));
    }

    fn all_ready_descriptors_are_served_in_each_turn(subject: &Subject) {
        // A hundred descriptors that are always readable. None may starve.
        let (reactor, log) = (subject.reactor(), Log::new());
        let mut kept = Vec::new();
        for _ in 0..100 {
            let (fd, writer) = ready_pipe();
            Watched::new(&log, "pipe", fd).on_read(|_, _| Ok(())).add_reader(&reactor);
            kept.push(writer);
        }
        for turns in 1..=3 {
            turn(&reactor);
            assert_eq!(log.entries().len(), turns * 100);
        }
        reactor.remove_all();
    }

    fn shutdown_stops_every_watch_once(subject: &Subject) {
        // ReactorBase.disconnectAll calls removeAll, then connectionLost(ConnectionLost) on every descriptor.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (reader, writer) = pipe();
        let both = Watched::new(&log, "reader", reader);
        both.add_reader(&reactor);
        both.add_writer(&reactor);
        Watched::new(&log, "writer", writer).on_write(|_, _| Ok(())).add_reader(&reactor);
        reactor.call_when_running(stop);
        run(&reactor);
        let mut told = log.entries();
        told.sort_unstable();
        assert_eq!(told, ["reader lost ConnectionLost", "writer lost ConnectionLost"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_watch_survives_a_crash_into_the_next_run(subject: &Subject) {
        // IReactorCore.crash leaves everything else as it is.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, writer) = pipe();
        let watched = Watched::new(&log, "pipe", fd).on_read(|watched, reactor| {
            watched.take_byte()?;
            reactor.crash();
            Ok(())
        });
        watched.add_reader(&reactor);
        for _ in 0..3 {
            write(&writer, b"x").unwrap();
            run(&reactor);
        }
        log.expect(&["pipe read"; 3]);
    }

    fn dropping_a_reactor_releases_its_descriptors(subject: &Subject) {
        // The loop is dropped with operations in flight.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, writer) = ready_pipe();
        let watched = Watched::new(&log, "pipe", fd);
        watched.add_reader(&reactor);
        drop(reactor);
        assert_eq!(Rc::strong_count(&watched), 1);
        // The program owns the descriptor: it is still open.
        assert_eq!(watched.take_byte().unwrap(), Some(b'x'));
        drop(writer);
    }
}

/// Two connected, non-blocking UNIX sockets.
fn socket_pair() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    for socket in [&ours, &theirs] {
        ioctl_fionbio(socket.as_fd(), true).unwrap();
    }
    (ours.into(), theirs.into())
}
