//! The descriptor that a host loop watches, on providers that have one. The host here is a reactor on poll.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk::proto::Deferred;
use ropewalk::sys::RawWaitable;
use ropewalk::{DelayedCall, Descriptor, Reactor, RunOptions};

use crate::script::{Log, Script, stop};
use crate::{Subject, run, specifications};

const MOMENT: Duration = Duration::from_millis(1);

/// A reactor inside another one's loop.
struct Guest {
    reactor: Reactor,
    handle: RawWaitable,
    timer: RefCell<Option<DelayedCall>>,
    woken: Cell<usize>,
}

impl Descriptor for Guest {
    fn raw_io(&self) -> RawWaitable {
        self.handle
    }

    fn do_read(&self, host: &Reactor) -> ropewalk::Result<()> {
        self.woken.set(self.woken.get() + 1);
        self.reactor.wait(Some(Duration::ZERO))?;
        self.reactor.dispatch();
        self.sleep(host)
    }
}

impl Guest {
    /// Adds the guest's descriptor to `host`.
    fn new(reactor: &Reactor, host: &Reactor) -> Rc<Guest> {
        let handle = reactor.host_handle().expect("a provider with a descriptor");
        let guest = Guest { reactor: reactor.clone(), handle, timer: RefCell::default(), woken: Cell::default() };
        let guest = Rc::new(guest);
        host.add_reader(&(guest.clone() as Rc<dyn Descriptor>)).unwrap();
        guest
    }

    /// Runs what is due, and lets the host wake the guest when the next call is due.
    fn sleep(&self, host: &Reactor) -> ropewalk::Result<()> {
        let limit = self.reactor.prepare()?;
        if let Some(timer) = self.timer.take() {
            let _ = timer.cancel();
        }
        let Some(limit) = limit else { return Ok(()) };
        // A host's callback reaches its guest only through the reactor.
        let guest = self.reactor.clone();
        *self.timer.borrow_mut() = Some(host.call_later(limit, move |_| guest.thread_handle().wake_up()));
        Ok(())
    }

    /// Returns the number of times that the guest is woken in one turn of its host that does not wait.
    fn woken_in_a_turn_of(&self, host: &Reactor) -> usize {
        self.woken.set(0);
        host.iterate(Some(Duration::ZERO)).unwrap();
        self.woken.get()
    }
}

fn poll_host() -> Reactor {
    Subject::named("poll").reactor()
}

