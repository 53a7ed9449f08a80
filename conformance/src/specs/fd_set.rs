//! IReactorFDSet: descriptors that the program reads and writes itself.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::thread;
use std::time::Duration;

use ropewalk::{Descriptor, Error, Reactor, Result};
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio, read, write};

use crate::script::{Log, reason_name, stop};
use crate::waiting::run_and_expect;
use crate::{run, specifications};

const MOMENT: Duration = Duration::from_millis(1);

type Hook = Box<dyn Fn(&Rc<Watched>, &Reactor) -> Result<()>>;

/// A descriptor made of closures. It reads a byte, or logs that it may write, unless told otherwise.
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

    /// Stops the reactor when it may read.
    fn stops(self: Rc<Self>) -> Rc<Watched> {
        self.on_read(|watched, reactor| {
            watched.take_byte()?;
            stop(reactor);
            Ok(())
        })
    }

    /// Takes one byte; `None` is the end of the file.
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

fn io(error: Errno) -> std::io::Error {
    error.into()
}

/// A pipe that does not block: its reading end and its writing end.
fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    ioctl_fionbio(&reader, true).unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    (reader, writer)
}

/// A reading end with a byte in it, and its writing end.
fn ready_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe();
    write(&writer, b"x").unwrap();
    (reader, writer)
}

fn turn(reactor: &Reactor) {
    reactor.iterate(Some(Duration::ZERO)).unwrap();
}

