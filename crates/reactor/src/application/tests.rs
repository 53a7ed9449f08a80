//! Trees of services, twisted.application.test.test_service.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Resolver, fail, succeed};

use super::{Application, MultiService, Service, ServiceFailed, ServiceHandle};
use crate::error::Error;
use crate::interfaces::core::Phase;
use crate::kernel::Reactor;
use crate::testing::MemoryReactor;

const SECOND: Duration = Duration::from_secs(1);

/// What services did, in order.
#[derive(Clone, Default)]
struct Diary(Rc<RefCell<Vec<String>>>);

impl Diary {
    fn note(&self, what: String) {
        self.0.borrow_mut().push(what);
    }

    fn take(&self) -> String {
        self.0.take().join(", ")
    }

    fn service(&self, name: &'static str) -> Noted {
        Noted { name, diary: self.clone(), stops_after: Duration::ZERO, fails_at: "" }
    }
}

/// Notes what it is told to do.
struct Noted {
    name: &'static str,
    diary: Diary,
    stops_after: Duration,
    fails_at: &'static str,
}

impl Noted {
    fn stops_after(mut self, time: Duration) -> Noted {
        self.stops_after = time;
        self
    }

    fn fails_at(mut self, step: &'static str) -> Noted {
        self.fails_at = step;
        self
    }

    fn step(&self, step: &str) -> Deferred<()> {
        self.diary.note(format!("{step} {}", self.name));
        match self.fails_at == step {
            true => fail(Error::TimedOut),
            false => succeed(()),
        }
    }
}

impl Service for Noted {
    fn privileged_start(&self, _reactor: &Reactor) -> Deferred<()> {
        self.step("prepare")
    }

    fn start(&self, _reactor: &Reactor) -> Deferred<()> {
        self.step("start")
    }

    fn stop(&self, reactor: &Reactor) -> Deferred<()> {
        let stopping = self.step("stop");
        if self.stops_after.is_zero() {
            return stopping;
        }
        let (stopped, resolver) = Deferred::new();
        let (diary, name) = (self.diary.clone(), self.name);
        reactor.call_later(self.stops_after, move |_| {
            diary.note(format!("{name} is stopped"));
            let _ = resolver.callback(());
        });
        stopped
    }
}

fn family(diary: &Diary, names: [&'static str; 3]) -> MultiService {
    let services = MultiService::new();
    for name in names {
        services.add_named(name, diary.service(name)).unwrap();
    }
    services
}

fn error_of(deferred: Deferred<()>) -> Error {
    let failure = deferred.try_result().expect("it has fired").expect_err("it has failed");
    match failure.trap::<ServiceFailed>() {
        Ok(failed) => failed.failure.trap().unwrap(),
        Err(failure) => failure.trap().unwrap(),
    }
}

#[test]
fn services_start_in_order_and_stop_in_reverse_order() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let all = ServiceHandle::new(family(&diary, ["a", "b", "c"]));
    assert!(all.privileged_start(&net).is_done());
    assert_eq!(diary.take(), "prepare a, prepare b, prepare c");
    assert!(!all.running());
    assert!(all.start(&net).is_done());
    assert_eq!(diary.take(), "start a, start b, start c");
    assert!(all.running());
    assert!(all.stop(&net).is_done());
    assert_eq!(diary.take(), "stop c, stop b, stop a");
    assert!(!all.running());
}

#[test]
fn nothing_is_started_or_stopped_twice() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let one = ServiceHandle::new(diary.service("one"));
    one.stop(&net);
    one.start(&net);
    one.start(&net);
    one.privileged_start(&net);
    one.stop(&net);
    one.stop(&net);
    assert_eq!(diary.take(), "start one, stop one");
}

#[test]
fn a_service_that_was_only_prepared_is_stopped_too() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let all = ServiceHandle::new(family(&diary, ["a", "b", "c"]));
    all.privileged_start(&net);
    diary.take();
    all.stop(&net);
    assert_eq!(diary.take(), "stop c, stop b, stop a");
}

