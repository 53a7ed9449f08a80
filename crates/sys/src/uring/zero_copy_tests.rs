//! Sends that make no copy: what is sent is what was written, whatever happens meanwhile.
//!
//! Over the loopback the kernel copies what it delivers, so a notification is outstanding as long as the peer has no room.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ropewalk_proto::{Key, Outbox};

use super::tests::{provider, until, wait};
use super::*;
use crate::provider::Ready;

const CHUNK: usize = 1024 * 1024;

/// Memory that says when it is freed, and is overwritten then.
struct Owned {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.bytes.fill(0xee);
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Chunks {
    alive: Arc<AtomicUsize>,
    written: Vec<u8>,
}

impl Chunks {
    fn next(&mut self, length: usize) -> Bytes {
        let bytes: Vec<u8> = (0..length).map(|place| (place * 31 + place / 251 + self.written.len()) as u8).collect();
        self.written.extend_from_slice(&bytes);
        self.alive.fetch_add(1, Ordering::SeqCst);
        Bytes::from_owner(Owned { bytes, alive: self.alive.clone() })
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

/// A provider that copies nothing of 16 KiB and more, a connection of it over TCP, and its peer.
fn connected() -> (Uring, Key, TcpStream) {
    let mut provider = provider();
    assert!(provider.set_zero_copy_from(Some(16 * 1024)));
    let (key, peer) = connection(&mut provider);
    (provider, key, peer)
}

fn connection(provider: &mut Uring) -> (Key, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let key = provider.adopt(OwnedFd::from(listener.accept().unwrap().0), Kind::StreamConnection).unwrap();
    (key, peer)
}

/// Sends chunks until the peer has no room; the chunks that the provider did not take are dropped.
fn choke(provider: &mut Uring, key: Key, chunks: &mut Chunks) {
    let mut outbox = Outbox::new();
    loop {
        outbox.write_bytes(chunks.next(CHUNK));
        if provider.send(key, &mut outbox).unwrap() != Sent::All {
            chunks.written.truncate(chunks.written.len() - outbox.len());
            return;
        }
        wait(provider, Duration::ZERO);
    }
}

fn reader(mut peer: TcpStream) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A reset after the last byte is no matter here.
        let _ = peer.read_to_end(&mut bytes);
        bytes
    })
}

#[test]
fn what_is_sent_without_a_copy_arrives_unchanged_and_in_order_though_the_writer_drops_it() {
    let (mut provider, key, peer) = connected();
    let reader = reader(peer);
    let mut chunks = Chunks::default();
    let mut outbox = Outbox::new();
    for length in [100, 20_000, 3 * CHUNK + 1, 1, 16 * 1024, 5000, CHUNK] {
        outbox.write(&chunks.next(length)[..length.min(50)]);
        chunks.written.truncate(chunks.written.len() - length + length.min(50));
        outbox.write_bytes(chunks.next(length));
        let mut sent = provider.send(key, &mut outbox).unwrap();
        until(&mut provider, |provider, events| {
            if events.iter().any(|event| event.ready.contains(Ready::WRITE)) {
                sent = provider.send(key, &mut outbox).unwrap();
            }
            sent == Sent::All
        });
    }
    provider.shutdown_write(key).unwrap();
    until(&mut provider, |_, _| chunks.alive() == 0);
    assert!(provider.zero_copy.is_empty());
    assert!(reader.join().unwrap() == chunks.written);
}

/// Memory that nobody else refers to is what a writer uses again.
#[test]
fn the_writer_cannot_reuse_its_memory_before_the_kernel_is_done_with_it() {
    let (mut provider, key, mut peer) = connected();
    let mut choker = Chunks::default();
    choke(&mut provider, key, &mut choker);
    let chunk = Bytes::from(vec![7; CHUNK]);
    let mut outbox = Outbox::new();
    outbox.write_bytes(chunk.clone());
    let mut given = vec![0; choker.written.len() + CHUNK];
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::InFlight);
    let chunk = chunk.try_into_mut().unwrap_err();
    let reader = thread::spawn(move || {
        peer.read_exact(&mut given).unwrap();
        (peer, given)
    });
    until(&mut provider, |provider, events| {
        for _ in events.iter().filter(|event| event.ready.contains(Ready::WRITE)) {
            provider.send(key, &mut outbox).unwrap();
        }
        outbox.is_empty() && provider.zero_copy.is_empty()
    });
    let mut reused: BytesMut = chunk.try_into_mut().expect("it is the writer's alone again");
    reused.fill(8);
    let (_peer, given) = reader.join().unwrap();
    assert!(given[choker.written.len()..].iter().all(|byte| *byte == 7));
}

/// LESSONS, bug 10 and the first of io_uring's: a cancel or a close frees nothing that the kernel still reads.
#[test]
fn a_close_with_notifications_outstanding_frees_nothing_early_and_delivers_what_was_taken() {
    let (mut provider, key, peer) = connected();
    let mut chunks = Chunks::default();
    choke(&mut provider, key, &mut chunks);
    provider.close(key);
    assert!(chunks.alive() > 0);
    wait(&mut provider, Duration::from_millis(1));
    assert!(chunks.alive() > 0 && !provider.zero_copy.is_empty());
    let reader = reader(peer);
    until(&mut provider, |provider, _| !provider.is_busy());
    assert_eq!(chunks.alive(), 0);
    assert!(reader.join().unwrap() == chunks.written);
}

