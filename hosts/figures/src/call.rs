//! `call`: the lateness of a delayed call that code of the host sets.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk::{Reactor, RunOptions};
use ropewalk_conformance::hosts::Hosted;

use crate::Result;
use crate::measured::{Measured, median, micros, stop};

const SAMPLES: usize = 300;
const DELAY: Duration = Duration::from_millis(1);

type Lateness = Rc<RefCell<Vec<f64>>>;

/// Returns the median, in microseconds. The reactor's own loop has no host, so a callback sets its calls.
pub(crate) fn lateness(measured: &Measured) -> Result<Vec<f64>> {
    let samples = Lateness::default();
    match &measured.hosted {
        Some(hosted) => between_turns(&measured.reactor, hosted, &samples)?,
        None => {
            set_again(&measured.reactor, samples.clone());
            measured.run()?;
        }
    }
    Ok(vec![median(samples.take())])
}

/// Sets each call between two passes of the host's loop.
fn between_turns(reactor: &Reactor, hosted: &Hosted, samples: &Lateness) -> Result<()> {
    reactor.start_running(RunOptions::default().without_signal_handlers())?;
    for count in 1..=SAMPLES {
        set(reactor, samples.clone(), |_| ());
        hosted.run_until(|| samples.borrow().len() == count);
    }
    stop(reactor);
    hosted.run_until(|| !hosted.guest.is_started());
    Ok(hosted.guest.finish()?)
}

/// Sets each call in the callback of the one before.
fn set_again(reactor: &Reactor, samples: Lateness) {
    let next = samples.clone();
    set(reactor, samples, move |reactor| {
        if next.borrow().len() < SAMPLES {
            set_again(reactor, next.clone());
        } else {
            stop(reactor);
        }
    });
}

fn set(reactor: &Reactor, samples: Lateness, then: impl FnOnce(&Reactor) + 'static) {
    let due = Instant::now() + DELAY;
    reactor.call_later(DELAY, move |reactor| {
        samples.borrow_mut().push(micros(due.elapsed()));
        then(reactor);
    });
}
