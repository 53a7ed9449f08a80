//! The provider that the specifications run on.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ropewalk::sys::{EventProvider, providers};
use ropewalk::testing::{Faults, Program, Simulated};
use ropewalk::{PanicPolicy, Reactor, RunOptions};

use crate::counting::{Counting, Counts};
use crate::failing_sends::FailingSends;
use crate::fuse::{Fuse, Fused};
use crate::hosts::Hosted;
use crate::intercepted::Intercepted;
use crate::naming::Naming;
use crate::tap::{Tap, tapped};
use crate::without_ipv6::WithoutIpv6;

/// A provider under test.
#[derive(Clone, Copy)]
pub struct Subject {
    name: &'static str,
    provider: Provider,
    scenarios: Option<&'static str>,
    pub(crate) over_unix: bool,
    host: Option<fn(&Reactor) -> Hosted>,
}

/// The source of a subject's providers.
#[derive(Clone, Copy)]
enum Provider {
    OfThisSystem,
    Simulated,
    Custom(fn() -> Box<dyn EventProvider>),
}

impl Subject {
    /// Selects the provider of this system called `name`.
    pub fn named(name: &'static str) -> Subject {
        Subject::new(name, Provider::OfThisSystem)
    }

    /// Selects the simulated network.
    pub fn simulated() -> Subject {
        Subject::new("simulated", Provider::Simulated)
    }

    /// Selects a custom provider. `open` creates a provider for each reactor.
    ///
    /// The subject's reactors resolve names by `EventProvider::names`, or else with the system's resolver in threads.
    ///
    /// ```
    /// use ropewalk::testing::{Faults, Simulated};
    /// use ropewalk_conformance::{Subject, conformance};
    ///
    /// fn unkind() -> Subject {
    ///     Subject::of("unkind", || Box::new(Simulated::new(1, Faults::none().short_reads().short_writes())))
    /// }
    ///
    /// // In a file of tests:
    /// conformance!(unkind = unkind(); core, time, streams, closing);
    ///
    /// # fn main() {
    /// assert_eq!(unkind().reactor().name(), "simulated");
    /// # }
    /// ```
    pub fn of(name: &'static str, open: fn() -> Box<dyn EventProvider>) -> Subject {
        Subject::new(name, Provider::Custom(open))
    }

    fn new(name: &'static str, provider: Provider) -> Subject {
        Subject { name, provider, scenarios: None, over_unix: false, host: None }
    }

    /// Sets the program that plays scenarios, which is this package's `scenario`.
    #[must_use]
    pub fn with_scenarios(mut self, program: &'static str) -> Subject {
        self.scenarios = Some(program);
        self
    }

    /// Selects UNIX sockets for specifications that leave the kind open.
    #[must_use]
    pub fn over_unix(mut self) -> Subject {
        self.over_unix = true;
        self
    }

    /// Makes each reactor the guest of a host loop, which `install` sets up. See [`hosts`](crate::hosts) for some.
    #[must_use]
    pub fn hosted(mut self, install: fn(&Reactor) -> Hosted) -> Subject {
        self.host = Some(install);
        self
    }

    fn on(&self, provider: Box<dyn EventProvider>) -> Reactor {
        self.installed(Reactor::with_provider(provider))
    }

    fn installed(&self, reactor: Reactor) -> Reactor {
        if let Some(install) = self.host {
            // A specification has only the reactor.
            std::mem::forget(install(&reactor));
        }
        reactor
    }

    /// Returns a new reactor as [`reactor`](Subject::reactor) does, with its host.
    pub fn hosted_reactor(&self) -> (Reactor, Hosted) {
        let reactor = strict(Reactor::with_provider(self.open()));
        let hosted = self.host.expect("a subject with a host")(&reactor);
        (reactor, hosted)
    }

    /// Returns a new reactor whose run fails when a callback panics, so that assertions in callbacks count.
    pub fn reactor(&self) -> Reactor {
        strict(self.plain_reactor())
    }

    /// Returns a new reactor with the default policy: a panic in a callback is logged, and the loop continues.
    pub fn plain_reactor(&self) -> Reactor {
        match self.provider {
            Provider::OfThisSystem => self.installed(Reactor::with(self.name).expect("this provider works here")),
            Provider::Simulated => simulated(),
            Provider::Custom(_) => self.on(self.open()),
        }
    }

