//! Tests of chains, from firing to logging. Cancelling, gathering and awaiting are tested beside their code.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::*;

/// The length of a chain whose recursion would overflow the stack of a test.
pub(super) const LONG: usize = 100_000;

/// Returns the result of a Deferred that is done.
pub(super) fn result_of<T>(deferred: Deferred<T>) -> Result<T, Failure> {
    deferred.try_result().expect("the result is there")
}

pub(super) fn value_of<T>(deferred: Deferred<T>) -> T {
    result_of(deferred).expect("a value")
}

pub(super) fn failure_of<T: fmt::Debug>(deferred: Deferred<T>) -> Failure {
    result_of(deferred).expect_err("a failure")
}

/// A second subscriber, which exists as long as the process. With a single one, `tracing-core` asks the subscriber of
/// the thread that reaches an event first, and remembers the answer for all threads. Other tests would switch events
/// off.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// Returns the errors that `work` logs, in order.
pub(super) fn logged_by(work: impl FnOnce()) -> Vec<String> {
    LazyLock::force(&ANOTHER);
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), work);
    let lines = log.lines.lock().unwrap();
    lines.clone()
}

#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The order in which callbacks ran.
#[derive(Clone, Default)]
struct Diary(Rc<RefCell<Vec<&'static str>>>);

impl Diary {
    fn note(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn entries(&self) -> Vec<&'static str> {
        self.0.borrow().clone()
    }
}

#[test]
fn callbacks_run_in_order_inside_the_call_that_fires() {
    let diary = Diary::default();
    let (deferred, resolver) = Deferred::new();
    let [one, two] = [diary.clone(), diary.clone()];
    let end = deferred.add_callback(move |()| one.note("first")).add_callback(move |()| two.note("second"));
    diary.note("fire");
    resolver.callback(()).unwrap();
    diary.note("fired");
    assert_eq!(diary.entries(), ["fire", "first", "second", "fired"]);
    value_of(end);
}

#[test]
fn a_callback_added_to_a_fired_deferred_runs_at_once() {
    let (deferred, resolver) = Deferred::new();
    resolver.callback(1).unwrap();
    let ran = Rc::new(Cell::new(0));
    let seen = ran.clone();
    let deferred = deferred.add_callback(move |value| seen.set(value));
    assert_eq!(ran.replace(0), 1);
    let seen = ran.clone();
    value_of(deferred.add_callback(move |()| seen.set(2)));
    assert_eq!(ran.get(), 2);
}

#[test]
fn is_done_does_not_change_a_deferred() {
    let (deferred, resolver) = Deferred::new();
    assert!(!deferred.is_done());
    let deferred = deferred.try_result().expect_err("nothing has fired");
    resolver.callback(3).unwrap();
    assert!(deferred.is_done());
    assert!(deferred.is_done());
    assert_eq!(value_of(deferred), 3);
}

#[test]
fn the_callbacks_of_a_dropped_deferred_still_run() {
    let diary = Diary::default();
    let note = diary.clone();
    let (deferred, resolver) = Deferred::new();
    drop(deferred.add_callback(move |()| note.note("ran")));
    resolver.callback(()).unwrap();
    assert_eq!(diary.entries(), ["ran"]);
}

#[test]
fn a_result_skips_callbacks_of_the_other_kind() {
    for fire_first in [true, false] {
        let (deferred, resolver) = Deferred::<u32>::new();
        if fire_first {
            resolver.errback(fmt::Error).unwrap();
        }
        let deferred = deferred
            .add_callback(|_| unreachable!("a callback saw a failure"))
            .and_then(|()| -> Result<(), Failure> { unreachable!("a callback saw a failure") })
            .add_errback(|failure| assert!(failure.check::<fmt::Error>()))
            .add_errback(|_| unreachable!("an errback saw a value"))
            .or_else(|_| -> Deferred<()> { unreachable!("an errback saw a value") })
            .add_callbacks(|()| "value", |_| unreachable!("an errback saw a value"));
        if !fire_first {
            resolver.errback(fmt::Error).unwrap();
        }
        assert_eq!(value_of(deferred), "value");
    }
}

#[test]
fn an_errback_does_not_get_the_panic_of_its_callback() {
    let deferred = succeed(1).then(|_| Err::<(), _>(fmt::Error)).add_callbacks(|()| "callback", |_| "errback");
    assert_eq!(value_of(deferred), "errback");
    let failed = succeed(1).add_callbacks(|_| panic!("of the callback"), |_| unreachable!("an errback saw the panic"));
    assert!(failure_of(failed).check::<Panicked>());
}

#[test]
fn a_panic_fails_with_the_line_that_added_the_callback() {
    let (deferred, resolver) = Deferred::<u32>::new();
    let line = line!() + 1;
    let pending = deferred.add_callback(|value| panic!("no {value}")).add_callback(|()| ());
    resolver.callback(7).unwrap();
    let at_once = succeed(7).add_both(|_| -> () { panic!("no 7") });
    for (failure, line) in [(failure_of(pending), line), (failure_of(at_once), line + 2)] {
        assert_eq!(failure.location().line(), line);
        assert_eq!(failure.trap::<Panicked>().unwrap().message(), "no 7");
    }
}

#[test]
fn a_returned_error_has_the_line_that_added_the_callback() {
    let line = line!() + 1;
    let failure = failure_of(succeed("x").and_then(str::parse::<u32>));
    assert_eq!((failure.location().file(), failure.location().line()), (file!(), line));
}

#[test]
fn a_chain_waits_for_a_returned_deferred() {
    let diary = Diary::default();
    let note = diary.clone();
    let (outer, fire_outer) = Deferred::new();
    let (inner, fire_inner) = Deferred::new();
    let end = outer.and_then(move |()| inner).add_callback(move |()| note.note("behind"));
    fire_outer.callback(()).unwrap();
    diary.note("outer fired");
    assert!(!end.is_done());
    fire_inner.callback(()).unwrap();
    assert_eq!(diary.entries(), ["outer fired", "behind"]);
    value_of(end);
}

#[test]
fn a_callback_added_to_a_waiting_chain_gets_the_inner_result() {
    let (outer, fire_outer) = Deferred::new();
    let (inner, fire_inner) = Deferred::new();
    let end = outer.and_then(move |()| inner);
    fire_outer.callback(()).unwrap();
    let end = end.add_callback(|value: u32| value + 1);
    fire_inner.callback(1).unwrap();
    assert_eq!(value_of(end), 2);
}

#[test]
fn the_result_of_a_fired_returned_deferred_is_taken_at_once() {
    let (outer, fire_outer) = Deferred::new();
    let (inner, fire_inner) = Deferred::new();
    fire_inner.callback(5).unwrap();
    let end = outer.and_then(move |()| inner);
    fire_outer.callback(()).unwrap();
    assert_eq!(value_of(end), 5);
}

#[test]
fn an_inner_failure_goes_to_the_errbacks_of_the_outer_chain() {
    let (inner, fire_inner) = Deferred::<u32>::new();
    let end = succeed(()).and_then(move |()| inner).add_errback(|_| 9);
    fire_inner.errback(fmt::Error).unwrap();
    assert_eq!(value_of(end), 9);
}

#[test]
fn callbacks_of_one_chain_do_not_nest() {
    let diary = Diary::default();
    let end = Rc::new(Cell::new(None::<Deferred<()>>));
    let (deferred, resolver) = Deferred::new();
    let (inside, tail) = (diary.clone(), end.clone());
    let first = deferred.add_callback(move |()| {
        inside.note("first begins");
        let late = inside.clone();
        tail.set(tail.take().map(|end| end.add_callback(move |()| late.note("added inside"))));
        inside.note("first ends");
    });
    let second = diary.clone();
    end.set(Some(first.add_callback(move |()| second.note("second"))));
    resolver.callback(()).unwrap();
    assert_eq!(diary.entries(), ["first begins", "first ends", "second", "added inside"]);
}

#[test]
fn firing_again_inside_a_callback_is_an_error() {
    let (deferred, resolver) = Deferred::new();
    let again = resolver.clone();
    let end = deferred.add_callback(move |()| again.callback(()));
    resolver.callback(()).unwrap();
    assert_eq!(value_of(end), Err(AlreadyCalled));
    assert_eq!(resolver.errback(fmt::Error), Err(AlreadyCalled));
}

#[test]
fn a_callback_that_returns_its_own_deferred_fails() {
    let end = Rc::new(Cell::new(None::<Deferred<()>>));
    let (deferred, resolver) = Deferred::new();
    let tail = end.clone();
    let first = deferred.and_then(move |()| tail.take().expect("the end of this chain"));
    let seen = Rc::new(Cell::new(false));
    let flag = seen.clone();
    end.set(Some(first.add_errback(move |failure| flag.set(failure.check::<WaitsForItself>()))));
    resolver.callback(()).unwrap();
    assert!(seen.get());
}

fn long_chain() -> (Deferred<usize>, Resolver<usize>) {
    let (deferred, resolver) = Deferred::new();
    (iterate(deferred, |deferred| deferred.add_callback(|count| count + 1)), resolver)
}

fn iterate<T>(first: T, step: impl Fn(T) -> T) -> T {
    (0..LONG).fold(first, |last, _| step(last))
}

#[test]
fn a_long_chain_is_handled_without_recursion() {
    let (end, resolver) = long_chain();
    resolver.callback(0).unwrap();
    assert_eq!(value_of(end), LONG);

    let (end, resolver) = long_chain();
    drop(resolver);
    assert!(failure_of(end).check::<Abandoned>());

    let (end, resolver) = long_chain();
    drop(end);
    drop(resolver);

    let (end, resolver) = long_chain();
    end.cancel();
    drop((end, resolver));
}

/// Returns the end of a chain whose callbacks return one Deferred inside another, and the resolvers, outermost first.
fn long_nest() -> (Deferred<usize>, Vec<Resolver<usize>>) {
    let (innermost, resolver) = Deferred::new();
    let mut resolvers = vec![resolver];
    let end = (1..LONG).fold(innermost, |inner, _| {
        let (outer, resolver) = Deferred::new();
        resolvers.push(resolver);
        outer.and_then(move |_| inner)
    });
    resolvers.reverse();
    (end, resolvers)
}

#[test]
fn nested_deferreds_fire_in_any_order_without_recursion() {
    let (end, resolvers) = long_nest();
    for (value, resolver) in resolvers.iter().enumerate() {
        assert!(!end.is_done());
        resolver.callback(value).unwrap();
    }
    assert_eq!(value_of(end), LONG - 1);

    let (end, resolvers) = long_nest();
    for (value, resolver) in resolvers.iter().enumerate().rev() {
        resolver.callback(value).unwrap();
    }
    assert_eq!(value_of(end), LONG - 1);

    let (end, resolvers) = long_nest();
    for resolver in resolvers[..LONG - 1].iter().rev() {
        resolver.callback(0).unwrap();
    }
    assert!(!end.is_done());
    resolvers[LONG - 1].callback(7).unwrap();
    assert_eq!(value_of(end), 7);
}

#[test]
fn nested_deferreds_drop_in_any_order_without_recursion() {
    for fired in [1, LONG - 1] {
        for reverse_fire in [false, true] {
            for reverse_drop in [false, true] {
                let (end, mut resolvers) = long_nest();
                let range = if reverse_fire { LONG - 1 - fired..LONG - 1 } else { 0..fired };
                resolvers[range].iter().rev().for_each(|resolver| resolver.callback(0).unwrap());
                if reverse_drop {
                    resolvers.reverse();
                }
                let _quiet = logged_by(|| drop((end, resolvers)));
            }
        }
    }
}

/// Returns a weak handle of the chain, which shows whether the chain still exists.
fn witness<T>(deferred: &Deferred<T>) -> Weak<dyn Chain> {
    Rc::downgrade(&deferred.cancel_handle().chain.expect("a pending Deferred"))
}

#[test]
fn a_loop_of_deferreds_keeps_no_earlier_turn() {
    type Turn = Rc<Cell<Option<(Resolver<()>, Weak<dyn Chain>)>>>;

    fn again(turn: Turn) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        turn.set(Some((resolver, witness(&deferred))));
        deferred.and_then(move |()| again(turn))
    }

    for is_held in [true, false] {
        let turn = Turn::default();
        let end = again(turn.clone()).add_callback(|()| "done");
        let end = Some(end).filter(|_| is_held);
        let (resolver, _) = turn.take().expect("the first turn");
        resolver.callback(()).unwrap();
        drop(resolver);
        for _ in 0..LONG {
            let (resolver, chain) = turn.take().expect("each turn makes the next");
            resolver.callback(()).unwrap();
            drop(resolver);
            assert!(chain.upgrade().is_none(), "an earlier turn is kept");
            assert_eq!(Rc::strong_count(&turn), 2, "the closure of an earlier turn is kept");
        }
        let (resolver, _) = turn.take().expect("the last turn");
        let lines = logged_by(|| resolver.errback(fmt::Error).unwrap());
        assert_eq!(lines.len(), usize::from(!is_held));
        assert!(end.is_none_or(|end| failure_of(end).check::<fmt::Error>()));
    }
}

