//! Long work in small steps, with turns of the loop in between: `Cooperator`.
//!
//! ```text
//!   turn                       turn                      turn
//!   [a b c a b c ... 10 ms]    [a b c ...]               [...]       one step of each task in rotation, for a time slice
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::{CancelHandle, Deferred, Failure, Outcome, Resolver, maybe_deferred, succeed};

use crate::interfaces::time::DelayedCall;
use crate::kernel::{Reactor, WeakReactor};

/// The default length of a time slice.
const SLICE: Duration = Duration::from_millis(10);

/// The maximum number of steps in a slice. On a simulated clock no time passes during steps, so only this limit closes
/// a slice.
const STEPS_A_SLICE: usize = 1000;

/// Runs the steps of several iterators in rotation, one time slice in each turn of the loop. Cloning is cheap, and all
/// clones refer to the same cooperator.
///
/// If a step yields a Deferred, its task waits for the Deferred while other tasks continue. If a step yields an error,
/// its task ends.
///
/// The methods may be called from any callback on the reactor's thread, also from a step.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::task::Cooperator;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let cooperator = Cooperator::new(&clock);
/// let steps = Rc::new(RefCell::new(String::new()));
/// for name in ["a", "b"] {
///     let steps = steps.clone();
///     cooperator.coiterate((0..3).map(move |_| steps.borrow_mut().push_str(name)));
/// }
/// clock.advance(Duration::ZERO);
/// assert_eq!(*steps.borrow(), "ababab");
/// ```
#[derive(Clone)]
pub struct Cooperator(Rc<Scheduler>);

struct Scheduler {
    reactor: WeakReactor,
    slice: Cell<Duration>,
    state: Cell<State>,
    /// Tasks that are neither paused nor finished. The first one takes the next step.
    ready: RefCell<VecDeque<Rc<Task>>>,
    next_slice: RefCell<Option<DelayedCall>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NotStarted,
    Running,
    Stopped,
}

impl Cooperator {
    /// Creates a cooperator that runs as soon as it has work.
    pub fn new(reactor: &Reactor) -> Cooperator {
        Cooperator::in_state(reactor, State::Running)
    }

    /// Creates a cooperator that starts to work when [`start`](Cooperator::start) is called.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::Cooperator;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let cooperator = Cooperator::not_started(&clock);
    /// let done = cooperator.coiterate((0..3).map(|_| ()));
    /// clock.advance(Duration::from_secs(1));
    /// assert!(!done.is_done() && !cooperator.running());
    /// cooperator.start();
    /// clock.advance(Duration::ZERO);
    /// assert!(done.is_done());
    /// ```
    pub fn not_started(reactor: &Reactor) -> Cooperator {
        Cooperator::in_state(reactor, State::NotStarted)
    }

    fn in_state(reactor: &Reactor, state: State) -> Cooperator {
        Cooperator(Rc::new(Scheduler {
            reactor: reactor.downgrade(),
            slice: Cell::new(SLICE),
            state: Cell::new(state),
            ready: RefCell::default(),
            next_slice: RefCell::default(),
        }))
    }

    /// Sets the length of the time slice in each turn. The default is 10 ms. A slice has at least 1 step and at most
    /// 1000.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::Cooperator;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let cooperator = Cooperator::new(&clock);
    /// cooperator.set_slice(Duration::ZERO); // one step in each turn keeps delays short
    /// let done = cooperator.coiterate((0..3).map(|_| ()));
    /// clock.advance(Duration::ZERO);
    /// assert!(done.is_done());
    /// ```
    pub fn set_slice(&self, slice: Duration) {
        self.0.slice.set(slice);
    }

