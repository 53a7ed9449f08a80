//! AsyncStream: descriptors that UNIX connections carry.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::UnixClientEndpoint;
use ropewalk::task::{AsyncStream, StreamFactory};
use ropewalk::{Error, Reactor, UnixBinding};

use crate::passed::{Closed, ForeignPeer, Labelled, MOST, label_of};
use crate::specifications;
use crate::waiting::{after_some_turns, iterate_until};

/// Adopts one end of a new connection as a stream, and returns it with the foreign peer at the other end.
fn stream(reactor: &Reactor, takes_descriptors: bool) -> (AsyncStream, ForeignPeer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let made = Rc::new(RefCell::new(None));
    let keep = made.clone();
    let factory = StreamFactory::new(move |stream, _: &Reactor| drop(keep.replace(Some(stream))));
    let factory = if takes_descriptors { factory.with_file_descriptors() } else { factory };
    reactor.adopt_stream_connection(ours, &factory).unwrap();
    let stream = made.take().expect("a stream");
    (stream, ForeignPeer(theirs))
}

/// Runs a task to its end, and returns its output.
fn finish<T: 'static>(reactor: &Reactor, task: impl Future<Output = T> + 'static) -> T {
    let output = reactor.spawn(task);
    iterate_until(reactor, || output.is_done());
    output.try_result().unwrap().expect("it does not panic")
}

/// Takes the next descriptor, and returns its label.
async fn next_label(stream: &mut AsyncStream) -> Option<String> {
    stream.next_file_descriptor().await.unwrap().map(label_of)
}

fn labelled(count: usize) -> (Vec<std::os::fd::OwnedFd>, Vec<Closed>) {
    (0..count).map(|_| Labelled::new('x')).map(|made| (made.descriptor, made.closed)).unzip()
}

