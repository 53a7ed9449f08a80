//! What the service supervisor hears: systemd's `Type=notify`, `WatchdogSec=` and `Type=notify-reload`.

use std::rc::Rc;

use ropewalk::Reactor;
use ropewalk::application::{MultiService, TimerService};

use crate::system::{Notifier, monotonic_micros};

/// The supervisor, or nobody.
#[derive(Clone)]
pub(crate) struct Supervisor(Option<Rc<Notifier>>);

impl Supervisor {
    pub(crate) fn from_environment() -> Supervisor {
        Supervisor(Notifier::from_environment().map(Rc::new))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a service that tells it twice as often as it asks that the loop turns.
    pub(crate) fn add_watchdog(&self, services: &MultiService) -> ropewalk::Result<()> {
        let (Some(notifier), Some(interval)) = (self.0.clone(), Notifier::watchdog_interval()) else { return Ok(()) };
        let alive = TimerService::new(interval / 2, move |_: &Reactor| notifier.tell("WATCHDOG=1"));
        services.add_named("(watchdog)", alive).map(drop)
    }

    /// It has started, or has finished reloading. The process number is that of the daemon, where it went into the
    /// background.
    pub(crate) fn ready(&self) {
        self.tell(|| format!("READY=1\nMAINPID={}", std::process::id()));
    }

    pub(crate) fn reloading(&self) {
        self.tell(|| format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
    }

    pub(crate) fn stopping(&self) {
        self.tell(|| "STOPPING=1".to_owned());
    }

    fn tell(&self, state: impl FnOnce() -> String) {
        if let Some(notifier) = &self.0 {
            notifier.tell(&state());
        }
    }
}