    /// Runs the steps of `work`. Each step yields nothing, a `Result` or a Deferred.
    ///
    /// The first step runs in the next turn. Dropping the returned task does not stop the work. On a stopped cooperator
    /// the task ends at once.
    ///
    /// May be called from any callback on the reactor's thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::Cooperator;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let cooperator = Cooperator::new(&clock);
    /// // Each step waits for the Deferred of the previous one.
    /// let task = cooperator.cooperate((0..2).map({
    ///     let clock = clock.clone();
    ///     move |_| clock.defer_later(Duration::from_secs(1), |_| println!("a second later"))
    /// }));
    /// let done = task.when_done();
    /// clock.advance(Duration::from_secs(1));
    /// assert!(!done.is_done());
    /// clock.advance(Duration::from_secs(1));
    /// assert!(done.is_done());
    /// ```
    pub fn cooperate<I>(&self, work: I) -> CooperativeTask
    where
        I: IntoIterator<Item: Outcome>,
        I::IntoIter: 'static,
    {
        let steps: Steps = Box::new(work.into_iter().map(|step| maybe_deferred(|| step).add_callback(drop)));
        let task = Rc::new(Task {
            scheduler: Rc::downgrade(&self.0),
            steps: Cell::new(Some(steps)),
            pauses: Cell::new(0),
            is_queued: Cell::new(false),
            waits_for: RefCell::default(),
            end: RefCell::default(),
            was_asked: Cell::new(false),
            listeners: RefCell::default(),
        });
        self.0.add(&task);
        CooperativeTask(task)
    }

    /// Runs the steps of `work` like [`cooperate`](Cooperator::cooperate), and returns a Deferred of the end.
    /// Cancelling the Deferred stops the task.
    pub fn coiterate<I>(&self, work: I) -> Deferred<()>
    where
        I: IntoIterator<Item: Outcome>,
        I::IntoIter: 'static,
    {
        let task = self.cooperate(work);
        let stops = task.clone();
        task.listen(move |_| drop(stops.stop()))
    }

    /// Starts to work, or resumes after a stop.
    pub fn start(&self) {
        self.0.state.set(State::Running);
        self.0.schedule();
    }

    /// Stops the cooperator. Tasks end with [`TaskFinished::SchedulerStopped`]: paused ones when they are resumed, all
    /// others at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::{Cooperator, TaskFinished};
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let cooperator = Cooperator::new(&clock);
    /// let end = cooperator.cooperate((0..).map(|_| ())).when_done();
    /// clock.call_later(Duration::ZERO, move |_| cooperator.stop());
    /// clock.advance(Duration::ZERO);
    /// let failure = end.try_result().unwrap().unwrap_err();
    /// assert!(matches!(failure.downcast_ref(), Some(TaskFinished::SchedulerStopped)));
    /// ```
    pub fn stop(&self) {
        self.0.state.set(State::Stopped);
        let next_slice = self.0.next_slice.take();
        if let Some(call) = next_slice {
            let _ = call.cancel();
        }
        let tasks = self.0.ready.take();
        for task in tasks {
            task.end(TaskFinished::SchedulerStopped);
        }
    }

    /// Returns whether the cooperator runs, even if it has no tasks.
    pub fn running(&self) -> bool {
        self.0.state.get() == State::Running
    }
}

impl fmt::Debug for Cooperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("Cooperator");
        this.field("running", &self.running()).field("ready", &self.0.ready.borrow().len()).finish()
    }
}

impl Scheduler {
    fn add(self: &Rc<Scheduler>, task: &Rc<Task>) {
        if self.state.get() == State::Stopped {
            return task.end(TaskFinished::SchedulerStopped);
        }
        self.queue(task);
        self.schedule();
    }

    fn queue(&self, task: &Rc<Task>) {
        if !task.is_queued.replace(true) {
            self.ready.borrow_mut().push_back(task.clone());
        }
    }

    fn schedule(self: &Rc<Scheduler>) {
        let is_idle = self.state.get() != State::Running || self.ready.borrow().is_empty();
        if is_idle || self.next_slice.borrow().is_some() {
            return;
        }
        let Some(reactor) = self.reactor.upgrade() else { return };
        let own = self.clone();
        *self.next_slice.borrow_mut() = Some(reactor.call_later(Duration::ZERO, move |reactor| own.work(reactor)));
    }

    fn work(self: &Rc<Scheduler>, reactor: &Reactor) {
        self.next_slice.take();
        let end = reactor.now() + self.slice.get();
        for _ in 0..STEPS_A_SLICE {
            let next = self.ready.borrow_mut().pop_front();
            let Some(task) = next else { break };
            task.is_queued.set(false);
            task.step();
            match self.state.get() {
                State::Stopped => task.end(TaskFinished::SchedulerStopped),
                _ if task.is_runnable() => self.queue(&task),
                _ => {}
            }
            if reactor.now() >= end {
                break;
            }
        }
        self.schedule();
    }
}

