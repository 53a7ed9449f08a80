//! The small services over UDP and UNIX datagrams.
//!
//! The sender of a UDP datagram can be forged, so an attacker can direct the answers at others, or make two servers
//! answer each other without an end. These rules limit both:
//!
//! - Without `--allow-reflection` a service that answers receives on loopback addresses only.
//! - A datagram from a port below 1024 is not answered. There are the well-known services that answer: echo, daytime,
//!   chargen, time, DNS and others. Clients have higher ports.
//! - A datagram from a port number at which a small service of this program receives is not answered. This program may
//!   run on both machines.
//! - A datagram for a group or a broadcast address is not answered, where the system knows it.
//!
//! Source: RFC 862, 863, 864 and 867; the rules are those of inetd(8), and CERT advisory CA-1996-01.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk::proto::description::DatagramServerDescription;
use ropewalk::{Address, Datagram, DatagramPort, DatagramProtocol, Reactor};

use crate::arguments::SmallService;

/// The first port that ordinary clients have.
const FIRST_CLIENT_PORT: u16 = 1024;

/// A service that may answer each datagram with another one.
pub(super) trait Answers {
    /// Returns the answer to a datagram, if there is one.
    fn answer<'a>(&'a mut self, reactor: &Reactor, data: &'a [u8]) -> Option<Cow<'a, [u8]>>;

    /// Returns the name of the service in log lines.
    fn log_prefix(&self) -> &'static str;
}

/// Checks that no endpoint answers strangers, unless the options allow it.
///
/// # Errors
/// A message for the author of the options.
pub(super) fn check_reflection(options: &SmallService) -> Result<(), String> {
    let is_open = |endpoint: &&String| is_open_to_strangers(endpoint);
    match options.listen.iter().find(is_open) {
        Some(endpoint) if !options.allow_reflection => {
            let port = endpoint.split(':').nth(1).filter(|port| port.parse::<u16>().is_ok()).unwrap_or("PORT");
            Err(format!(
                "'{}' would answer datagrams of forged senders: expected a loopback interface or --allow-reflection (did \
                 you mean udp:{port}:interface=127.0.0.1?)",
                endpoint.escape_debug()
            ))
        }
        _ => Ok(()),
    }
}

/// Whether other machines can send to an endpoint.
fn is_open_to_strangers(endpoint: &str) -> bool {
    match endpoint.parse() {
        Ok(DatagramServerDescription::Udp(udp)) => {
            udp.interface.is_none_or(|interface| !interface.ip.to_canonical().is_loopback())
        }
        _ => false,
    }
}

/// The numbers of the UDP ports of this reactor's small services, each with the count of its ports.
#[derive(Default)]
struct AnsweringPorts(RefCell<BTreeMap<u16, usize>>);

impl AnsweringPorts {
    fn add(&self, number: u16) {
        *self.0.borrow_mut().entry(number).or_default() += 1;
    }

    fn remove(&self, number: u16) {
        let mut ports = self.0.borrow_mut();
        if let Some(count) = ports.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&number);
            }
        }
    }

    fn contains(&self, number: u16) -> bool {
        self.0.borrow().contains_key(&number)
    }
}

/// The protocol of one port.
pub(super) struct SmallDatagrams<A> {
    answers: A,
    answering: Rc<AnsweringPorts>,
    /// The own number of a UDP port.
    number: Option<u16>,
    /// The port, whose counters also know the answers that the system did not take.
    port: Option<DatagramPort>,
    refused: u64,
}

impl<A: Answers> SmallDatagrams<A> {
    pub(super) fn new(reactor: &Reactor, answers: A) -> SmallDatagrams<A> {
        let answering = reactor.extension(|_| AnsweringPorts::default());
        SmallDatagrams { answers, answering, number: None, port: None, refused: 0 }
    }

    /// Whether an answer to this datagram goes to a client.
    fn is_from_client(&self, datagram: &Datagram<'_>) -> bool {
        // The destination and the own address differ if the destination is a group or a broadcast address.
        let is_for_this_machine = datagram.to.zip(datagram.local).is_none_or(|(to, local)| to == local);
        is_for_this_machine
            && match datagram.from {
                Address::Inet(from) => from.port() >= FIRST_CLIENT_PORT && !self.answering.contains(from.port()),
                Address::Unnamed => false,
                _ => true,
            }
    }
}

impl<A: Answers> DatagramProtocol for SmallDatagrams<A> {
    fn start_protocol(&mut self, port: &DatagramPort) {
        self.port = Some(port.clone());
        self.number = port.host().inet().map(|host| host.port());
        if let Some(number) = self.number {
            self.answering.add(number);
        }
    }

    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        if !self.is_from_client(datagram) {
            self.refused += 1;
            return;
        }
        if let Some(answer) = self.answers.answer(&port.reactor(), datagram.data) {
            // An answer that is not sent is lost, as the network may lose it.
            let _ = port.write_from(&answer, datagram.from, datagram.local);
        }
    }

    fn stop_protocol(&mut self) {
        if let Some(number) = self.number {
            self.answering.remove(number);
        }
        let counters = self.port.take().map(|port| port.counters()).unwrap_or_default();
        let (received, answered, refused) = (counters.received, counters.sent, self.refused);
        tracing::info!(received, answered, refused, "{} stopped to receive datagrams", self.answers.log_prefix());
    }

    fn log_prefix(&self) -> &'static str {
        self.answers.log_prefix()
    }
}
