//! Datagrams under way: lost, doubled, delayed, overtaken, delivered, refused.
//!
//! ```text
//!   send -> Flight -> Flown: the receivers of that moment -> queue, or dropped
//!                        \-> Refused: reaches the sender, if it is connected
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ropewalk_proto::{Address, Key, Moment};
use ropewalk_sys::{Outgoing, message_too_long, system_error};

use super::calendar::Happening;
use super::datagram_end::{DatagramEnd, Packet, check_interface, is_broadcast, is_for_many};
use super::machines::MachineId;
use super::names::destination;
use super::network::{Network, Source};

/// The longest content of a datagram over IPv4.
const LONGEST: usize = 65_507;

/// The mark of a datagram that has met congestion: RFC 3168, CE.
const CONGESTED: u8 = 3;

/// Whether the sender of a datagram with this mark reacts to congestion: RFC 3168, ECT(0) and ECT(1).
fn is_capable(ecn: u8) -> bool {
    matches!(ecn, 1 | 2)
}

/// A datagram on its way between two machines.
struct Flight {
    from: Key,
    /// The machine that sends, and the one that receives.
    path: (MachineId, MachineId),
    target: SocketAddr,
    packet: Packet,
}

/// All datagrams under way.
#[derive(Default)]
pub(super) struct Flights {
    under_way: BTreeMap<u64, Flight>,
    next: u64,
}

impl Flights {
    /// Whether a datagram is under way.
    pub(super) fn has(&self, number: u64) -> bool {
        self.under_way.contains_key(&number)
    }
}

