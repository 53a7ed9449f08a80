//! Tests that need the private parts of the provider: small queues, dry buffers, late completions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ropewalk_proto::{Address, Outbox};

use super::operation::Verbs;
use super::slot::Resource;
use super::*;
use crate::seam::{ConnectSpec, Interest, Kind, ListenSpec, Ready, Received, Sent};

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn provider() -> Uring {
    Uring::on(Ring::open(Setup::Deferred).unwrap()).unwrap()
}

pub(super) fn wait(provider: &mut Uring, timeout: Duration) -> Events {
    let mut events = Events::new();
    provider.wait(Some(timeout), &mut events).unwrap();
    events
}

/// Waits until `done`, which gets the events of each wait, returns true.
pub(super) fn until(provider: &mut Uring, mut done: impl FnMut(&mut Uring, Events) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let events = wait(provider, Duration::from_millis(100));
        if done(provider, events) {
            return;
        }
        assert!(Instant::now() < deadline, "the awaited event did not happen");
    }
}

/// Returns a connection that is read through the ring's buffers, and its peer.
pub(super) fn connection(provider: &mut Uring) -> (Key, UnixStream) {
    let (near, peer) = UnixStream::pair().unwrap();
    let key = provider.adopt(OwnedFd::from(near), Kind::StreamConnection).unwrap();
    let connection = provider.source_mut(key).unwrap().as_connection().unwrap();
    (connection.pace, connection.stops_short) = (slot::Pace::Calm, false);
    provider.set_reading(key, true).unwrap();
    (key, peer)
}

pub(super) fn take(provider: &mut Uring, key: Key, scratch: &mut [u8]) -> usize {
    match provider.receive(key, scratch).unwrap() {
        Received::Filled(count) | Received::Drained(count) => count,
        Received::Lent(chunk) => {
            scratch[..chunk.len()].copy_from_slice(&chunk);
            chunk.len()
        }
        Received::Empty => 0,
        Received::Eof => panic!("the stream has ended"),
    }
}

/// Returns the number of buffers that the kernel could use now.
pub(super) fn buffers_in_ring(provider: &mut Uring) -> usize {
    let held: usize = provider
        .sources
        .iter()
        .map(|(_, source)| match &source.resource {
            Resource::Connection(connection) => usize::from(connection.chain.buffers()),
            _ => 0,
        })
        .sum();
    usize::from(provider.buffers.count()) - held - usize::from(provider.buffers.lent())
}

/// io_uring(7): a source may be gone when its operation completes. Then only the buffer is returned to the ring.
#[test]
fn a_late_completion_only_returns_its_buffer() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    peer.write_all(b"late").unwrap();
    // The kernel completes the receive. The completion is in the queue when the key is closed.
    provider.ring.enter(None).unwrap();
    provider.sources.remove(key).unwrap();
    let (successor, _peer) = connection(&mut provider);
    assert_eq!(successor.index(), key.index());
    assert_eq!(wait(&mut provider, Duration::from_millis(20)), [], "the key's successor gets no event");
    assert_eq!(buffers_in_ring(&mut provider), usize::from(provider.buffers.count()));
}

/// A cancel and the last completion are two events. The operation is in flight until the last completion.
#[test]
fn a_cancel_that_loses_the_race_returns_the_buffer() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    provider.cancel(key, Verbs::STREAM);
    assert!(provider.is_busy(), "a cancel frees nothing");
    peer.write_all(b"first").unwrap();
    provider.close(key);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    assert!(!provider.is_busy());
    assert_eq!(buffers_in_ring(&mut provider), usize::from(provider.buffers.count()));
}

/// An amount that fits into the buffers of a socket.
const LITTLE: usize = 10_000;

