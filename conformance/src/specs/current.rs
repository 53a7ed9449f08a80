//! `Reactor::current`: code that was given no reactor finds it in every callback, also outside of `run`.

use std::cell::RefCell;
use std::future::ready;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::application::{Service, ServiceHandle};
use ropewalk::interfaces::resolver::HostnameResolver;
use ropewalk::transports::{Hold, Observer, Producer, PushProducer, WeakTransport};
use ropewalk::{
    Address, CallbackKind, ClientFactory, Connector, Deferred, Error, Factory, Phase, Protocol, Reactor, Transport,
    WeakReactor, succeed,
};

use crate::links::{NOWHERE, Transports};
use crate::script::{Log, Script};
use crate::waiting::iterate_until;
use crate::{Subject, quiet, specifications};

/// Looks for the current reactor in callbacks, and logs the places in which it found the expected one.
#[derive(Clone)]
struct Looks {
    expected: WeakReactor,
    log: Log,
}

impl Looks {
    fn at(reactor: &Reactor) -> Looks {
        Looks { expected: reactor.downgrade(), log: Log::new() }
    }

    fn look(&self, place: &'static str) {
        let found = Reactor::current().is_some_and(|current| current.downgrade() == self.expected);
        self.log.add(if found { place.to_owned() } else { format!("not in {place}") });
    }

    /// Returns a callback that looks.
    fn call(&self, place: &'static str) -> impl FnOnce(&Reactor) + 'static + use<> {
        let looks = self.clone();
        move |_| looks.look(place)
    }

    fn have_seen(&self, places: &[&str]) -> bool {
        places.iter().all(|place| self.log.contains(place) || self.log.contains(&format!("not in {place}")))
    }

    /// Fails unless the reactor was found in all these places, and in every other one.
    #[track_caller]
    fn expect(&self, places: &[&str]) {
        let entries = self.log.entries();
        let missed: Vec<_> = entries.iter().filter(|entry| entry.starts_with("not in")).collect();
        assert!(missed.is_empty(), "{missed:?}");
        let unseen: Vec<_> = places.iter().filter(|place| !self.log.contains(place)).collect();
        assert!(unseen.is_empty(), "no callback in {unseen:?}");
    }
}

/// A factory, a protocol and an observer that look in each method.
struct Looking(Looks);

impl Factory for Looking {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.look("build_protocol");
        Some(Box::new(LookingProtocol(self.0.clone())))
    }

    fn start_factory(&self) {
        self.0.look("start_factory");
    }

    fn stop_factory(&self) {
        self.0.look("stop_factory");
    }
}

impl ClientFactory for Looking {
    fn started_connecting(&self, _connector: &Connector) {
        self.0.look("started_connecting");
    }

    fn client_connection_failed(&self, _connector: &Connector, _reason: &Error) {
        self.0.look("client_connection_failed");
    }

    fn client_connection_lost(&self, _connector: &Connector, _reason: &Error) {
        self.0.look("client_connection_lost");
    }
}

impl Observer for Looking {
    fn bytes_received(&self, _count: usize) {
        self.0.look("bytes_received");
    }

    fn bytes_written(&self, _count: usize) {
        self.0.look("bytes_written");
    }
}

struct LookingProtocol(Looks);

impl Protocol for LookingProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.look("connection_made");
        transport.observe(Rc::new(Looking(self.0.clone())));
        transport.keep_until_lost(LookingValue(self.0.clone(), "the destructor of an attachment"));
        transport.write(b"hello");
    }

    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        self.0.look("data_received");
        transport.lose_write_connection();
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.0.look("read_connection_lost");
        transport.lose_connection();
    }

    fn write_connection_lost(&mut self, _transport: &Transport) {
        self.0.look("write_connection_lost");
    }

    fn connection_lost(&mut self, _transport: &Transport, _reason: &Error) {
        self.0.look("connection_lost");
    }

    fn log_prefix(&self) -> &'static str {
        self.0.look("log_prefix");
        "looking"
    }
}