type Steps = Box<dyn Iterator<Item = Deferred<()>>>;

struct Task {
    scheduler: Weak<Scheduler>,
    /// `None` while a step runs, and after the end.
    steps: Cell<Option<Steps>>,
    pauses: Cell<usize>,
    is_queued: Cell<bool>,
    /// Cancels the Deferred that the last step yielded.
    waits_for: RefCell<Option<CancelHandle>>,
    end: RefCell<Option<TaskFinished>>,
    /// Whether a Deferred of the end exists, which reports a failure. Otherwise a failure is logged.
    was_asked: Cell<bool>,
    listeners: RefCell<Vec<Resolver<()>>>,
}

impl Task {
    fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn is_runnable(&self) -> bool {
        !self.is_over() && self.pauses.get() == 0
    }

    fn step(self: &Rc<Task>) {
        if !self.is_runnable() {
            return;
        }
        let Some(mut steps) = self.steps.take() else { return };
        let mut is_last = false;
        let step = maybe_deferred(|| {
            steps.next().unwrap_or_else(|| {
                is_last = true;
                succeed(())
            })
        });
        if self.is_over() {
            // The step stopped its own task, so its Deferred is cancelled.
            return step.cancel();
        }
        self.steps.set(Some(steps));
        if is_last {
            return self.end(TaskFinished::Done);
        }
        match step.try_result() {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.end(TaskFinished::Failed(Arc::new(failure))),
            Err(waiting) => self.wait_for(waiting),
        }
    }

    fn wait_for(self: &Rc<Task>, step: Deferred<()>) {
        self.pauses.set(self.pauses.get() + 1);
        *self.waits_for.borrow_mut() = Some(step.cancel_handle());
        let task = self.clone();
        step.add_both(move |result| {
            task.waits_for.take();
            match result {
                Ok(()) => task.resume(),
                Err(failure) => task.end(TaskFinished::Failed(Arc::new(failure))),
            }
        });
    }

    fn resume(self: &Rc<Task>) {
        self.pauses.set(self.pauses.get() - 1);
        if !self.is_runnable() {
            return;
        }
        if let Some(scheduler) = self.scheduler.upgrade() {
            scheduler.add(self);
        }
    }

    fn end(&self, end: TaskFinished) {
        if self.is_over() {
            return;
        }
        *self.end.borrow_mut() = Some(end.clone());
        drop(self.steps.take());
        let waits_for = self.waits_for.take();
        if let Some(step) = waits_for {
            step.cancel();
        }
        let listeners = self.listeners.take();
        for listener in listeners {
            let _ = listener.fire(end.as_result());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(end @ TaskFinished::Failed(_)) = self.end.get_mut().take() {
            if !self.was_asked.get() {
                // A Deferred that is dropped logs its failure.
                drop(Deferred::from(end.as_result()));
            }
        }
    }
}

/// A task of a [`Cooperator`]. Cloning is cheap, and all clones refer to the same task.
///
/// The methods may be called from any callback on the reactor's thread, also from a step of the task.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let pages = (1..=3).map(|page| println!("printing page {page}"));
/// let task = clock.cooperate(pages);
/// let done = task.when_done();
/// clock.advance(Duration::ZERO);
/// assert!(done.is_done());
/// assert_eq!(task.stop().unwrap_err().to_string(), "the task has taken its last step");
/// ```
#[derive(Clone)]
pub struct CooperativeTask(Rc<Task>);

impl CooperativeTask {
    /// Pauses the task. Each pause needs its own [`resume`](CooperativeTask::resume).
    ///
    /// # Errors
    /// [`TaskFinished`], which describes how the task ended, if it has ended.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let task = clock.cooperate((0..3).map(|_| ()));
    /// let done = task.when_done();
    /// task.pause()?;
    /// clock.advance(Duration::from_secs(1));
    /// assert!(!done.is_done());
    /// task.resume()?;
    /// clock.advance(Duration::ZERO);
    /// assert!(done.is_done());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pause(&self) -> Result<(), TaskFinished> {
        self.check()?;
        self.0.pauses.set(self.0.pauses.get() + 1);
        Ok(())
    }