/// Has another thread end the run after so many sleeps of the loop, which are all that it should wake for.
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

    fn a_reader_is_asked_to_read_while_there_is_something_to_read(subject: &Subject) {
        // IReadDescriptor.doRead. LESSONS, bug 13: what one read leaves is not forgotten.
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

    fn a_writer_is_asked_to_write_until_it_is_removed(subject: &Subject) {
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

    fn a_full_pipe_is_not_writable_until_somebody_reads(subject: &Subject) {
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

    fn adding_twice_is_adding_once(subject: &Subject) {
        // IReactorFDSet: adding twice is a no-op.
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

    fn removing_what_was_not_added_is_nothing(subject: &Subject) {
        // IReactorFDSet: removing an unknown one is a no-op.
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

    fn reading_and_writing_are_switched_independently(subject: &Subject) {
        // IReactorFDSet. One object for both, as a socket is.
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

    fn readers_and_writers_are_listed(subject: &Subject) {
        // IReactorFDSet.getReaders, getWriters
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

    fn removing_all_returns_what_was_watched_and_leaves_the_reactor_its_own(subject: &Subject) {
        // IReactorFDSet.removeAll: never internal readers such as the waker.
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

    fn an_error_of_a_read_ends_the_watch_and_is_told_once(subject: &Subject) {
        // IReadDescriptor.doRead returns an exception: disconnect with it. After an error no doWrite (posixbase).
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

    fn an_error_of_a_write_ends_the_watch_and_is_told_once(subject: &Subject) {
        // IWriteDescriptor.doWrite, here with the reader of the pipe gone: EPIPE.
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

    fn a_panic_ends_the_watch_and_spares_the_others_of_the_batch(subject: &Subject) {
        // LESSONS, bug 7: an error in one callback must not lose the rest of the batch.
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

    fn one_that_another_removes_in_the_same_batch_is_not_called(subject: &Subject) {
        // LESSONS, bug 2: a callback closes its own or another socket between two events of one batch.
        let (reactor, log) = (subject.reactor(), Log::new());
        let pair: Rc<RefCell<Vec<Rc<Watched>>>> = Rc::default();
        let mut writers = Vec::new();
        for name in ["a", "b"] {
            let (fd, writer) = ready_pipe();
            let both = pair.clone();
            // Whichever is first removes both, and closes them.
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

    fn an_event_of_a_closed_descriptor_does_not_reach_another_with_its_number(subject: &Subject) {
        // LESSONS, bug 3: a reused slot receives an action meant for its predecessor; Twisted's stale fd number.
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
                    // The lowest free number from here on, which is the one just closed unless a thread took it.
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

    fn callbacks_add_and_remove_others_two_levels_deep(subject: &Subject) {
        // LESSONS, bug 4: a callback registers or removes sources, two levels deep.
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

    fn one_that_removes_and_adds_itself_while_it_reads_goes_on(subject: &Subject) {
        // LESSONS, bug 4. The rest of its own event is stale, the next one is not.
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

    fn what_was_written_before_a_hang_up_is_read_before_the_end(subject: &Subject) {
        // LESSONS, bug 14: all the data first, then end of file.
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

    fn a_hang_up_that_nobody_watches_for_does_not_keep_the_loop_awake(subject: &Subject) {
        // selector.rs: a source that nobody reads must not make the loop spin.
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

    fn a_copy_of_a_descriptor_that_was_removed_and_closed_does_not_keep_the_loop_awake(subject: &Subject) {
        // LESSONS, bug 6: the descriptor must leave epoll before it is closed; a dup'ed descriptor keeps firing.
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

    fn one_that_is_removed_during_a_wait_in_another_thread_is_heard_of_no_more(subject: &Subject) {
        // What cannot be told to the provider at once is told when it is back, or it would report for ever.
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

    fn one_that_is_closed_behind_the_reactors_back_harms_nobody_else(subject: &Subject) {
        // fileno() == -1 at dispatch: ConnectionFdescWentAway, where the provider notices. epoll forgets it silently.
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

    fn what_is_no_descriptor_is_refused(subject: &Subject) {
        // IReactorFDSet: fileno() may be -1.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, _writer) = pipe();
        let watched = Watched::new(&log, "pipe", fd);
        watched.raw.set(-1);
        assert!(matches!(reactor.add_reader(&watched.any()), Err(Error::Io(..))));
        // A number that nobody has.
        watched.raw.set(1 << 20);
        let refused = reactor.add_writer(&watched.any()).unwrap_err();
        assert!(matches!(refused, Error::Io(..)), "{refused}");
        assert_eq!(reactor.source_count(), 0);
        assert!(reactor.get_readers().is_empty() && reactor.get_writers().is_empty());
    }

    fn a_descriptor_beyond_the_limit_of_select_is_watched_or_refused_by_name(subject: &Subject) {
        // The issue of select: beyond FD_SETSIZE a clear error to whoever opened it, never memory corruption.
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

    fn a_regular_file_is_always_ready_and_the_others_have_their_turn(subject: &Subject) {
        // epoll's EPERM: Twisted's _ContinuousPolling. stdio redirected from a file needs it.
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

    fn all_that_are_ready_are_served_in_each_turn(subject: &Subject) {
        // The design: nothing starves. A hundred descriptors that always have something to read.
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

    fn shutdown_ends_every_watch_and_tells_it_once(subject: &Subject) {
        // ReactorBase.disconnectAll: removeAll, then connectionLost(ConnectionLost) on every descriptor.
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

    fn a_watch_goes_on_in_the_next_run_after_a_crash(subject: &Subject) {
        // IReactorCore.crash: everything else stays as it is.
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

    fn a_reactor_lets_go_of_what_it_watched_when_it_is_dropped(subject: &Subject) {
        // LESSONS, bug 11: the loop is dropped with operations in flight.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (fd, writer) = ready_pipe();
        let watched = Watched::new(&log, "pipe", fd);
        watched.add_reader(&reactor);
        drop(reactor);
        assert_eq!(Rc::strong_count(&watched), 1);
        // The descriptor is the program's own: it is still open.
        assert_eq!(watched.take_byte().unwrap(), Some(b'x'));
        drop(writer);
    }
}

/// Two connected UNIX sockets that do not block.
fn socket_pair() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    for socket in [&ours, &theirs] {
        ioctl_fionbio(socket.as_fd(), true).unwrap();
    }
    (ours.into(), theirs.into())
}