specifications! {
    async_descriptors;

    fn descriptors_are_taken_in_their_order(subject: &Subject) {
        let reactor = subject.reactor();
        let (mut stream, peer) = stream(&reactor, true);
        let (descriptors, copies) = Labelled::all(['a', 'b']);
        peer.pass(b"two", &descriptors);
        drop(descriptors);
        peer.pass(b"one", &[Labelled::new('c').descriptor]);
        drop(peer);
        finish(&reactor, async move {
            let mut bytes = [0; 6];
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("a"));
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"twoone");
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("b"));
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("c"));
            assert_eq!(next_label(&mut stream).await, None, "the end of the stream");
        });
        assert!(copies.iter().all(Closed::is_closed));
    }

    fn a_wait_for_a_descriptor_leaves_the_bytes(subject: &Subject) {
        let reactor = subject.reactor();
        let (mut stream, peer) = stream(&reactor, true);
        (&peer.0).write_all(b"plain").unwrap();
        let late = Rc::new(peer);
        let passing = late.clone();
        after_some_turns(&reactor, move |_| passing.pass(b"!", &[Labelled::new('a').descriptor]));
        finish(&reactor, async move {
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("a"));
            let mut bytes = [0; 6];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"plain!");
        });
    }

    fn a_stream_that_does_not_ask_gets_none(subject: &Subject) {
        let reactor = subject.reactor();
        let (mut stream, peer) = stream(&reactor, false);
        let Labelled { descriptor, closed } = Labelled::new('a');
        peer.pass(b"x", &[descriptor]);
        drop(peer);
        assert_eq!(finish(&reactor, async move { next_label(&mut stream).await }), None);
        assert!(closed.is_closed());
    }

    fn untaken_descriptors_are_closed_with_the_stream(subject: &Subject) {
        let reactor = subject.reactor();
        let (stream, peer) = stream(&reactor, true);
        let (descriptors, copies) = Labelled::all(['a', 'b']);
        peer.pass(b"two", &descriptors);
        drop(descriptors);
        iterate_until(&reactor, || true);
        assert!(!copies[0].is_closed());
        drop(stream);
        iterate_until(&reactor, || copies.iter().all(Closed::is_closed));
    }

    fn too_many_untaken_descriptors_pause_reading(subject: &Subject) {
        // Bytes cannot arrive then, so a read fails instead of waiting for ever.
        let reactor = subject.reactor();
        let (mut stream, peer) = stream(&reactor, true);
        let (descriptors, copies) = labelled(100);
        for _ in 0..5 {
            peer.pass(b"m", &descriptors);
        }
        drop(descriptors);
        iterate_until(&reactor, || stream.transport().is_paused());
        finish(&reactor, async move {
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes[..2]).await.unwrap();
            let error = stream.read(&mut bytes).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().contains("call next_file_descriptor"), "{error}");
            for _ in 0..500 {
                stream.next_file_descriptor().await.unwrap().expect("all arrive");
            }
            stream.read_exact(&mut bytes[2..]).await.unwrap();
            assert_eq!(&bytes, b"mmmmm");
        });
        assert!(copies.iter().all(Closed::is_closed));
    }

    fn too_many_unread_bytes_fail_a_wait_for_a_descriptor(subject: &Subject) {
        let reactor = subject.reactor();
        let (mut stream, peer) = stream(&reactor, true);
        let writing = std::thread::spawn(move || {
            (&peer.0).write_all(&[7; 1_000_000]).unwrap();
            peer.pass(b"!", &[Labelled::new('a').descriptor]);
            peer
        });
        finish(&reactor, async move {
            let error = stream.next_file_descriptor().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            let mut bytes = vec![0; 1_000_000];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("a"));
        });
        drop(writing.join().unwrap());
    }

    fn a_dropped_wait_loses_no_descriptor(subject: &Subject) {
        let reactor = subject.reactor();
        let (mut stream, peer) = stream(&reactor, true);
        let waiting = reactor.clone();
        finish(&reactor, async move {
            let wait = waiting.timeout(Duration::from_millis(1), stream.next_file_descriptor());
            assert!(wait.await.is_err());
            peer.pass(b"x", &[Labelled::new('a').descriptor]);
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("a"));
        });
    }

    fn halves_carry_descriptors(subject: &Subject) {
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        let answer = StreamFactory::new(|stream: AsyncStream, reactor: &Reactor| {
            let (mut from, mut to) = stream.into_split();
            drop(reactor.spawn(async move {
                while let Some(descriptor) = from.next_file_descriptor().await? {
                    to.send_file_descriptor(descriptor)?;
                    to.write_all(b"back").await?;
                }
                Ok::<_, Error>(())
            }));
        });
        let port = reactor.listen_unix(UnixBinding::new(&path), answer.with_file_descriptors()).unwrap();
        let connecting = AsyncStream::connect_with_file_descriptors(&reactor, &UnixClientEndpoint::new(&path));
        let Labelled { descriptor, closed } = Labelled::new('a');
        finish(&reactor, async move {
            let mut stream = connecting.await.unwrap();
            stream.send_file_descriptor(descriptor).unwrap();
            stream.write_all(b"there").await.unwrap();
            assert_eq!(next_label(&mut stream).await.as_deref(), Some("a"));
        });
        assert!(closed.is_closed());
        port.stop_listening();
    }

    fn too_many_queued_descriptors_are_refused(subject: &Subject) {
        let reactor = subject.reactor();
        let (mut stream, _peer) = stream(&reactor, true);
        let (descriptors, copies) = labelled(MOST + 1);
        let mut sent = descriptors.into_iter().map(|descriptor| stream.send_file_descriptor(descriptor));
        assert!(sent.by_ref().take(MOST).all(|sent| sent.is_ok()));
        assert!(matches!(sent.next(), Some(Err(Error::Io(_, error))) if error.kind() == ErrorKind::WouldBlock));
        assert!(copies[MOST].is_closed());
    }
}