    /// Undoes one [`pause`](CooperativeTask::pause).
    ///
    /// # Errors
    /// [`NotPaused`] when the task is not paused.
    pub fn resume(&self) -> Result<(), NotPaused> {
        let by_itself = usize::from(self.0.waits_for.borrow().is_some());
        if self.0.pauses.get() <= by_itself {
            return Err(NotPaused);
        }
        self.0.resume();
        Ok(())
    }

    /// Stops the task: drops the iterator, and cancels the Deferred that its last step yielded.
    ///
    /// May be called from a step of the task itself.
    ///
    /// ```
    /// use ropewalk::task::TaskFinished;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let task = clock.cooperate((0..).map(|_| ())); // endless
    /// let end = task.when_done();
    /// task.stop()?;
    /// let failure = end.try_result().unwrap().unwrap_err();
    /// assert!(matches!(failure.downcast_ref(), Some(TaskFinished::Stopped)));
    /// # Ok::<(), TaskFinished>(())
    /// ```
    ///
    /// # Errors
    /// [`TaskFinished`], which describes how the task ended, if it has ended.
    pub fn stop(&self) -> Result<(), TaskFinished> {
        self.check()?;
        self.0.end(TaskFinished::Stopped);
        Ok(())
    }

    /// Returns a Deferred that fires after the last step. The Deferred fails with a [`TaskFinished`] if the task ended
    /// in another way.
    ///
    /// May be called any number of times. Cancelling the Deferred does not stop the task.
    pub fn when_done(&self) -> Deferred<()> {
        self.listen(|_| ())
    }

    fn listen(&self, canceller: impl FnOnce(&Resolver<()>) + 'static) -> Deferred<()> {
        self.0.was_asked.set(true);
        if let Some(end) = &*self.0.end.borrow() {
            return end.as_result().into();
        }
        let (deferred, resolver) = Deferred::with_canceller(canceller);
        self.0.listeners.borrow_mut().push(resolver);
        deferred
    }

    fn check(&self) -> Result<(), TaskFinished> {
        self.0.end.borrow().clone().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for CooperativeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("CooperativeTask");
        this.field("pauses", &self.0.pauses.get()).field("end", &self.0.end.borrow()).finish_non_exhaustive()
    }
}

/// The way in which a [`CooperativeTask`] ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskFinished {
    /// All steps have been run.
    Done,
    /// The task was stopped with [`CooperativeTask::stop`].
    Stopped,
    /// The cooperator was stopped with [`Cooperator::stop`].
    SchedulerStopped,
    /// A step failed or panicked.
    Failed(Arc<Failure>),
}

impl TaskFinished {
    fn as_result(&self) -> Result<(), Failure> {
        if matches!(self, TaskFinished::Done) { Ok(()) } else { Err(self.clone().into()) }
    }
}

impl fmt::Display for TaskFinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskFinished::Done => "the task has taken its last step",
            TaskFinished::Stopped => "the task was stopped",
            TaskFinished::SchedulerStopped => "the task's cooperator was stopped",
            TaskFinished::Failed(_) => "a step of the task failed",
        })
    }
}

impl Error for TaskFinished {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TaskFinished::Failed(failure) => Some(failure.error()),
            _ => None,
        }
    }
}

/// The error of [`CooperativeTask::resume`] when the task is not paused.
///
/// ```
/// use ropewalk::task::NotPaused;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let task = clock.cooperate((0..3).map(|_| ()));
/// assert_eq!(task.resume(), Err(NotPaused));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPaused;

impl fmt::Display for NotPaused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task is not paused")
    }
}

impl Error for NotPaused {}

impl Reactor {
    /// Runs the steps of `work` on the reactor's own [`Cooperator`], like [`Cooperator::cooperate`].
    pub fn cooperate<I>(&self, work: I) -> CooperativeTask
    where
        I: IntoIterator<Item: Outcome>,
        I::IntoIter: 'static,
    {
        self.cooperator().cooperate(work)
    }

    /// Runs the steps of `work` on the reactor's own [`Cooperator`], like [`Cooperator::coiterate`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let steps = (0..3).map({
    ///     let clock = clock.clone();
    ///     move |_| clock.defer_later(Duration::from_secs(1), |_| ())
    /// });
    /// let done = clock.coiterate(steps);
    /// clock.advance(Duration::from_secs(3));
    /// assert!(done.is_done());
    /// ```
    pub fn coiterate<I>(&self, work: I) -> Deferred<()>
    where
        I: IntoIterator<Item: Outcome>,
        I::IntoIter: 'static,
    {
        self.cooperator().coiterate(work)
    }