/// Makes each peer send its own byte `bytes` times before any byte is received. Then receives all bytes.
fn receive_from_all(provider: &mut Uring, open: Vec<(Key, UnixStream)>, bytes: usize) {
    let keys: Vec<_> = open.iter().map(|(key, _)| *key).collect();
    let send = |(number, (_, mut peer)): (usize, (Key, UnixStream))| {
        thread::spawn(move || peer.write_all(&vec![number as u8; bytes]).unwrap())
    };
    let writers: Vec<_> = open.into_iter().enumerate().map(send).collect();
    let mut entered = 0;
    while entered < 50 {
        provider.enter(Some(Some(Duration::from_millis(2)))).unwrap();
        // A small amount fits into the socket's buffers, so it is sent although no byte is received. A large amount
        // needs the receiver.
        let all_sent = bytes > LITTLE || writers.iter().all(thread::JoinHandle::is_finished);
        entered = if all_sent { entered + 1 } else { 0 };
    }
    let mut received = vec![0; keys.len()];
    let mut scratch = vec![0; 5000];
    until(provider, |provider, events| {
        for event in events {
            let number = keys.iter().position(|key| *key == event.key).unwrap();
            let count = take_or_end(provider, event.key, &mut scratch);
            assert!(scratch[..count].iter().all(|byte| *byte == number as u8), "bytes of another connection");
            received[number] += count;
        }
        received.iter().all(|count| *count == bytes)
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(buffers_in_ring(provider), usize::from(provider.buffers.count()));
}

/// A ring of buffers that runs dry must not stall its connections.
#[test]
fn a_ring_of_buffers_grows_when_many_connections_drain_it() {
    let mut provider = provider();
    let first = provider.buffers.count();
    let open: Vec<_> = (0..usize::from(first) * 3).map(|_| connection(&mut provider)).collect();
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    receive_from_all(&mut provider, open, 100);
    assert!(provider.buffers.count() > first, "it grew");
}

/// A ring that grew under bulk traffic would no longer fit the cache, and bulk traffic needs no ring.
#[test]
fn a_ring_of_buffers_stays_small_under_bulk() {
    let mut provider = provider();
    let first = provider.buffers.count();
    let open: Vec<_> = (0..40).map(|_| connection(&mut provider)).collect();
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    receive_from_all(&mut provider, open, 150_000);
    assert_eq!(provider.buffers.count(), first);
}

/// Returns whether a connection is polled. If not, the kernel receives for that connection.
fn is_polled(provider: &Uring, key: Key) -> bool {
    let stream = provider.sources.get(key).unwrap().under_way & Verbs::STREAM;
    assert!(!stream.is_empty(), "no operation is in flight");
    stream == Verbs::ARRIVAL
}

/// Bulk through the ring's small buffers costs twice as much as on epoll, so the operation changes with the load.
#[test]
fn a_change_of_pace_loses_no_byte() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    assert!(!is_polled(&provider, key));
    let mut scratch = vec![0; 64 * 1024];
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for round in 0..6u8 {
        let bulk = round % 2 == 0;
        for piece in 0..20u8 {
            let bytes = vec![round * 20 + piece; if bulk { 30_000 } else { 30 }];
            peer.write_all(&bytes).unwrap();
            sent.extend_from_slice(&bytes);
            until(&mut provider, |provider, _| {
                let count = take(provider, key, &mut scratch);
                received.extend_from_slice(&scratch[..count]);
                received.len() == sent.len()
            });
        }
        for _ in 0..3 {
            assert_eq!(wait(&mut provider, Duration::ZERO), []);
        }
        assert_eq!(is_polled(&provider, key), bulk, "round {round}");
    }
    assert!(received == sent);
    drop(peer);
    until(&mut provider, |provider, _| matches!(provider.receive(key, &mut scratch).unwrap(), Received::Eof));
}

/// Receives like `take`, but returns 0 at the end of the stream.
fn take_or_end(provider: &mut Uring, key: Key, scratch: &mut [u8]) -> usize {
    match provider.receive(key, scratch).unwrap() {
        Received::Filled(count) | Received::Drained(count) => count,
        Received::Lent(chunk) => {
            scratch[..chunk.len()].copy_from_slice(&chunk);
            chunk.len()
        }
        Received::Empty => 0,
        Received::Eof => {
            provider.set_reading(key, false).unwrap();
            0
        }
    }
}

/// Sends `message` from the peer. Returns the chunk that the connection is lent, or `None` if the message was copied.
fn lent(provider: &mut Uring, key: Key, peer: &mut UnixStream, message: &[u8]) -> Option<bytes::Bytes> {
    peer.write_all(message).unwrap();
    assert_eq!(wait(provider, PATIENCE), [Event { key, ready: Ready::READ }]);
    let mut scratch = vec![0; message.len()];
    match provider.receive(key, &mut scratch).unwrap() {
        Received::Lent(chunk) => {
            assert_eq!(chunk, message);
            Some(chunk)
        }
        Received::Drained(count) => {
            assert_eq!(scratch[..count], *message);
            None
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn dropping_a_lent_chunk_returns_its_buffer() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    let count = usize::from(provider.buffers.count());
    for round in 0..3 * count {
        let chunk = lent(&mut provider, key, &mut peer, &[round as u8; 2000]).expect("no chunk is kept");
        assert_eq!(buffers_in_ring(&mut provider), count - 1);
        // The last handle is dropped in another thread.
        thread::spawn(move || drop(chunk.slice(1..))).join().unwrap();
        assert_eq!(wait(&mut provider, Duration::ZERO), []);
        assert_eq!(buffers_in_ring(&mut provider), count);
    }
    assert!(lent(&mut provider, key, &mut peer, b"little").is_none());
}

/// Lending stops at a limit. Otherwise one forwarder with a slow target would stall every other connection.
#[test]
fn kept_chunks_do_not_starve_the_ring() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    let mut kept = Vec::new();
    for round in 0..200u8 {
        kept.extend(lent(&mut provider, key, &mut peer, &[round; 2000]));
    }
    assert!((1..=usize::from(provider.buffers.count()) / 4).contains(&kept.len()), "{} of 200 were lent", kept.len());
    assert!(kept.iter().zip(0..).all(|(chunk, round)| *chunk == [round; 2000][..]), "a lent chunk was overwritten");
    kept.truncate(1);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    assert!(lent(&mut provider, key, &mut peer, &[1; 2000]).is_some(), "there are buffers to lend again");
    drop(provider);
    assert_eq!(kept[0], [0; 2000][..], "the chunk outlives the provider");
}

/// The new ring has its own buffers. Buffers lent from the old ring must not enter the new one.
#[test]
fn a_chunk_survives_the_change_to_another_ring() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    let chunk = lent(&mut provider, key, &mut peer, &[7; 2000]).unwrap();
    provider.host_handle().unwrap();
    assert_eq!(chunk, [7; 2000][..]);
    drop(chunk);
    provider.source_mut(key).unwrap().as_connection().unwrap().pace = slot::Pace::Calm;
    for round in 0..100u8 {
        lent(&mut provider, key, &mut peer, &[round; 2000]);
    }
}

/// Paused connections must not hold buffers that other connections need.
#[test]
fn a_paused_connection_holds_no_buffer() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    peer.write_all(b"one ").unwrap();
    assert_eq!(wait(&mut provider, PATIENCE), [Event { key, ready: Ready::READ }]);
    provider.set_reading(key, false).unwrap();
    assert_eq!(buffers_in_ring(&mut provider), usize::from(provider.buffers.count()));
    peer.write_all(b"two ").unwrap();
    assert_eq!(wait(&mut provider, Duration::from_millis(10)), []);
    peer.write_all(b"three").unwrap();
    assert_eq!(wait(&mut provider, Duration::from_millis(10)), []);
    assert_eq!(buffers_in_ring(&mut provider), usize::from(provider.buffers.count()));
    provider.set_reading(key, true).unwrap();
    let mut bytes = Vec::new();
    let mut scratch = [0; 6];
    until(&mut provider, |provider, _| {
        let count = take(provider, key, &mut scratch);
        bytes.extend_from_slice(&scratch[..count]);
        bytes.len() == 13
    });
    assert_eq!(bytes, b"one two three");
}