impl Drop for LookingProtocol {
    fn drop(&mut self) {
        self.0.look("the destructor of a protocol");
    }
}

/// A value that looks when it is dropped.
struct LookingValue(Looks, &'static str);

impl Drop for LookingValue {
    fn drop(&mut self) {
        self.0.look(self.1);
    }
}

/// A producer for a connection that may send only once the producer has been paused.
struct LookingProducer {
    looks: Looks,
    hold: RefCell<Option<Hold>>,
    transport: WeakTransport,
}

impl LookingProducer {
    fn start(looks: &Looks, transport: &Transport) {
        let hold = RefCell::new(Some(transport.hold_writing()));
        let producer = LookingProducer { looks: looks.clone(), hold, transport: transport.downgrade() };
        transport.set_watermarks(2, 1);
        transport.register_producer(Producer::push(Rc::new(producer))).unwrap();
        transport.write(b"hello");
    }
}

impl PushProducer for LookingProducer {
    fn pause_producing(&self) {
        self.looks.look("pause_producing");
        self.hold.take();
    }

    fn resume_producing(&self) {
        self.looks.look("resume_producing");
        self.transport.upgrade().unwrap().abort_connection();
    }

    fn stop_producing(&self) {
        self.looks.look("stop_producing");
    }
}

impl Service for Looking {
    fn start(&self, _reactor: &Reactor) -> Deferred<()> {
        self.0.look("a service");
        succeed(())
    }
}

impl HostnameResolver for Looking {
    fn resolve_host_name(&self, _reactor: &Reactor, _host: &str, _port: u16) -> Deferred<Vec<SocketAddr>> {
        self.0.look("a resolver");
        succeed(vec![NOWHERE])
    }
}

#[cfg(unix)]
mod of_unix {
    use std::cell::RefCell;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use ropewalk::sys::RawWaitable;
    use ropewalk::{Descriptor, Interface, Reactor, Result};
    use rustix::process::{Signal, getpid, kill_process};

    use super::Looks;

    /// A pipe that looks when it can be read.
    struct LookingPipe(Looks, RefCell<UnixStream>);

    impl Descriptor for LookingPipe {
        fn raw_io(&self) -> RawWaitable {
            self.1.borrow().as_raw_fd()
        }

        fn do_read(&self, _reactor: &Reactor) -> Result<()> {
            self.0.look("a watched descriptor");
            let _ = self.1.borrow_mut().read(&mut [0; 8]);
            Ok(())
        }
    }

    /// Uses the callbacks that only some providers have, and returns their places.
    pub(super) fn use_callbacks(reactor: &Reactor, looks: &Looks) -> Vec<&'static str> {
        let mut places = Vec::new();
        if reactor.provides(Interface::FdSet) {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let pipe: Rc<dyn Descriptor> = Rc::new(LookingPipe(looks.clone(), RefCell::new(ours)));
            reactor.add_reader(&pipe).unwrap();
            theirs.write_all(b"x").unwrap();
            // A pipe without a writer would be readable forever.
            let keep = RefCell::new(Some(theirs));
            reactor.extension(|_| keep);
            places.push("a watched descriptor");
        }
        if reactor.provides(Interface::Signals) {
            let action = looks.clone();
            let watch = reactor.on_signal(Signal::URG.as_raw(), move |_| action.look("a signal")).unwrap();
            reactor.extension(|_| watch);
            kill_process(getpid(), Signal::URG).unwrap();
            places.push("a signal");
        }
        places
    }
}

#[cfg(not(unix))]
mod of_unix {
    pub(super) fn use_callbacks(_: &ropewalk::Reactor, _: &super::Looks) -> Vec<&'static str> {
        Vec::new()
    }
}

type Use = fn(&Subject, &Reactor, &Looks);