impl Network {
    /// Sends datagrams in order. Returns the number that was sent, and the reason why the next one was not.
    pub(crate) fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        for (sent, datagram) in batch.iter().enumerate() {
            if let Err(error) = self.send_datagram(key, datagram) {
                return (sent, Err(error));
            }
        }
        (batch.len(), Ok(()))
    }

    /// Returns how many of `count` datagrams find room in the sender's buffer: all, unless a fault happens.
    pub(super) fn room_for(&mut self, count: usize) -> usize {
        (0..count).find(|_| self.happens(self.faults.full)).unwrap_or(count)
    }

    /// Refuses a datagram for want of room, and reports room in the next turn.
    pub(super) fn refuse_datagram(&mut self, key: Key) -> io::Result<()> {
        let end = self.datagram_end_mut(key)?;
        end.write_wanted = !end.is_unix() || end.peer.is_some();
        Err(system_error(io::ErrorKind::WouldBlock))
    }

    fn send_datagram(&mut self, key: Key, datagram: &Outgoing<'_>) -> io::Result<()> {
        let end = self.datagram_end_mut(key)?;
        if std::mem::take(&mut end.is_refused) {
            return Err(system_error(io::ErrorKind::ConnectionRefused));
        }
        let to = datagram.to.or(end.peer.as_ref()).ok_or_else(|| system_error(io::ErrorKind::NotConnected))?;
        match end.checked(to)? {
            Address::Inet(to) => self.launch(key, destination(to), datagram),
            name => self.hand_over(key, &name, datagram),
        }
    }

    /// Begins the flight of a datagram, and that of its double.
    fn launch(&mut self, key: Key, to: SocketAddr, datagram: &Outgoing<'_>) -> io::Result<()> {
        let end = self.datagram_end(key)?;
        let is_too_long = end.options.probes && self.faults.mtu.is_some_and(|mtu| datagram.bytes.len() > mtu);
        if datagram.bytes.len() > LONGEST || is_too_long {
            return Err(message_too_long());
        }
        if is_broadcast(to.ip()) && !end.options.broadcast {
            return Err(system_error(io::ErrorKind::PermissionDenied));
        }
        check_interface(datagram.interface)?;
        let sender = self.source_of(end, to, datagram.from)?;
        let bytes = Bytes::copy_from_slice(datagram.bytes);
        let packet = Packet { bytes, sender: sender.into(), destination: Some(to.ip()), ecn: datagram.ecn & 3 };
        let here = end.machine;
        for there in self.machines_for(here, to.ip()) {
            self.fly(key, (here, there), to, &packet);
            if self.happens(self.faults.doubled) {
                self.fly(key, (here, there), to, &packet);
            }
        }
        Ok(())
    }

    /// Returns the address that the receivers see as the sender.
    fn source_of(&self, end: &DatagramEnd, to: SocketAddr, from: Option<IpAddr>) -> io::Result<SocketAddr> {
        let bound = end.bound_for(to);
        match (from.map(|from| from.to_canonical()).filter(|from| !from.is_multicast()), bound) {
            (Some(from), Some(bound)) => {
                end.check_family(from)?;
                self.machines.check_bind(end.machine, from)?;
                Ok(SocketAddr::new(from, bound.port()))
            }
            // A datagram for many leaves from an address of the machine.
            (None, Some(bound)) if is_for_many(to.ip()) && bound.ip().is_unspecified() => Ok(bound),
            (None, bound) => self.machines.local_for(end.machine, to, bound),
            (Some(_), None) => Err(system_error(io::ErrorKind::InvalidInput)),
        }
    }

    fn machines_for(&self, here: MachineId, to: IpAddr) -> Vec<MachineId> {
        if is_for_many(to) { self.machines.all().collect() } else { vec![self.machines.route(here, to)] }
    }

    /// Draws a random number only for a fault that may happen, so that other faults keep their seed.
    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.chance(probability)
    }

    fn fly(&mut self, from: Key, path: (MachineId, MachineId), target: SocketAddr, packet: &Packet) {
        let is_lost = self.happens(self.faults.lost);
        if is_lost || self.faults.mtu.is_some_and(|mtu| packet.bytes.len() > mtu) {
            return;
        }
        let mut packet = packet.clone();
        if is_capable(packet.ecn) && self.happens(self.faults.congested) {
            packet.ecn = CONGESTED;
        }
        let overtakes = self.happens(self.faults.overtaken);
        let (now, delay) = (self.now, self.delay(path.0, path.1));
        let arrival = match self.datagram_end_mut(from) {
            Ok(end) if !overtakes => end.in_order(target, now, now + delay),
            _ => now + delay,
        };
        let number = self.flights.next;
        self.flights.next += 1;
        self.flights.under_way.insert(number, Flight { from, path, target, packet });
        self.calendar.enter(arrival, path.0, Happening::Flown { number });
    }

    /// Delivers a datagram to the receivers that are there now.
    pub(super) fn flown(&mut self, number: u64) {
        let Some(flight) = self.flights.under_way.remove(&number) else { return };
        let (here, there) = flight.path;
        if !self.reaches(here, there) {
            return;
        }
        let receivers = self.receivers(&flight);
        for key in &receivers {
            if let Ok(end) = self.datagram_end_mut(*key) {
                end.arrive(flight.packet.clone());
            }
        }
        if receivers.is_empty() && !is_for_many(flight.target.ip()) && self.reaches(there, here) {
            let at = self.now + self.delay(there, here);
            self.calendar.enter(at, there, Happening::Refused { key: flight.from });
        }
    }

    fn receivers(&mut self, flight: &Flight) -> Vec<Key> {
        let (here, there) = flight.path;
        let names = &self.machines.get(there).datagrams;
        let is_for_many = is_for_many(flight.target.ip());
        let found =
            if is_for_many { names.at_port(flight.target.port()) } else { names.serving(&flight.target.into()) };
        let takes = |(_, key): &(u8, Key)| {
            let end = self.datagram_end(*key).ok();
            end.is_some_and(|end| end.takes_from(&flight.packet.sender) && self.is_for(end, flight, here == there))
        };
        let mut found: Vec<_> = found.into_iter().filter(takes).collect();
        if is_for_many {
            return found.into_iter().map(|(_, key)| key).collect();
        }
        // A connected socket goes before one that takes from everywhere.
        let rank = |(rank, key): &(u8, Key)| (self.datagram_end(*key).is_ok_and(|end| end.peer.is_none()), *rank);
        let best = found.iter().map(rank).min();
        found.retain(|name| Some(rank(name)) == best);
        let chosen = self.choose(found.len().max(1));
        found.get(chosen).map(|(_, key)| *key).into_iter().collect()
    }

    fn is_for(&self, end: &DatagramEnd, flight: &Flight, is_own_machine: bool) -> bool {
        let to = flight.target.ip();
        let loops = self.datagram_end(flight.from).is_ok_and(|sender| sender.options.loops);
        match to.is_multicast() {
            true => end.is_member(to) && (loops || !is_own_machine),
            false => end.check_family(to).is_ok(),
        }
    }

    /// The peer's machine reports that no socket is there.
    pub(super) fn refused_datagram(&mut self, key: Key) {
        if let Ok(end) = self.datagram_end_mut(key) {
            end.is_refused = end.peer.is_some();
        }
    }

    /// Delivers a datagram between UNIX sockets, which takes no time.
    fn hand_over(&mut self, key: Key, name: &Address, datagram: &Outgoing<'_>) -> io::Result<()> {
        let end = self.datagram_end(key)?;
        if datagram.bytes.len() > end.options.send_buffer {
            return Err(message_too_long());
        }
        let (sender, is_connected) = (end.address.clone(), end.peer.is_some());
        let receiver = self.machines.get(end.machine).datagrams.serving(name).first().map(|(_, key)| *key);
        let missing = if is_connected { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::NotFound };
        let receiver = receiver.ok_or_else(|| system_error(missing))?;
        if !self.datagram_end(receiver)?.has_room(datagram.bytes.len()) {
            self.datagram_end_mut(key)?.write_wanted = is_connected;
            return Err(system_error(io::ErrorKind::WouldBlock));
        }
        let packet = Packet { bytes: Bytes::copy_from_slice(datagram.bytes), sender, destination: None, ecn: 0 };
        self.datagram_end_mut(receiver)?.arrive(packet);
        Ok(())
    }

    /// Whether the peer of a UNIX socket has room, or is gone, which a send would report. A UDP socket always has room.
    pub(super) fn datagram_peer_has_room(&self, end: &DatagramEnd) -> bool {
        if !end.is_unix() {
            return true;
        }
        let Some(peer) = &end.peer else { return false };
        let receivers = self.machines.get(end.machine).datagrams.serving(peer);
        let receiver = receivers.first().and_then(|(_, key)| self.datagram_end(*key).ok());
        receiver.is_none_or(|receiver| receiver.has_room(0))
    }
}

