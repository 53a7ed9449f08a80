//! Descriptors to pass, a protocol that takes them, and a foreign peer that passes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use bytes::Bytes;
use ropewalk::protocols::{BufferedProtocol, FileDescriptorReceiver};
use ropewalk::{Address, ClientFactory, Error, Factory, Protocol, Reactor, Transport};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::links::Transports;
use crate::script::{Log, Script};
use crate::waiting::iterate_until;

/// The most descriptors of one message: SCM_MAX_FD of unix(7).
pub const MOST: usize = 253;

/// A descriptor to pass. Its receiver can read its label from it, and its maker can ask whether it is closed.
pub struct Labelled {
    /// The descriptor.
    pub descriptor: OwnedFd,
    /// Whether the descriptor and its copies are closed.
    pub closed: Closed,
}

/// The other end of a labelled descriptor.
pub struct Closed(File);

impl Labelled {
    /// Makes a descriptor from which `label` can be read.
    pub fn new(label: char) -> Labelled {
        let (descriptor, writer) = rustix::pipe::pipe().expect("a pipe");
        let mut writer = File::from(writer);
        write!(writer, "{label}").expect("a pipe has room");
        Labelled { descriptor, closed: Closed(writer) }
    }

    /// Makes a descriptor for each label.
    pub fn all<const COUNT: usize>(labels: [char; COUNT]) -> ([OwnedFd; COUNT], [Closed; COUNT]) {
        let mut closed = Vec::new();
        let descriptors = labels.map(|label| {
            let made = Labelled::new(label);
            closed.push(made.closed);
            made.descriptor
        });
        (descriptors, closed.try_into().unwrap_or_else(|_| unreachable!("one for each label")))
    }
}

impl Closed {
    /// Returns whether no process has the descriptor open any more.
    pub fn is_closed(&self) -> bool {
        (&self.0).write_all(b"?").is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
    }
}

/// Returns the label of a received descriptor.
pub fn label_of(descriptor: OwnedFd) -> String {
    let mut label = [0];
    let count = File::from(descriptor).read(&mut label).expect("a pipe");
    label[..count].escape_ascii().to_string()
}

/// Sends a labelled descriptor.
pub fn pass(transport: &Transport, label: char) -> Closed {
    let Labelled { descriptor, closed } = Labelled::new(label);
    transport.send_file_descriptor(descriptor).expect("the connection carries descriptors");
    closed
}