/// netty#15502, tokio#8277: the kernel keeps completions beyond the queue, and they must be fetched.
#[test]
fn completions_that_overflow_a_small_queue_are_fetched() {
    const CONNECTIONS: usize = 60;
    let mut provider = Uring::on(Ring::with_completions(Setup::Deferred, 4).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = provider.adopt(OwnedFd::from(listener), Kind::StreamPort).unwrap();
    provider.set_reading(port, true).unwrap();
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut keys = Vec::new();
    until(&mut provider, |provider, _| {
        while let Some((key, _)) = provider.accept(port).unwrap() {
            provider.source_mut(key).unwrap().as_connection().unwrap().pace = slot::Pace::Calm;
            provider.set_reading(key, true).unwrap();
            keys.push(key);
        }
        keys.len() == CONNECTIONS
    });
    for round in 0..20 {
        assert_eq!(wait(&mut provider, Duration::ZERO), [], "all receive again");
        clients.iter_mut().for_each(|client| client.write_all(b"hello").unwrap());
        provider.ring.enter(None).unwrap();
        assert!(provider.ring.is_behind(), "round {round} did not overflow");
        let mut scratch = [0; 100];
        let mut received = 0;
        until(&mut provider, |provider, events| {
            for event in events {
                received += take(provider, event.key, &mut scratch);
            }
            received == CONNECTIONS * 5
        });
    }
}

/// More operations are armed than one enter submits. Events of the first operations are found before the last
/// operations are submitted.
#[test]
fn ready_events_are_returned_without_waiting() {
    let mut provider = provider();
    let (first, mut peer) = connection(&mut provider);
    peer.write_all(b"x").unwrap();
    let mut others: Vec<_> = (0..300).map(|_| connection(&mut provider)).collect();
    let (reported, is_reported) = mpsc::channel::<()>();
    let (_, mut last) = others.pop().unwrap();
    // Interrupts the test's wait if it blocks by mistake.
    let rescuer = thread::spawn(move || {
        if is_reported.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            last.write_all(b"x").unwrap();
        }
    });
    let mut events = Events::new();
    provider.wait(None, &mut events).unwrap();
    drop(reported);
    rescuer.join().unwrap();
    assert_eq!(events, [Event { key: first, ready: Ready::READ }]);
}

