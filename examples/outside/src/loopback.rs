//! An event provider without an operating system. It connects the clients and servers of one reactor with each other.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ropewalk::proto::{Address, Key, Moment, Outbox, Slab};
use ropewalk::sys::{Clock, ConnectSpec, Event, EventProvider, Events, ListenSpec, Ready, Received};
use ropewalk::sys::{Sent, Streams, Wake, Waker};

/// The provider. `Reactor::with_provider(Box::new(Loopback::default()))` runs on it.
pub struct Loopback {
    sockets: Slab<Socket>,
    rung: mpsc::Receiver<()>,
    waker: Waker,
}

/// A port or one end of a connection.
#[derive(Default)]
struct Socket {
    listens_on: Option<Address>,
    /// The connections that wait to be accepted, if this is a port.
    queue: VecDeque<Key>,
    peer: Option<Key>,
    received: VecDeque<u8>,
    is_ended: bool,
    is_reading: bool,
    is_connecting: bool,
}

struct Bell(mpsc::SyncSender<()>);

impl Wake for Bell {
    fn wake(&self) {
        // If the channel is full, the wait will end anyway.
        let _ = self.0.try_send(());
    }
}

impl Default for Loopback {
    fn default() -> Loopback {
        let (bell, rung) = mpsc::sync_channel(1);
        Loopback { sockets: Slab::new(), rung, waker: Waker::new(Arc::new(Bell(bell))) }
    }
}

impl EventProvider for Loopback {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn clock(&self) -> Clock {
        let start = Instant::now();
        Arc::new(move || Moment::ZERO + start.elapsed())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        for (key, socket) in self.sockets.iter_mut() {
            let has_input = socket.is_ended || !(socket.queue.is_empty() && socket.received.is_empty());
            let read = (socket.is_reading && has_input).then_some(Ready::READ);
            let write = std::mem::take(&mut socket.is_connecting).then_some(Ready::WRITE);
            events.extend([read, write].into_iter().flatten().map(|ready| Event { key, ready }));
        }
        // Nothing from outside causes events here, except a waker.
        let longest = if events.is_empty() { timeout.unwrap_or(Duration::from_secs(3600)) } else { Duration::ZERO };
        let _ = self.rung.recv_timeout(longest);
        Ok(())
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        Some(self)
    }
}

impl Loopback {
    fn socket(&mut self, key: Key) -> io::Result<&mut Socket> {
        self.sockets.get_mut(key).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Streams for Loopback {
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        let port = Socket { listens_on: Some(spec.address.clone()), ..Socket::default() };
        Ok((self.sockets.insert(port), spec.address.clone()))
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let port = self.sockets.iter().find(|(_, socket)| socket.listens_on.as_ref() == Some(&spec.address));
        let port = port.map(|(port, _)| port).ok_or(ErrorKind::ConnectionRefused)?;
        let client = self.sockets.insert(Socket { is_connecting: true, ..Socket::default() });
        let server = self.sockets.insert(Socket { peer: Some(client), ..Socket::default() });
        self.socket(client)?.peer = Some(server);
        self.socket(port)?.queue.push_back(server);
        Ok(client)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        self.socket(key).map(drop)
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        Ok(self.socket(key)?.queue.pop_front().map(|server| (server, Address::Unnamed)))
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        self.socket(key).map(|socket| socket.is_reading = on)
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let socket = self.socket(key)?;
        let count = socket.received.read(scratch)?;
        let nothing = if socket.is_ended { Received::Eof } else { Received::Empty };
        Ok(if count > 0 { Received::Filled(count) } else { nothing })
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        while !outbox.is_empty() {
            let count = self.send_slice(key, outbox.front())?;
            outbox.advance(count);
        }
        Ok(Sent::All)
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        let peer = self.socket(key)?.peer.ok_or(ErrorKind::BrokenPipe)?;
        self.socket(peer)?.received.extend(bytes);
        Ok(bytes.len())
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        let peer = self.socket(key)?.peer.ok_or(ErrorKind::NotConnected)?;
        self.socket(peer).map(|peer| peer.is_ended = true)
    }

    fn close(&mut self, key: Key) {
        // This fails if the other end has been closed already.
        let _ = self.shutdown_write(key);
        let Some(closed) = self.sockets.remove(key) else { return };
        closed.queue.into_iter().for_each(|waiting| self.close(waiting));
    }

    fn abort(&mut self, key: Key) {
        self.close(key);
    }
}

#[cfg(test)]
mod tests {
    use ropewalk::prelude::*;
    use ropewalk::testing::AccumulatingProtocol;
    use ropewalk::{ClientFactory, Interface};

    use super::*;

    struct Echo;

    impl Protocol for Echo {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(data);
        }
    }

    fn reactor() -> Reactor {
        Reactor::with_provider(Box::new(Loopback::default()))
    }

    #[track_caller]
    fn turn_until(reactor: &Reactor, is_done: impl Fn() -> bool) {
        let turns = (0..1000).take_while(|_| !is_done());
        turns.for_each(|_| reactor.iterate(Some(Duration::ZERO)).unwrap());
        assert!(is_done(), "a thousand turns were not enough");
    }

    #[test]
    fn a_client_talks_to_a_server_of_the_same_reactor() {
        let (reactor, client) = (reactor(), AccumulatingProtocol::new());
        let port = reactor.listen_tcp("10.0.0.1:7", || Echo).unwrap();
        reactor.connect_tcp("10.0.0.1:7", client.factory()).unwrap();
        turn_until(&reactor, || client.transport().is_some());
        client.transport().unwrap().write(&[7; 1_000_000]);
        turn_until(&reactor, || client.data().len() == 1_000_000);
        client.transport().unwrap().lose_connection();
        turn_until(&reactor, || client.lost().is_some() && reactor.source_count() == 1);
        assert!(port.is_listening());
    }

    #[test]
    fn an_attempt_without_a_server_is_refused() {
        #[derive(Default)]
        struct Refused(std::cell::Cell<bool>);
        impl Factory for Refused {
            fn build_protocol(&self, _peer: &ropewalk::Address) -> Option<Box<dyn Protocol>> {
                None
            }
        }
        impl ClientFactory for Refused {
            fn client_connection_failed(&self, _connector: &Connector, reason: &Error) {
                self.0.set(matches!(reason, Error::ConnectionRefused(..)));
            }
        }
        let (reactor, refused) = (reactor(), std::rc::Rc::new(Refused::default()));
        reactor.connect_tcp("10.0.0.1:7", refused.clone()).unwrap();
        turn_until(&reactor, || refused.0.get());
    }

    #[test]
    fn another_thread_wakes_the_loop() {
        let reactor = reactor();
        let handle = reactor.thread_handle();
        let thread = std::thread::spawn(move || handle.call_from_thread(|reactor| reactor.stop().unwrap()));
        reactor.run().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn missing_interfaces_are_not_offered() {
        let reactor = reactor();
        let missing = [
            Interface::Unix,
            Interface::FdSet,
            Interface::Socket,
            Interface::Pipes,
            Interface::DescriptorPassing,
            Interface::Signals,
        ];
        assert!(reactor.provides(Interface::Tcp) && missing.iter().all(|interface| !reactor.provides(*interface)));
    }
}