#[test]
fn an_abort_gives_the_memory_back_when_the_kernel_has_dropped_it() {
    let (mut provider, key, mut peer) = connected();
    let mut chunks = Chunks::default();
    choke(&mut provider, key, &mut chunks);
    provider.abort(key);
    until(&mut provider, |provider, _| !provider.is_busy());
    assert_eq!(chunks.alive(), 0);
    let mut bytes = Vec::new();
    let _ = peer.read_to_end(&mut bytes);
    assert!(bytes.len() < chunks.written.len() && chunks.written.starts_with(&bytes));
}

/// The kernel is told a descriptor's number when it is told of a send, and the lowest that is free is the next one's.
#[test]
fn what_an_aborted_connection_was_to_send_is_not_sent_by_its_successor() {
    let (mut provider, key, _peer) = connected();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut chunks = Chunks::default();
    let mut outbox = Outbox::new();
    outbox.write_bytes(chunks.next(20_000));
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    provider.abort(key);
    let near = OwnedFd::from(listener.accept().unwrap().0);
    let successor = provider.adopt(near, Kind::StreamConnection).unwrap();
    wait(&mut provider, Duration::ZERO);
    provider.close(successor);
    let mut bytes = Vec::new();
    stranger.read_to_end(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "{} bytes of another", bytes.len());
    until(&mut provider, |provider, _| !provider.is_busy());
    assert_eq!(chunks.alive(), 0);
}

/// A connection that is ended before the kernel was told of what it took.
#[test]
fn what_was_taken_and_not_submitted_leaves_with_the_close() {
    let (mut provider, key, peer) = connected();
    let mut chunks = Chunks::default();
    let mut outbox = Outbox::new();
    outbox.write_bytes(chunks.next(20_000));
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    provider.close(key);
    assert!(reader(peer).join().unwrap() == chunks.written);
}

#[test]
fn the_end_of_the_sending_direction_stands_behind_what_is_sent_without_a_copy() {
    let (mut provider, key, peer) = connected();
    let mut chunks = Chunks::default();
    choke(&mut provider, key, &mut chunks);
    provider.shutdown_write(key).unwrap();
    let reader = reader(peer);
    until(&mut provider, |provider, _| provider.zero_copy.is_empty());
    assert!(reader.join().unwrap() == chunks.written);
}

/// LESSONS, bug 11: here under AddressSanitizer too. What the kernel may still send is kept, with its bytes.
#[test]
fn a_provider_that_is_dropped_with_notifications_outstanding_frees_nothing_that_the_kernel_sends() {
    let (mut provider, key, peer) = connected();
    let mut chunks = Chunks::default();
    choke(&mut provider, key, &mut chunks);
    // The last part is not the kernel's, and is lost with its connection.
    drop(provider);
    assert!(chunks.alive() > 0);
    let bytes = reader(peer).join().unwrap();
    assert!(!bytes.is_empty() && chunks.written.starts_with(&bytes));
}

#[test]
fn a_wait_that_moves_to_another_thread_sends_what_the_first_ring_was_not_told_of() {
    let (mut provider, key, peer) = connected();
    let (choked, slow) = connection(&mut provider);
    let mut kept = Chunks::default();
    choke(&mut provider, choked, &mut kept);
    let mut chunks = Chunks::default();
    let mut outbox = Outbox::new();
    outbox.write_bytes(chunks.next(20_000));
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    let mut provider = thread::spawn(move || {
        wait(&mut provider, Duration::ZERO);
        provider
    })
    .join()
    .unwrap();
    provider.shutdown_write(key).unwrap();
    assert!(reader(peer).join().unwrap() == chunks.written);
    provider.close(choked);
    let reader = reader(slow);
    until(&mut provider, |provider, _| !provider.is_busy());
    assert!(reader.join().unwrap() == kept.written);
}

/// The kernel refuses what a UNIX socket would be asked: such a connection copies, and so does one of which that is not known.
#[test]
fn where_the_kernel_refuses_it_copies() {
    for is_known in [true, false] {
        let mut provider = provider();
        assert!(provider.set_zero_copy_from(Some(16 * 1024)));
        let (near, mut peer) = UnixStream::pair().unwrap();
        let key = provider.adopt(OwnedFd::from(near), Kind::StreamConnection).unwrap();
        provider.source_mut(key).unwrap().as_connection().unwrap().only_copies = is_known;
        let mut chunks = Chunks::default();
        let mut outbox = Outbox::new();
        for _ in 0..3 {
            outbox.write_bytes(chunks.next(20_000));
            until(&mut provider, |provider, _| provider.send(key, &mut outbox).unwrap() == Sent::All);
        }
        wait(&mut provider, Duration::ZERO);
        assert!(provider.source_mut(key).unwrap().as_connection().unwrap().only_copies);
        assert_eq!(chunks.alive(), 0);
        let mut bytes = vec![0; 60_000];
        peer.read_exact(&mut bytes).unwrap();
        assert!(bytes == chunks.written);
    }
}

#[test]
fn who_did_not_ask_for_it_and_what_is_small_is_copied() {
    let (mut provider, key, mut peer) = connected();
    let mut chunks = Chunks::default();
    let mut outbox = Outbox::new();
    outbox.write_bytes(chunks.next(16 * 1024 - 1));
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    assert_eq!(chunks.alive(), 0);
    assert!(provider.set_zero_copy_from(None));
    outbox.write_bytes(chunks.next(20_000));
    assert_eq!(provider.send(key, &mut outbox).unwrap(), Sent::All);
    assert_eq!(chunks.alive(), 0);
    let mut bytes = vec![0; chunks.written.len()];
    peer.read_exact(&mut bytes).unwrap();
    assert!(bytes == chunks.written);
}