/// A partial write keeps the order, and WRITE is reported afterwards.
#[test]
fn a_small_send_to_a_slow_peer_follows_earlier_bytes() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    let mut sent = Vec::new();
    let mut outbox = Outbox::new();
    for round in 0u32.. {
        outbox.write(&[round as u8; 1000]);
        sent.extend_from_slice(&[round as u8; 1000]);
        let outcome = provider.send(key, &mut outbox).unwrap();
        assert_eq!(wait(&mut provider, Duration::ZERO), []);
        if outcome == Sent::InFlight {
            break;
        }
    }
    assert_eq!(outbox.len(), 1000, "the last message was not taken");
    let expected = sent.clone();
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; expected.len()];
        peer.read_exact(&mut bytes).unwrap();
        assert!(bytes == expected);
        peer
    });
    until(&mut provider, |_, events| events.iter().any(|event| event.ready.contains(Ready::WRITE)));
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    reader.join().unwrap();
}

/// Fills the socket buffers of a connection until a batched send is partial. Returns the bytes sent.
fn choke(provider: &mut Uring, key: Key) -> usize {
    let mut outbox = Outbox::new();
    let mut sent = 0;
    loop {
        outbox.write(&[7; 1000]);
        if provider.send(key, &mut outbox).unwrap() == Sent::InFlight {
            return sent;
        }
        sent += 1000;
        wait(provider, Duration::ZERO);
    }
}

/// Accepted bytes are delivered after a close.
#[test]
fn a_closed_connection_delivers_its_unsent_bytes() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    let sent = choke(&mut provider, key);
    provider.close(key);
    assert_eq!(provider.sources.len(), 0);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    until(&mut provider, |provider, _| !provider.is_busy());
    assert_eq!(reader.join().unwrap(), sent);
}

#[test]
fn an_aborted_connection_does_not_linger() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    let sent = choke(&mut provider, key);
    provider.abort(key);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() < sent);
    assert!(!provider.is_busy());
}

#[test]
fn a_half_close_follows_the_unsent_bytes() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    let sent = choke(&mut provider, key);
    provider.shutdown_write(key).unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    until(&mut provider, |_, events| events.iter().any(|event| event.ready.contains(Ready::WRITE)));
    assert_eq!(reader.join().unwrap(), sent);
}