#[test]
fn stopping_is_done_when_the_slowest_service_has_stopped() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    services.add(diary.service("slow").stops_after(2 * SECOND));
    services.add(diary.service("slower").stops_after(3 * SECOND));
    services.add(diary.service("broken").fails_at("stop"));
    let all = ServiceHandle::new(services);
    all.start(&net);
    let stopped = all.stop(&net);
    net.advance(2 * SECOND);
    assert!(!stopped.is_done());
    net.advance(SECOND);
    assert!(stopped.try_result().unwrap().is_ok(), "a failure to stop is no reason to go on running");
}

#[test]
fn a_second_stop_waits_for_the_first_and_tells_no_service_twice() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    services.add(diary.service("slow").stops_after(3 * SECOND));
    let all = ServiceHandle::new(services.clone());
    all.start(&net);
    diary.take();
    let stops = [all.stop(&net), all.stop(&net), services.stop(&net)];
    assert_eq!(diary.take(), "stop slow");
    net.advance(2 * SECOND);
    let late = all.stop(&net);
    assert!(!late.is_done() && stops.iter().all(|stopped| !stopped.is_done()));
    net.advance(SECOND);
    assert!(late.is_done() && stops.iter().all(Deferred::is_done));
    assert!(all.stop(&net).is_done());
    assert_eq!(diary.take(), "slow is stopped");
}

#[test]
fn a_stop_of_a_later_run_is_one_of_its_own() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let service = ServiceHandle::new(diary.service("slow").stops_after(3 * SECOND));
    service.start(&net);
    let first = service.stop(&net);
    let joined = service.stop(&net);
    net.advance(SECOND);
    service.start(&net);
    let second = service.stop(&net);
    net.advance(2 * SECOND);
    assert!(first.is_done() && joined.is_done() && !second.is_done());
    let waits = service.stop(&net);
    net.advance(SECOND);
    assert!(second.is_done() && waits.is_done());
    assert_eq!(diary.take(), "start slow, stop slow, start slow, stop slow, slow is stopped, slow is stopped");
}

#[test]
fn a_service_that_does_not_stop_is_not_waited_for_beyond_the_limit() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new().stop_within(5 * SECOND);
    services.add_named("stuck", diary.service("stuck").stops_after(60 * SECOND)).unwrap();
    services.add(diary.service("slow").stops_after(SECOND));
    let all = ServiceHandle::new(services);
    all.start(&net);
    let stopped = all.stop(&net);
    net.advance(4 * SECOND);
    assert!(!stopped.is_done());
    net.advance(SECOND);
    assert!(stopped.is_done());
    // What it was waiting for may still happen, and changes nothing.
    net.advance(60 * SECOND);
}

#[test]
fn stopping_in_time_leaves_no_call_behind() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new().stop_within(5 * SECOND);
    services.add(diary.service("slow").stops_after(SECOND));
    let all = ServiceHandle::new(services);
    all.start(&net);
    all.stop(&net);
    net.advance(SECOND);
    assert!(net.get_delayed_calls().is_empty());
}

#[test]
fn a_service_that_is_added_to_a_running_one_is_started() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    let all = ServiceHandle::new(services.clone());
    services.add(diary.service("early"));
    assert_eq!(diary.take(), "");
    all.start(&net);
    services.add(diary.service("late"));
    assert_eq!(diary.take(), "start early, prepare late, start late");
    all.stop(&net);
    assert_eq!(diary.take(), "stop late, stop early");
    services.add(diary.service("too late"));
    assert_eq!(diary.take(), "");
}

#[test]
fn a_late_service_that_cannot_be_prepared_is_not_started() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    ServiceHandle::new(services.clone()).start(&net);
    services.add(diary.service("late").fails_at("prepare"));
    assert_eq!(diary.take(), "prepare late");
}

