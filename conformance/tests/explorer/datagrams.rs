//! Datagram ports and outside sockets, each with a ledger of what it has sent.
//!
//! A datagram begins with the number of its sender and its place in the sender's ledger. So the receiver can check both:
//! no datagram is invented, changed, delivered elsewhere or delivered more often than the network allows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk::testing::{MemoryReactor, TestDatagrams};
use ropewalk::{Address, Datagram, DatagramPort, DatagramProtocol, Error, Reactor, UdpBinding};

use crate::actions::act;
use crate::world::World;

/// The addresses that ports listen on.
const PLACES: [&str; 3] = ["10.0.0.1:53", "10.0.0.2:53", "[fe80::1]:53"];

/// The address of the outside socket.
const OUTSIDE_PLACE: &str = "10.0.0.3:53";

const HEADER: usize = 16;

/// A datagram that was sent.
struct Sent {
    from: Address,
    to: Address,
    length: usize,
    arrivals: Cell<usize>,
}

/// The ledger of one port or outside socket.
#[derive(Default)]
pub(crate) struct Mailbox {
    number: u64,
    port: RefCell<Option<DatagramPort>>,
    sent: RefCell<Vec<Sent>>,
    /// The last datagram from each sender.
    last: RefCell<BTreeMap<u64, usize>>,
    received: Cell<u64>,
    started: Cell<bool>,
    stopping: Cell<bool>,
    stopped: Cell<bool>,
    paused: Cell<bool>,
    /// True while a callback of its protocol is on the stack.
    busy: Cell<bool>,
}

impl Mailbox {
    fn new(world: &World) -> Rc<Mailbox> {
        let mut mailboxes = world.mailboxes.borrow_mut();
        let mailbox = Rc::new(Mailbox { number: mailboxes.len() as u64, ..Mailbox::default() });
        mailboxes.push(mailbox.clone());
        mailbox
    }

    /// Enters the next datagram into the ledger, and returns its bytes.
    fn next(&self, from: Address, to: &Address, length: usize) -> Vec<u8> {
        let mut sent = self.sent.borrow_mut();
        let place = sent.len();
        sent.push(Sent { from, to: to.clone(), length, arrivals: Cell::new(0) });
        content(self.number, place, length)
    }

    /// Checks a datagram that has arrived at the address `to`.
    fn receive(&self, world: &World, from: &Address, to: &Address, data: &[u8]) {
        self.received.set(self.received.get() + 1);
        let number = |at: usize| data.get(at..at + 8).map(|part| u64::from_le_bytes(part.try_into().expect("8 bytes")));
        let (Some(sender), Some(place)) = (number(0), number(8)) else {
            return world.expect(false, || format!("a datagram of {} bytes was invented", data.len()));
        };
        let mailboxes = world.mailboxes.borrow();
        let known = mailboxes.get(sender as usize).map(|mailbox| mailbox.sent.borrow());
        let Some(sent) = known.as_ref().and_then(|sent| sent.get(place as usize)) else {
            return world.expect(false, || format!("a datagram {place} of {sender} was invented"));
        };
        let name = || format!("datagram {place} of {sender}");
        world.note(|| format!("  {} arrives at {}", name(), self.number));
        let is_whole = sent.length == data.len() && content(sender, place as usize, sent.length) == data;
        world.expect(is_whole, || format!("{} has changed", name()));
        world.expect(sent.to == *to, || format!("{} for {} arrived at {to}", name(), sent.to));
        world.expect(sent.from == *from, || format!("{} from {} shows {from}", name(), sent.from));
        let arrivals = sent.arrivals.get() + 1;
        sent.arrivals.set(arrivals);
        world.expect(arrivals <= 1 + usize::from(world.doubles), || format!("{} arrived {arrivals} times", name()));
        let last = self.last.borrow_mut().insert(sender, place as usize);
        let is_in_order = world.overtakes || last.is_none_or(|last| last < place as usize + usize::from(world.doubles));
        world.expect(is_in_order, || format!("{} arrived after {last:?}", name()));
    }

    /// Checks that a port that has started was stopped.
    pub(crate) fn check_over(&self, world: &World) {
        let number = self.number;
        world.expect(self.started.get() == self.stopped.get(), || format!("port {number} did not stop"));
    }

    /// Drops the handle of the port.
    pub(crate) fn release(&self) {
        self.port.take();
    }
}