/// A wait for room in the send buffer must sleep until there is room. io_uring's poll completes at once if the peer has
/// closed its sending direction.
#[test]
fn waiting_for_room_of_a_peer_that_sends_no_more_does_not_spin() {
    let mut provider = provider();
    let (key, peer) = connection(&mut provider);
    provider.set_reading(key, false).unwrap();
    let (lingering, other) = connection(&mut provider);
    let (watched, third) = UnixStream::pair().unwrap();
    watched.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        choke(&mut provider, key);
    }
    choke(&mut provider, lingering);
    while (&watched).write(&[0; 1000]).is_ok() {}
    let watch = provider.watch(watched.as_raw_fd(), Interest::WRITE).unwrap();
    for peer in [&peer, &other, &third] {
        peer.shutdown(std::net::Shutdown::Write).unwrap();
    }
    provider.close(lingering);
    assert_eq!(wait(&mut provider, Duration::from_millis(10)), []);
    let begun = |provider: &Uring| (provider.under_way.begun(), provider.draining.iter().next().map(|(key, _)| key));
    let before = begun(&provider);
    assert_eq!(wait(&mut provider, Duration::from_millis(10)), []);
    assert_eq!(begun(&provider), before, "nothing was done meanwhile");
    let drains = [&peer, &other, &third].map(|peer| {
        let mut peer = peer.try_clone().unwrap();
        thread::spawn(move || drop(peer.read_exact(&mut [0; 20_000])))
    });
    drains.into_iter().for_each(|drain| drain.join().unwrap());
    drop((peer, other, third));
    let mut seen = Vec::new();
    until(&mut provider, |_, events| {
        seen.extend(events.iter().map(|event| event.key));
        seen.contains(&key) && seen.contains(&watch)
    });
}

/// The failure of a batched send is known only after `send` has returned.
#[test]
fn a_batched_send_to_a_peer_that_is_gone_breaks_the_connection() {
    let mut provider = provider();
    let (key, peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    provider.set_reading(key, false).unwrap();
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    drop(peer);
    let mut outbox = Outbox::new();
    outbox.write(b"never received");
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    wait(&mut provider, Duration::ZERO);
    outbox.write(b"nor this");
    assert_eq!(provider.send(key, &mut outbox).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

/// Two sends of one connection in one batch could overtake each other.
#[test]
fn many_small_sends_between_two_waits_stay_in_order() {
    let mut provider = provider();
    let mut open: Vec<_> = (0..10).map(|_| connection(&mut provider)).collect();
    let mut outbox = Outbox::new();
    let mut expected = Vec::new();
    for round in 0..100u8 {
        for (key, _) in &open {
            outbox.write(&[round; 300]);
            assert_eq!(provider.send(*key, &mut outbox).unwrap(), Sent::All);
        }
        expected.extend_from_slice(&[round; 300]);
    }
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    for (_, peer) in &mut open {
        let mut bytes = vec![0; expected.len()];
        peer.read_exact(&mut bytes).unwrap();
        assert!(bytes == expected);
    }
}

/// This test is also run under AddressSanitizer.
#[test]
fn a_provider_may_be_dropped_with_everything_in_flight() {
    for waits in [0, 1, 3] {
        let mut provider = provider();
        let (port, address) =
            provider.listen(&ListenSpec::new(Address::from(SocketAddr::from(([127, 0, 0, 1], 0))))).unwrap();
        provider.set_reading(port, true).unwrap();
        let address = address.inet().unwrap();
        let mut clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (choked, _slow) = connection(&mut provider);
        let (lingering, _slower) = connection(&mut provider);
        choke(&mut provider, choked);
        choke(&mut provider, lingering);
        provider.close(lingering);
        let (_read, mut peer) = connection(&mut provider);
        let (watched, mut other) = UnixStream::pair().unwrap();
        provider.watch(watched.as_raw_fd(), Interest::READ | Interest::WRITE).unwrap();
        provider.connect(&ConnectSpec { address: address.into(), bind: None }).unwrap();
        let mut outbox = Outbox::new();
        outbox.write(b"a last word");
        provider.send(_read, &mut outbox).unwrap();
        for _ in 0..waits {
            peer.write_all(&[1; 10_000]).unwrap();
            other.write_all(b"x").unwrap();
            wait(&mut provider, Duration::from_millis(1));
        }
        drop(provider);
        let mut word = [0; 11];
        peer.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"a last word");
        for client in &mut clients {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(!matches!(client.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock));
        }
        TcpStream::connect(address).unwrap_err();
    }
}

/// A caller of `wait` may move the provider to another thread for that call.
#[test]
fn a_wait_may_run_in_another_thread() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    let (choked, mut slow) = connection(&mut provider);
    peer.write_all(b"one ").unwrap();
    assert_eq!(wait(&mut provider, PATIENCE), [Event { key, ready: Ready::READ }]);
    let sent = choke(&mut provider, choked);
    provider.close(choked);
    let mut outbox = Outbox::new();
    outbox.write(b"from here");
    provider.send(key, &mut outbox).unwrap();
    peer.write_all(b"two ").unwrap();
    for word in [b"three ", b"four  ", b"five  "] {
        peer.write_all(word).unwrap();
        provider = thread::spawn(move || {
            assert_eq!(wait(&mut provider, PATIENCE), [Event { key, ready: Ready::READ }]);
            provider
        })
        .join()
        .unwrap();
        assert_eq!(wait(&mut provider, PATIENCE), [Event { key, ready: Ready::READ }]);
    }
    let mut bytes = Vec::new();
    let mut scratch = [0; 7];
    until(&mut provider, |provider, _| {
        let count = take(provider, key, &mut scratch);
        bytes.extend_from_slice(&scratch[..count]);
        bytes.len() == 26
    });
    assert_eq!(bytes, b"one two three four  five  ");
    let mut word = [0; 9];
    peer.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"from here");
    // The closed connection still sends its last bytes after the change to another ring.
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        slow.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    until(&mut provider, |provider, _| provider.draining.is_empty());
    assert_eq!(reader.join().unwrap(), sent);
}

