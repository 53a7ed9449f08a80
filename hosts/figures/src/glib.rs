//! `redraw` and `storm`: the sources of GLib's main loop beside the reactor.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gio::glib::{ControlFlow, MainContext, Priority, Source, idle_source_new, timeout_source_new};
use ropewalk::Reactor;

use crate::measured::{Measured, millis};
use crate::{Figure, Result, firehose, server};

pub(crate) const FIGURES: [(&str, Figure); 2] =
    [("redraw", Figure::InThisProcess(redraw)), ("storm", Figure::InThisProcess(storm))];

const TIME: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_millis(10);
/// `GDK_PRIORITY_REDRAW`, at which GTK draws.
const REDRAW: i32 = 120;
const STORM_SOURCES: usize = 4;
const STORM_WORK: Duration = Duration::from_micros(100);

/// The redraws that a timer requests.
#[derive(Default)]
struct Redraws {
    requested: u32,
    done: u32,
    worst: Duration,
    /// The time of the oldest request that is not done.
    pending: Option<Instant>,
}

impl Redraws {
    /// Requests a redraw. One redraw does all that was requested before it.
    fn request(&mut self) -> bool {
        self.requested += 1;
        self.pending.replace(self.pending.unwrap_or_else(Instant::now)).is_none()
    }

    fn redraw(&mut self) {
        self.done += 1;
        self.note_delay();
        self.pending = None;
    }

    fn note_delay(&mut self) {
        self.worst = self.worst.max(self.pending.map_or(Duration::ZERO, |since| since.elapsed()));
    }
}

/// Returns how many percent of the requested redraws were done under a firehose, and the worst delay in milliseconds.
fn redraw(measured: &Measured) -> Result<Vec<f64>> {
    let address = server::listen(&measured.reactor, || ())?;
    firehose::start(address);
    let context = context()?;
    let redraws = Arc::new(Mutex::new(Redraws::default()));
    let timer = redraw_timer(&context, redraws.clone());
    measured.run_for(TIME)?;
    timer.destroy();
    let mut redraws = redraws.lock().unwrap_or_else(PoisonError::into_inner);
    redraws.note_delay();
    Ok(vec![100.0 * f64::from(redraws.done) / f64::from(redraws.requested.max(1)), millis(redraws.worst)])
}

/// Adds a timer that requests a redraw in each period.
fn redraw_timer(context: &MainContext, redraws: Arc<Mutex<Redraws>>) -> Source {
    let draws_in = context.clone();
    let timer = timeout_source_new(PERIOD, None, Priority::DEFAULT, move || {
        if redraws.lock().unwrap_or_else(PoisonError::into_inner).request() {
            let redraws = redraws.clone();
            let drawing = idle_source_new(None, Priority::from(REDRAW), move || {
                redraws.lock().unwrap_or_else(PoisonError::into_inner).redraw();
                ControlFlow::Break
            });
            drawing.attach(Some(&draws_in));
        }
        ControlFlow::Continue
    });
    timer.attach(Some(context));
    timer
}

/// Returns the worst lateness of delayed calls, in milliseconds, while sources of the host are always ready.
fn storm(measured: &Measured) -> Result<Vec<f64>> {
    let context = context()?;
    for _ in 0..STORM_SOURCES {
        let busy = idle_source_new(None, Priority::DEFAULT, || {
            let end = Instant::now() + STORM_WORK;
            while Instant::now() < end {}
            ControlFlow::Continue
        });
        busy.attach(Some(&context));
    }
    let worst = Rc::new(Cell::new(Duration::ZERO));
    call_again(&measured.reactor, worst.clone());
    measured.run_for(TIME)?;
    Ok(vec![millis(worst.get())])
}

fn call_again(reactor: &Reactor, worst: Rc<Cell<Duration>>) {
    let due = Instant::now() + PERIOD;
    reactor.call_later(PERIOD, move |reactor| {
        worst.set(worst.get().max(due.elapsed()));
        call_again(reactor, worst);
    });
}

/// Returns the context of the host, which is the default one of this thread.
fn context() -> Result<MainContext> {
    Ok(MainContext::thread_default().ok_or("the host has no context")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_redraw_does_all_requests_before_it() {
        let mut redraws = Redraws::default();
        assert!(redraws.request());
        assert!(!redraws.request());
        redraws.redraw();
        assert!(redraws.request());
        assert_eq!((redraws.requested, redraws.done), (3, 1));
    }
}
