//! What the specifications are run on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ropewalk::testing::MemoryReactor;
use ropewalk::{Reactor, RunOptions};

/// A provider under test.
pub struct Subject {
    make: Box<dyn Fn() -> Reactor>,
}

impl Subject {
    /// The provider of that name.
    pub fn named(name: &'static str) -> Subject {
        Subject { make: Box::new(move || Reactor::with(name).expect("this provider works here")) }
    }

    /// The simulated network.
    pub fn simulated() -> Subject {
        Subject { make: Box::new(|| Reactor::clone(&MemoryReactor::new())) }
    }

    /// A new reactor.
    pub fn reactor(&self) -> Reactor {
        (self.make)()
    }

    /// A path for a UNIX socket that nobody else uses.
    pub fn unix_path(&self) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("ropewalk-{}-{number}.sock", std::process::id()))
    }
}

/// Runs until the reactor is stopped, and leaves the test process's signals alone.
pub fn run(reactor: &Reactor) {
    reactor.run_with(RunOptions::default().without_signal_handlers()).expect("the loop ends in order");
}