#[test]
fn services_are_found_by_name_among_siblings_only() {
    let diary = Diary::default();
    let inner = family(&diary, ["a", "b", "c"]);
    let outer = MultiService::new();
    let handle = outer.add_named("inner", inner.clone()).unwrap();
    assert!(outer.get_service_named("a").is_none());
    assert_eq!(inner.get_service_named("b").unwrap().name().as_deref(), Some("b"));
    assert_eq!(handle.parent().unwrap().services().len(), 1);
    assert!(inner.get_service_named("a").unwrap().parent().unwrap().get_service_named("c").is_some());
}

#[test]
fn siblings_have_different_names() {
    let diary = Diary::default();
    let services = family(&diary, ["a", "b", "c"]);
    let taken = services.add_named("b", diary.service("another b"));
    assert!(matches!(taken, Err(Error::ServiceNameTaken(name)) if &*name == "b"));
    assert_eq!(services.services().len(), 3);
    let nameless = services.add(diary.service("d"));
    assert!(matches!(nameless.set_name("c"), Err(Error::ServiceNameTaken(_))));
    assert_eq!(nameless.name(), None);
    nameless.set_name("d").unwrap();
    nameless.set_name("d").unwrap();
    assert!(services.get_service_named("d").is_some());
}

#[test]
fn a_service_has_one_parent_until_it_is_disowned() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let (first, second) = (MultiService::new(), MultiService::new());
    ServiceHandle::new(first.clone()).start(&net);
    let service = first.add_named("child", diary.service("child").stops_after(SECOND)).unwrap();
    diary.take();
    let error = service.set_parent(&second).unwrap_err();
    assert_eq!(error.to_string(), "the service 'child' has a parent already: disown it first");
    let disowned = service.disown();
    assert_eq!(diary.take(), "stop child");
    assert!(first.services().is_empty() && service.parent().is_none());
    assert!(!disowned.is_done());
    net.advance(SECOND);
    assert!(disowned.is_done());
    service.set_parent(&second).unwrap();
    assert!(second.get_service_named("child").is_some());
    assert!(service.disown().is_done(), "it was not started");
}

#[test]
fn starting_is_done_when_every_service_has_started() {
    struct Slow(RefCell<Option<Deferred<()>>>);
    impl Service for Slow {
        fn start(&self, _reactor: &Reactor) -> Deferred<()> {
            self.0.take().expect("it is started once")
        }
    }
    let net = MemoryReactor::new();
    let services = MultiService::new();
    let resolvers: Vec<Resolver<()>> = (0..2)
        .map(|_| {
            let (deferred, resolver) = Deferred::new();
            services.add(Slow(RefCell::new(Some(deferred))));
            resolver
        })
        .collect();
    let started = ServiceHandle::new(services).start(&net);
    resolvers[1].callback(()).unwrap();
    assert!(!started.is_done());
    resolvers[0].callback(()).unwrap();
    assert!(started.is_done());
}

#[test]
fn a_failure_to_start_names_the_service_and_the_others_run_on() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    services.add(diary.service("a"));
    services.add_named("bad", diary.service("bad").fails_at("start")).unwrap();
    services.add(diary.service("c"));
    let all = ServiceHandle::new(services);
    let failure = all.start(&net).try_result().unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "the service 'bad' did not start: connection was idle for too long");
    assert_eq!(diary.take(), "start a, start bad, start c");
    all.stop(&net);
    assert_eq!(diary.take(), "stop c, stop bad, stop a");
}

#[test]
fn a_service_that_panics_has_failed() {
    struct Panics;
    impl Service for Panics {
        fn start(&self, _reactor: &Reactor) -> Deferred<()> {
            panic!("no")
        }
    }
    let net = MemoryReactor::new();
    let error = error_of(ServiceHandle::new(Panics).start(&net));
    assert!(matches!(error, Error::Panicked(..)), "{error}");
}

