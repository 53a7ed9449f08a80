//! The name look-ups of one attempt to connect: RFC 8305, sections 3 and 4.
//!
//! ```text
//!   AAAA ----- found ------------------> begin; the other family is mixed in when it comes
//!   A -------- found, no AAAA yet -----> wait 50 ms for it, then begin
//!  either --- nothing, or an error ---> use the other one alone; fail when that has nothing either
//! ```
//!
//! A resolver that does not distinguish families gives one answer, and the attempts begin when that answer arrives.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Address, Deferred, Failure};
use ropewalk_sys::IpFamily;

use super::{Connector, ConnectorInner, ConnectorState};
use crate::error::Error;
use crate::interfaces::resolver::OneResolver;
use crate::kernel::Reactor;

/// The time that IPv4 addresses wait for those of IPv6: the Resolution Delay of RFC 8305, section 3.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// A name to connect to, with the choices for its look-up and for the attempts.
#[derive(Clone, Debug)]
pub(crate) struct HostName {
    pub(crate) host: Rc<str>,
    pub(crate) port: u16,
    /// `None` allows both families.
    pub(crate) family: Option<IpFamily>,
    /// `None` is the installed resolver.
    pub(crate) resolver: Option<OneResolver>,
    /// The time after which the next attempt begins while earlier ones still run.
    pub(crate) attempt_delay: Duration,
}

/// The look-ups that the resolver has not answered, and the results so far. `None` is a look-up for both families at
/// once.
#[derive(Default)]
pub(super) struct Lookups {
    unanswered: Vec<Option<IpFamily>>,
    fruitless: Vec<Missing>,
    pub(super) resolutions: Vec<Deferred<()>>,
}

impl Lookups {
    /// Whether all questions have been answered.
    pub(super) fn are_done(&self) -> bool {
        self.unanswered.is_empty()
    }

    fn wait_for_v6(&self) -> bool {
        self.unanswered.contains(&Some(IpFamily::V6))
    }

    /// Returns the error for a name without any address.
    pub(super) fn reason(&self, host: &str) -> Error {
        let why = match &self.fruitless[..] {
            [Missing::Because(Some(one), why), Missing::Because(Some(other), same)] if why == same => {
                format!("{why} ({one} and {other})")
            }
            missing => missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        Error::DnsLookup(host.into(), why.into())
    }
}

/// A look-up that found no address, with the family that was asked for, if any.
enum Missing {
    None(Option<IpFamily>),
    Because(Option<IpFamily>, String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::None(Some(family)) => write!(f, "it has no {family} address"),
            Missing::None(None) => f.write_str("it has no address"),
            Missing::Because(Some(family), why) => write!(f, "{why} ({family})"),
            Missing::Because(None, why) => f.write_str(why),
        }
    }
}

impl ConnectorInner {
    /// Asks for the addresses of `name`: of its family only, or of both families in parallel.
    pub(super) fn look_up(self: &Rc<ConnectorInner>, reactor: &Reactor, name: &HostName) {
        let (answers, wanted) = (ask(reactor, name), name.family);
        // The look-ups are stored first: if an answer is there already, adding a callback calls `answered` at once.
        self.race.borrow_mut().lookups.unanswered = answers.iter().map(|(question, _)| *question).collect();
        for (question, answer) in answers {
            // The clone keeps the attempt alive, because the user may have dropped the connector.
            let connector = self.clone();
            let resolution = answer.add_both(move |outcome| {
                if let Some(reactor) = connector.try_reactor() {
                    connector.answered(&reactor, question, wanted, outcome);
                }
            });
            self.race.borrow_mut().lookups.resolutions.push(resolution);
        }
    }

    fn answered(
        self: &Rc<ConnectorInner>,
        reactor: &Reactor,
        question: Option<IpFamily>,
        wanted: Option<IpFamily>,
        outcome: Result<Vec<SocketAddr>, Failure>,
    ) {
        if Connector(self.clone()).state() != ConnectorState::Connecting {
            return;
        }
        let mut race = self.race.borrow_mut();
        race.lookups.unanswered.retain(|unanswered| *unanswered != question);
        match found(outcome, question.or(wanted)) {
            Ok(addresses) => {
                let first = addresses.first().map(SocketAddr::is_ipv6).filter(|_| question.is_none());
                race.mix_in(addresses, first.unwrap_or(true));
            }
            Err(missing) => race.lookups.fruitless.push(missing),
        }
        let is_early = !race.has_begun() && race.has_waiting() && race.lookups.wait_for_v6();
        let may_begin = !is_early && (!race.has_begun() || race.stagger.is_none());
        if is_early && race.stagger.is_none() {
            race.stagger = Some(self.later(reactor, RESOLUTION_DELAY, ConnectorInner::attempt_next));
        }
        drop(race);
        // Otherwise the timer `stagger` begins the next attempt.
        if may_begin {
            self.attempt_next(reactor);
        }
    }
}

/// Asks the resolver, and returns the questions with their future answers.
///
/// There is one question for each family, or one for all families if the resolver does not distinguish them.
fn ask(reactor: &Reactor, name: &HostName) -> Vec<(Option<IpFamily>, Deferred<Vec<SocketAddr>>)> {
    let resolver = name.resolver.clone().unwrap_or_else(|| reactor.installed_resolver());
    let families = name.family.map_or(vec![IpFamily::V6, IpFamily::V4], |family| vec![family]);
    let answer = |family| Some((Some(family), reactor.resolve_family_by(&resolver, &name.host, name.port, family)?));
    let apart: Option<Vec<_>> = families.into_iter().map(answer).collect();
    apart.unwrap_or_else(|| vec![(None, reactor.resolve_by(&resolver, &name.host, name.port))])
}

/// Returns the addresses of an answer that belong to `family`.
fn found(outcome: Result<Vec<SocketAddr>, Failure>, family: Option<IpFamily>) -> Result<Vec<SocketAddr>, Missing> {
    // A resolver's message may have several lines. They are joined into one line.
    let one_line = |failure: Failure| failure.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut addresses = outcome.map_err(|failure| Missing::Because(family, one_line(failure)))?;
    addresses.retain(|address| family.is_none_or(|family| family.has(address)));
    if addresses.is_empty() { Err(Missing::None(family)) } else { Ok(addresses) }
}

/// Reorders addresses so that the families alternate: RFC 8305, section 4.
pub(super) fn interleaved(addresses: Vec<SocketAddr>, first_is_v6: bool) -> VecDeque<Address> {
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = VecDeque::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten().map(Address::Inet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(addresses: &[&str], first_is_v6: bool) -> Vec<String> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        interleaved(addresses, first_is_v6).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn attempts_alternate_between_the_address_families() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"];
        assert_eq!(order(&addresses, true), ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(order(&addresses, false), ["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]);
    }
}
