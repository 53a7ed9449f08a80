//! Running the reactor inside a host loop, and waiting in another thread. A machine of the simulated network is in
//! `testing/host.rs`.
//!
//! A host loop watches [`Reactor::host_handle`] for readability and wakes at the deadline that [`Reactor::prepare`]
//! returned. While the host sleeps, the deadline hook reports work that was added. After each wake-up the host calls
//! `wait(Some(Duration::ZERO))`, `dispatch`, and then `prepare`, before it sleeps again. `hosting/` does this for adapters.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ropewalk_proto::Moment;
use ropewalk_proto::panics::catch;
use ropewalk_sys::{EventProvider, Events, RawWaitable};

use super::panic_log::provider_panicked;
use super::{Kernel, Reactor};
use crate::error::{Error, Result};

type Hook = Rc<dyn Fn()>;

/// Notifies a host loop that it must wake up sooner.
#[derive(Default)]
pub(crate) struct DeadlineHook {
    hook: RefCell<Option<Hook>>,
}

/// The calls of the kernel to the [`Guest`](crate::hosting::Guest) of its reactor.
pub(crate) trait Hosted {
    /// Notes that work was added while the host may sleep.
    fn work_changed(&self);

    /// Makes a turn in the host's loop. Returns `None` if the adapter cannot run that loop.
    fn iterate(&self, reactor: &Reactor, delay: Option<Duration>) -> Option<Result<()>>;

    /// Runs the host's loop until the run ends.
    fn run(&self, reactor: &Reactor) -> Result<()>;

    /// Returns whether a run may begin.
    ///
    /// # Errors
    /// [`Error::Hosted`] if the adapter cannot run the host's loop.
    fn may_run(&self) -> Result<bool>;
}

/// The place to which a [`DetachedWait`] returns its provider.
type Home = Arc<Place>;

#[derive(Default)]
struct Place {
    returned: Mutex<Option<Returned>>,
    /// Notified when a provider has been returned.
    came_back: Condvar,
}

/// The provider, and the events of waits that failed.
type Returned = (Box<dyn EventProvider>, Events);

/// The reactor's state while a [`DetachedWait`] owns the provider.
#[derive(Default)]
pub(crate) struct Detached {
    home: Home,
    /// Whether the thread that waits returns the provider as soon as it is woken.
    returns_when_woken: Cell<bool>,
    /// Calls to make as soon as the provider is back.
    postponed: RefCell<Vec<Postponed>>,
    /// Events that were not dispatched yet when the provider was detached. They are kept because an edge-triggered
    /// provider reports each event only once.
    events: Cell<Events>,
}

type Postponed = Box<dyn FnOnce(&Kernel, &mut dyn EventProvider)>;

impl Detached {
    pub(super) fn take_back(&self, kernel: &Kernel) -> Option<Box<dyn EventProvider>> {
        let (mut provider, mut undelivered) = self.returned(kernel)?;
        for tell in self.postponed.take() {
            tell(kernel, &mut *provider);
        }
        let mut events = self.events.take();
        events.append(&mut undelivered);
        self.events.set(events);
        Some(provider)
    }

    /// Takes what the wait has returned. Wakes the wait first if the thread returns the provider then.
    fn returned(&self, kernel: &Kernel) -> Option<Returned> {
        if self.returns_when_woken.get() && kernel.is_forked() {
            // The thread has stayed in the parent, perhaps with the lock.
            return None;
        }
        let mut place = self.home.returned.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() && self.returns_when_woken.get() {
            kernel.calls.wake();
            while place.is_none() {
                place = self.home.came_back.wait(place).unwrap_or_else(PoisonError::into_inner);
            }
        }
        place.take()
    }

    pub(super) fn take_events(&self) -> Events {
        self.events.take()
    }

    pub(super) fn postpone(&self, tell: Postponed) {
        self.postponed.borrow_mut().push(tell);
    }
}