#[test]
fn a_start_that_changes_the_family_leaves_nobody_started_twice_or_forgotten() {
    struct Meddles(MultiService, Diary);
    impl Service for Meddles {
        fn start(&self, _reactor: &Reactor) -> Deferred<()> {
            self.0.get_service_named("victim").unwrap().disown();
            self.0.add(self.1.service("born"));
            succeed(())
        }
    }
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    services.add(Meddles(services.clone(), diary.clone()));
    services.add_named("victim", diary.service("victim")).unwrap();
    services.add(diary.service("last"));
    let all = ServiceHandle::new(services.clone());
    all.start(&net);
    assert_eq!(diary.take(), "prepare born, start born, start last");
    all.stop(&net);
    assert_eq!(diary.take(), "stop born, stop last");
}

#[test]
fn a_family_that_contains_itself_starts_and_stops_all_the_same() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = family(&diary, ["a", "b", "c"]);
    let itself = services.add(services.clone());
    let all = ServiceHandle::new(services);
    all.start(&net);
    all.stop(&net);
    assert_eq!(diary.take(), "start a, start b, start c, stop c, stop b, stop a");
    itself.disown();
}

fn application(diary: &Diary) -> Application {
    let application = Application::new("test");
    for name in ["a", "b"] {
        application.services().add(diary.service(name).stops_after(SECOND));
    }
    application
}

#[test]
fn an_application_starts_with_the_reactor_and_the_reactor_waits_for_its_end() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    let started = application.start(&net);
    assert_eq!(diary.take(), "");
    let note = diary.clone();
    net.add_system_event_trigger(Phase::During, "shutdown", move |_| note.note("shutdown".into()));
    net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    net.run().unwrap();
    assert!(started.is_done());
    assert_eq!(
        diary.take(),
        "prepare a, prepare b, start a, start b, stop b, stop a, b is stopped, a is stopped, shutdown"
    );
}

#[test]
fn an_application_that_cannot_start_stops_what_it_had_started_and_says_why() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    application.services().add(diary.service("bad").fails_at("prepare"));
    let error = application.run(&net).unwrap_err();
    assert!(matches!(error, Error::TimedOut), "{error}");
    assert_eq!(diary.take(), "prepare a, prepare b, prepare bad, stop bad, stop b, stop a, b is stopped, a is stopped");
    assert!(!net.is_started());
}

#[test]
fn an_application_that_was_only_to_start_and_cannot_leaves_the_reactor_to_its_caller() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let bad = application(&diary);
    bad.services().add(diary.service("bad").fails_at("start"));
    let started = bad.start(&net);
    net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    net.run().unwrap();
    assert!(started.try_result().expect("it has failed").is_err());
    assert_eq!(net.seconds(), 1.0, "it ran until it was stopped");
}

#[test]
fn an_application_that_is_stopped_before_it_is_prepared_does_not_start() {
    struct Never(Cell<Option<Resolver<()>>>);
    impl Service for Never {
        fn privileged_start(&self, _reactor: &Reactor) -> Deferred<()> {
            let (deferred, resolver) = Deferred::new();
            self.0.set(Some(resolver));
            deferred
        }
        fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
            let resolver = self.0.take().unwrap();
            resolver.callback(()).unwrap();
            succeed(())
        }
    }
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    application.services().add(Never(Cell::default()));
    net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    let outcome = application.run(&net);
    assert!(matches!(outcome, Err(Error::ReactorNotRunning)), "{outcome:?}");
    assert_eq!(diary.take(), "prepare a, prepare b, stop b, stop a, b is stopped, a is stopped");
}

#[test]
fn an_application_can_run_again() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    for _ in 0..2 {
        net.call_later(SECOND, |reactor| reactor.stop().unwrap());
        application.run(&net).unwrap();
        assert_eq!(diary.take(), "prepare a, prepare b, start a, start b, stop b, stop a, b is stopped, a is stopped");
    }
}
