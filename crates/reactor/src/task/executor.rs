//! A local executor. Tasks are polled in `prepare`, after the delayed calls that may have woken them.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake};

use ropewalk_proto::panics::{CaughtPanic, catch};
use ropewalk_proto::{Deferred, DeferredError, Failure, Key, Slab, report};

use crate::error::Error;
use crate::interfaces::order;
use crate::kernel::{Attention, CallbackKind, Feature, Hooks, Kernel, Order, Reactor, drop_logged};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of one reactor.
pub(crate) struct Executor {
    tasks: RefCell<Slab<Slot>>,
    ready: Arc<ReadyQueue>,
    batch: RefCell<VecDeque<Arc<TaskWaker>>>,
}

struct Slot {
    /// `None` while the task is polled.
    task: Option<Task>,
    /// A nested turn of the loop found the task awake during its own poll. The task must be polled again.
    missed: bool,
    name: &'static str,
}

/// The tasks that were woken, from any thread.
struct ReadyQueue {
    woken: Mutex<VecDeque<Arc<TaskWaker>>>,
    attention: Arc<Attention>,
}

struct TaskWaker {
    key: Key,
    queued: AtomicBool,
    /// Weak, because a queued task and its queue would otherwise form a cycle, and keep the provider's waker open.
    ready: Weak<ReadyQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(ready) = self.ready.upgrade() else { return };
        let mut woken = ready.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push_back(self);
        let first = woken.len() == 1;
        drop(woken);
        if first {
            ready.attention.ask();
        }
    }
}

impl Feature for Executor {
    fn new(reactor: &Reactor) -> Executor {
        let ready = ReadyQueue { woken: Mutex::default(), attention: reactor.0.attention().clone() };
        Executor { tasks: RefCell::default(), ready: Arc::new(ready), batch: RefCell::default() }
    }

    fn hooks(self: &Rc<Executor>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::TASKS, self.clone()))
    }
}

impl Hooks for Executor {
    fn turn(&self, reactor: &Reactor) {
        self.run(&reactor.0);
    }

    fn caught_up(&self, reactor: &Reactor) {
        self.run(&reactor.0);
    }

    fn forget(&self) {
        for slot in self.tasks.take().into_values() {
            drop_logged(slot.name, slot.task);
        }
    }
}

impl Executor {
    fn spawn(&self, task: Task, name: &'static str) -> Key {
        let key = self.tasks.borrow_mut().insert(Slot { task: Some(task), missed: false, name });
        let waker = Arc::new(TaskWaker { key, queued: AtomicBool::new(false), ready: Arc::downgrade(&self.ready) });
        waker.wake();
        key
    }

    /// Polls each task that is ready now, once.
    fn run(&self, kernel: &Rc<Kernel>) {
        // The tasks are taken one by one: if a task runs the loop, the tasks behind it are polled within that nested
        // loop.
        let share = kernel.rest_of_part();
        for _ in 0..self.begin_batch().min(share.calls) {
            let next = self.batch.borrow_mut().pop_front();
            let Some(waker) = next else { return };
            self.poll(kernel, &waker);
            if share.is_over(kernel) {
                break;
            }
        }
        if !self.batch.borrow().is_empty() {
            self.ready.attention.ask();
        }
    }

    /// Appends the woken tasks to the rest of the batch, and returns the size of the batch.
    fn begin_batch(&self) -> usize {
        let (mut batch, mut woken) = (self.batch.borrow_mut(), self.woken());
        if batch.is_empty() {
            std::mem::swap(&mut *woken, &mut *batch);
        } else {
            batch.append(&mut woken);
        }
        batch.len()
    }

    fn poll(&self, kernel: &Rc<Kernel>, waker: &Arc<TaskWaker>) {
        // The mark is cleared before the poll, so that a wake during the poll queues the task again.
        waker.queued.store(false, Ordering::Release);
        let Some((mut task, name)) = self.take(waker.key) else { return };
        let context_waker = std::task::Waker::from(waker.clone());
        let outcome =
            kernel.guard(CallbackKind::Task, name, || task.as_mut().poll(&mut Context::from_waker(&context_waker)));
        let over = if matches!(outcome, Ok(Poll::Pending)) {
            self.put_back(waker, task)
        } else {
            self.tasks.borrow_mut().remove(waker.key);
            Some(task)
        };
        let _ = kernel.guard(CallbackKind::Task, name, || drop(over));
    }

    fn take(&self, key: Key) -> Option<(Task, &'static str)> {
        let mut tasks = self.tasks.borrow_mut();
        let slot = tasks.get_mut(key)?;
        slot.missed = slot.task.is_none();
        Some((slot.task.take()?, slot.name))
    }

