//! Notifies the service supervisor: `Type=notify`, `Type=notify-reload` and `WatchdogSec=` of systemd.

use std::rc::Rc;
use std::time::Duration;

use ropewalk::Reactor;
use ropewalk::application::{MultiService, TimerService};

use crate::system::{Notifier, monotonic_micros};

/// The time between two warnings. A watchdog may want many messages a second.
const WARNINGS_APART: Duration = Duration::from_secs(1);

/// The shortest time between two keep-alive messages. A shorter one would keep a processor busy.
const WATCHDOG_PERIOD_MIN: Duration = Duration::from_millis(10);

/// The supervisor of this process, if there is one.
#[derive(Clone)]
pub(crate) struct Supervisor(Option<Rc<Notifier>>);

impl Supervisor {
    pub(crate) fn from_environment() -> Supervisor {
        Supervisor(Notifier::from_environment().map(Rc::new))
    }

    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a service that sends two keep-alive messages in each watchdog interval, if the supervisor asks for that.
    /// The messages are at least [`WATCHDOG_PERIOD_MIN`] apart.
    pub(crate) fn add_watchdog(&self, services: &MultiService) -> ropewalk::Result<()> {
        let (Some(notifier), Some(interval)) = (self.0.clone(), Notifier::watchdog_interval()) else { return Ok(()) };
        let wanted = interval / 2;
        let period = wanted.max(WATCHDOG_PERIOD_MIN);
        if period > wanted {
            let line = "WATCHDOG_USEC is too short: sending keep-alive messages less often than the supervisor expects";
            tracing::warn!(?wanted, ?period, "{line}");
        }
        let alive = TimerService::new(period, move |_: &Reactor| send(&notifier, "WATCHDOG=1"));
        services.add_named("(watchdog)", alive).map(drop)
    }

    /// Reports that the start or a reload is complete, with the process id: that of the daemon, not of its parent.
    pub(crate) fn ready(&self) {
        self.notify(|| format!("READY=1\nMAINPID={}", std::process::id()));
    }

    pub(crate) fn reloading(&self) {
        self.notify(|| format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
    }

    pub(crate) fn stopping(&self) {
        self.notify(|| "STOPPING=1".to_owned());
    }

    fn notify(&self, state: impl FnOnce() -> String) {
        if let Some(notifier) = &self.0 {
            send(notifier, &state());
        }
    }
}

fn send(notifier: &Notifier, state: &str) {
    let Err(error) = notifier.send(state) else { return };
    let line = "cannot notify the supervisor at NOTIFY_SOCKET";
    let warn = |suppressed: Option<u64>| tracing::warn!(state, %error, suppressed, "{line}");
    match Reactor::current() {
        Some(reactor) => reactor.limit_log(WARNINGS_APART, line, warn),
        None => warn(None),
    }
}
