//! Runs the specifications on a custom provider: a decorator that hands over few bytes at a time.
//!
//! This file is an example for providers outside this workspace, which need nothing else.

use std::io;

use ropewalk::proto::Key;
use ropewalk::sys::{EventProvider, ProviderDecorator, Received, Streams, StreamsDecorator};
use ropewalk::testing::{Faults, Simulated};
use ropewalk_conformance::{Subject, conformance};

/// The most bytes that one call receives.
const ROOM: usize = 1000;

/// A provider whose reads are short.
struct Sparing(Box<dyn EventProvider>);

impl Sparing {
    fn open(provider: Box<dyn EventProvider>) -> Box<dyn EventProvider> {
        Box::new(Sparing(provider))
    }
}

impl ProviderDecorator for Sparing {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.0
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.0
    }

    fn name(&self) -> &'static str {
        "sparing"
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        self.0.streams()?;
        Some(self)
    }
}

impl StreamsDecorator for Sparing {
    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let room = scratch.len().min(ROOM);
        self.decorated_streams().receive(key, &mut scratch[..room])
    }
}

conformance!(sparing_simulated = Subject::of("sparing", || Sparing::open(Box::new(Simulated::new(0, Faults::none()))));
    core, panics, time, streams, receiving, closing, ending, callbacks, ports);
#[cfg(unix)]
conformance!(sparing_poll = Subject::of("sparing", poll);
    core, time, threads, fd_set, streams, receiving, closing, ending, lingering, callbacks, ports, tcp, unix, socket, handover);

#[cfg(unix)]
fn poll() -> Box<dyn EventProvider> {
    let poll = ropewalk::sys::providers().iter().find(|provider| provider.name == "poll").expect("every Unix has it");
    Sparing::open((poll.open)().expect("it works here"))
}
