//! One rustls connection, driven with bytes.
//!
//! ```text
//!   received -> drive -> plain bytes of the peer
//!                 |
//!                 +----> queue: records for the peer
//! ```
//!
//! rustls' unbuffered connections have four traps, and this file is the one place that knows them:
//!
//! 1. Every call must get the bytes that earlier calls left, also a call that only encrypts. rustls indexes into these
//!    bytes if half of a handshake message has arrived, and a peer decides when that is the case.
//! 2. After an error, further calls hand out the alert for the peer. A call beyond the alert reads the wrong bytes once
//!    more, and an assertion of rustls fails.
//! 3. After the alert, rustls may offer to encrypt as if nothing had happened. The first error counts.
//! 4. After close_notify was sent, rustls has no alert for a wrong record. In a debug build an assertion fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ropewalk_proto::Outbox;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// The plain bytes of one record.
const PLAIN_MOST: usize = 16 * 1024;

/// More than a record adds to its plain bytes: the header, the explicit nonce of TLS 1.2, the tag and the type.
const RECORD_OVERHEAD: usize = 64;

/// The connection of a client or of a server. rustls gives them two types without a common trait.
pub(crate) enum Machine {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// A request to a machine, besides taking the received bytes.
pub(crate) enum Wish<'a> {
    /// Only answer the peer.
    Answer,
    /// Encrypt bytes of `plain` until at least `most` bytes are queued.
    Send { plain: &'a mut Outbox, most: usize },
    /// Append the alert close_notify.
    Close,
}

/// The progress of one call of [`Machine::drive`].
pub(crate) struct Driven {
    /// The number of received bytes that were taken.
    pub(crate) taken: usize,
    /// Whether the peer's close_notify is among them.
    pub(crate) has_peer_closed: bool,
    /// The first error. The alert for it is in the queue.
    pub(crate) failed: Option<Error>,
}

/// The result of handling one state of rustls.
enum Next {
    Continue,
    /// Plain bytes of the peer were read.
    Read,
    PeerClosed,
    /// rustls needs more bytes, or has fulfilled the wish.
    Stop,
    Failed(Error),
}

impl Machine {
    /// Returns the negotiated details of the connection.
    pub(crate) fn common(&self) -> &CommonState {
        match self {
            Machine::Client(client) => client,
            Machine::Server(server) => server,
        }
    }

    /// Takes records from the front of `received`, appends the peer's plain bytes to `plain`, and appends records for
    /// the peer to `queue`.
    pub(crate) fn drive(
        &mut self,
        received: &mut [u8],
        plain: &mut Outbox,
        queue: &mut Outbox,
        mut wish: Wish<'_>,
    ) -> Driven {
        let mut driven = Driven { taken: 0, has_peer_closed: false, failed: None };
        loop {
            let (discard, next) = self.step(&mut received[driven.taken..], plain, queue, &mut wish);
            if let Next::Failed(error) = next {
                driven.failed = Some(error);
                self.hand_out_alert(&mut received[driven.taken..], plain, queue);
                return driven;
            }
            driven.taken += discard;
            driven.has_peer_closed |= matches!(next, Next::PeerClosed);
            // Usually one record has arrived, and rustls has nothing more to say about it.
            let is_all_read = matches!(next, Next::Read)
                && driven.taken == received.len()
                && matches!(wish, Wish::Answer)
                && !self.common().wants_write();
            if is_all_read || matches!(next, Next::Stop) {
                return driven;
            }
        }
    }

    /// Takes records after close_notify was sent. No call may follow one that has failed.
    pub(crate) fn drive_closed(&mut self, received: &mut [u8], plain: &mut Outbox, queue: &mut Outbox) -> Driven {
        let drive = AssertUnwindSafe(|| self.drive(received, plain, queue, Wish::Answer));
        catch_unwind(drive).unwrap_or_else(|_| {
            let failed = Some(Error::General("the peer sent a wrong record behind our close_notify".to_owned()));
            Driven { taken: 0, has_peer_closed: false, failed }
        })
    }