/// Returns the bytes of a datagram.
fn content(sender: u64, place: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&sender.to_le_bytes());
    bytes.extend_from_slice(&(place as u64).to_le_bytes());
    bytes.extend((HEADER..length).map(|position| (position * 7 + place * 31) as u8 ^ sender as u8));
    bytes
}

/// The protocol of a port.
struct Postman {
    world: Rc<World>,
    mailbox: Rc<Mailbox>,
}

impl Postman {
    /// Checks a callback, then takes random actions.
    fn called(&self, port: &DatagramPort, name: &str, check: impl FnOnce(&World, &Mailbox)) {
        let (world, mailbox, number) = (&self.world, &self.mailbox, self.mailbox.number);
        let reactor = port.reactor();
        world.event(&reactor, || format!("port {number} {name}"));
        world.expect(!mailbox.busy.get(), || format!("{name} of port {number} came inside another callback"));
        world.expect(!mailbox.stopped.get(), || format!("{name} of port {number} came after stop_protocol"));
        let has_started = mailbox.started.get() || name == "start_protocol";
        world.expect(has_started, || format!("{name} of port {number} came before start_protocol"));
        check(world, mailbox);
        mailbox.busy.set(true);
        while world.chance(0.5) && world.spend() {
            if world.chance(0.5) { act_on(world, mailbox) } else { act(world, &reactor, None) }
        }
        mailbox.busy.set(false);
    }
}

impl DatagramProtocol for Postman {
    fn start_protocol(&mut self, port: &DatagramPort) {
        *self.mailbox.port.borrow_mut() = Some(port.clone());
        self.called(port, "start_protocol", |world, mailbox| {
            let is_first = !mailbox.started.replace(true);
            world.expect(is_first, || format!("port {} started twice", mailbox.number));
        });
    }

    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        self.called(port, "datagram_received", |world, mailbox| {
            let is_off = mailbox.paused.get() || mailbox.stopping.get();
            world.expect(!is_off, || format!("port {} received when it was off", mailbox.number));
            let stranger = port.peer().is_some_and(|peer| peer != *datagram.from);
            world.expect(!stranger, || format!("port {} received from {}", mailbox.number, datagram.from));
            mailbox.receive(world, datagram.from, &port.host(), datagram.data);
        });
    }

    fn connection_refused(&mut self, port: &DatagramPort) {
        self.called(port, "connection_refused", |world, mailbox| {
            world.expect(port.peer().is_some(), || format!("port {} has no peer to refuse", mailbox.number));
        });
    }

    fn send_failed(&mut self, port: &DatagramPort, _to: Option<&Address>, error: &Error) {
        self.called(port, "send_failed", |world, mailbox| {
            world.expect(is_send_error(error), || format!("port {} cannot send: {error:?}", mailbox.number));
        });
    }

    fn stop_protocol(&mut self) {
        let (world, mailbox) = (&self.world, &self.mailbox);
        world.note(|| format!("port {} stop_protocol", mailbox.number));
        let is_first = mailbox.started.get() && !mailbox.stopped.replace(true);
        world.expect(is_first, || format!("port {} stopped twice", mailbox.number));
        let port = mailbox.port.take();
        let received = port.map_or(0, |port| port.counters().received);
        world.expect(received == mailbox.received.get(), || {
            format!("port {} counts {received} datagrams instead of {}", mailbox.number, mailbox.received.get())
        });
    }
}

impl Drop for Postman {
    fn drop(&mut self) {
        self.world.protocols.set(self.world.protocols.get() - 1);
    }
}

fn is_send_error(error: &Error) -> bool {
    matches!(error, Error::WrongFamily(..) | Error::SendBufferFull | Error::ConnectionRefused(..) | Error::Closed)
        || matches!(error, Error::Io(..))
}

/// Opens a port, or takes a random action on one.
pub(crate) fn act_on_any(world: &Rc<World>, reactor: &Reactor) {
    if world.chance(0.2) {
        return open(world, reactor);
    }
    let mailboxes = world.mailboxes.borrow();
    if mailboxes.is_empty() {
        return;
    }
    let mailbox = mailboxes[world.below(mailboxes.len())].clone();
    drop(mailboxes);
    act_on(world, &mailbox);
}