impl DatagramEnd {
    /// Returns the arrival of a datagram that does not overtake earlier ones to the same destination.
    fn in_order(&mut self, to: SocketAddr, now: Moment, arrival: Moment) -> Moment {
        self.latest.retain(|_, latest| *latest > now);
        let latest = self.latest.entry(to).or_insert(arrival);
        *latest = arrival.max(*latest);
        *latest
    }
}

/// Lookups.
impl Network {
    pub(super) fn datagram_end(&self, key: Key) -> io::Result<&DatagramEnd> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Datagrams(end) => Ok(end),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn datagram_end_mut(&mut self, key: Key) -> io::Result<&mut DatagramEnd> {
        match self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Datagrams(end) => Ok(end),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use ropewalk_proto::Address;
    use ropewalk_sys::Outgoing;

    use crate::UdpBinding;
    use crate::testing::{Faults, SimulatedNetwork, TestDatagrams};

    const MS: Duration = Duration::from_millis(1);

    fn open(network: &SimulatedNetwork, address: &str) -> TestDatagrams {
        network.open_datagrams(Address::Inet(address.parse().unwrap())).unwrap()
    }

    /// Sends 200 datagrams in 20 moments. Returns the numbers of those that arrived, in order.
    fn arrived(seed: u64, faults: Faults) -> Vec<u8> {
        let network = SimulatedNetwork::seeded(seed).with_faults(faults);
        let (client, server) = (open(&network, "10.0.0.1:0"), open(&network, "10.0.0.2:53"));
        for number in 0..200 {
            client.send_to(&[number], &server.address());
            if number % 10 == 9 {
                network.advance(MS);
            }
        }
        network.settle();
        std::iter::from_fn(|| server.receive()).map(|(datagram, _)| datagram[0]).collect()
    }

    #[test]
    fn jitter_alone_neither_loses_nor_reorders_datagrams() {
        // A reordered datagram looks lost to protocols such as QUIC, which then send slowly.
        let all: Vec<u8> = (0..200).collect();
        assert_eq!(arrived(7, Faults::none()), all);
        assert_eq!(arrived(7, Faults::none().latency(5 * MS).jitter(20 * MS)), all);
    }

    #[test]
    fn datagrams_overtake_only_when_a_fault_says_so() {
        let overtaken = arrived(7, Faults::none().jitter(20 * MS).overtaken(0.2));
        assert!(!overtaken.is_sorted());
        let mut sorted = overtaken;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn the_seed_decides_which_datagrams_are_lost_or_doubled() {
        let faults = || Faults::none().lost(0.2).doubled(0.1).jitter(3 * MS);
        let (one, other) = (arrived(7, faults()), arrived(8, faults()));
        assert_eq!(arrived(7, faults()), one);
        assert_ne!(one, other);
        let mut unique = one.clone();
        unique.dedup();
        assert!((130..190).contains(&unique.len()), "{} arrived", unique.len());
        assert!(one.len() > unique.len(), "none was doubled");
    }

    #[test]
    fn a_full_queue_drops_datagrams() {
        let network = SimulatedNetwork::seeded(7);
        let (client, server) = (open(&network, "10.0.0.1:0"), open(&network, "10.0.0.2:53"));
        for _ in 0..1000 {
            client.send_to(&[0; 1000], &server.address());
        }
        network.settle();
        let taken = std::iter::from_fn(|| server.receive()).count();
        assert!((100..200).contains(&taken), "{taken}");
    }

    #[test]
    fn a_cut_link_loses_datagrams_until_it_is_healed() {
        let network = SimulatedNetwork::seeded(7);
        let hosts = ["10.0.0.1", "10.0.0.2"].map(|name| network.host(name));
        let [one, other] = [&hosts[0], &hosts[1]].map(|host| host.listen_udp("0.0.0.0:53", Silent).unwrap());
        let to = Address::Inet("10.0.0.2:53".parse().unwrap());
        network.partition(&["10.0.0.1"], &["10.0.0.2"]);
        one.write_to(b"lost", &to).unwrap();
        network.settle();
        assert_eq!(other.counters().received, 0);
        network.heal();
        one.write_to(b"arrives", &to).unwrap();
        network.settle();
        assert_eq!(other.counters().received, 1);
    }

    #[test]
    fn a_group_reaches_its_members_on_all_hosts() {
        let network = SimulatedNetwork::seeded(7);
        let group = "239.1.2.3".parse().unwrap();
        let ports = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|name| {
            let host = network.host(name);
            (host.listen_udp("0.0.0.0:5353", Echo).unwrap(), host)
        });
        ports[0].0.join_group(group, 2).unwrap();
        ports[1].0.join_group(group, "").unwrap();
        let client = open(&network, "10.0.0.9:0");
        client.send_to(b"who is there?", &Address::Inet((group, 5353).into()));
        network.settle();
        let mut answers: Vec<_> = std::iter::from_fn(|| client.receive()).map(|(_, from)| from.to_string()).collect();
        answers.sort();
        assert_eq!(answers, ["10.0.0.1:5353", "10.0.0.2:5353"]);
        assert!(ports[0].0.join_group(group, 2).is_err() && ports[2].0.leave_group(group, 2).is_err());
    }

    /// Sends 200 datagrams with the mark `ecn`. Returns the marks of arrival.
    fn marks(seed: u64, faults: Faults, ecn: u8) -> Vec<u8> {
        let network = SimulatedNetwork::seeded(seed).with_faults(faults);
        let hosts = ["10.0.0.1", "10.0.0.2"].map(|name| network.host(name));
        let seen = Marks::default();
        let binding = UdpBinding::try_from("0.0.0.0:53").unwrap().details();
        let [sender, receiver] = hosts.each_ref().map(|host| host.listen_udp(binding.clone(), seen.clone()).unwrap());
        let to = Address::Inet("10.0.0.2:53".parse().unwrap());
        for _ in 0..200 {
            let _ = sender.send(&[Outgoing { ecn, ..Outgoing::to(b"x", &to) }]);
        }
        network.settle();
        assert_eq!(receiver.counters().received, 200);
        seen.0.take()
    }

    #[test]
    fn the_seed_decides_which_datagrams_meet_congestion() {
        // RFC 3168: a router marks only datagrams of senders that understand the mark.
        let faults = || Faults::none().congested(0.2);
        let (one, other) = (marks(7, faults(), 2), marks(8, faults(), 2));
        assert_eq!(marks(7, faults(), 2), one);
        assert_ne!(one, other);
        let congested = one.iter().filter(|mark| **mark == 3).count();
        assert!((20..60).contains(&congested) && one.iter().all(|mark| [2, 3].contains(mark)), "{congested}");
        assert_eq!(marks(7, faults(), 0), [0; 200]);
    }

    #[test]
    fn a_port_whose_buffer_is_full_is_ready_in_a_later_turn() {
        let sent = |seed| {
            let network = SimulatedNetwork::seeded(seed).with_faults(Faults::none().full(0.3));
            let server = open(&network, "10.0.0.2:53");
            let host = network.host("10.0.0.1");
            let client = Client { to: server.address(), next: 0, refused: Rc::default() };
            let refused = client.refused.clone();
            host.listen_udp("0.0.0.0:0", client).unwrap();
            network.settle();
            let arrived: Vec<_> = std::iter::from_fn(|| server.receive()).map(|(datagram, _)| datagram[0]).collect();
            assert_eq!(arrived, (0..100).collect::<Vec<_>>());
            refused.take()
        };
        assert!(sent(7).len() > 10);
        assert_eq!(sent(7), sent(7));
        assert_ne!(sent(7), sent(8));
    }

    /// Sends 100 datagrams. Notes the numbers of those that found no room.
    struct Client {
        to: Address,
        next: u8,
        refused: Rc<RefCell<Vec<u8>>>,
    }

    impl crate::DatagramProtocol for Client {
        fn start_protocol(&mut self, port: &crate::DatagramPort) {
            self.ready_to_send(port);
        }

        fn ready_to_send(&mut self, port: &crate::DatagramPort) {
            while self.next < 100 {
                match port.send(&[Outgoing::to(&[self.next], &self.to)]) {
                    (1, Ok(())) => self.next += 1,
                    (_, outcome) => {
                        assert!(matches!(outcome, Err(crate::Error::SendBufferFull)));
                        return self.refused.borrow_mut().push(self.next);
                    }
                }
            }
        }
    }

    /// Collects marks.
    #[derive(Clone, Default)]
    struct Marks(Rc<RefCell<Vec<u8>>>);

    impl crate::DatagramProtocol for Marks {
        fn datagram_received(&mut self, _port: &crate::DatagramPort, datagram: &crate::Datagram<'_>) {
            self.0.borrow_mut().push(datagram.ecn);
        }
    }

    struct Silent;

    impl crate::DatagramProtocol for Silent {}

    struct Echo;

    impl crate::DatagramProtocol for Echo {
        fn datagram_received(&mut self, port: &crate::DatagramPort, datagram: &crate::Datagram<'_>) {
            port.write_to(datagram.data, datagram.from).unwrap();
        }
    }
}