    /// Returns a new reactor as [`reactor`](Subject::reactor) does, and the counts of its requests to the provider.
    pub fn counted(&self) -> (Reactor, Counts) {
        let (provider, counts) = Counting::new(self.open());
        (strict(self.on(Box::new(provider))), counts)
    }

    /// Returns a new reactor as [`reactor`](Subject::reactor) does, and a tap on its datagrams.
    pub fn tapped(&self) -> (Reactor, Tap) {
        let (provider, tap) = tapped(self.open());
        (strict(self.on(Box::new(provider))), tap)
    }

    /// Returns a new reactor as [`plain_reactor`](Subject::plain_reactor) does, whose provider panics when the fuse is lit.
    pub fn fused(&self) -> (Reactor, Fuse) {
        let (provider, fuse) = Fused::new(self.open());
        (self.on(Box::new(provider)), fuse)
    }

    /// Returns a new reactor as [`reactor`](Subject::reactor) does. Listening on an IPv6 address fails with `kind`.
    pub fn without_ipv6(&self, kind: ErrorKind) -> Reactor {
        strict(self.on(Box::new(WithoutIpv6 { provider: self.open(), kind })))
    }

    /// Returns a new reactor as [`reactor`](Subject::reactor) does, whose provider has `names` of its own.
    pub fn naming(&self, names: fn(&str) -> io::Result<Vec<IpAddr>>) -> Reactor {
        strict(self.on(Box::new(Naming { provider: self.open(), names })))
    }

    /// Returns a new reactor as [`reactor`](Subject::reactor) does. A datagram with a content that has a `failure` is not
    /// sent.
    pub fn failing_sends(&self, failure: fn(&[u8]) -> Option<io::Error>) -> Reactor {
        let provider = Intercepted { provider: self.open(), intercept: FailingSends(failure) };
        strict(self.on(Box::new(provider)))
    }

    fn open(&self) -> Box<dyn EventProvider> {
        match self.provider {
            Provider::OfThisSystem => {
                let entry =
                    providers().iter().find(|entry| entry.name == self.name).expect("a provider of this system");
                (entry.open)().expect("this provider works here")
            }
            Provider::Simulated => Box::new(Simulated::new(0, Faults::none())),
            Provider::Custom(open) => open(),
        }
    }

    /// Returns the provider's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the program that plays scenarios.
    pub fn scenarios(&self) -> &'static str {
        self.scenarios.expect("a subject whose specifications need a process of their own names the program")
    }

    /// Returns an unused path for a UNIX socket.
    pub fn unix_path(&self) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Process ids are reused, so an earlier run that was killed may have left a socket with this id in its name.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("this is after 1970").as_nanos();
        std::env::temp_dir().join(format!("ropewalk-{now:x}-{}-{number}.sock", std::process::id()))
    }
}

/// Returns a reactor on the simulated network that can start the programs which specifications use.
fn simulated() -> Reactor {
    let provider = Simulated::new(0, Faults::none());
    let programs = provider.programs();
    let reactor = Reactor::with_provider(Box::new(provider));
    programs.install(&reactor, "cat", Program::cat());
    programs.install(&reactor, "echo", Program::echo());
    programs.install(&reactor, "sleep", Program::sleep());
    programs.install(&reactor, "true", Program::exit(0));
    programs.install(&reactor, "false", Program::exit(1));
    reactor
}

fn strict(reactor: Reactor) -> Reactor {
    reactor.set_panic_policy(PanicPolicy::Stop);
    reactor
}

/// Runs until the reactor is stopped, without touching the test process's signals.
pub fn run(reactor: &Reactor) {
    reactor.run_with(quiet()).expect("the loop ends in order");
}

/// Leaves the test process's signals alone.
pub fn quiet() -> RunOptions {
    RunOptions::default().without_signal_handlers()
}

/// Runs until the reactor is stopped, and returns the number of turns.
pub fn count_turns(reactor: &Reactor) -> usize {
    reactor.start_running(quiet()).expect("it does not run");
    for turns in 0.. {
        let limit = reactor.prepare().expect("the loop turns");
        if !reactor.is_started() {
            return turns;
        }
        reactor.wait(limit).expect("the loop turns");
        reactor.dispatch();
    }
    unreachable!("numbers do not end")
}