/// The kernel cancels the operations of a thread that exits.
#[test]
fn operations_outlive_the_thread_that_began_them() {
    let mut provider = thread::spawn(provider).join().unwrap();
    let (key, mut peer) = connection(&mut provider);
    let (watched, mut other) = UnixStream::pair().unwrap();
    let watch = provider.watch(watched.as_raw_fd(), Interest::READ).unwrap();
    for _ in 0..2 {
        provider = thread::spawn(move || {
            assert_eq!(wait(&mut provider, Duration::ZERO), []);
            provider
        })
        .join()
        .unwrap();
    }
    peer.write_all(b"x").unwrap();
    other.write_all(b"x").unwrap();
    let mut seen = Vec::new();
    until(&mut provider, |_, events| {
        seen.extend(events.iter().map(|event| event.key));
        seen.contains(&key) && seen.contains(&watch)
    });
}

/// Linux 6.18: a receive over a UNIX socket may not report an earlier hang-up. This happens if the receive read
/// everything, and the total was more than the kernel reads at once.
#[test]
fn the_end_of_a_unix_stream_is_seen_behind_any_number_of_bytes() {
    for bytes in [5, 4096, 32 * 4096, 33 * 4096, 200_000] {
        for armed in [false, true] {
            let mut provider = provider();
            let (near, mut peer) = UnixStream::pair().unwrap();
            let key = provider.adopt(OwnedFd::from(near), Kind::StreamConnection).unwrap();
            provider.source_mut(key).unwrap().as_connection().unwrap().pace = slot::Pace::Calm;
            provider.set_reading(key, armed).unwrap();
            assert_eq!(wait(&mut provider, Duration::ZERO), []);
            peer.write_all(&vec![1; bytes]).unwrap();
            drop(peer);
            provider.set_reading(key, true).unwrap();
            let (mut received, mut scratch) = (0, vec![0; 64 * 1024]);
            until(&mut provider, |provider, events| {
                for _ in events {
                    match provider.receive(key, &mut scratch).unwrap() {
                        Received::Filled(count) | Received::Drained(count) => received += count,
                        Received::Lent(chunk) => received += chunk.len(),
                        Received::Eof => return true,
                        _ => {}
                    }
                }
                false
            });
            assert_eq!(received, bytes);
            assert_eq!(wait(&mut provider, PATIENCE), [Event { key, ready: Ready::READ }], "the end is reported again");
        }
    }
}

/// An idle connection takes a descriptor, kernel memory and a place in the slab, which is at most an eighth larger than
/// needed. Operations in flight need no memory.
#[test]
fn an_idle_connection_costs_little() {
    assert!(size_of::<Slot>() <= 48, "{} bytes", size_of::<Slot>());
}