/// The callbacks of a turn: an object that has them, and the places that it looks in.
const OF_A_TURN: [(Use, &[&str]); 7] = [
    (
        |subject, reactor, looks| {
            let port = subject.listen(reactor, Looking(looks.clone()));
            subject.connect(reactor, &port, Looking(looks.clone()));
        },
        &[
            "build_protocol",
            "client_connection_lost",
            "log_prefix",
            "connection_made",
            "data_received",
            "read_connection_lost",
            "write_connection_lost",
            "connection_lost",
            "bytes_received",
            "bytes_written",
            "the destructor of an attachment",
            "the destructor of a protocol",
        ],
    ),
    (
        |subject, reactor, looks| drop(subject.connect_to_nowhere(reactor, Looking(looks.clone()))),
        &["started_connecting", "client_connection_failed"],
    ),
    (
        |subject, reactor, looks| {
            let looks = looks.clone();
            let server = Script::new().on_made(move |transport| LookingProducer::start(&looks, transport));
            subject.join(reactor, &server, &Script::new());
        },
        &["pause_producing", "resume_producing", "stop_producing"],
    ),
    (
        |_, reactor, looks| {
            reactor.install_name_resolver(Rc::new(Looking(looks.clone())));
            drop(reactor.connect_tcp("nowhere.example:1", Script::new().factory()).unwrap());
        },
        &["a resolver"],
    ),
    (
        |_, reactor, looks| {
            let value = LookingValue(looks.clone(), "the destructor of a delayed call");
            reactor.call_later(Duration::ZERO, looks.call("a delayed call"));
            reactor.call_later(Duration::ZERO, move |_| drop(value));
        },
        &["a delayed call", "the destructor of a delayed call"],
    ),
    (
        |_, reactor, looks| {
            let log = looks.log.clone();
            let look = move |reactor: &Reactor| {
                Looks { expected: reactor.downgrade(), log }.look("a call from a thread");
            };
            let handle = reactor.thread_handle();
            std::thread::spawn(move || handle.call_from_thread(look)).join().unwrap();
        },
        &["a call from a thread"],
    ),
    (
        |_, reactor, looks| {
            let [task, callback] = [(); 2].map(|()| looks.clone());
            drop(reactor.spawn(async move { task.look("a task") }));
            drop(reactor.spawn(ready(())).add_callback(move |()| callback.look("a callback of a Deferred")));
        },
        &["a task", "a callback of a Deferred"],
    ),
];

/// The callbacks of the end of a run.
const OF_THE_END: [&str; 4] = ["before shutdown", "stop_factory", "during shutdown", "after shutdown"];

/// Uses all callbacks of a turn, and makes turns as a host loop does, until each callback has looked.
fn look_everywhere(subject: &Subject) {
    let outer = Reactor::current();
    let reactor = subject.reactor();
    let looks = Looks::at(&reactor);
    reactor.start_running(quiet()).unwrap();
    let mut places = of_unix::use_callbacks(&reactor, &looks);
    for (uses, its_places) in OF_A_TURN {
        uses(subject, &reactor, &looks);
        places.extend(its_places);
    }
    for (phase, place) in
        [(Phase::Before, "before shutdown"), (Phase::During, "during shutdown"), (Phase::After, "after shutdown")]
    {
        reactor.add_system_event_trigger(phase, "shutdown", looks.call(place));
    }
    let turns_until_seen = |places: &[&str]| {
        iterate_until(&reactor, || {
            assert_eq!(Reactor::current(), outer, "outside of a turn");
            looks.have_seen(places)
        });
        looks.expect(places);
    };
    turns_until_seen(&places);
    reactor.stop().unwrap();
    turns_until_seen(&OF_THE_END);
}

