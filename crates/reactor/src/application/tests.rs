//! Trees of services. The source is twisted.application.test.test_service.

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

/// The steps of all services, in order.
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

/// A service that records its steps.
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
    let failure = deferred.try_result().expect("a fired Deferred").expect_err("a failure");
    match failure.trap::<ServiceFailed>() {
        Ok(failed) => failed.failure.trap().unwrap(),
        Err(failure) => failure.trap().unwrap(),
    }
}

#[test]
fn services_stop_in_the_reverse_order_of_their_start() {
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
fn no_service_is_started_or_stopped_twice() {
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
fn a_service_that_was_only_prepared_is_also_stopped() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let all = ServiceHandle::new(family(&diary, ["a", "b", "c"]));
    all.privileged_start(&net);
    diary.take();
    all.stop(&net);
    assert_eq!(diary.take(), "stop c, stop b, stop a");
}

#[test]
fn stop_completes_with_the_slowest_service() {
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
    assert!(stopped.try_result().unwrap().is_ok(), "a failure to stop does not keep the others running");
}

#[test]
fn a_second_stop_joins_the_first() {
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
fn a_stop_of_a_later_run_is_independent_of_an_earlier_one() {
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
fn stop_gives_up_on_a_service_at_the_time_limit() {
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
    // The late stop of a service has no effect.
    net.advance(60 * SECOND);
}

#[test]
fn a_timely_stop_cancels_the_limits_delayed_call() {
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
fn a_service_added_to_a_running_parent_is_started() {
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
fn a_late_service_whose_preparation_fails_is_not_started() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let services = MultiService::new();
    ServiceHandle::new(services.clone()).start(&net);
    services.add(diary.service("late").fails_at("prepare"));
    assert_eq!(diary.take(), "prepare late");
}

#[test]
fn names_are_looked_up_among_siblings_only() {
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
fn siblings_cannot_share_a_name() {
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
    assert_eq!(error.to_string(), "the service 'child' already has a parent: disown it first");
    let disowned = service.disown();
    assert_eq!(diary.take(), "stop child");
    assert!(first.services().is_empty() && service.parent().is_none());
    assert!(!disowned.is_done());
    net.advance(SECOND);
    assert!(disowned.is_done());
    service.set_parent(&second).unwrap();
    assert!(second.get_service_named("child").is_some());
    assert!(service.disown().is_done(), "a service that was not started has nothing to stop");
}

#[test]
fn start_completes_when_every_service_has_started() {
    struct Slow(RefCell<Option<Deferred<()>>>);
    impl Service for Slow {
        fn start(&self, _reactor: &Reactor) -> Deferred<()> {
            self.0.take().expect("a single start")
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
fn a_failed_start_names_the_service() {
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
fn a_start_may_add_or_disown_siblings() {
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
fn a_tree_may_contain_itself() {
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
fn an_application_runs_from_startup_to_shutdown() {
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
fn a_failed_application_stops_its_services_with_the_reason() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    application.services().add(diary.service("bad").fails_at("prepare"));
    let error = application.run(&net).unwrap_err();
    assert!(matches!(error, Error::TimedOut), "{error}");
    assert_eq!(diary.take(), "prepare a, prepare b, prepare bad, stop bad, stop b, stop a, b is stopped, a is stopped");
    assert!(!net.is_started());
}

#[test]
fn a_failed_start_leaves_the_reactor_running() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let bad = application(&diary);
    bad.services().add(diary.service("bad").fails_at("start"));
    let started = bad.start(&net);
    net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    net.run().unwrap();
    assert!(started.try_result().expect("a failure").is_err());
    assert_eq!(net.seconds(), 1.0, "the reactor ran until it was stopped");
}

/// A service whose preparation lasts until it is released or stopped.
#[derive(Clone, Default)]
struct Slow(Rc<Cell<Option<Resolver<()>>>>);

impl Slow {
    fn release(&self) {
        self.0.take().expect("its preparation has begun").callback(()).unwrap();
    }
}

impl Service for Slow {
    fn privileged_start(&self, _reactor: &Reactor) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        self.0.set(Some(resolver));
        deferred
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        self.0.take().iter().for_each(|resolver| resolver.callback(()).unwrap());
        succeed(())
    }
}

#[test]
fn a_stop_during_preparation_prevents_the_start() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    application.services().add(Slow::default());
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

#[test]
fn an_application_starts_in_a_turn_without_a_run() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    let started = application.start(&net);
    net.advance(Duration::ZERO);
    assert!(started.is_done());
    assert_eq!(diary.take(), "prepare a, prepare b, start a, start b");
    let stopped = application.stop(&net);
    net.advance(SECOND);
    assert!(stopped.is_done());
    assert_eq!(diary.take(), "stop b, stop a, b is stopped, a is stopped");
    // The trigger of the first start is gone, and the application can start again.
    net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    application.run(&net).unwrap();
    assert_eq!(diary.take(), "prepare a, prepare b, start a, start b, stop b, stop a, b is stopped, a is stopped");
}

#[test]
fn a_start_that_waits_is_cancelled_by_a_stop() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    let started = application.start(&net);
    assert!(application.stop(&net).is_done());
    net.advance(SECOND);
    assert!(started.try_result().expect("a failure").unwrap_err().check::<Error>());
    assert_eq!(diary.take(), "");
}

#[test]
fn a_turn_during_a_delayed_startup_starts_no_service() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    net.add_system_event_trigger(Phase::Before, "startup", |reactor| reactor.defer_later(2 * SECOND, |_| ()));
    let seen = diary.clone();
    net.call_later(SECOND, move |_| seen.note("a turn".into()));
    net.call_later(3 * SECOND, |reactor| reactor.stop().unwrap());
    application.run(&net).unwrap();
    assert!(diary.take().starts_with("a turn, prepare a"));
}

#[test]
fn a_second_start_of_an_application_changes_nothing() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    for started in ["prepare a, prepare b, start a, start b", "", ""] {
        let calls = [application.start(&net), application.start(&net)];
        net.advance(Duration::ZERO);
        assert!(calls.map(Deferred::try_result).iter().all(|result| matches!(result, Ok(Ok(())))));
        assert_eq!(diary.take(), started);
    }
    net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    application.run(&net).unwrap();
    assert_eq!(diary.take(), "stop b, stop a, b is stopped, a is stopped");
}

#[test]
fn calls_of_start_wait_for_the_same_preparation() {
    let (net, diary, slow) = (MemoryReactor::new(), Diary::default(), Slow::default());
    let application = application(&diary);
    application.services().add(slow.clone());
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(application.start(&net));
        net.advance(Duration::ZERO);
    }
    assert_eq!(diary.take(), "prepare a, prepare b");
    assert!(!calls.iter().any(Deferred::is_done));
    slow.release();
    assert!(calls.iter().all(Deferred::is_done));
    assert_eq!(diary.take(), "start a, start b");
}

#[test]
fn a_failed_start_fails_each_call_that_waits_for_it() {
    let (net, diary) = (MemoryReactor::new(), Diary::default());
    let application = application(&diary);
    application.services().add(diary.service("bad").fails_at("start"));
    let calls = [application.start(&net), application.start(&net)];
    net.advance(SECOND);
    let texts = calls.map(|call| format!("{:#}", call.try_result().unwrap().unwrap_err()));
    assert_eq!(texts[0], texts[1]);
    diary.take();
    drop(application.start(&net).add_errback(drop));
    net.advance(SECOND);
    assert!(diary.take().starts_with("prepare a"), "another start is possible");
}

#[test]
fn a_start_after_a_stop_waits_for_its_own_preparation() {
    let (net, diary, slow) = (MemoryReactor::new(), Diary::default(), Slow::default());
    let application = application(&diary);
    // The first preparation ends only during the second one.
    let first = slow.clone();
    application.services().add(Unstoppable(slow));
    let started = application.start(&net);
    net.advance(Duration::ZERO);
    let released = first.0.take().unwrap();
    let stopped = application.stop(&net);
    net.advance(SECOND);
    assert!(stopped.is_done());
    let again = application.start(&net);
    net.advance(Duration::ZERO);
    diary.take();
    released.callback(()).unwrap();
    assert!(started.try_result().unwrap().unwrap_err().check::<Error>());
    assert_eq!(diary.take(), "");
    first.release();
    assert!(again.is_done());
    assert_eq!(diary.take(), "start a, start b");
}

/// A service whose stop does not end its preparation.
struct Unstoppable(Slow);

impl Service for Unstoppable {
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        self.0.privileged_start(reactor)
    }
}
