//! Log lines that peers can cause: each is logged once in a while, with the number of lines in between.
//!
//! A peer that connects 1,000 times a second must not write 1,000 lines a second to the disk. The texts of the lines
//! are literals of the program, so their number is bounded.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Moment;

use super::order;
use crate::kernel::{Feature, Hooks, Order, Reactor};

/// The limited lines of one reactor.
#[derive(Default)]
struct LogLimits(RefCell<Vec<Line>>);

struct Line {
    text: &'static str,
    logged: Moment,
    suppressed: u64,
}

impl Reactor {
    /// Calls `log` for the line `text`, unless it was called for the same text less than `interval` ago.
    ///
    /// `log` gets the number of lines that were suppressed since its last call, or `None` if there were none. At the end
    /// of a run, the remaining numbers are logged as warnings. The time is that of the reactor. May be called from any
    /// callback.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let mut logged = Vec::new();
    /// let mut refuse = |peer| {
    ///     net.limit_log(Duration::from_secs(1), "refused a client", |suppressed| {
    ///         tracing::warn!(peer, suppressed, "refused a client");
    ///         logged.push((peer, suppressed));
    ///     });
    /// };
    /// for peer in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
    ///     refuse(peer);
    /// }
    /// net.advance(Duration::from_secs(1));
    /// refuse("10.0.0.4");
    /// assert_eq!(logged, [("10.0.0.1", None), ("10.0.0.4", Some(2))]);
    /// ```
    pub fn limit_log(&self, interval: Duration, text: &'static str, log: impl FnOnce(Option<u64>)) {
        if let Some(suppressed) = self.feature::<LogLimits>().pass(text, interval, self.now()) {
            log(Some(suppressed).filter(|&count| count > 0));
        }
    }
}

impl LogLimits {
    /// Returns the number of suppressed lines if the line may be logged now.
    fn pass(&self, text: &'static str, interval: Duration, now: Moment) -> Option<u64> {
        let mut lines = self.0.borrow_mut();
        let Some(line) = lines.iter_mut().find(|line| line.text == text) else {
            lines.push(Line { text, logged: now, suppressed: 0 });
            return Some(0);
        };
        if now - line.logged < interval {
            line.suppressed += 1;
            return None;
        }
        line.logged = now;
        Some(std::mem::take(&mut line.suppressed))
    }
}

impl Feature for LogLimits {
    fn new(_reactor: &Reactor) -> LogLimits {
        LogLimits::default()
    }

    fn hooks(self: &Rc<LogLimits>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::LOG_LIMITS, self.clone()))
    }
}

impl Hooks for LogLimits {
    fn run_ended(&self, _reactor: &Reactor) {
        // Logging may call code of the program, which may log by `limit_log`.
        let lines = self.0.take();
        for Line { text, suppressed, .. } in lines.iter().filter(|line| line.suppressed > 0) {
            tracing::warn!(suppressed, "{text}: later lines were suppressed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    const INTERVAL: Duration = Duration::from_secs(1);

    /// Logs `times` lines, and returns what is passed to the logged ones.
    fn passed(clock: &Clock, text: &'static str, times: u32) -> Vec<Option<u64>> {
        let mut passed = Vec::new();
        (0..times).for_each(|_| clock.limit_log(INTERVAL, text, |suppressed| passed.push(suppressed)));
        passed
    }

    #[test]
    fn a_repeated_line_is_logged_once_in_an_interval() {
        let clock = Clock::new();
        assert_eq!(passed(&clock, "refused", 1000), [None]);
        clock.advance(INTERVAL - Duration::from_nanos(1));
        assert_eq!(passed(&clock, "refused", 1), []);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(passed(&clock, "refused", 1000), [Some(1000)]);
        clock.advance(10 * INTERVAL);
        assert_eq!(passed(&clock, "refused", 1), [Some(999)]);
        clock.advance(INTERVAL);
        assert_eq!(passed(&clock, "refused", 1), [None]);
    }

    #[test]
    fn different_lines_do_not_suppress_each_other() {
        let clock = Clock::new();
        assert_eq!(passed(&clock, "refused", 2), [None]);
        assert_eq!(passed(&clock, "lost", 2), [None]);
    }

    #[test]
    fn a_line_schedules_nothing() {
        let clock = Clock::new();
        passed(&clock, "refused", 2);
        assert!(clock.get_delayed_calls().is_empty());
    }
}
