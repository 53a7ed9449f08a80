//! The reactor in loops of frames that a program runs itself.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::proto::Deferred;
use ropewalk::{Budget, Error, PanicPolicy, Phase, Protocol, Reactor, RunOptions, Transport};
use ropewalk_frame::Frame;

const MS: Duration = Duration::from_millis(1);
/// A test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

fn quiet() -> RunOptions {
    RunOptions::default().without_signal_handlers()
}

fn stop(reactor: &Reactor) {
    reactor.stop().unwrap();
}

/// A frame whose loop sleeps until it has an event, and the number of events.
struct Sleeping {
    frame: Frame,
    events: Receiver<()>,
    posted: Arc<AtomicUsize>,
}

impl Sleeping {
    fn new(reactor: &Reactor) -> Sleeping {
        let frame = ropewalk_frame::install(reactor).unwrap();
        let posted = Arc::new(AtomicUsize::new(0));
        let (queue, events) = channel();
        let counts = posted.clone();
        frame
            .sleeps_with(move || {
                counts.fetch_add(1, Ordering::SeqCst);
                let _ = queue.send(());
            })
            .unwrap();
        Sleeping { frame, events, posted }
    }

    fn tick(&self) -> ropewalk::Result<bool> {
        self.events.recv_timeout(LONG).expect("an event within a minute");
        self.frame.tick(Budget::default())
    }

    /// Answers events until `done`.
    fn tick_until(&self, done: impl Fn() -> bool) {
        while !done() {
            assert!(self.tick().unwrap());
        }
    }

    /// Makes turns until none is due.
    fn settle(&self) {
        while self.frame.guest().timeout() == Some(Duration::ZERO) {
            assert!(self.frame.tick(Budget::default()).unwrap());
        }
        // The thread may still be about to post a wake-up of an earlier turn.
        while self.events.recv_timeout(20 * MS).is_ok() {
            assert!(self.frame.tick(Budget::default()).unwrap());
        }
    }

    fn posted(&self) -> usize {
        self.posted.load(Ordering::SeqCst)
    }

    fn end(self) {
        self.frame.guest().finish().unwrap();
    }
}

fn flag() -> (Rc<Cell<bool>>, impl Fn() + Clone + 'static) {
    let flag = Rc::new(Cell::new(false));
    let set = flag.clone();
    (flag, move || set.set(true))
}

/// Calls the reactor from a thread after `delay`, and joins it.
fn call_from_thread(reactor: &Reactor, delay: Duration) -> (thread::JoinHandle<()>, Arc<AtomicUsize>) {
    let (caller, calls) = (reactor.thread_handle(), Arc::new(AtomicUsize::new(0)));
    let counts = calls.clone();
    let thread = thread::spawn(move || {
        thread::sleep(delay);
        caller.call_from_thread(move |_| {
            counts.fetch_add(1, Ordering::SeqCst);
        });
    });
    (thread, calls)
}