/// Fails unless a descriptor was refused for this reason.
#[track_caller]
pub fn assert_refused(outcome: Result<(), Error>, kind: ErrorKind, text: &str) {
    let Err(Error::Io(_, cause)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(cause.kind(), kind);
    assert!(cause.to_string().contains(text), "{cause}");
}

type Take = Rc<dyn Fn(&Transport, OwnedFd)>;

/// A script that takes descriptors.
#[derive(Clone)]
pub struct Taker {
    /// The other callbacks.
    pub script: Script,
    take: Take,
    lost: Option<Log>,
    memory: Option<Vec<u8>>,
}

impl Taker {
    /// Takes descriptors, and calls `take` with each.
    pub fn new(script: Script, take: impl Fn(&Transport, OwnedFd) + 'static) -> Taker {
        Taker { script, take: Rc::new(take), lost: None, memory: None }
    }

    /// Logs the label of each descriptor: `NAME got LABEL`. Logs the other events as [`Script::logged`].
    pub fn logged(log: &Log, name: &'static str) -> Taker {
        let labels = log.clone();
        Taker::new(Script::logged(log, name), move |_, descriptor| {
            labels.add(format!("{name} got {}", label_of(descriptor)));
        })
    }

    /// Logs lost descriptors as `lost some` instead of ending the connection.
    #[must_use]
    pub fn noting_losses(mut self, log: &Log) -> Taker {
        self.lost = Some(log.clone());
        self
    }

    /// Receives bytes into `length` bytes of its own memory.
    #[must_use]
    pub fn buffered(mut self, length: usize) -> Taker {
        self.memory = Some(vec![0; length]);
        self
    }

    /// Returns a factory that gives each connection a clone.
    pub fn factory(&self) -> impl Fn() -> Taker + use<> {
        let taker = self.clone();
        move || taker.clone()
    }

    /// Connects a clone, and returns its transport with the peer at the other end.
    pub fn connected(&self, reactor: &Reactor) -> (Transport, Peer) {
        connected(reactor, &self.factory())
    }
}

impl Protocol for Taker {
    fn connection_made(&mut self, transport: &Transport) {
        self.script.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.script.data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.script.chunk_received(transport, chunk);
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.script.layer_opened(transport);
    }

    fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
        if self.memory.is_some() { Some(self) } else { None }
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        Some(self)
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.script.read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.script.write_connection_lost(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.script.connection_lost(transport, reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.script.log_prefix()
    }
}

impl FileDescriptorReceiver for Taker {
    fn file_descriptor_received(&mut self, transport: &Transport, descriptor: OwnedFd) {
        (self.take)(transport, descriptor);
    }

    fn file_descriptors_lost(&mut self, transport: &Transport) {
        match &self.lost {
            Some(log) => log.add("lost some"),
            None => transport.end(Error::FileDescriptorsLost),
        }
    }
}

impl BufferedProtocol for Taker {
    fn buffer(&mut self, _transport: &Transport) -> &mut [u8] {
        self.memory.as_deref_mut().expect("it is buffered")
    }

    fn buffer_filled(&mut self, transport: &Transport, count: usize) {
        let memory = self.memory.take().expect("it is buffered");
        self.script.data_received(transport, &memory[..count]);
        self.memory = Some(memory);
    }
}

/// Makes a connection, and returns one end of it with the peer at the other end.
pub fn connected(reactor: &Reactor, factory: &dyn Factory) -> (Transport, Peer) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    match reactor.adopt_stream_connection(ours, factory) {
        Err(Error::Unsupported { .. }) => {
            let (transport, peer) = SimulatedPeer::connected(reactor, factory);
            (transport, Peer::Simulated(peer))
        }
        adopted => (adopted.expect("a connected socket"), Peer::Foreign(ForeignPeer(theirs))),
    }
}

/// Connects two protocols of the reactor, and returns the transport of the first one.
pub fn connected_to(reactor: &Reactor, first: &dyn Factory, second: impl Factory + 'static) -> Transport {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    match reactor.adopt_stream_connection(ours, first) {
        Err(Error::Unsupported { .. }) => connected_inside(reactor, first, second),
        adopted => {
            reactor.adopt_stream_connection(theirs, &second).expect("a connected socket");
            adopted.expect("a connected socket")
        }
    }
}

/// Connects by a path, for a provider that adopts no sockets.
fn connected_inside(reactor: &Reactor, first: &dyn Factory, second: impl Factory + 'static) -> Transport {
    const PATH: &str = "/run/passing";
    let port = reactor.listen_unix(PATH, second).expect("the path is free");
    let first = first.build_protocol(&Address::Unnamed).expect("a protocol");
    let connector = reactor.connect_unix(PATH, Once(Cell::new(Some(first)))).expect("the provider has UNIX sockets");
    iterate_until(reactor, || connector.transport().is_some());
    let stopped = port.stop_listening();
    iterate_until(reactor, || stopped.is_done());
    connector.transport().expect("it is connected")
}

/// A factory of one protocol.
struct Once(Cell<Option<Box<dyn Protocol>>>);

impl Factory for Once {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.take()
    }
}

impl ClientFactory for Once {}

/// The other end of a connection.
pub enum Peer {
    /// A socket of the test.
    Foreign(ForeignPeer),
    /// A connection of the reactor.
    Simulated(SimulatedPeer),
}

impl Peer {
    /// Sends `bytes` and `descriptors` in one message.
    pub fn pass(&self, bytes: &[u8], descriptors: &[impl AsFd]) {
        match self {
            Peer::Foreign(peer) => peer.pass(bytes, descriptors),
            Peer::Simulated(peer) => peer.pass(bytes, descriptors),
        }
    }

    /// Sends `bytes` in a message without descriptors.
    pub fn write(&self, bytes: &[u8]) {
        match self {
            Peer::Foreign(peer) => (&peer.0).write_all(bytes).expect("the connection is open"),
            Peer::Simulated(peer) => peer.pass(bytes, &[] as &[OwnedFd]),
        }
    }

    /// Closes the sending direction.
    pub fn finish(&self) {
        match self {
            Peer::Foreign(peer) => peer.0.shutdown(Shutdown::Write).expect("the connection is open"),
            Peer::Simulated(peer) => peer.transport.lose_write_connection(),
        }
    }