    fn cooperator(&self) -> Cooperator {
        (*self.extension(Cooperator::new)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    type Log = Rc<RefCell<String>>;

    /// Returns steps that append `name` to the log.
    fn steps(log: &Log, name: char, count: usize) -> impl Iterator<Item = ()> + use<> {
        let log = log.clone();
        (0..count).map(move |_| log.borrow_mut().push(name))
    }

    fn turn(clock: &Clock) {
        clock.iterate(Some(Duration::ZERO)).unwrap();
    }

    /// Returns the way in which the task of this Deferred ended.
    fn end_of(deferred: Deferred<()>) -> TaskFinished {
        deferred.try_result().expect("a finished task").expect_err("a failure").trap::<TaskFinished>().unwrap()
    }

    #[test]
    fn tasks_alternate_from_the_next_turn_on() {
        let (clock, log) = (Clock::new(), Log::default());
        let cooperator = Cooperator::new(&clock);
        let done = [cooperator.coiterate(steps(&log, 'a', 3)), cooperator.coiterate(steps(&log, 'b', 1))];
        assert_eq!(*log.borrow(), "");
        turn(&clock);
        assert_eq!(*log.borrow(), "abaa");
        assert!(done.iter().all(Deferred::is_done));
        assert!(clock.get_delayed_calls().is_empty(), "no delayed call without work");
    }

    #[test]
    fn each_slice_continues_where_the_last_one_ended() {
        let (clock, log) = (Clock::new(), Log::default());
        let cooperator = Cooperator::new(&clock);
        cooperator.set_slice(Duration::ZERO);
        for name in ['a', 'b', 'c'] {
            drop(cooperator.cooperate(steps(&log, name, usize::MAX)));
        }
        (0..5).for_each(|_| turn(&clock));
        assert_eq!(*log.borrow(), "abcab");
    }

    #[test]
    fn a_slice_has_a_limit_of_steps() {
        let (clock, log) = (Clock::new(), Log::default());
        drop(clock.cooperate(steps(&log, 'a', usize::MAX)));
        turn(&clock);
        assert_eq!(log.borrow().len(), STEPS_A_SLICE);
    }

    #[test]
    fn a_task_waits_for_the_deferred_of_its_step() {
        let (clock, log) = (Clock::new(), Log::default());
        let (answer, resolver) = Deferred::new();
        let note = log.clone();
        let first = clock.coiterate([answer.add_callback(move |()| note.borrow_mut().push('!')), succeed(())]);
        let second = clock.coiterate(steps(&log, 'b', 2));
        turn(&clock);
        assert!(!first.is_done() && second.is_done());
        assert!(clock.get_delayed_calls().is_empty());
        resolver.callback(()).unwrap();
        turn(&clock);
        assert!(first.is_done());
        assert_eq!(*log.borrow(), "bb!");
    }

    #[test]
    fn a_task_paused_twice_continues_after_two_resumes() {
        let (clock, log) = (Clock::new(), Log::default());
        let task = clock.cooperate(steps(&log, 'a', 1));
        task.pause().unwrap();
        task.pause().unwrap();
        task.resume().unwrap();
        turn(&clock);
        assert_eq!(*log.borrow(), "");
        task.resume().unwrap();
        assert_eq!(task.resume(), Err(NotPaused));
        turn(&clock);
        assert_eq!(*log.borrow(), "a");
        assert!(matches!(task.pause(), Err(TaskFinished::Done)));
        assert!(matches!(task.stop(), Err(TaskFinished::Done)));
    }

    #[test]
    fn resume_does_not_skip_a_pending_deferred() {
        let (clock, (answer, resolver)) = (Clock::new(), Deferred::new());
        let task = clock.cooperate([answer]);
        turn(&clock);
        assert_eq!(task.resume(), Err(NotPaused));
        task.pause().unwrap();
        resolver.callback(()).unwrap();
        turn(&clock);
        assert!(!task.when_done().is_done());
        task.resume().unwrap();
        turn(&clock);
        assert!(task.when_done().is_done());
    }

    #[test]
    fn stop_cancels_the_pending_deferred() {
        let (clock, log) = (Clock::new(), Log::default());
        let (answer, resolver) = Deferred::<()>::new();
        let held = log.clone();
        let task = clock.cooperate([answer].into_iter().inspect(move |_| drop(held.borrow())));
        let done = [task.when_done(), task.when_done()];
        turn(&clock);
        task.stop().unwrap();
        assert!(resolver.is_cancelled());
        for done in done.into_iter().chain([task.when_done()]) {
            assert!(matches!(end_of(done), TaskFinished::Stopped));
        }
        assert_eq!(Rc::strong_count(&log), 1);
    }

    #[test]
    fn a_step_may_stop_its_own_task() {
        let (clock, count) = (Clock::new(), Rc::new(Cell::new(0)));
        let own = Rc::new(RefCell::new(None::<CooperativeTask>));
        let (itself, counts) = (own.clone(), count.clone());
        let task = clock.cooperate(std::iter::repeat_with(move || {
            counts.set(counts.get() + 1);
            itself.take().unwrap().stop().unwrap();
        }));
        *own.borrow_mut() = Some(task.clone());
        turn(&clock);
        turn(&clock);
        assert_eq!(count.get(), 1);
        assert!(matches!(end_of(task.when_done()), TaskFinished::Stopped));
        assert_eq!(Rc::strong_count(&own), 1, "the iterator is dropped");
    }

    #[test]
    fn a_failed_step_only_stops_its_own_task() {
        let (clock, log) = (Clock::new(), Log::default());
        let failing = clock.cooperate([Err(fmt::Error), Ok(())]);
        let panicking = clock.coiterate(std::iter::repeat_with(|| -> () { panic!("in a step") }));
        let other = clock.coiterate(steps(&log, 'a', 2));
        turn(&clock);
        let TaskFinished::Failed(failure) = end_of(failing.when_done()) else { panic!("expected a failure") };
        assert!(failure.check::<fmt::Error>());
        let TaskFinished::Failed(failure) = end_of(panicking) else { panic!("expected a failure") };
        assert!(failure.to_string().contains("in a step"));
        assert!(other.is_done());
    }

    #[test]
    fn cancelling_coiterate_stops_the_task() {
        let (clock, log) = (Clock::new(), Log::default());
        let done = clock.coiterate(steps(&log, 'a', 5));
        done.cancel();
        assert!(matches!(end_of(done), TaskFinished::Stopped));
        turn(&clock);
        assert_eq!(*log.borrow(), "");
    }

    #[test]
    fn a_stopped_cooperator_stops_new_tasks_as_well() {
        let (clock, log) = (Clock::new(), Log::default());
        let cooperator = Cooperator::new(&clock);
        let (runs, paused) = (cooperator.coiterate(steps(&log, 'a', 5)), cooperator.cooperate(steps(&log, 'b', 1)));
        paused.pause().unwrap();
        turn(&clock);
        let late = cooperator.coiterate(steps(&log, 'c', usize::MAX));
        cooperator.stop();
        assert!(!cooperator.running());
        runs.try_result().unwrap().unwrap();
        assert!(matches!(end_of(late), TaskFinished::SchedulerStopped));
        assert!(!paused.when_done().is_done());
        paused.resume().unwrap();
        assert!(matches!(end_of(paused.when_done()), TaskFinished::SchedulerStopped));
        assert!(matches!(end_of(cooperator.coiterate([()])), TaskFinished::SchedulerStopped));
        assert!(clock.get_delayed_calls().is_empty());
        cooperator.start();
        let done = cooperator.coiterate([()]);
        turn(&clock);
        done.try_result().unwrap().unwrap();
    }

    #[test]
    fn a_step_may_stop_its_cooperator() {
        let clock = Clock::new();
        let cooperator = Cooperator::new(&clock);
        let own = cooperator.clone();
        let stops = cooperator.coiterate(std::iter::repeat_with(move || own.stop()));
        turn(&clock);
        assert!(matches!(end_of(stops), TaskFinished::SchedulerStopped));
        assert!(clock.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_cooperator_keeps_tasks_until_it_is_started() {
        let (clock, log) = (Clock::new(), Log::default());
        let cooperator = Cooperator::not_started(&clock);
        let done = cooperator.coiterate(steps(&log, 'a', 2));
        turn(&clock);
        assert!(!done.is_done());
        cooperator.start();
        turn(&clock);
        assert!(done.is_done());
    }
}
