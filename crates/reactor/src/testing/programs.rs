//! The programs of one reactor on a simulated network, and the closures of the children that run them.
//!
//! The closures run in the turns of the reactor, as calls from a thread do. The network rings a bell when a child has
//! something to do.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_proto::Key;
use ropewalk_sys::{Wake, Waker};

use super::program::Program;
use super::simulated::{ChildEvent, ChildId, Network, SharedNetwork};
use super::simulated_child::SimulatedChild;
use crate::interfaces::threads::ThreadHandle;
use crate::kernel::Reactor;

type Handler = Rc<dyn Fn(&SimulatedChild)>;
type DataHandler = Rc<dyn Fn(&SimulatedChild, &[u8])>;
type Call = Box<dyn FnOnce(&SimulatedChild)>;

/// The programs that one reactor on a simulated provider can start.
///
/// [`MemoryReactor::install_program`](super::MemoryReactor::install_program) and
/// [`Host::install_program`](super::Host::install_program) are shorter. This is for reactors on a
/// [`Simulated`](super::Simulated) provider of their own.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::processes::Command;
/// use ropewalk::testing::{Faults, Program, Simulated};
///
/// let provider = Simulated::new(7, Faults::none());
/// let programs = provider.programs();
/// let reactor = Reactor::with_provider(Box::new(provider));
/// programs.install(&reactor, "false", Program::exit(1));
/// let value = reactor.process_value(&Command::new("false"));
/// let stopping = reactor.clone();
/// let _ended = value.add_callback(move |status| {
///     assert_eq!(status.code(), Some(1));
///     stopping.stop().unwrap();
/// });
/// reactor.run()?;
/// assert_eq!(programs.spawned(&reactor)[0].plan().program, "false");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Programs {
    network: SharedNetwork,
    owner: Key,
}

impl Programs {
    /// Returns the programs of the reactor whose sources `owner` has.
    pub(super) fn new(network: &SharedNetwork, owner: Key) -> Programs {
        Programs { network: network.clone(), owner }
    }

    /// Lets `reactor` start a program under exactly this name. A later program of the same name replaces it, for
    /// processes that start afterwards. `reactor` must be the one that has the provider. May be called from any callback.
    pub fn install(&self, reactor: &Reactor, name: impl Into<OsString>, program: impl Into<Program>) {
        let (name, installed) = (name.into(), reactor.extension(|_| ChildPrograms::default()));
        let bell = Waker::new(Arc::new(Bell(reactor.thread_handle())));
        let owner = self.network.with(|network| network.install_program(self.owner, &name, bell));
        // A host that has crashed starts nothing.
        let Some(owner) = owner else { return };
        let _ = installed.place.set((self.network.clone(), owner));
        let replaced = installed.programs.borrow_mut().insert(name, program.into());
        drop(replaced);
    }

    /// Returns all processes that `reactor` has started, in order, with their plans and their ends. May be called from any
    /// callback.
    pub fn spawned(&self, reactor: &Reactor) -> Vec<SimulatedChild> {
        let programs = reactor.extension(|_| ChildPrograms::default());
        let spawned = self.network.with(|network| network.log(self.owner).map(|log| log.spawned.clone()));
        let of = |id| SimulatedChild::new(&self.network, id, Rc::downgrade(&programs));
        spawned.unwrap_or_default().into_iter().map(of).collect()
    }
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").finish_non_exhaustive()
    }
}

/// The closures of one reactor's children.
#[derive(Default)]
pub(super) struct ChildPrograms {
    /// The network, and the owner of the children.
    place: OnceCell<(SharedNetwork, Key)>,
    programs: RefCell<HashMap<OsString, Program>>,
    running: RefCell<HashMap<ChildId, Handlers>>,
}

/// The closures of one child.
#[derive(Default)]
struct Handlers {
    start: Option<Handler>,
    data: HashMap<u32, DataHandler>,
    ends: HashMap<u32, Handler>,
    signals: HashMap<i32, Handler>,
    calls: HashMap<u64, Call>,
    waiting: VecDeque<ChildEvent>,
    is_busy: bool,
}

/// Marks a child whose closure runs, also until a panic.
struct Busy<'a>(&'a ChildPrograms, ChildId);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.handler(self.1, |handlers| {
            handlers.is_busy = false;
            None::<()>
        });
    }
}

impl ChildPrograms {
    pub(super) fn on_start(&self, id: ChildId, start: impl Fn(&SimulatedChild) + 'static) {
        self.change(id, |handlers| handlers.start.replace(Rc::new(start)));
    }

    pub(super) fn on_data(&self, id: ChildId, fd: u32, received: impl Fn(&SimulatedChild, &[u8]) + 'static) {
        self.change(id, |handlers| handlers.data.insert(fd, Rc::new(received)));
    }