    /// Receives one message: its bytes, and the labels of its descriptors. The bytes are empty at the end of the stream.
    ///
    /// # Errors
    /// The errors of recvmsg(2).
    pub fn take(&self) -> io::Result<(String, Vec<String>)> {
        match self {
            Peer::Foreign(peer) => peer.take(),
            Peer::Simulated(peer) => Ok(peer.take()),
        }
    }
}

/// A peer without a reactor.
pub struct ForeignPeer(pub UnixStream);

impl ForeignPeer {
    /// Adopts one end of a new connection, and returns it with the peer at the other end.
    pub fn connected(reactor: &Reactor, factory: &dyn Factory) -> (Transport, ForeignPeer) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        (reactor.adopt_stream_connection(ours, factory).expect("a connected socket"), ForeignPeer(theirs))
    }

    /// Sends `bytes` and `descriptors` in one message.
    pub fn pass(&self, bytes: &[u8], descriptors: &[impl AsFd]) {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()) {
                // Some users may have only a few descriptors in flight.
                Err(Errno::TOOMANYREFS) => std::thread::yield_now(),
                sent => return assert_eq!(sent, Ok(bytes.len())),
            }
        }
    }

    /// Receives one message: its bytes, and the labels of its descriptors. The bytes are empty at the end of the
    /// stream.
    ///
    /// # Errors
    /// The errors of recvmsg(2).
    pub fn take(&self) -> io::Result<(String, Vec<String>)> {
        let (mut bytes, mut space) = ([0; 64], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))]);
        let (mut control, mut labels) = (RecvAncillaryBuffer::new(&mut space), Vec::new());
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.0, into, &mut control, RecvFlags::empty())?;
        for message in control.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = message else { continue };
            labels.extend(descriptors.map(label_of));
        }
        Ok((bytes[..received.bytes].escape_ascii().to_string(), labels))
    }
}

/// A peer that is a connection of the same reactor. It receives a message only when [`Peer::take`] asks for one.
pub struct SimulatedPeer {
    transport: Transport,
    arrived: Rc<RefCell<VecDeque<Arrived>>>,
}

enum Arrived {
    Descriptor(OwnedFd),
    Bytes(String),
    End,
}

impl SimulatedPeer {
    fn connected(reactor: &Reactor, factory: &dyn Factory) -> (Transport, SimulatedPeer) {
        let (all, arrived) = (Transports::new(), Rc::new(RefCell::new(VecDeque::new())));
        let [with_bytes, ended, with_descriptor] = std::array::from_fn(|_| arrived.clone());
        let script = Script::new().listed_in(&all).on_made(Transport::pause_producing);
        let script = script.on_data(move |transport, data| {
            with_bytes.borrow_mut().push_back(Arrived::Bytes(data.escape_ascii().to_string()));
            transport.pause_producing();
        });
        let script = script.on_read_lost(move |_| ended.borrow_mut().push_back(Arrived::End));
        let taker = Taker::new(script, move |_, descriptor| {
            with_descriptor.borrow_mut().push_back(Arrived::Descriptor(descriptor));
        });
        let ours = connected_inside(reactor, factory, taker.factory());
        let transport = all.first();
        transport.set_lingering(false);
        (ours, SimulatedPeer { transport, arrived })
    }

    fn pass(&self, bytes: &[u8], descriptors: &[impl AsFd]) {
        for descriptor in descriptors {
            let copy = descriptor.as_fd().try_clone_to_owned().expect("a free number");
            self.transport.send_file_descriptor(copy).expect("the connection carries descriptors");
        }
        self.transport.write(bytes);
        // So that the next bytes are another message.
        self.transport.reactor().prepare().expect("a turn");
    }

    fn take(&self) -> (String, Vec<String>) {
        let is_whole = || self.arrived.borrow().iter().any(|part| !matches!(part, Arrived::Descriptor(_)));
        if !is_whole() {
            self.transport.resume_producing();
            iterate_until(&self.transport.reactor(), is_whole);
        }
        let (mut arrived, mut labels) = (self.arrived.borrow_mut(), Vec::new());
        while let Some(Arrived::Descriptor(_)) = arrived.front() {
            let Some(Arrived::Descriptor(descriptor)) = arrived.pop_front() else { unreachable!() };
            labels.push(label_of(descriptor));
        }
        match arrived.pop_front() {
            Some(Arrived::Bytes(bytes)) => (bytes, labels),
            _ => (String::new(), labels),
        }
    }
}

impl Drop for SimulatedPeer {
    /// Closes both directions, also with unread bytes.
    fn drop(&mut self) {
        self.transport.lose_connection();
    }
}
