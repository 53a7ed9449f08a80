//! Bytes that a protocol gave back. They are delivered again before newer bytes, as soon as the transport reads.

use std::rc::Rc;
use std::time::Duration;

use super::Transport;
use super::flags::Flags;
use super::stream::Stream;
use crate::kernel::Kernel;

impl Transport {
    /// Gives back `bytes` that were delivered and are not wanted now. These bytes are delivered again before newer
    /// bytes: in the next turn or, if reading is paused, when reading resumes. After
    /// [`switch_protocol`](Transport::switch_protocol) the new protocol gets the bytes. If several calls give bytes
    /// back, the bytes of the last call come first.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Takes words of four bytes, and gives the rest back.
    /// struct Words;
    ///
    /// impl Protocol for Words {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         let Some((word, rest)) = data.split_at_checked(4) else { return transport.abort_connection() };
    ///         transport.write(&[b"<", word, b">"].concat());
    ///         transport.unread(rest);
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || Words)?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"goodluck");
    /// net.settle();
    /// assert_eq!(client.received(), b"<good><luck>");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn unread(&self, bytes: &[u8]) {
        self.0.unread(bytes);
    }

    /// Takes back the bytes given to [`unread`](Transport::unread) that were not delivered yet. These bytes will not be
    /// delivered. Returns `None` if no such bytes are left.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.unread(b"second");
    /// transport.unread(b"first ");
    /// assert_eq!(transport.take_unread().as_deref(), Some(&b"first second"[..]));
    /// assert_eq!(transport.take_unread(), None);
    /// ```
    pub fn take_unread(&self) -> Option<Vec<u8>> {
        self.0.inbound.take_unread(&self.0.flags)
    }

    /// Returns whether the protocol wants more data: false after a callback paused the transport, lost the connection or
    /// switched the protocol, or while too much is queued on a [paced](Transport::set_paced) connection.
    ///
    /// A protocol that splits a chunk into messages calls this method after each message. If the result is false, the
    /// protocol gives the rest back with [`unread`](Transport::unread).
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Replies to each byte, up to the first `q`.
    /// struct Bytes;
    ///
    /// impl Protocol for Bytes {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         for (index, byte) in data.iter().enumerate() {
    ///             if !transport.is_delivering() {
    ///                 return transport.unread(&data[index..]);
    ///             }
    ///             transport.write(&[*byte]);
    ///             if *byte == b'q' {
    ///                 transport.lose_connection();
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || Bytes)?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"abqcd");
    /// net.settle();
    /// assert_eq!(client.received(), b"abq");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn is_delivering(&self) -> bool {
        self.0.state().wants_reading() && !self.0.is_switched() && !self.0.is_ahead() && !self.0.has_fresh_layer()
    }
}

impl Stream {
    fn unread(self: &Rc<Stream>, bytes: &[u8]) {
        if bytes.is_empty() || !self.state().is_open() {
            return;
        }
        if self.has_fresh_layer() {
            return self.give_to_layer(bytes);
        }
        self.inbound.unread(bytes, &self.flags);
        if let Some(kernel) = self.reactor.upgrade() {
            self.settle_soon(&kernel);
        }
    }

    /// Delivers unread bytes in the next turn, because a callback of the protocol may be running now.
    pub(super) fn deliver_unread_soon(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        if self.has(Flags::UNREAD) {
            self.deliver_soon(kernel);
        }
    }