    pub(super) fn on_end(&self, id: ChildId, fd: u32, ended: impl Fn(&SimulatedChild) + 'static) {
        self.change(id, |handlers| handlers.ends.insert(fd, Rc::new(ended)));
    }

    pub(super) fn on_signal(&self, id: ChildId, number: i32, caught: impl Fn(&SimulatedChild) + 'static) {
        self.change(id, |handlers| handlers.signals.insert(number, Rc::new(caught)));
    }

    pub(super) fn call_later(&self, id: ChildId, token: u64, call: impl FnOnce(&SimulatedChild) + 'static) {
        self.change(id, |handlers| handlers.calls.insert(token, Box::new(call)));
    }

    /// Sets a closure. No borrow is left when the closure that it replaces is dropped, because that may set others.
    fn change<C>(&self, id: ChildId, change: impl FnOnce(&mut Handlers) -> Option<C>) {
        let replaced = change(self.running.borrow_mut().entry(id).or_default());
        drop(replaced);
    }

    /// Runs the closure for `event`. An event that comes while a closure of the child turns the loop waits for that closure.
    fn act(self: &Rc<Self>, id: ChildId, event: ChildEvent) {
        let Some((network, _)) = self.place.get() else { return };
        let is_running = || network.with(|network| network.is_child_running(id));
        if !is_running() || self.queue(id, event) {
            return;
        }
        let _busy = Busy(self, id);
        let child = SimulatedChild::new(network, id, Rc::downgrade(self));
        while let Some(event) = self.handler(id, |handlers| handlers.waiting.pop_front()) {
            if is_running() {
                self.call_for(&child, id, event);
            }
        }
    }

    /// Queues an event. Returns whether a closure of the child is running.
    fn queue(&self, id: ChildId, event: ChildEvent) -> bool {
        let mut running = self.running.borrow_mut();
        let handlers = running.entry(id).or_default();
        handlers.waiting.push_back(event);
        std::mem::replace(&mut handlers.is_busy, true)
    }

    fn call_for(&self, child: &SimulatedChild, id: ChildId, event: ChildEvent) {
        match event {
            ChildEvent::Start => self.start(child, id),
            ChildEvent::Data(fd, data) => {
                let handler = self.handler(id, |handlers| handlers.data.get(&fd).cloned());
                handler.into_iter().for_each(|received| received(child, &data));
            }
            ChildEvent::End(fd) => self.call(child, id, |handlers| handlers.ends.get(&fd).cloned()),
            ChildEvent::Signal(number) => self.call(child, id, |handlers| handlers.signals.get(&number).cloned()),
            ChildEvent::Call(token) => {
                let call = self.handler(id, |handlers| handlers.calls.remove(&token));
                call.into_iter().for_each(|call| call(child));
            }
        }
    }

    fn start(&self, child: &SimulatedChild, id: ChildId) {
        if let Some(start) = self.handler(id, |handlers| handlers.start.take()) {
            return start(child);
        }
        let program = self.programs.borrow().get(&child.plan().program).cloned();
        program.into_iter().for_each(|program| program.start(child));
    }

    fn call(&self, child: &SimulatedChild, id: ChildId, of: impl FnOnce(&mut Handlers) -> Option<Handler>) {
        self.handler(id, of).into_iter().for_each(|handler| handler(child));
    }

    /// Takes or copies a handler. No borrow is left, because the handler may set other handlers.
    fn handler<H>(&self, id: ChildId, of: impl FnOnce(&mut Handlers) -> Option<H>) -> Option<H> {
        self.running.borrow_mut().get_mut(&id).and_then(of)
    }

    /// Drops the closures of children that have ended.
    fn forget_ended(&self, network: &SharedNetwork) {
        let ids: Vec<ChildId> = self.running.borrow().keys().copied().collect();
        let is_over = |id: &ChildId| !network.with(|network| network.is_child_running(*id));
        for id in ids.into_iter().filter(is_over) {
            // No borrow is left when the closures are dropped.
            let handlers = self.running.borrow_mut().remove(&id);
            drop(handlers);
        }
    }
}

/// Makes the reactor call its children.
struct Bell(ThreadHandle);

impl Wake for Bell {
    fn wake(&self) {
        self.0.call_from_thread(collect);
    }
}

/// Queues a call for each thing that children have to do. Each call has the reactor's guard around it, so a panic in one
/// closure does not lose the others.
fn collect(reactor: &Reactor) {
    let programs = reactor.extension(|_| ChildPrograms::default());
    let Some((network, owner)) = programs.place.get() else { return };
    programs.forget_ended(network);
    let handle = reactor.thread_handle();
    for (id, event) in network.with(|network: &mut Network| network.take_child_events(*owner)) {
        handle.call_from_thread(move |reactor| {
            let programs = reactor.extension(|_| ChildPrograms::default());
            programs.act(id, event);
        });
    }
}