#[test]
fn a_call_from_a_thread_between_two_frames_makes_a_turn() {
    // R1 (a). The host only ticks.
    let reactor = Reactor::new().unwrap();
    let frame = ropewalk_frame::install(&reactor).unwrap();
    reactor.start_running(quiet()).unwrap();
    assert!(frame.tick(Budget::default()).unwrap());
    let (thread, calls) = call_from_thread(&reactor, Duration::ZERO);
    thread.join().unwrap();
    assert!(frame.tick(Budget::default()).unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    stop(&reactor);
    frame.guest().finish().unwrap();
}

#[test]
fn a_call_from_a_thread_interrupts_the_sleep() {
    // R1 (b) and (c).
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    for delay in [Duration::ZERO, 20 * MS] {
        host.settle();
        let (thread, calls) = call_from_thread(&reactor, delay);
        host.tick_until(|| calls.load(Ordering::SeqCst) == 1);
        thread.join().unwrap();
    }
    host.end();
}

#[test]
fn a_call_from_a_thread_before_the_start_is_made() {
    // R1 (d).
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    let (thread, calls) = call_from_thread(&reactor, Duration::ZERO);
    thread.join().unwrap();
    assert!(!host.frame.tick(Budget::default()).unwrap());
    reactor.start_running(quiet()).unwrap();
    host.tick_until(|| calls.load(Ordering::SeqCst) == 1);
    host.end();
}

#[test]
fn a_call_from_a_thread_after_the_end_is_quiet() {
    // R1 (e). A turn after the end does nothing, and neither does a call after the reactor is gone.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    stop(&reactor);
    host.frame.guest().finish().unwrap();
    let (thread, calls) = call_from_thread(&reactor, Duration::ZERO);
    thread.join().unwrap();
    assert!(!host.frame.tick(Budget::default()).unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    let caller = reactor.thread_handle();
    drop(reactor);
    assert!(matches!(host.frame.tick(Budget::default()), Err(Error::Closed)));
    drop(host);
    thread::spawn(move || caller.call_from_thread(|_| unreachable!("the reactor is gone"))).join().unwrap();
}

#[test]
fn a_host_that_only_peeks_makes_a_turn_in_the_next_frame() {
    // R2. The event comes from the host's own thread.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    host.settle();
    let (called, call) = flag();
    reactor.call_later(Duration::ZERO, move |_| call());
    assert_eq!(host.frame.guest().timeout(), Some(Duration::ZERO));
    assert!(host.events.try_recv().is_ok());
    assert!(host.frame.tick(Budget::default()).unwrap());
    assert!(called.get());
    host.end();
}

#[test]
fn a_sleep_lasts_until_the_deadline_without_spinning() {
    // R3. 15.6 ms is a tick of Windows.
    for delay in [MS, Duration::from_micros(15_600)] {
        let reactor = Reactor::new().unwrap();
        let host = Sleeping::new(&reactor);
        reactor.start_running(quiet()).unwrap();
        host.settle();
        let (called, call) = flag();
        let (begin, before) = (Instant::now(), host.posted());
        reactor.call_later(delay, move |_| call());
        host.tick_until(|| called.get());
        assert!(begin.elapsed() >= delay);
        // One for the new work, and one for the deadline. Each may follow a wake-up of an earlier turn. A loop that spins
        // has hundreds.
        assert!(host.posted() - before <= 10, "{} events", host.posted() - before);
        host.end();
    }
}

#[test]
fn an_idle_loop_has_no_turns() {
    // R3, and the idle window: a deadline in an hour, an open port, a task that waits.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(Duration::from_secs(3600), |_| {});
    let (_never, resolver) = Deferred::<()>::new();
    drop(reactor.spawn(async move {
        let _kept = resolver;
        std::future::pending::<()>().await;
    }));
    host.settle();
    let before = host.posted();
    while host.events.recv_timeout(200 * MS).is_ok() {
        host.frame.tick(Budget::default()).unwrap();
    }
    // A wake-up of an earlier turn may be late.
    assert!(host.posted() - before <= 1, "{} events", host.posted() - before);
    host.end();
}

#[test]
fn work_of_the_host_wakes_the_thread_once() {
    // U2. Three changes and a call are one event.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    host.settle();
    let before = host.posted();
    for _ in 0..3 {
        reactor.call_later(LONG, |_| {});
    }
    let (called, call) = flag();
    reactor.call_later(Duration::ZERO, move |_| call());
    assert!(host.posted() - before <= 1, "{} events", host.posted() - before);
    host.tick_until(|| called.get());
    host.settle();
    host.end();
}

#[test]
fn an_earlier_deadline_shortens_the_sleep() {
    // U4. Later and cancelled deadlines cost one early wake-up at most.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    let (called, call) = flag();
    let delayed = reactor.call_later(LONG, move |_| call());
    host.settle();
    delayed.reset(MS).unwrap();
    host.tick_until(|| called.get());
    let before = loop {
        host.settle();
        let before = host.posted();
        let far = reactor.call_later(20 * MS, |_| {});
        host.tick().unwrap();
        // If the call was made already, the machine was too busy, and this attempt proves nothing.
        if far.delay(LONG).is_ok() {
            far.cancel().unwrap();
            break before;
        }
    };
    while host.events.recv_timeout(60 * MS).is_ok() {
        host.frame.tick(Budget::default()).unwrap();
    }
    // The work of the host, the old deadline, and a wake-up of an earlier turn for each of them.
    assert!(host.posted() - before <= 4, "{} events", host.posted() - before);
    host.end();
}

/// Counts the bytes that each connection of a server receives.
struct Counting {
    received: Rc<Cell<usize>>,
    transport: Rc<RefCell<Option<Transport>>>,
}

impl Protocol for Counting {
    fn connection_made(&mut self, transport: &Transport) {
        *self.transport.borrow_mut() = Some(transport.clone());
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.received.set(self.received.get() + data.len());
    }
}

/// Writes when it is connected.
struct Says(&'static [u8]);

impl Protocol for Says {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.0);
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

#[test]
fn an_event_of_a_closed_connection_reaches_no_other() {
    // U5. The thread has fetched the event. Before the turn, the host closes the connection, and the next one has its
    // descriptor.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    let (received, made) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
    let (counts, makes) = (received.clone(), made.clone());
    let server = move || Counting { received: counts.clone(), transport: makes.clone() };
    let port = reactor.listen_tcp("127.0.0.1:0", server).unwrap();
    let mut peer = TcpStream::connect(port.host().unwrap().to_string()).unwrap();
    reactor.start_running(quiet()).unwrap();
    host.tick_until(|| made.borrow().is_some());
    host.settle();
    peer.write_all(b"stale").unwrap();
    host.events.recv_timeout(LONG).unwrap();
    made.take().unwrap().abort_connection();
    reactor.connect_tcp(port.host().unwrap().to_string().as_str(), || Says(b"new")).unwrap();
    host.frame.tick(Budget::default()).unwrap();
    host.tick_until(|| received.get() > 0);
    host.settle();
    assert_eq!(received.get(), 3);
    host.end();
}

#[test]
fn a_dropped_frame_leaves_no_thread() {
    // U8. The run was not finished.
    let waiting = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "ropewalk-wait").count()
    };
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    host.settle();
    assert_eq!(waiting(), 1);
    drop(host);
    assert_eq!(waiting(), 0);
}

#[test]
fn a_closed_window_has_one_path_to_the_end() {
    // R4. A `before` trigger is pending, a thread is at work, and the loop returns at once.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    reactor.add_system_event_trigger(Phase::Before, "shutdown", |reactor| {
        let (deferred, resolver) = Deferred::<()>::new();
        reactor.call_later(2 * MS, move |_| resolver.callback(()).unwrap());
        deferred
    });
    let (ended, end) = flag();
    reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| end());
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(LONG, |_| {});
    host.settle();
    let caller = reactor.thread_handle();
    let done = Arc::new(AtomicUsize::new(0));
    let stops = done.clone();
    let thread = thread::spawn(move || {
        while stops.load(Ordering::SeqCst) == 0 {
            caller.call_from_thread(|_| {});
            thread::sleep(MS);
        }
    });
    stop(&reactor);
    host.frame.guest().finish().unwrap();
    assert!(ended.get() && !reactor.is_started());
    done.store(1, Ordering::SeqCst);
    thread.join().unwrap();
}