    /// Continues in the next turn with the bytes that the connection or its layer holds.
    pub(super) fn deliver_soon(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        if self.has(Flags::REDELIVERY) {
            return;
        }
        self.mark(Flags::REDELIVERY, true);
        self.later(kernel, Duration::ZERO, |stream, kernel| {
            stream.mark(Flags::REDELIVERY, false);
            let transport = Transport(stream.clone());
            if stream.has(Flags::LAYERED) {
                stream.continue_layered(kernel, &transport);
            } else if stream.reads() {
                stream.deliver_unread(kernel, &transport);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::protocols::Protocol;
    use crate::testing::{MemoryReactor, TestStream};

    /// A protocol that records each delivery, and then calls `act`.
    #[derive(Clone)]
    struct UnreadsBytes {
        deliveries: Rc<RefCell<Vec<Vec<u8>>>>,
        transport: Rc<RefCell<Option<Transport>>>,
        act: fn(&Transport, &[u8]),
    }

    impl Protocol for UnreadsBytes {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            self.deliveries.borrow_mut().push(data.to_vec());
            *self.transport.borrow_mut() = Some(transport.clone());
            (self.act)(transport, data);
        }
    }

    fn serve(net: &MemoryReactor, act: fn(&Transport, &[u8])) -> (UnreadsBytes, TestStream) {
        let protocol = UnreadsBytes { deliveries: Rc::default(), transport: Rc::default(), act };
        let built = protocol.clone();
        net.listen_tcp("10.0.0.1:80", move || built.clone()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        (protocol, client)
    }

    #[test]
    fn given_back_bytes_come_before_newer_ones() {
        let net = MemoryReactor::new();
        let (protocol, client) = serve(&net, |transport, data| {
            if data == b"first" {
                transport.unread(b"back");
            }
        });
        client.write(b"first");
        net.settle();
        client.write(b"second");
        net.settle();
        assert_eq!(*protocol.deliveries.borrow(), [&b"first"[..], b"back", b"second"]);
    }

    #[test]
    fn bytes_given_back_last_come_first() {
        let net = MemoryReactor::new();
        let (protocol, client) = serve(&net, |transport, data| {
            if data == b"x" {
                transport.unread(b"later");
                transport.unread(b"");
                transport.unread(b"sooner, ");
            }
        });
        client.write(b"x");
        net.settle();
        assert_eq!(*protocol.deliveries.borrow(), [&b"x"[..], b"sooner, later"]);
    }

    #[test]
    fn given_back_bytes_wait_for_a_paused_transport_before_the_end() {
        let net = MemoryReactor::new();
        let (protocol, client) = serve(&net, |transport, data| {
            if data == b"x" {
                transport.unread(b"back");
                transport.pause_producing();
                let again = transport.clone();
                transport.reactor().call_later(Duration::from_secs(5), move |_| again.resume_producing());
            }
        });
        client.write(b"x");
        client.finish();
        net.advance(Duration::from_secs(4));
        assert_eq!(protocol.deliveries.borrow().len(), 1);
        assert!(!client.is_eof());
        net.advance(Duration::from_secs(1));
        assert_eq!(*protocol.deliveries.borrow(), [&b"x"[..], b"back"]);
        assert!(client.is_eof());
    }

    #[test]
    fn given_back_bytes_are_dropped_with_the_connection() {
        let net = MemoryReactor::new();
        let (protocol, client) = serve(&net, |transport, _| {
            transport.unread(b"back");
            transport.lose_connection();
            transport.unread(b"back");
        });
        client.write(b"x");
        net.settle();
        assert_eq!(*protocol.deliveries.borrow(), [b"x"]);
        assert!(client.is_eof());
        let transport = protocol.transport.take().unwrap();
        transport.unread(b"back");
        assert_eq!(transport.take_unread(), None);
    }

    #[test]
    fn bytes_may_be_given_back_repeatedly() {
        let net = MemoryReactor::new();
        let (protocol, client) = serve(&net, |transport, data| transport.unread(&data[1..]));
        client.write(b"123");
        net.settle();
        assert_eq!(*protocol.deliveries.borrow(), [&b"123"[..], b"23", b"3"]);
        protocol.transport.take().unwrap().unread(b"45");
        net.settle();
        assert_eq!(protocol.deliveries.borrow()[3..], [&b"45"[..], b"5"]);
    }

    #[test]
    fn a_pause_before_the_delivery_delays_it() {
        let net = MemoryReactor::new();
        let (protocol, client) = serve(&net, |_, _| {});
        client.write(b"x");
        net.settle();
        let transport = protocol.transport.take().unwrap();
        transport.unread(b"back");
        net.prepare().unwrap();
        transport.pause_producing();
        net.settle();
        assert_eq!(protocol.deliveries.borrow().len(), 1);
        transport.resume_producing();
        net.settle();
        assert_eq!(protocol.deliveries.borrow()[1], b"back");
    }
}