impl Reactor {
    /// Returns the descriptor that is readable when [`wait`](Reactor::wait) would report an event. Returns `None` if
    /// the provider has no such descriptor: select, poll and the simulated network have none.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// match reactor.host_handle() {
    ///     Some(descriptor) => println!("watch {descriptor:?} for reading"),
    ///     None => println!("{} cannot be watched: call `wait` at intervals", reactor.name()),
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn host_handle(&self) -> Option<RawWaitable> {
        let handle = self.0.provider("host_handle", EventProvider::host_handle).ok().flatten();
        self.0.is_watched.set(handle.is_some());
        handle
    }

    /// Undoes [`host_handle`](Reactor::host_handle): no host loop watches the handle any more.
    ///
    /// A watched reactor costs more system calls. A reactor that a host loop has let go can be run, or watched again.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// if reactor.host_handle().is_some() {
    ///     println!("{} can be a guest", reactor.name());
    /// }
    /// reactor.release_host_handle(); // this was only a question
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn release_host_handle(&self) {
        if self.0.is_watched.replace(false) {
            // If the provider is away, its thread uses no handle.
            let _ = self.0.provider("release_host_handle", EventProvider::release_host_handle);
        }
    }

    /// Returns the time at which the next delayed call is due.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// assert_eq!(clock.deadline(), None);
    /// clock.call_later(Duration::from_secs(3), |_| ());
    /// assert_eq!(clock.deadline(), Some(clock.now() + Duration::from_secs(3)));
    /// ```
    pub fn deadline(&self) -> Option<Moment> {
        self.0.timers.borrow_mut().next_deadline()
    }

    /// Sets a hook that is called whenever work is added outside a turn. The host loop should then call
    /// [`prepare`](Reactor::prepare) soon. `None` removes the hook.
    ///
    /// The hook is called on the reactor's thread, possibly from within a method of the reactor. It should only record
    /// that the reactor has work. Calls from other threads make [`host_handle`](Reactor::host_handle) readable instead.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let told = Rc::new(Cell::new(false));
    /// let note = told.clone();
    /// clock.set_deadline_hook(Some(Rc::new(move || note.set(true))));
    /// clock.prepare()?; // the host sleeps
    /// clock.call_later(Duration::from_secs(1), |_| ()); // work from outside a turn
    /// assert!(told.get());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_deadline_hook(&self, hook: Option<Rc<dyn Fn()>>) {
        drop(self.0.deadline_hook.hook.replace(hook));
    }

    /// Detaches the wait of a turn, so that it can block in another thread or without an interpreter's lock.
    ///
    /// Until the [`DetachedWait`] is dropped, methods that need the event provider return [`Error::Waiting`]. Writes,
    /// removals and closes are queued until the provider is back. Adding work wakes the waiting thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::{Error, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// let mut wait = reactor.detach_wait()?;
    /// assert!(matches!(reactor.prepare(), Err(Error::Waiting)));
    /// let thread = std::thread::spawn(move || wait.wait(Some(Duration::from_millis(1)))); // then drops `wait`
    /// let events = thread.join().unwrap()?;
    /// reactor.dispatch_events(events);
    /// reactor.prepare()?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Waiting`] while an earlier [`DetachedWait`] exists.
    pub fn detach_wait(&self) -> Result<DetachedWait> {
        self.0.check_present()?;
        let provider = self.0.provider.borrow_mut().take();
        self.0.attention.set_asleep(true);
        self.0.asked.set(self.0.waited.get());
        // If a callback detaches the wait, later events of the turn may still be queued.
        self.0.detached.events.set(self.0.inbox.borrow_mut().events.take_rest());
        self.0.detached.returns_when_woken.set(false);
        Ok(DetachedWait { provider, collected: Events::new(), home: self.0.detached.home.clone() })
    }

    /// Detaches the wait for a thread that returns the provider as soon as it is woken. A call that needs the provider
    /// meanwhile wakes that thread, and waits until the provider is back.
    pub(crate) fn lend_wait(&self) -> Result<DetachedWait> {
        let wait = self.detach_wait()?;
        self.0.detached.returns_when_woken.set(true);
        Ok(wait)
    }

    /// Handles the events that a [`DetachedWait`] collected, as [`dispatch`](Reactor::dispatch) does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// let events = net.detach_wait()?.wait(Some(Duration::from_secs(1)))?;
    /// net.dispatch_events(events);
    /// assert_eq!(server.made(), 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn dispatch_events(&self, events: Events) {
        self.0.inbox.borrow_mut().events.append(events);
        self.dispatch();
    }
}

