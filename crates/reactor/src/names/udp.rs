//! One question to one server by UDP, from a socket of its own.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use hickory_proto::op::Message;
use ropewalk_proto::{Address, Deferred, DeferredError, Failure, Resolver};

use super::query::Asked;
use super::secrets::Secrets;
use crate::error::{Error, Result};
use crate::interfaces::udp::UdpBinding;
use crate::kernel::Reactor;
use crate::protocols::DatagramProtocol;
use crate::transports::{Datagram, DatagramPort};

/// The longest datagram that is received. A server sends at most 512 bytes to a client that does not offer more: RFC
/// 1035, section 4.2.1.
const LONGEST: usize = 4096;

/// The number of ports that are tried before the system chooses one.
const PORTS: usize = 10;

/// The number of wrong answers after which an outsider seems to guess, and TCP is used: RFC 5452, section 9.3.
const MOST_WRONG: usize = 64;

/// The result of asking by UDP.
pub(super) enum Reply {
    Answer(Message),
    /// The answer has to be fetched by TCP, because it is longer than a datagram or cannot be trusted.
    ByTcp,
}

/// The socket of a question, which is closed when this is dropped.
pub(super) struct UdpQuestion {
    port: DatagramPort,
    reply: Deferred<Reply>,
}

impl UdpQuestion {
    /// Sends a question to `server`.
    pub(super) fn ask(
        reactor: &Reactor,
        server: SocketAddr,
        asked: &Rc<Asked>,
        secrets: &RefCell<Secrets>,
    ) -> Result<UdpQuestion> {
        for _ in 0..PORTS {
            match open(reactor, server, secrets.borrow_mut().port(), asked) {
                Err(Error::CannotListen(_, cause)) if is_taken(&cause) => {}
                outcome => return outcome,
            }
        }
        open(reactor, server, 0, asked)
    }

    /// Waits for the reply, and closes the socket.
    pub(super) async fn reply(mut self) -> Result<Reply, DeferredError> {
        (&mut self.reply).await
    }
}

impl Drop for UdpQuestion {
    fn drop(&mut self) {
        drop(self.port.stop_listening());
    }
}

fn is_taken(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn open(reactor: &Reactor, server: SocketAddr, local: u16, asked: &Rc<Asked>) -> Result<UdpQuestion> {
    let (reply, resolver) = Deferred::new();
    let waiting = Waiting { server, asked: asked.clone(), wrong: 0, resolver };
    // The system drops datagrams of other senders, and reports a server that is not there.
    let binding = UdpBinding::towards(server, local).max_packet_size(LONGEST);
    Ok(UdpQuestion { port: reactor.listen_udp(binding, waiting)?, reply })
}

/// Waits for the answer.
struct Waiting {
    server: SocketAddr,
    asked: Rc<Asked>,
    /// The number of datagrams that are not the answer.
    wrong: usize,
    resolver: Resolver<Reply>,
}

impl Waiting {
    // The question may have been dropped, or answered already.
    fn fire(&self, reply: Reply) {
        let _ = self.resolver.callback(reply);
    }

    fn fail(&self, error: impl Into<Failure>) {
        let _ = self.resolver.errback(error);
    }
}

impl DatagramProtocol for Waiting {
    fn start_protocol(&mut self, port: &DatagramPort) {
        if let Err(error) = port.write(self.asked.bytes()) {
            self.fail(error);
        }
    }

    fn datagram_received(&mut self, _port: &DatagramPort, datagram: &Datagram<'_>) {
        match self.asked.answer(datagram.data) {
            Some(message) if message.truncated() => self.fire(Reply::ByTcp),
            Some(message) => self.fire(Reply::Answer(message)),
            None => {
                tracing::debug!(server = %self.server, "ignored a datagram that is not the answer of the name server");
                self.wrong += 1;
                if self.wrong >= MOST_WRONG {
                    self.fire(Reply::ByTcp);
                }
            }
        }
    }

    fn connection_refused(&mut self, _port: &DatagramPort) {
        self.fail(io::Error::from(io::ErrorKind::ConnectionRefused));
    }

    fn send_failed(&mut self, _port: &DatagramPort, _to: Option<&Address>, error: &Error) {
        self.fail(error.clone());
    }

    fn log_prefix(&self) -> &'static str {
        "DnsResolver"
    }
}