/// tcp(7): a read stops at urgent data. A one-shot poll looks at the present state, and the kernel's own receive
/// continues. A busy connection is not tested, because it waits for more bytes.
#[test]
fn a_connection_reads_on_behind_urgent_data() {
    for pace in [slot::Pace::New(0), slot::Pace::Calm] {
        for armed in [false, true] {
            let mut provider = provider();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let near = OwnedFd::from(listener.accept().unwrap().0);
            let key = provider.adopt(near, Kind::StreamConnection).unwrap();
            provider.source_mut(key).unwrap().as_connection().unwrap().pace = pace;
            provider.set_reading(key, armed).unwrap();
            assert_eq!(wait(&mut provider, Duration::ZERO), []);
            peer.write_all(b"before").unwrap();
            rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
            peer.write_all(b"behind").unwrap();
            provider.set_reading(key, true).unwrap();
            let (mut received, mut scratch) = (Vec::new(), [0; 64]);
            until(&mut provider, |provider, events| {
                for event in events {
                    let count = take(provider, event.key, &mut scratch);
                    received.extend_from_slice(&scratch[..count]);
                }
                received.len() == 12
            });
            assert_eq!(received, b"beforebehind");
        }
    }
}

/// A connection that has reached its end costs nothing to close.
#[test]
fn a_connection_that_its_peer_ended_soon_has_nothing_to_cancel() {
    let mut provider = provider();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = OwnedFd::from(listener.accept().unwrap().0);
    let key = provider.adopt(near, Kind::StreamConnection).unwrap();
    provider.set_reading(key, true).unwrap();
    peer.write_all(b"hello").unwrap();
    let mut scratch = [0; 64];
    until(&mut provider, |provider, events| !events.is_empty() && take(provider, key, &mut scratch) == 5);
    drop(peer);
    until(&mut provider, |provider, events| {
        !events.is_empty() && matches!(provider.receive(key, &mut scratch).unwrap(), Received::Eof)
    });
    assert!(!provider.is_busy());
}

/// Streams::send: after an error `receive` returns the bytes that arrived before, also those that a receive in flight
/// has taken.
#[test]
fn received_bytes_precede_the_error_of_a_send() {
    let mut provider = provider();
    let mut scratch = [0; 100];
    for reads in [true, false] {
        let (key, mut peer) = connection(&mut provider);
        assert_eq!(wait(&mut provider, Duration::ZERO), []);
        assert!(provider.source_mut(key).unwrap().receives());
        provider.set_reading(key, reads).unwrap();
        peer.write_all(b"answer").unwrap();
        drop(peer);
        assert_eq!(provider.send_slice(key, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(take(&mut provider, key, &mut scratch), 6);
        assert_eq!(&scratch[..6], b"answer");
        assert_eq!(provider.receive(key, &mut scratch).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        provider.close(key);
    }
    assert_eq!(buffers_in_ring(&mut provider), usize::from(provider.buffers.count()));
}

/// A send of the batch fails in the next wait. Its error follows the received bytes as well.
#[test]
fn received_bytes_precede_the_error_of_a_batched_send() {
    let mut provider = provider();
    let (key, mut peer) = connection(&mut provider);
    assert_eq!(wait(&mut provider, Duration::ZERO), []);
    peer.write_all(b"answer").unwrap();
    drop(peer);
    let mut outbox = Outbox::new();
    outbox.write(b"x");
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    let (mut received, mut scratch) = (0, [0; 100]);
    until(&mut provider, |provider, events| {
        for _ in events.iter().filter(|event| event.key == key && event.ready.contains(Ready::READ)) {
            match provider.receive(key, &mut scratch) {
                Ok(Received::Filled(count) | Received::Drained(count)) => received += count,
                Ok(Received::Lent(chunk)) => received += chunk.len(),
                Ok(Received::Empty) => {}
                Ok(Received::Eof) => panic!("the send has failed"),
                Err(error) => {
                    assert_eq!((error.kind(), received), (io::ErrorKind::BrokenPipe, 6));
                    return true;
                }
            }
        }
        false
    });
}