/// Opens a port on one of the places, unless it is in use, or a port that is connected to one.
pub(crate) fn open(world: &Rc<World>, reactor: &Reactor) {
    let place = PLACES[world.below(PLACES.len())].parse().expect("an address");
    let is_connected = world.chance(0.3);
    let binding = match is_connected {
        true => UdpBinding::new("10.0.0.4:0".parse().expect("an address")).connect(place),
        false => UdpBinding::new(place),
    };
    let mailbox = Mailbox::new(world);
    world.protocols.set(world.protocols.get() + 1);
    let outcome = reactor.listen_udp(binding, Postman { world: world.clone(), mailbox: mailbox.clone() });
    if let Err(error) = outcome {
        let is_known = matches!(error, Error::CannotListen(..) | Error::WrongFamily(..) | Error::Connect(..));
        world.expect(is_known, || format!("listen_udp: {error:?}"));
        world.expect(!mailbox.started.get(), || format!("port {} started without a socket", mailbox.number));
    }
}

fn act_on(world: &Rc<World>, mailbox: &Mailbox) {
    let Some(port) = mailbox.port.borrow().clone() else { return };
    match world.below(10) {
        0 => stop(world, mailbox, &port),
        1 => {
            mailbox.paused.set(true);
            port.pause_producing();
        }
        2 | 3 => resume(mailbox, &port),
        _ => (0..1 + world.below(4)).for_each(|_| send(world, mailbox, &port)),
    }
}

fn stop(world: &World, mailbox: &Mailbox, port: &DatagramPort) {
    world.note(|| format!("port {} is stopped", mailbox.number));
    mailbox.stopping.set(true);
    drop(port.stop_listening());
}

fn resume(mailbox: &Mailbox, port: &DatagramPort) {
    mailbox.paused.set(false);
    port.resume_producing();
}

fn send(world: &World, mailbox: &Mailbox, port: &DatagramPort) {
    let length = HEADER + world.below(if world.chance(0.1) { 3000 } else { 200 });
    let to = match port.peer() {
        Some(peer) => peer,
        None => address(PLACES.get(world.below(PLACES.len() + 1)).copied().unwrap_or(OUTSIDE_PLACE)),
    };
    let bytes = mailbox.next(port.host(), &to, length);
    world.note(|| format!("port {} sends {length} bytes to {to}", mailbox.number));
    let outcome = if port.peer().is_some() { port.write(&bytes) } else { port.write_to(&bytes, &to) };
    let is_known = outcome.as_ref().err().is_none_or(is_send_error);
    world.expect(is_known, || format!("port {} cannot write: {outcome:?}", mailbox.number));
}

fn address(place: &str) -> Address {
    place.parse::<std::net::SocketAddr>().expect("an address").into()
}

/// Closes all ports. They receive everything before.
pub(crate) fn resume_all(world: &World) {
    each_port(world, resume);
}

pub(crate) fn stop_all(world: &World) {
    each_port(world, |mailbox, port| stop(world, mailbox, port));
}

fn each_port(world: &World, call: impl Fn(&Mailbox, &DatagramPort)) {
    let mailboxes = world.mailboxes.borrow().clone();
    for mailbox in mailboxes {
        let port = mailbox.port.borrow().clone();
        port.iter().for_each(|port| call(&mailbox, port));
    }
}

/// A socket outside the reactor, like a program on another machine.
pub(crate) struct OutsideSocket {
    world: Rc<World>,
    mailbox: Rc<Mailbox>,
    socket: TestDatagrams,
}

impl OutsideSocket {
    pub(crate) fn new(world: &Rc<World>, net: &MemoryReactor) -> OutsideSocket {
        let socket = net.open_datagrams(OUTSIDE_PLACE).expect("the address is free");
        OutsideSocket { world: world.clone(), mailbox: Mailbox::new(world), socket }
    }

    /// Sends to one of the places of its family.
    pub(crate) fn act(&self) {
        let to = address(PLACES[self.world.below(2)]);
        let length = HEADER + self.world.below(400);
        let bytes = self.mailbox.next(self.socket.address(), &to, length);
        self.socket.send_to(&bytes, &to);
    }

    /// Checks all datagrams that have arrived.
    pub(crate) fn check(&self) {
        while let Some((data, from)) = self.socket.receive() {
            self.mailbox.receive(&self.world, &from, &self.socket.address(), &data);
        }
    }
}
