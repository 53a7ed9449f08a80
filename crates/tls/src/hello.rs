//! The first message of a client, read before a configuration is chosen.

use rustls::server::{AcceptedAlert, Acceptor, ClientHello};

use ropewalk_proto::Outbox;

use crate::error::TlsError;
use crate::notes::Notes;

/// The part of a client's first message that a server may choose its configuration by.
///
/// ```
/// use ropewalk_tls::{Hello, ServerOptions};
///
/// let choose = |hello: &Hello| println!("{:?} {:?}", hello.server_name, hello.application_protocols);
/// # let _ = choose;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// The name that the client asks for, in lower case. `None` if the client asks for an address.
    pub server_name: Option<String>,
    /// The application protocols that the client offers, its favourite first.
    pub application_protocols: Vec<Vec<u8>>,
}

impl Hello {
    fn of(hello: &ClientHello<'_>) -> Hello {
        Hello {
            server_name: hello.server_name().map(str::to_ascii_lowercase),
            application_protocols: hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect(),
        }
    }
}

/// Reads a client's first message, and leaves the bytes to the connection that follows.
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    /// The number of received bytes that the acceptor has read.
    read: usize,
}

impl HelloReader {
    pub(crate) fn new() -> HelloReader {
        HelloReader { acceptor: Acceptor::default(), read: 0 }
    }

    /// Reads on in `received`, which always begins at the start of the connection.
    ///
    /// # Errors
    /// If the message is wrong. The alert is in `queue`.
    pub(crate) fn read(&mut self, received: &[u8], queue: &mut Outbox) -> Result<Option<Hello>, TlsError> {
        let mut new = &received[self.read..];
        while !new.is_empty() {
            // Reading from a slice does not fail, but the acceptor's buffer may be full.
            match self.acceptor.read_tls(&mut new) {
                Ok(count) if count > 0 => self.read += count,
                _ => break,
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => return Ok(Some(Hello::of(&accepted.client_hello()))),
                Ok(None) => {}
                Err((error, alert)) => {
                    send(alert, queue);
                    return Err(TlsError::of(error, &Notes::default()));
                }
            }
        }
        Ok(None)
    }
}

fn send(mut alert: AcceptedAlert, queue: &mut Outbox) {
    let mut bytes = Vec::new();
    // Writing to a vector does not fail.
    let _ = alert.write_all(&mut bytes);
    queue.write(&bytes);
}