#[test]
fn a_chain_drops_the_deferreds_it_has_waited_for() {
    let (first, fire_first) = Deferred::new();
    let (second, fire_second) = Deferred::<()>::new();
    let chain = witness(&first);
    let (outer, resolver) = Deferred::new();
    let end = outer.and_then(move |()| first).and_then(move |()| second);
    resolver.callback(()).unwrap();
    fire_first.callback(()).unwrap();
    drop(fire_first);
    assert!(chain.upgrade().is_none());
    fire_second.callback(()).unwrap();
    value_of(end);
}

#[test]
fn chained_deferreds_fire_one_another_without_recursion() {
    let (first, resolver) = Deferred::new();
    let end = iterate(first, |deferred| {
        let (next, resolver) = Deferred::new();
        deferred.add_callback(|count: usize| count + 1).chain(resolver);
        next
    });
    resolver.callback(0).unwrap();
    assert_eq!(value_of(end), LONG);
}

#[test]
fn cancelling_a_chained_deferred_cancels_the_one_it_waits_for() {
    let (deferred, resolver) = Deferred::new();
    let (inner, fire_inner) = Deferred::<()>::new();
    let end = deferred.and_then(move |()| inner);
    let (first, fire_first) = Deferred::new();
    first.chain(resolver);
    fire_first.callback(()).unwrap();
    end.cancel();
    assert!(fire_inner.is_cancelled());
    assert!(failure_of(end).check::<Cancelled>());
}

