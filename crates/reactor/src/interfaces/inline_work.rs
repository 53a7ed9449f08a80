//! Work for threads that runs in the turns of its reactor instead: MemoryWorker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::thread_pool::{Work, log_panic};
use crate::kernel::{Reactor, drop_logged};

thread_local! {
    /// The nesting depth of the work that this thread runs in a turn.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// The queue of one reactor.
#[derive(Default)]
pub(super) struct InlineWork {
    is_on: Cell<bool>,
    queue: RefCell<VecDeque<Work>>,
}

impl InlineWork {
    pub(super) fn set(&self, on: bool) {
        self.is_on.set(on);
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// Queues `work` for the next turn.
    pub(super) fn push(&self, reactor: &Reactor, work: Work) {
        self.queue.borrow_mut().push_back(work);
        reactor.0.attention().ask();
        reactor.0.work_changed();
    }

    /// Runs the work that is queued now.
    pub(super) fn run(&self) {
        let count = self.queue.borrow().len();
        for _ in 0..count {
            let next = self.queue.borrow_mut().pop_front();
            let Some(work) = next else { return };
            RUNNING.set(RUNNING.get() + 1);
            log_panic(work);
            RUNNING.set(RUNNING.get() - 1);
        }
    }

    /// Drops the work that was not run.
    pub(super) fn forget(&self) {
        for work in self.queue.take() {
            drop_logged("work for a thread", work);
        }
    }
}

/// Panics if the caller is work that runs in a turn: the loop cannot make the call for which the work would wait.
pub(super) fn check_may_wait() {
    assert!(
        RUNNING.get() == 0,
        "work for threads runs in the reactor's own thread here, and waits for a call to that reactor: \
         use `call_from_thread`, or run the work in threads with `set_inline_work(false)`"
    );
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::thread;
    use std::time::Duration;

    use ropewalk_proto::{Deferred, Panicked};

    use crate::error::Error;
    use crate::interfaces::thread_pool::ThreadPool;
    use crate::task::{AddTimeout, TimedOut};
    use crate::testing::{Clock, MemoryReactor, SimulatedNetwork};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn result_of<T>(deferred: Deferred<T>) -> Result<T, ropewalk_proto::Failure> {
        deferred.try_result().unwrap_or_else(|_| panic!("the work is not done"))
    }

    #[test]
    fn settling_completes_work_for_threads_at_the_same_time() {
        let net = MemoryReactor::new();
        let here = thread::current().id();
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..10 {
            let order = order.clone();
            drop(net.defer_to_thread(move || number).add_callback(move |number| order.borrow_mut().push(number)));
        }
        let place = net.defer_to_thread(|| thread::current().id());
        net.settle();
        assert_eq!(*order.borrow(), (0..10).collect::<Vec<_>>());
        assert_eq!(result_of(place).unwrap(), here);
        assert_eq!(net.seconds(), 0.0);
    }

    #[test]
    fn no_time_passes_in_a_run_while_work_is_in_progress() {
        let net = MemoryReactor::new();
        let stopping = net.clone();
        let slow = net.defer_to_thread(|| thread::sleep(Duration::from_millis(1))).add_timeout(SECOND, &net);
        let end = slow.add_both(move |outcome| {
            stopping.stop().unwrap();
            outcome.is_err_and(|failure| failure.check::<TimedOut>())
        });
        net.call_when_running(|_| ());
        net.run().unwrap();
        assert!(!result_of(end).unwrap());
    }

    #[test]
    fn work_of_a_pool_runs_in_the_turns_of_a_host_as_well() {
        let network = SimulatedNetwork::seeded(7);
        let host = network.host("10.0.0.1");
        host.start_running(crate::RunOptions::default()).unwrap();
        let pool = ThreadPool::new(1);
        let place = host.defer_to_thread_pool(&pool, || thread::current().id());
        network.settle();
        assert_eq!(result_of(place).unwrap(), thread::current().id());
    }

    #[test]
    fn a_panic_in_the_work_fails_its_deferred() {
        let clock = Clock::new();
        let failing = clock.defer_to_thread(|| panic!("of the work"));
        clock.advance(Duration::ZERO);
        let failure = result_of::<()>(failing).unwrap_err();
        assert!(matches!(failure.downcast_ref(), Some(Error::Panicked(_, message)) if &**message == "of the work"));
        assert!(!failure.check::<Panicked>());
    }

    #[test]
    fn work_that_would_wait_for_its_own_reactor_panics() {
        let clock = Clock::new();
        let handle = clock.thread_handle();
        let waiting = clock.defer_to_thread(move || handle.blocking_call_from_thread(|_| ()).is_ok());
        clock.advance(Duration::ZERO);
        let failure = result_of(waiting).unwrap_err();
        assert!(failure.to_string().contains("use `call_from_thread`"), "{failure}");
    }

    #[test]
    fn dropping_the_reactor_fails_work_that_has_not_run() {
        let clock = Clock::new();
        let waiting = clock.defer_to_thread(|| ());
        drop(clock);
        assert!(result_of(waiting).is_err());
    }
}