#[test]
fn a_reactor_runs_again() {
    // U7.
    let reactor = Reactor::new().unwrap();
    let host = Sleeping::new(&reactor);
    for _ in 0..3 {
        reactor.start_running(quiet()).unwrap();
        assert!(matches!(reactor.start_running(quiet()), Err(Error::ReactorAlreadyRunning)));
        reactor.call_later(MS, stop);
        while host.tick().unwrap() {}
    }
}

#[test]
fn a_second_adapter_is_refused() {
    // U7. The thread of the first one would wait for the events of the second.
    let reactor = Reactor::new().unwrap();
    let frame = ropewalk_frame::install(&reactor).unwrap();
    assert!(matches!(ropewalk_frame::install(&reactor), Err(Error::Hosted)));
    frame.sleeps_with(|| ()).unwrap();
    assert!(matches!(frame.sleeps_with(|| ()), Err(Error::Hosted)));
    assert!(matches!(frame.draws_every(MS, |_| true), Err(Error::Hosted)));
    drop(frame);
    let _frame = ropewalk_frame::install(&reactor).unwrap();
}

#[test]
fn a_panic_is_reported_by_the_last_tick() {
    let reactor = Reactor::new().unwrap();
    reactor.set_panic_policy(PanicPolicy::Stop);
    let host = Sleeping::new(&reactor);
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(Duration::ZERO, |_| panic!("a bug"));
    let error = loop {
        match host.tick() {
            Ok(true) => {}
            Ok(false) => panic!("the error was lost"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().ends_with("panicked: a bug"), "{error}");
    assert!(!host.frame.tick(Budget::default()).unwrap());
}

#[test]
fn frames_are_drawn_while_events_are_handled() {
    // A guest that always has work, and a window of 1000 frames a second.
    let reactor = Reactor::new().unwrap();
    let frame = ropewalk_frame::install(&reactor).unwrap();
    fn busy(reactor: &Reactor) {
        reactor.call_later(Duration::ZERO, busy);
    }
    reactor.call_when_running(busy);
    let drawn = Rc::new(Cell::new(0));
    let counts = drawn.clone();
    frame
        .draws_every(MS, move |_| {
            counts.set(counts.get() + 1);
            counts.get() < 20
        })
        .unwrap();
    reactor.run_with(quiet()).unwrap();
    assert!(drawn.get() >= 20);
}

#[test]
fn events_are_handled_between_two_frames() {
    // The first frame opens the window, and the next one is due in an hour.
    let reactor = Reactor::new().unwrap();
    let frame = ropewalk_frame::install(&reactor).unwrap();
    frame.draws_every(Duration::from_secs(3600), |_| true).unwrap();
    reactor.call_later(5 * MS, stop);
    reactor.run_with(quiet()).unwrap();
}

#[test]
fn a_callback_runs_the_loop_that_draws() {
    // U6. A dialog in a delayed call.
    let reactor = Reactor::new().unwrap();
    let frame = ropewalk_frame::install(&reactor).unwrap();
    let drawn = Rc::new(Cell::new(0));
    let counts = drawn.clone();
    let draw = move |_: &Reactor| {
        counts.set(counts.get() + 1);
        true
    };
    frame.draws_every(MS, draw).unwrap();
    let inside = Rc::new(Cell::new(0));
    let (seen, counts) = (drawn.clone(), inside.clone());
    reactor.call_later(MS, move |reactor| {
        let before = seen.get();
        while seen.get() < before + 3 {
            reactor.iterate(Some(MS)).unwrap();
        }
        counts.set(seen.get() - before);
        stop(reactor);
    });
    reactor.run_with(quiet()).unwrap();
    assert!(inside.get() >= 3);
}

#[test]
fn a_function_that_draws_runs_the_loop() {
    // A dialog in the handler of a mouse click. The frame is not drawn inside of itself.
    let reactor = Reactor::new().unwrap();
    let frame = ropewalk_frame::install(&reactor).unwrap();
    let is_drawing = Cell::new(false);
    let draw = move |reactor: &Reactor| {
        assert!(!is_drawing.replace(true));
        let (called, call) = flag();
        reactor.call_later(2 * MS, move |_| call());
        while !called.get() {
            reactor.iterate(Some(MS)).unwrap();
        }
        is_drawing.set(false);
        false
    };
    frame.draws_every(MS, draw).unwrap();
    reactor.run_with(quiet()).unwrap();
}
