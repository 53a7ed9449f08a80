//! A byte layer that finds damaged and truncated data: each frame carries a checksum, and an empty frame ends the stream.
//!
//! ```text
//!   | length: 2 bytes | Adler-32 of the payload: 4 bytes | payload |
//! ```

use std::any::Any;
use std::io::{self, ErrorKind};
use std::time::Duration;

use ropewalk::proto::{Layer, LayerState, Outbox};
use ropewalk::protocols::policies::on_connection;
use ropewalk::{Address, ClientFactory, Factory, Protocol};

const HEADER_BYTES: usize = 6;
const PAYLOAD_MOST: usize = 16 * 1024;
/// The layer opens at once, so this limit is never reached.
const OPENING_LIMIT: Duration = Duration::from_secs(1);

/// Puts a [`Checked`] layer on each connection of another factory. Both sides of a connection need the layer.
pub struct CheckedFactory<F>(pub F);

impl<F: Factory> Factory for CheckedFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let protocol = self.0.build_protocol(peer)?;
        Some(on_connection(protocol, |transport| {
            transport.start_layer(Box::new(Checked::default()), OPENING_LIMIT).expect("a new connection");
        }))
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        self.0.reserve()
    }

    fn start_factory(&self) {
        self.0.start_factory();
    }

    fn stop_factory(&self) {
        self.0.stop_factory();
    }

    fn accept_failed(&self, reason: &ropewalk::Error) {
        self.0.accept_failed(reason);
    }
}

impl<F: Factory> ClientFactory for CheckedFactory<F> {}

/// The layer of one connection.
#[derive(Default)]
pub struct Checked {
    has_peer_ended: bool,
}

impl Layer for Checked {
    fn incoming(&mut self, received: &mut [u8], plain: &mut Outbox, _queue: &mut Outbox) -> io::Result<usize> {
        let mut taken = 0;
        while let Some((header, rest)) = received[taken..].split_first_chunk::<HEADER_BYTES>() {
            let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
            let Some(payload) = rest.get(..length) else { break };
            if header[2..] != checksum(payload).to_be_bytes() {
                return Err(io::Error::new(ErrorKind::InvalidData, "a frame has a wrong checksum"));
            }
            self.has_peer_ended |= payload.is_empty();
            plain.write(payload);
            taken += HEADER_BYTES + length;
        }
        Ok(taken)
    }

    fn incoming_ended(&mut self, _held: usize) -> io::Result<()> {
        if self.has_peer_ended { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn outgoing(&mut self, _: &mut [u8], plain: &mut Outbox, queue: &mut Outbox, most: usize) -> io::Result<()> {
        while !plain.is_empty() && queue.len() < most {
            let payload = &plain.front()[..plain.front().len().min(PAYLOAD_MOST)];
            write_frame(queue, payload);
            let sent = payload.len();
            plain.advance(sent);
        }
        Ok(())
    }

    fn close(&mut self, _held: &mut [u8], queue: &mut Outbox) {
        write_frame(queue, b"");
    }

    fn state(&self) -> LayerState {
        if self.has_peer_ended { LayerState::OPEN | LayerState::PEER_ENDED } else { LayerState::OPEN }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn write_frame(queue: &mut Outbox, payload: &[u8]) {
    let length = u16::try_from(payload.len()).expect("at most PAYLOAD_MOST");
    queue.write(&length.to_be_bytes());
    queue.write(&checksum(payload).to_be_bytes());
    queue.write(payload);
}

/// Adler-32, as RFC 1950 defines it.
fn checksum(bytes: &[u8]) -> u32 {
    let add = |(low, high), byte: &u8| {
        let low = (low + u32::from(*byte)) % 65521;
        (low, (high + low) % 65521)
    };
    let (low, high) = bytes.iter().fold((1, 0), add);
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use ropewalk::testing::{AccumulatingProtocol, MemoryReactor, TestStream};
    use ropewalk::{Error, Transport};

    use super::*;

    const ADDRESS: &str = "10.0.0.1:80";

    struct Echo;

    impl Protocol for Echo {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(data);
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut queue = Outbox::new();
        write_frame(&mut queue, payload);
        queue.front().to_vec()
    }

    /// A server with the layer, and a client without it.
    fn serve(net: &MemoryReactor) -> (AccumulatingProtocol, TestStream) {
        let server = AccumulatingProtocol::new();
        net.listen_tcp(ADDRESS, CheckedFactory(server.factory())).unwrap();
        (server, net.connect_stream(ADDRESS))
    }

    #[test]
    fn two_ends_with_the_layer_exchange_data() {
        let (net, client) = (MemoryReactor::new(), AccumulatingProtocol::new());
        net.listen_tcp(ADDRESS, CheckedFactory(|| Echo)).unwrap();
        net.connect_tcp(ADDRESS, CheckedFactory(client.factory())).unwrap();
        net.settle();
        client.transport().unwrap().write(&[7; 300_000]);
        net.settle();
        assert!(client.data() == [7; 300_000]);
        client.transport().unwrap().lose_connection();
        net.settle();
        assert!(client.lost().is_some_and(|reason| reason.is_done()));
        assert_eq!(net.source_count(), 1);
    }

    #[test]
    fn complete_frames_are_delivered() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        for byte in [frame(b"one "), frame(b"two")].concat() {
            client.write(&[byte]);
            net.settle();
        }
        assert_eq!(server.data(), b"one two");
    }

    #[test]
    fn a_damaged_frame_ends_the_connection() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        let mut damaged = frame(b"data");
        damaged[8] ^= 1;
        client.write(&damaged);
        net.settle();
        let reason = server.lost().expect("an end").to_string();
        assert!(reason.contains("wrong checksum"), "{reason}");
        assert_eq!(server.data(), b"");
    }

    #[test]
    fn an_end_without_the_empty_frame_is_a_truncation() {
        for (is_complete, end) in [(true, frame(b"")), (false, Vec::new())] {
            let net = MemoryReactor::new();
            let (server, client) = serve(&net);
            client.write(&[frame(b"data"), end].concat());
            client.finish();
            net.settle();
            assert_eq!(server.data(), b"data");
            assert_eq!(matches!(server.lost(), Some(Error::ConnectionLost(_))), !is_complete);
        }
    }
}
