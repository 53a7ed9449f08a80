//! Descriptors to pass, a protocol that takes them, and a foreign peer that passes them.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use bytes::Bytes;
use ropewalk::protocols::{BufferedProtocol, FileDescriptorReceiver};
use ropewalk::{Error, Protocol, Reactor, Transport};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::script::{Log, Script};

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

    /// Adopts one end of a new connection for a clone, and returns it with the foreign peer at the other end.
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

/// Adopts one end of a new connection, and returns it with the foreign peer at the other end.
pub fn connected(reactor: &Reactor, factory: &dyn ropewalk::Factory) -> (Transport, Peer) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    (reactor.adopt_stream_connection(ours, factory).expect("a connected socket"), Peer(theirs))
}

/// The other end of a connection, which is not a reactor's.
pub struct Peer(pub UnixStream);

impl Peer {
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