/// Calls that call back before they return, each with its place.
const OUTSIDE_OF_A_TURN: [(Use, &str); 8] = [
    (|subject, reactor, looks| drop(subject.listen(reactor, Looking(looks.clone()))), "start_factory"),
    (
        |_, reactor, looks| {
            reactor.add_system_event_trigger(Phase::During, "reload", looks.call("a trigger"));
            reactor.fire_system_event("reload");
        },
        "a trigger",
    ),
    (|_, reactor, looks| drop(reactor.call_when_running(looks.call("call_when_running"))), "call_when_running"),
    (
        |_, reactor, looks| {
            let call = || looks.look("call_guarded");
            reactor.call_guarded(CallbackKind::Service, "looks", call).unwrap();
        },
        "call_guarded",
    ),
    (|_, reactor, looks| drop(ServiceHandle::new(Looking(looks.clone())).start(reactor)), "a service"),
    (
        |_, reactor, looks| {
            reactor.install_name_resolver(Rc::new(Looking(looks.clone())));
            drop(reactor.resolve_host_name("nowhere.example", 1));
        },
        "a resolver",
    ),
    (
        |_, reactor, looks| {
            reactor.prepare().unwrap(); // the host sleeps
            let hook = looks.clone();
            reactor.set_deadline_hook(Some(Rc::new(move || hook.look("the deadline hook"))));
            reactor.call_later(Duration::ZERO, |_| ());
            reactor.set_deadline_hook(None);
        },
        "the deadline hook",
    ),
    (
        |subject, reactor, looks| {
            let made = Transports::new();
            subject.join(reactor, &Script::new().listed_in(&made), &Script::new());
            iterate_until(reactor, || !made.all().is_empty());
            for _ in 0..2 {
                made.first().switch_protocol(Box::new(LookingProtocol(looks.clone())));
            }
        },
        "the destructor of a protocol",
    ),
];

specifications! {
    current;

    fn the_current_reactor_is_found_in_each_callback_of_a_turn(subject: &Subject) {
        // twisted.internet.reactor is one global object. Here the thread's reactor is known while it calls back.
        look_everywhere(subject);
    }

    fn the_reactor_of_a_callback_hides_an_entered_one(subject: &Subject) {
        // The host itself may be a reactor.
        let host = subject.reactor();
        let _entered = host.enter();
        look_everywhere(subject);
        assert_eq!(Reactor::current(), Some(host));
    }

    fn the_current_reactor_is_found_in_callbacks_outside_of_a_turn(subject: &Subject) {
        // Such a callback runs before the method that calls it returns.
        let reactor = subject.reactor();
        reactor.start_running(quiet()).unwrap();
        let looks = Looks::at(&reactor);
        for (uses, place) in OUTSIDE_OF_A_TURN {
            uses(subject, &reactor, &looks);
            looks.expect(&[place]);
            assert!(Reactor::current().is_none(), "after {place}");
        }
    }

    fn a_reactor_that_runs_in_a_callback_is_current_meanwhile(subject: &Subject) {
        // Nested loops: Reactor::current is a stack.
        let (outer, inner) = (subject.reactor(), subject.reactor());
        let looks = Looks::at(&inner);
        inner.call_later(Duration::ZERO, looks.call("the inner reactor"));
        let after = Looks::at(&outer);
        let back = after.clone();
        outer.call_later(Duration::ZERO, move |_| {
            inner.prepare().unwrap();
            back.look("the outer reactor");
        });
        outer.prepare().unwrap();
        looks.expect(&["the inner reactor"]);
        after.expect(&["the outer reactor"]);
    }

    fn a_reactor_that_is_being_dropped_is_not_current(subject: &Subject) {
        // No callback can use it any more. Only destructors run.
        let reactor = subject.reactor();
        let log = Log::new();
        struct Reports(Log);
        impl Drop for Reports {
            fn drop(&mut self) {
                self.0.add(format!("current: {}", Reactor::current().is_some()));
            }
        }
        let value = Reports(log.clone());
        reactor.call_later(Duration::from_secs(3600), move |_| drop(value));
        drop(reactor);
        log.expect(&["current: false"]);
    }
}
