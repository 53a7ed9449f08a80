//! The state that all parts of a schedule share: random numbers, the ledgers, and the first broken promise.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::testing::Random;
use ropewalk::{Deferred, Moment, Port, Reactor, Resolver};

use crate::children::Ledger;
use crate::clients::Client;
use crate::datagrams::Mailbox;
use crate::end::End;
use crate::passing::Witness;
use crate::sealing::{SEALED, Sealing};

/// The addresses of ports without TLS.
pub(crate) const PLACES: [&str; 4] = ["10.0.0.1:80", "10.0.0.2:80", "/run/walkers", "[fe80::1]:80"];

/// The address that outside peers listen on.
pub(crate) const OUTSIDE_ADDRESS: &str = "10.0.0.3:80";

/// The number of turns that may run inside one another.
const DEEPEST: usize = 2;

pub(crate) struct World {
    random: RefCell<Random>,
    /// The number of actions that are left. Every schedule ends, because no action is added.
    budget: Cell<usize>,
    last_now: Cell<Moment>,
    events: RefCell<Vec<String>>,
    broken: RefCell<Option<String>>,
    pub(crate) ends: RefCell<Vec<Rc<End>>>,
    pub(crate) ports: RefCell<Vec<Port>>,
    pub(crate) clients: RefCell<Vec<Rc<Client>>>,
    pub(crate) mailboxes: RefCell<Vec<Rc<Mailbox>>>,
    pub(crate) children: RefCell<Vec<Rc<Ledger>>>,
    pub(crate) witnesses: RefCell<Vec<Witness>>,
    pub(crate) sealing: Sealing,
    /// True if the network doubles datagrams.
    pub(crate) doubles: bool,
    /// True if datagrams overtake others.
    pub(crate) overtakes: bool,
    /// Protocols that have not been dropped.
    pub(crate) protocols: Cell<usize>,
    /// Starts of factories minus stops.
    pub(crate) started: Cell<isize>,
    /// True if callbacks may panic.
    pub(crate) panics: bool,
    /// True once the reactor closes everything itself.
    pub(crate) shutting_down: Cell<bool>,
    /// The resolver of the Deferred that delays the shutdown.
    shutdown: RefCell<Option<Resolver<()>>>,
    /// The number of turns on the stack that callbacks began.
    depth: Cell<usize>,
}

impl World {
    pub(crate) fn new(seed: u64, budget: usize) -> World {
        // The network uses the seed itself. The two must not draw the same numbers.
        let mut random = Random::new(seed ^ 0x5eed_0f0a_11ed_0001);
        let panics = random.chance(0.2);
        let [doubles, overtakes] = [(); 2].map(|()| random.chance(0.3));
        World {
            random: RefCell::new(random),
            budget: Cell::new(budget),
            last_now: Cell::default(),
            events: RefCell::default(),
            broken: RefCell::default(),
            ends: RefCell::default(),
            ports: RefCell::default(),
            clients: RefCell::default(),
            mailboxes: RefCell::default(),
            children: RefCell::default(),
            witnesses: RefCell::default(),
            sealing: Sealing::new(),
            doubles,
            overtakes,
            protocols: Cell::default(),
            started: Cell::default(),
            panics,
            shutting_down: Cell::default(),
            shutdown: RefCell::default(),
            depth: Cell::default(),
        }
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.random.borrow_mut().chance(probability)
    }