#[test]
fn chaining_to_a_fired_deferred_has_no_effect() {
    let (deferred, resolver) = Deferred::new();
    let (late, fire_late) = Deferred::new();
    late.chain(resolver.clone());
    resolver.callback(1).unwrap();
    fire_late.callback(2).unwrap();
    assert_eq!(value_of(deferred), 1);
}

#[test]
fn dropping_the_last_resolver_fails_the_deferred() {
    let line = line!() + 1;
    let (deferred, resolver) = Deferred::<()>::new();
    drop(resolver.clone());
    assert!(!deferred.is_done());
    drop(resolver);
    let failure = failure_of(deferred);
    assert!(failure.check::<Abandoned>());
    assert_eq!(failure.location().line(), line);
}

#[test]
fn an_unhandled_failure_is_logged_with_its_location() {
    let line = line!() + 2;
    let lines = logged_by(|| {
        let failed = fail::<()>(fmt::Error);
        drop(failed);
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&fmt::Error.to_string()), "{lines:?}");
    assert!(lines[0].contains(&format!("{}:{line}:", file!())), "{lines:?}");
}

#[test]
fn a_failure_is_logged_before_or_after_the_drop() {
    for drop_first in [true, false] {
        let lines = logged_by(|| {
            let (deferred, resolver) = Deferred::<()>::new();
            let mut deferred = Some(deferred.add_callback(|()| ()));
            if drop_first {
                deferred.take();
            }
            resolver.errback(fmt::Error).unwrap();
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

#[test]
fn an_inner_failure_is_logged_if_the_outer_deferred_is_dropped() {
    let lines = logged_by(|| {
        let (inner, resolver) = Deferred::<()>::new();
        let (outer, fire_outer) = Deferred::new();
        drop(outer.and_then(move |()| inner));
        fire_outer.callback(()).unwrap();
        resolver.errback(fmt::Error).unwrap();
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn an_abandoned_deferred_without_callbacks_logs_no_error() {
    let lines = logged_by(|| {
        let (deferred, resolver) = Deferred::<()>::new();
        drop(deferred.add_callback(|()| ()));
        drop(resolver);
        let (deferred, resolver) = Deferred::<()>::new();
        drop(resolver);
        drop(gather_results(vec![gather_results(vec![deferred])]));
    });
    assert_eq!(lines, Vec::<String>::new());
    let lines = logged_by(|| {
        let (deferred, resolver) = Deferred::<()>::new();
        drop(deferred.or_else(|_abandoned| Err(fmt::Error)));
        drop(resolver);
    });
    assert_eq!(lines.len(), 1, "the failure of the errback is logged: {lines:?}");
}

#[test]
fn a_handled_failure_is_not_logged() {
    let lines = logged_by(|| {
        fail::<()>(fmt::Error).add_errback(drop);
        fail::<()>(fmt::Error).add_both(drop);
        drop(result_of(fail::<()>(fmt::Error)));
        let (deferred, resolver) = Deferred::<()>::new();
        deferred.add_errback(drop);
        resolver.errback(fmt::Error).unwrap();
        drop(succeed(()));
    });
    assert_eq!(lines, Vec::<String>::new());
}