    fn hand_out_alert(&mut self, received: &mut [u8], plain: &mut Outbox, queue: &mut Outbox) {
        while self.common().wants_write() {
            if !matches!(self.step(received, plain, queue, &mut Wish::Answer), (_, Next::Continue | Next::Read)) {
                break;
            }
        }
    }

    /// Lets rustls reach one state, and handles this state. Returns the number of received bytes that are done with.
    fn step(
        &mut self,
        received: &mut [u8],
        plain: &mut Outbox,
        queue: &mut Outbox,
        wish: &mut Wish<'_>,
    ) -> (usize, Next) {
        match self {
            Machine::Client(client) => handle(client.process_tls_records(received), plain, queue, wish),
            Machine::Server(server) => handle(server.process_tls_records(received), plain, queue, wish),
        }
    }
}

/// Handles one state, and returns the number of bytes to discard.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Outbox,
    queue: &mut Outbox,
    wish: &mut Wish<'_>,
) -> (usize, Next) {
    let mut discard = status.discard;
    let next = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.write(record.payload);
                }
                Some(Err(error)) => break Next::Failed(error),
                None => break Next::Read,
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, queue),
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Next::Continue
        }
        Ok(ConnectionState::PeerClosed) => Next::PeerClosed,
        Ok(ConnectionState::WriteTraffic(traffic)) => fulfil(traffic, queue, wish),
        // A server of this crate allows no early data, so `ReadEarlyData` does not occur.
        Ok(_) => Next::Stop,
        Err(error) => Next::Failed(error),
    };
    (discard, next)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, queue: &mut Outbox) -> Next {
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else { return Next::Continue };
    let mut outcome = Next::Continue;
    queue.write_with(needed.required_size, |room| {
        data.encode(room).unwrap_or_else(|error| {
            outcome = Next::Failed(Error::General(error.to_string()));
            0
        })
    });
    outcome
}

fn fulfil<Data>(mut traffic: WriteTraffic<'_, Data>, queue: &mut Outbox, wish: &mut Wish<'_>) -> Next {
    match std::mem::replace(wish, Wish::Answer) {
        Wish::Answer => Next::Stop,
        Wish::Close => {
            let closed = append(queue, RECORD_OVERHEAD, |room| traffic.queue_close_notify(room));
            closed.map_or_else(Next::Failed, |()| Next::Stop)
        }
        Wish::Send { plain, most } => {
            let mut gathered = Vec::new();
            while !plain.is_empty() && queue.len() < most {
                let record = next_record(plain, &mut gathered);
                let length = record.len();
                let sent = append(queue, length + RECORD_OVERHEAD, |room| traffic.encrypt(record, room));
                if let Err(error) = sent {
                    return Next::Failed(error);
                }
                plain.advance(length);
            }
            Next::Stop
        }
    }
}

/// Returns the bytes of the next record. Several short chunks share one record.
fn next_record<'a>(plain: &'a Outbox, gathered: &'a mut Vec<u8>) -> &'a [u8] {
    let front = plain.front();
    if front.len() >= PLAIN_MOST || plain.is_contiguous() {
        return &front[..front.len().min(PLAIN_MOST)];
    }
    gathered.clear();
    let mut slices = [std::io::IoSlice::new(&[]); 16];
    let count = plain.slices(&mut slices);
    for slice in &slices[..count] {
        let room = PLAIN_MOST - gathered.len();
        gathered.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    gathered
}

/// Appends the bytes that `write` puts into a slice of `room` bytes, or of as many as it asks for.
fn append(
    queue: &mut Outbox,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let mut outcome = Ok(0);
    queue.write_with(room, |slice| {
        outcome = write(slice);
        *outcome.as_ref().unwrap_or(&0)
    });
    if let Err(EncryptError::InsufficientSize(needed)) = outcome {
        queue.write_with(needed.required_size, |slice| {
            outcome = write(slice);
            *outcome.as_ref().unwrap_or(&0)
        });
    }
    outcome.map(drop).map_err(|error| Error::General(error.to_string()))
}