impl Kernel {
    /// Notifies a sleeping host loop of new work, or the thread in which the provider waits.
    pub(crate) fn work_changed(&self) {
        if self.attention.is_asleep() {
            self.interrupt_sleep();
        }
    }

    #[cold]
    fn interrupt_sleep(&self) {
        if let Some(hosted) = self.hosted() {
            hosted.work_changed();
        }
        if !self.detached.returns_when_woken.get() && self.is_away() {
            self.calls.wake();
        }
        let hook = self.deadline_hook.hook.borrow().clone();
        if let Some(hook) = hook {
            let _entered = self.enter();
            hook();
        }
    }

    /// Sets the guest of this reactor, which has none.
    pub(crate) fn set_hosted(&self, hosted: Weak<dyn Hosted>) {
        *self.hosted.borrow_mut() = Some(hosted);
        self.host_may_sleep();
    }

    /// Notes that the host may sleep, so that work which is added from now on makes a turn due.
    pub(crate) fn host_may_sleep(&self) {
        self.attention.set_asleep(true);
    }

    pub(crate) fn unset_hosted(&self) {
        *self.hosted.borrow_mut() = None;
    }

    /// Returns the guest of this reactor.
    #[inline]
    pub(crate) fn hosted(&self) -> Option<Rc<dyn Hosted>> {
        self.hosted.borrow().as_ref()?.upgrade()
    }

    /// Takes the provider back from the thread that waits for a guest, which would otherwise wait for ever.
    pub(super) fn end_lent_wait(&self) {
        if self.detached.returns_when_woken.get() {
            drop(self.provider_slot());
        }
    }

    /// Returns whether a host loop watches the provider's handle.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.get()
    }

    /// Returns whether a thread waits now, without taking the provider back from it.
    pub(crate) fn is_lent(&self) -> bool {
        let is_away = !self.is_forked() && self.provider.borrow().is_none();
        is_away && self.detached.home.returned.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// The wait of one turn, which may move to another thread. Dropping the wait returns the event provider to its reactor.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let mut wait = clock.detach_wait()?;
/// let events = wait.wait(Some(Duration::from_secs(60)))?;
/// assert_eq!(events.iter().count(), 0);
/// drop(wait); // the clock has its provider again
/// clock.prepare()?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct DetachedWait {
    provider: Option<Box<dyn EventProvider>>,
    /// Events that waits collected before they failed.
    collected: Events,
    home: Home,
}

impl DetachedWait {
    /// Waits until an event comes or `timeout` has passed. `None` sets no limit.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system cannot wait at all. [`Error::Panicked`] when the provider panicked, which is
    /// also logged. Events that were collected before the error are returned by the next wait. If there is no next wait,
    /// they are dispatched when the event provider is back.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Events> {
        let provider = self.provider.as_mut().ok_or(Error::Closed)?;
        let mut events = Events::new();
        let waited = catch(|| provider.wait(timeout, &mut events));
        self.collected.append(&mut events);
        match waited {
            Ok(waited) => waited.map_err(Error::io("cannot wait for events"))?,
            Err(panic) => return Err(provider_panicked(provider.name(), "wait", &panic)),
        }
        Ok(std::mem::take(&mut self.collected))
    }

    /// Waits as [`wait`](DetachedWait::wait) does, and keeps the events, which are dispatched when the provider is back.
    pub(crate) fn wait_and_keep(&mut self, timeout: Option<Duration>) -> Result<()> {
        let events = self.wait(timeout)?;
        self.collected = events;
        Ok(())
    }
}