specifications! {
    host_handle;

    fn a_file_makes_the_handle_readable(subject: &Subject) {
        // epoll_ctl(2) refuses regular files, which are always ready. A connection of two files ends with its input.
        let (guest, host, log) = (subject.reactor(), poll_host(), Log::new());
        let guest_in_host = Guest::new(&guest, &host);
        let stopped = host.clone();
        let script = Script::logged(&log, "files").on_lost(move |_, _| stop(&stopped));
        let null = || std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        guest.start_running(RunOptions::default()).unwrap();
        guest.adopt_pipes(null(), null(), &script.factory()).unwrap();
        guest_in_host.sleep(&host).unwrap();
        run(&host);
        log.expect(&["files made", "files read lost", "files lost ConnectionDone"]);
    }

    fn the_descriptor_is_quiet_while_the_guest_is_idle(subject: &Subject) {
        // An idle application must not wake its host, because wake-ups drain the battery of a phone.
        let (reactor, host) = (subject.reactor(), poll_host());
        reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let guest = Guest::new(&reactor, &host);
        guest.sleep(&host).unwrap();
        for _ in 0..3 {
            assert_eq!(guest.woken_in_a_turn_of(&host), 0);
        }
    }

    fn a_thread_call_makes_the_descriptor_readable(subject: &Subject) {
        // A wake-up between the guest's check and the host's sleep is not lost. The descriptor is not readable after
        // the call.
        let (reactor, host, log) = (subject.reactor(), poll_host(), Log::new());
        let guest = Guest::new(&reactor, &host);
        for _ in 0..3 {
            guest.sleep(&host).unwrap();
            let (handle, call) = (reactor.thread_handle(), log.note("call"));
            thread::spawn(move || handle.call_from_thread(call)).join().unwrap();
            assert_eq!(guest.woken_in_a_turn_of(&host), 1);
            assert_eq!(guest.woken_in_a_turn_of(&host), 0);
        }
        log.expect(&["call"; 3]);
    }

    fn a_thread_call_before_the_host_watches_is_not_lost(subject: &Subject) {
        // Before the descriptor is asked for, a wake-up needs no system call, so it leaves no trace on the descriptor.
        let (reactor, host, log) = (subject.reactor(), poll_host(), Log::new());
        reactor.prepare().unwrap();
        reactor.call_from_thread(log.note("call"));
        let guest = Guest::new(&reactor, &host);
        assert_eq!(guest.woken_in_a_turn_of(&host), 1);
        log.expect(&["call"]);
    }

    fn a_thread_call_inside_the_guests_turn_is_not_lost(subject: &Subject) {
        // The call arrives between the guest's look at the queue and the host's sleep.
        let (reactor, host, log) = (subject.reactor(), poll_host(), Log::new());
        let guest = Guest::new(&reactor, &host);
        let nested = log.note("nested");
        reactor.call_from_thread(move |reactor| reactor.call_from_thread(nested));
        guest.sleep(&host).unwrap();
        log.expect(&[]);
        assert_eq!(guest.woken_in_a_turn_of(&host), 1);
        log.expect(&["nested"]);
    }

    fn a_task_woken_outside_the_guest_makes_its_descriptor_readable(subject: &Subject) {
        // A callback of the host, on the same thread, fires the Deferred that a task awaits.
        let (reactor, host, log) = (subject.reactor(), poll_host(), Log::new());
        let guest = Guest::new(&reactor, &host);
        let (deferred, resolver) = Deferred::new();
        let done = log.clone();
        drop(reactor.spawn(async move {
            let _ = deferred.await;
            done.add("woken");
        }));
        guest.sleep(&host).unwrap();
        resolver.callback(()).unwrap();
        assert_eq!(guest.woken_in_a_turn_of(&host), 1);
        log.expect(&["woken"]);
    }

    fn arriving_data_makes_the_descriptor_readable(subject: &Subject) {
        // A handle that the host can watch stays readable until the guest has looked.
        let (reactor, host, log) = (subject.reactor(), poll_host(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::logged(&log, "server").factory()).unwrap();
        let guest = Guest::new(&reactor, &host);
        guest.sleep(&host).unwrap();
        let _peer = std::net::TcpStream::connect(port.host().unwrap().inet().unwrap()).unwrap();
        host.remove_reader(&(guest.clone() as Rc<dyn Descriptor>));
        assert_eq!(guest.woken_in_a_turn_of(&host), 0);
        host.add_reader(&(guest.clone() as Rc<dyn Descriptor>)).unwrap();
        assert_eq!(guest.woken_in_a_turn_of(&host), 1);
        log.expect(&["server made"]);
    }

    fn a_guest_serves_all_sources_while_its_host_runs(subject: &Subject) {
        // The same reactor lives inside a toolkit's loop: connections, delayed calls, calls from threads.
        let (reactor, host, log) = (subject.reactor(), poll_host(), Log::new());
        let guest = Guest::new(&reactor, &host);
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let (echo, end) = (log.clone(), host.thread_handle());
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
            echo.add("echo");
            let (due, thread, end) = (echo.clone(), echo.note("thread"), end.clone());
            transport.reactor().call_later(MOMENT * 2, move |reactor| {
                due.add("due");
                let handle = reactor.thread_handle();
                thread::spawn(move || {
                    handle.call_from_thread(thread);
                    handle.call_from_thread(stop);
                    handle.call_from_thread(move |_| end.call_from_thread(stop));
                });
            });
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        reactor.add_system_event_trigger(ropewalk::Phase::After, "shutdown", log.note("guest ended"));
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        guest.sleep(&host).unwrap();
        run(&host);
        log.expect(&["echo", "due", "thread", "guest ended"]);
    }

    fn an_idle_guest_does_not_wake_its_host(subject: &Subject) {
        // An idle application wakes zero times. costs.rs has the same test with a sleep of ten seconds.
        let (host, counts) = Subject::named("poll").counted();
        let reactor = subject.reactor();
        let guest = Guest::new(&reactor, &host);
        reactor.call_later(Duration::from_secs(3600), |_| {});
        guest.sleep(&host).unwrap();
        host.call_later(MOMENT * 5, stop);
        run(&host);
        // If the host's only call was due before the run, the host does not wait. It waits again if it found the call
        // late.
        assert!(counts.now().waits <= 2, "{:?}", counts.now());
    }
}
