//! What everybody in a schedule shares: chance, the ledger of ends, and the list of broken promises.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::testing::Random;
use ropewalk::{Deferred, Moment, Port, Reactor, Resolver};

use crate::clients::Client;
use crate::end::End;

/// The addresses at which somebody may listen.
pub(crate) const PLACES: [&str; 4] = ["10.0.0.1:80", "10.0.0.2:80", "/run/walkers", "[fe80::1]:80"];

/// The address at which the test listens.
pub(crate) const GUEST_HOUSE: &str = "10.0.0.3:80";

/// How many turns may run inside one another.
const DEEPEST: usize = 2;

pub(crate) struct World {
    random: RefCell<Random>,
    /// How much may still be done: every schedule comes to an end.
    budget: Cell<usize>,
    last_now: Cell<Moment>,
    events: RefCell<Vec<String>>,
    broken: RefCell<Option<String>>,
    pub(crate) ends: RefCell<Vec<Rc<End>>>,
    pub(crate) ports: RefCell<Vec<Port>>,
    pub(crate) clients: RefCell<Vec<Rc<Client>>>,
    /// Protocols that have not been dropped.
    pub(crate) protocols: Cell<usize>,
    /// How often factories were started and not stopped.
    pub(crate) started: Cell<isize>,
    /// Whether callbacks may panic.
    pub(crate) panics: bool,
    /// Whether the reactor ends everything itself from here on.
    pub(crate) shutting_down: Cell<bool>,
    /// What the reactor waits for before it shuts down.
    shutdown: RefCell<Option<Resolver<()>>>,
    /// How many callbacks on the stack run the loop themselves.
    depth: Cell<usize>,
}

impl World {
    pub(crate) fn new(seed: u64, budget: usize) -> World {
        // The network has the seed itself; the two must not draw the same numbers.
        let mut random = Random::new(seed ^ 0x5eed_0f0a_11ed_0001);
        let panics = random.chance(0.2);
        World {
            random: RefCell::new(random),
            budget: Cell::new(budget),
            last_now: Cell::default(),
            events: RefCell::default(),
            broken: RefCell::default(),
            ends: RefCell::default(),
            ports: RefCell::default(),
            clients: RefCell::default(),
            protocols: Cell::default(),
            started: Cell::default(),
            panics,
            shutting_down: Cell::default(),
            shutdown: RefCell::default(),
            depth: Cell::default(),
        }
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.random.borrow_mut().chance(probability)
    }

    /// Something happens, which `reactor` may be asked about.
    pub(crate) fn event(&self, reactor: &Reactor, what: impl FnOnce() -> String) {
        let now = reactor.now();
        let last = self.last_now.replace(now);
        self.expect(now >= last, || format!("time went back from {last:?} to {now:?}"));
        self.note(|| format!("{now:?} {}", what()));
    }

    /// Adds to what is shown when the schedule fails.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        self.events.borrow_mut().push(what());
    }

    /// Remembers the first promise that was broken: a panic in a callback would be caught by the reactor.
    pub(crate) fn expect(&self, kept: bool, complaint: impl FnOnce() -> String) {
        if !kept && self.broken.borrow().is_none() {
            let complaint = complaint();
            self.note(|| format!("BROKEN: {complaint}"));
            *self.broken.borrow_mut() = Some(complaint);
        }
    }

    /// Whether one more thing may be done.
    pub(crate) fn spend(&self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left > 0
    }

    /// Has the shutdown wait until somebody lets it go on, in the midst of a callback, or else for 20 ms.
    pub(crate) fn wait_a_little(self: &Rc<World>, reactor: &Reactor) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        *self.shutdown.borrow_mut() = Some(resolver);
        let world = self.clone();
        reactor.call_later(Duration::from_millis(20), move |_| world.let_shutdown_go_on());
        deferred
    }

    /// The shutdown goes on before this returns, if it waits.
    pub(crate) fn let_shutdown_go_on(&self) {
        let resolver = self.shutdown.take();
        if let Some(resolver) = resolver {
            self.note(|| "the shutdown goes on".to_owned());
            self.shutting_down.set(true);
            // What is opened from here on would outlive the run.
            self.calm_down();
            let outcome = resolver.callback(());
            self.expect(outcome.is_ok(), || "the shutdown did not wait".to_owned());
        }
    }

    /// Runs the loop once more inside what runs now.
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

    /// Nothing more is done from here on.
    pub(crate) fn calm_down(&self) {
        self.budget.set(0);
    }

    /// One of the ends that live, if there are any.
    pub(crate) fn any_end(&self) -> Option<Rc<End>> {
        let living = self.living();
        (!living.is_empty()).then(|| living[self.below(living.len())].clone())
    }

    /// The ends that have been told of their connection and not of its loss.
    pub(crate) fn living(&self) -> Vec<Rc<End>> {
        self.ends.borrow().iter().filter(|end| end.lives()).cloned().collect()
    }

    /// A new end of a connection, with a number of its own.
    pub(crate) fn new_end(&self) -> Rc<End> {
        let mut ends = self.ends.borrow_mut();
        let end = Rc::new(End::new(ends.len() as u64));
        ends.push(end.clone());
        end
    }

    /// The end with that number.
    pub(crate) fn end(&self, number: u64) -> Option<Rc<End>> {
        self.ends.borrow().get(usize::try_from(number).ok()?).cloned()
    }

    /// What came of it.
    pub(crate) fn report(&self) -> Result<Report, Report> {
        let report = Report { events: self.events.borrow().clone(), broken: self.broken.borrow().clone() };
        if report.broken.is_none() { Ok(report) } else { Err(report) }
    }
}

/// What happened in a schedule, and the first promise that was broken.
pub(crate) struct Report {
    events: Vec<String>,
    broken: Option<String>,
}

impl Report {
    pub(crate) fn events(&self) -> &[String] {
        &self.events
    }

    /// The broken promise, and what happened just before.
    pub(crate) fn tail(&self) -> String {
        let first = self.events.len().saturating_sub(30);
        format!("{}\n{}", self.broken.as_deref().unwrap_or("nothing was broken"), self.events[first..].join("\n"))
    }

    /// Everything.
    pub(crate) fn whole(&self) -> String {
        format!("{}\n{}", self.events.join("\n"), self.broken.as_deref().unwrap_or("nothing was broken"))
    }
}