    /// Stores the task again. Returns the task if it was cancelled while it was polled.
    fn put_back(&self, waker: &Arc<TaskWaker>, task: Task) -> Option<Task> {
        let mut tasks = self.tasks.borrow_mut();
        let Some(slot) = tasks.get_mut(waker.key) else { return Some(task) };
        slot.task = Some(task);
        if slot.missed {
            waker.wake_by_ref();
        }
        None
    }

    fn cancel(&self, key: Key) {
        let slot = self.tasks.borrow_mut().remove(key);
        drop(slot);
    }

    fn woken(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<TaskWaker>>> {
        self.ready.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the output of `future`, or its panic.
async fn catching<F: Future>(future: F) -> Result<F::Output, CaughtPanic> {
    let mut future = pin!(future);
    poll_fn(move |context| match catch(|| future.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Returns the error of a task's output, if the output is a `Result` of a usual type. The type of a future does not say
/// whether its output can be an error.
fn error_of<T: 'static>(output: &T) -> Option<String> {
    fn of<T: 'static, E: Display + 'static>(output: &T) -> Option<String> {
        let output = (output as &dyn Any).downcast_ref::<Result<(), E>>()?;
        output.as_ref().err().map(ToString::to_string)
    }
    of::<T, Error>(output)
        .or_else(|| of::<T, Failure>(output))
        .or_else(|| of::<T, DeferredError>(output))
        .or_else(|| of::<T, io::Error>(output))
        .or_else(|| of::<T, Box<dyn std::error::Error + Send + Sync>>(output))
        .or_else(|| of::<T, Box<dyn std::error::Error>>(output))
}

impl Reactor {
    /// Runs `future` on the loop, starting in the next turn, and returns a Deferred of its output.
    ///
    /// Cancelling the Deferred drops the future, and so does dropping the Deferred after it was polled. Dropping a
    /// Deferred that was never polled leaves the task running. A panic in the future is logged, and fails the Deferred
    /// with [`Error::Panicked`].
    ///
    /// The output of a future may be a `Result`, which the Deferred passes on as its value. If the Deferred was dropped,
    /// an error in a `Result<(), E>` is logged, where `E` is [`Error`], [`Failure`], [`io::Error`](std::io::Error) or a
    /// boxed error.
    ///
    /// May be called from any callback on the reactor's thread.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use std::time::Duration;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.clone();
    /// reactor.spawn(async move {
    ///     handle.sleep(Duration::from_millis(1)).await;
    ///     handle.stop().unwrap();
    /// });
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Deferred<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let reactor = self.downgrade();
        let key = Rc::new(std::cell::Cell::new(None));
        let its_key = key.clone();
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            if let (Some(reactor), Some(key)) = (reactor.upgrade(), its_key.get()) {
                reactor.feature::<Executor>().cancel(key);
            }
        });
        let name = std::any::type_name::<F>();
        let (reactor, at) = (self.downgrade(), Location::caller());
        let task = async move {
            let result = catching(future).await.map_err(|panic| match reactor.upgrade() {
                Some(Reactor(kernel)) => {
                    Failure::from(kernel.panicked(kernel.label(CallbackKind::Task, name), panic)).logged()
                }
                None => Failure::from(Error::Closed),
            });
            let error = result.as_ref().ok().filter(|_| resolver.is_detached()).and_then(error_of);
            if let Some(error) = error {
                report!(ERROR, error = error, at = at, "a task failed");
            }
            let _ = resolver.fire(result);
        };
        key.set(Some(self.feature::<Executor>().spawn(Box::pin(task), name)));
        self.0.work_changed();
        deferred
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ropewalk_proto::{Resolver, gather_results};
    use tracing::Level;

    use super::*;
    use crate::kernel::PanicPolicy;
    use crate::protocols::Protocol;
    use crate::testing::{MemoryReactor, levels_logged};
    use crate::transports::Transport;

    /// A protocol that fires a Deferred when its sending direction has ended.
    struct TellsWhenWritten(Rc<RefCell<Option<Resolver<()>>>>);

    impl Protocol for TellsWhenWritten {
        fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
            // A delayed call leaves the change to be settled at the end of `prepare`, after the tasks were polled.
            let transport = transport.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| transport.lose_write_connection());
        }

        fn write_connection_lost(&mut self, _transport: &Transport) {
            let resolver = self.0.take().expect("a single end");
            resolver.callback(()).unwrap();
        }
    }

    #[test]
    fn a_task_woken_by_settling_runs_before_the_loop_sleeps() {
        let net = MemoryReactor::new();
        let (written, resolver) = Deferred::new();
        let resolver = Rc::new(RefCell::new(Some(resolver)));
        net.listen_tcp("10.0.0.1:80", move || TellsWhenWritten(resolver.clone())).unwrap();
        let done = net.spawn(async move { written.await.unwrap() });
        let client = net.connect_stream("10.0.0.1:80");
        client.write(b"x");
        net.settle();
        assert!(client.is_eof());
        assert!(done.is_done());
    }

    #[test]
    fn a_wake_on_the_reactors_thread_wakes_a_hosted_loop() {
        let reactor = Reactor::new().unwrap();
        let (fired, resolver) = Deferred::new();
        let done = reactor.spawn(async move { fired.await.unwrap() });
        // After this turn the task waits for the Deferred.
        assert_eq!(reactor.prepare().unwrap(), None);
        resolver.callback(()).unwrap();
        reactor.wait(None).unwrap();
        reactor.dispatch();
        reactor.prepare().unwrap();
        assert!(done.is_done());
    }

    #[test]
    fn a_detached_task_is_only_logged_if_it_failed() {
        let ((), logged) = levels_logged("ropewalk", || {
            let net = MemoryReactor::new();
            net.spawn(net.sleep(Duration::from_secs(1)));
            net.settle();
            net.spawn(async {});
            drop(net);
        });
        assert!(!logged.contains(&Level::ERROR), "{logged:?}");
        let ((), logged) = levels_logged("ropewalk", || {
            let net = MemoryReactor::new();
            net.spawn(async {}).and_then(|()| Err::<(), _>(std::fmt::Error));
            net.settle();
        });
        assert_eq!(logged.iter().filter(|level| **level == Level::ERROR).count(), 1, "{logged:?}");
    }

    #[test]
    fn the_error_of_a_detached_task_is_logged() {
        fn errors(spawn: impl FnOnce(&Reactor)) -> usize {
            let ((), logged) = levels_logged("ropewalk", || {
                let net = MemoryReactor::new();
                spawn(&net);
                net.settle();
            });
            logged.iter().filter(|level| **level == Level::ERROR).count()
        }
        assert_eq!(errors(|reactor| drop(reactor.spawn(async { Err::<(), _>(Error::Closed) }))), 1);
        assert_eq!(errors(|reactor| drop(reactor.spawn(async { Err::<(), _>(Failure::new("text")) }))), 1);
        let boxed = || Err::<(), Box<dyn std::error::Error + Send + Sync>>("text".into());
        assert_eq!(errors(move |reactor| drop(reactor.spawn(async move { boxed() }))), 1);
        assert_eq!(errors(|reactor| drop(reactor.spawn(async { Ok::<(), Error>(()) }))), 0);
        // A callback gets the error as a value.
        let seen = |output: Result<(), Error>| assert!(output.is_err());
        assert_eq!(errors(move |reactor| drop(reactor.spawn(async { Err(Error::Closed) }).add_callback(seen))), 0);
    }

    #[test]
    fn the_panic_of_a_detached_task_is_logged_once() {
        let ((), logged) = levels_logged("ropewalk", || {
            let net = MemoryReactor::new();
            net.set_panic_policy(PanicPolicy::Log);
            net.spawn(async { panic!("a bug") });
            net.settle();
        });
        assert_eq!(logged.iter().filter(|level| **level == Level::ERROR).count(), 1, "{logged:?}");
        let ((), logged) = levels_logged("ropewalk", || {
            let net = MemoryReactor::new();
            net.set_panic_policy(PanicPolicy::Log);
            drop(gather_results(vec![net.spawn(async { panic!("a bug, in one of several") })]));
            net.settle();
        });
        assert_eq!(logged.iter().filter(|level| **level == Level::ERROR).count(), 1, "{logged:?}");
    }

    #[test]
    fn tasks_do_not_keep_a_dropped_reactors_waker_open() {
        let reactor = Reactor::new().unwrap();
        let ready = Arc::downgrade(&reactor.feature::<Executor>().ready);
        let kept = Rc::new(RefCell::new(None));
        let its_own = kept.clone();
        let polled = reactor.spawn(std::future::poll_fn(move |context| {
            *its_own.borrow_mut() = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        reactor.prepare().unwrap();
        let unpolled = reactor.spawn(async {});
        drop(reactor);
        // A task's waker may outlive its loop.
        kept.take().unwrap().wake();
        assert!(ready.upgrade().is_none());
        drop((polled.add_errback(|_| ()), unpolled.add_errback(|_| ())));
    }
}