impl Drop for DetachedWait {
    fn drop(&mut self) {
        let collected = std::mem::take(&mut self.collected);
        let returned = self.provider.take().map(|provider| (provider, collected));
        *self.home.returned.lock().unwrap_or_else(PoisonError::into_inner) = returned;
        self.home.came_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::interfaces::core::RunOptions;
    use crate::protocols::Protocol;
    use crate::transports::Transport;

    /// Schedules a call when it is dropped.
    struct LastWish(Reactor);

    impl Drop for LastWish {
        fn drop(&mut self) {
            self.0.call_later(Duration::ZERO, |_| {});
        }
    }

    #[test]
    fn a_dropped_hook_may_use_the_reactor() {
        let reactor = Reactor::new().unwrap();
        let wish = LastWish(reactor.clone());
        reactor.set_deadline_hook(Some(Rc::new(move || assert!(wish.0.provides(crate::Interface::Tcp)))));
        reactor.prepare().unwrap();
        reactor.set_deadline_hook(None);
        assert_eq!(reactor.get_delayed_calls().len(), 1);
    }

    #[test]
    fn the_end_of_a_run_does_not_leave_its_host_waiting() {
        let reactor = Reactor::new().unwrap();
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        reactor.call_when_running(|reactor| reactor.stop().unwrap());
        while reactor.is_started() {
            let limit = reactor.prepare().unwrap();
            reactor.wait(limit).unwrap();
            reactor.dispatch();
        }
    }

    struct Counts(Rc<Cell<usize>>);

    impl Protocol for Counts {
        fn connection_made(&mut self, _transport: &Transport) {
            self.0.set(self.0.get() + 1);
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    }

    /// Records the received bytes. Detaches the wait on the bytes `take`.
    struct Notes(Rc<RefCell<Vec<String>>>, Rc<RefCell<Option<DetachedWait>>>);

    impl Protocol for Notes {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            self.0.borrow_mut().push(String::from_utf8_lossy(data).into_owned());
            if data == b"take" {
                *self.1.borrow_mut() = transport.reactor().detach_wait().ok();
            }
        }
    }

    #[test]
    fn events_are_dispatched_in_the_order_of_their_waits() {
        let net = crate::testing::MemoryReactor::new();
        let (notes, taken) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(None)));
        let (own, take) = (notes.clone(), taken.clone());
        net.listen_tcp("10.0.0.1:80", move || Notes(own.clone(), take.clone())).unwrap();
        let clients = [(); 4].map(|()| net.connect_stream("10.0.0.1:80"));
        net.settle();
        let said = |client: usize, text: &str| {
            clients[client].write(text.as_bytes());
        };
        said(0, "take");
        said(1, "behind it");
        while taken.borrow().is_none() {
            net.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        assert_eq!(*notes.borrow(), ["take"], "the second client's event was collected as well");
        let mut wait: DetachedWait = taken.take().unwrap();
        said(2, "of a wait that failed");
        let collect = |wait: &mut DetachedWait| {
            let mut collected = Events::new();
            while collected.is_empty() {
                collected = wait.wait(Some(Duration::from_millis(1))).unwrap();
            }
            collected
        };
        // Imitates a wait that collected events and then failed.
        wait.collected = collect(&mut wait);
        drop(wait);
        net.dispatch();
        assert_eq!(*notes.borrow(), ["take", "behind it", "of a wait that failed"]);

        notes.borrow_mut().clear();
        said(0, "take");
        said(1, "behind it");
        while taken.borrow().is_none() {
            net.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        let mut wait: DetachedWait = taken.take().unwrap();
        said(3, "newer");
        let events = collect(&mut wait);
        // The newer events are handed over before the provider is back with the older ones.
        net.dispatch_events(events);
        drop(wait);
        net.dispatch();
        assert_eq!(*notes.borrow(), ["take", "behind it", "newer"]);
    }

    #[test]
    fn events_that_come_before_their_provider_is_back_wait_for_it() {
        let reactor = Reactor::new().unwrap();
        let made = Rc::new(Cell::new(0));
        let (served, connected) = (made.clone(), made.clone());
        let port = reactor.listen_tcp("127.0.0.1:0", move || Counts(served.clone())).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        reactor.connect_tcp(address, move || Counts(connected.clone())).unwrap();
        // Several turns are needed: the first one only begins to connect.
        for _ in 0..10 {
            let limit = reactor.prepare().unwrap();
            let mut wait = reactor.detach_wait().unwrap();
            let limit = limit.unwrap_or(Duration::from_millis(20)).min(Duration::from_millis(20));
            let events = wait.wait(Some(limit)).unwrap();
            reactor.dispatch_events(events);
            drop(wait);
            reactor.dispatch();
        }
        assert_eq!(made.get(), 2);
    }
}