    /// Returns one of the addresses that ports listen on.
    pub(crate) fn any_place(&self) -> &'static str {
        let place = self.below(PLACES.len() + SEALED.len());
        PLACES.get(place).or_else(|| SEALED.get(place - PLACES.len())).copied().unwrap_or(OUTSIDE_ADDRESS)
    }

    /// Adds an event with its time, which must not go back.
    pub(crate) fn event(&self, reactor: &Reactor, what: impl FnOnce() -> String) {
        let now = reactor.now();
        let last = self.last_now.replace(now);
        self.expect(now >= last, || format!("time went back from {last:?} to {now:?}"));
        self.note(|| format!("{now:?} {}", what()));
    }

    /// Adds a line to the report of a failed schedule.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        self.events.borrow_mut().push(what());
    }

    /// Records the first broken promise. A panic would not do, because the reactor catches panics in callbacks.
    pub(crate) fn expect(&self, kept: bool, complaint: impl FnOnce() -> String) {
        if !kept && self.broken.borrow().is_none() {
            let complaint = complaint();
            self.note(|| format!("BROKEN: {complaint}"));
            *self.broken.borrow_mut() = Some(complaint);
        }
    }

    /// Spends one action, and returns whether there was one left.
    pub(crate) fn spend(&self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left > 0
    }

    /// Delays the shutdown for 20 ms, or until an action continues it inside a callback.
    pub(crate) fn delay_shutdown(self: &Rc<World>, reactor: &Reactor) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        *self.shutdown.borrow_mut() = Some(resolver);
        let world = self.clone();
        reactor.call_later(Duration::from_millis(20), move |_| world.continue_shutdown());
        deferred
    }

    /// Continues the shutdown before this returns, if it was delayed.
    pub(crate) fn continue_shutdown(&self) {
        let resolver = self.shutdown.take();
        if let Some(resolver) = resolver {
            self.note(|| "the shutdown continues".to_owned());
            self.shutting_down.set(true);
            // Sources that are opened from here on would outlive the run.
            self.stop_acting();
            let outcome = resolver.callback(());
            self.expect(outcome.is_ok(), || "the shutdown did not wait".to_owned());
        }
    }

    /// Runs one more turn inside the present callback.
    pub(crate) fn iterate(&self, reactor: &Reactor) {
        if self.depth.get() < DEEPEST {
            self.depth.set(self.depth.get() + 1);
            self.note(|| "an inner turn begins".to_owned());
            let outcome = reactor.iterate(Some(Duration::ZERO));
            self.expect(outcome.is_ok(), || format!("iterate: {outcome:?}"));
            self.note(|| "an inner turn ends".to_owned());
            self.depth.set(self.depth.get() - 1);
        }
    }

    /// Takes no more actions from here on.
    pub(crate) fn stop_acting(&self) {
        self.budget.set(0);
    }

    /// Returns a random open end, if there is one.
    pub(crate) fn any_end(&self) -> Option<Rc<End>> {
        let living = self.living();
        (!living.is_empty()).then(|| living[self.below(living.len())].clone())
    }

    /// Returns the ends between connection_made and connection_lost.
    pub(crate) fn living(&self) -> Vec<Rc<End>> {
        self.ends.borrow().iter().filter(|end| end.lives()).cloned().collect()
    }

    /// Creates the ledger of a new end, with a number of its own.
    pub(crate) fn new_end(&self) -> Rc<End> {
        let mut ends = self.ends.borrow_mut();
        let end = Rc::new(End::new(ends.len() as u64));
        ends.push(end.clone());
        end
    }

    /// Returns the end with that number.
    pub(crate) fn end(&self, number: u64) -> Option<Rc<End>> {
        self.ends.borrow().get(usize::try_from(number).ok()?).cloned()
    }

    /// Drops all handles of the reactor. They and their factories, protocols and ledgers refer to each other, so they
    /// would outlive the schedule.
    pub(crate) fn release(&self) {
        for end in self.ends.take() {
            end.transport.take();
            end.producer.take();
        }
        self.clients.take().iter().for_each(|client| client.release());
        self.mailboxes.take().iter().for_each(|mailbox| mailbox.release());
        self.children.take().iter().for_each(|ledger| ledger.release());
        self.ports.take();
        self.shutdown.take();
    }

    /// Returns all events, as an error if a promise was broken.
    pub(crate) fn report(&self) -> Result<Report, Report> {
        let report = Report { events: self.events.borrow().clone(), broken: self.broken.borrow().clone() };
        if report.broken.is_none() { Ok(report) } else { Err(report) }
    }
}

/// The events of a schedule, and its first broken promise.
pub(crate) struct Report {
    events: Vec<String>,
    broken: Option<String>,
}

impl Report {
    pub(crate) fn events(&self) -> &[String] {
        &self.events
    }

    /// Returns the broken promise, and the events just before it.
    pub(crate) fn tail(&self) -> String {
        let first = self.events.len().saturating_sub(30);
        format!("{}\n{}", self.broken.as_deref().unwrap_or("nothing was broken"), self.events[first..].join("\n"))
    }

    /// Returns all events.
    pub(crate) fn whole(&self) -> String {
        format!("{}\n{}", self.events.join("\n"), self.broken.as_deref().unwrap_or("nothing was broken"))
    }
}
