use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{OFlags, fcntl_getfl};

use super::*;

/// A pipe with its descriptor.
struct Adopted {
    fd: OwnedFd,
    pipe: Pipe,
}

impl Adopted {
    fn receive(&self, scratch: &mut [u8]) -> io::Result<Received> {
        self.pipe.receive(self.fd.as_fd(), scratch)
    }

    fn send_outbox(&self, outbox: &mut Outbox) -> io::Result<bool> {
        self.pipe.send_outbox(self.fd.as_fd(), outbox)
    }

    fn send_slice(&self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.send_slice(self.fd.as_fd(), bytes)
    }
}

fn adopted(fd: impl Into<OwnedFd>, end: PipeEnd, sharing: Sharing) -> Adopted {
    let (fd, pipe) = Pipe::adopt(fd.into(), end, sharing).unwrap();
    Adopted { fd, pipe }
}

fn outbox(length: usize) -> Outbox {
    let mut outbox = Outbox::new();
    outbox.write(&vec![b'x'; length]);
    outbox
}

#[test]
fn every_kind_of_descriptor_has_its_way() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let null = || File::open("/dev/null").unwrap();
    assert_eq!(adopted(reader, PipeEnd::Reader, Sharing::Owned).pipe.way, Way::Flagged { is_terminal: false });
    assert_eq!(adopted(writer, PipeEnd::Writer, Sharing::Shared).pipe.way, Way::SharedPipe);
    assert_eq!(adopted(one, PipeEnd::Both, Sharing::Shared).pipe.way, Way::SharedSocket);
    assert_eq!(adopted(other, PipeEnd::Both, Sharing::Owned).pipe.way, Way::Flagged { is_terminal: false });
    assert_eq!(adopted(null(), PipeEnd::Reader, Sharing::Owned).pipe.way, Way::File);
    assert_eq!(adopted(File::open("/").unwrap(), PipeEnd::Reader, Sharing::Shared).pipe.way, Way::File);
}

#[test]
fn no_shared_descriptor_blocks_or_becomes_non_blocking() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    for (input, output) in [(reader, writer), (one.into(), other.into())] {
        let copy = output.try_clone().unwrap();
        let input = adopted(input, PipeEnd::Reader, Sharing::Shared);
        let output = adopted(output, PipeEnd::Writer, Sharing::Shared);
        assert!(matches!(input.receive(&mut [0; 8]), Ok(Received::Empty)));
        let mut outbox = outbox(1 << 20);
        while !output.send_outbox(&mut outbox).unwrap() {}
        assert!(!outbox.is_empty(), "more than the system holds");
        assert_eq!(output.send_slice(b"x").unwrap(), 0);
        assert!(!fcntl_getfl(&copy).unwrap().contains(OFlags::NONBLOCK));
        assert!(matches!(input.receive(&mut [0; 8]), Ok(Received::Filled(8))));
    }
}

/// A kernel that knows no flag of the call for pipes.
#[test]
fn a_look_keeps_a_write_from_blocking() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let chunk = [0; 4096];
    let mut taken = 0;
    let outcome = loop {
        match write_looking(writer.as_fd(), &[IoSlice::new(&chunk)], SURE_BYTES) {
            Ok(count) => taken += count,
            Err(error) => break error,
        }
    };
    assert_eq!(outcome, Errno::AGAIN);
    assert!(taken >= 4096 && taken % SURE_BYTES == 0);
    let mut reader = File::from(reader);
    reader.read_exact(&mut vec![0; taken]).unwrap();
    assert_eq!(write_looking(writer.as_fd(), &[IoSlice::new(b"on")], SURE_BYTES), Ok(2));
}

/// write(2): EPIPE, without SIGPIPE.
#[test]
fn a_pipe_without_a_reader_is_broken() {
    for sharing in [Sharing::Owned, Sharing::Shared] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let writer = adopted(writer, PipeEnd::Writer, sharing);
        assert_eq!(writer.send_slice(&[]).unwrap(), 0);
        drop(reader);
        for bytes in [&b""[..], b"x"] {
            assert_eq!(writer.send_slice(bytes).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        assert_eq!(writer.send_outbox(&mut outbox(3)).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn the_end_comes_after_the_last_byte() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    File::from(writer).write_all(b"last").unwrap();
    let reader = adopted(reader, PipeEnd::Reader, Sharing::Shared);
    let mut scratch = [0; 8];
    assert!(matches!(reader.receive(&mut scratch), Ok(Received::Drained(4))));
    assert!(matches!(reader.receive(&mut scratch), Ok(Received::Eof)));
}

#[test]
fn many_segments_keep_their_order() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let writer = adopted(writer, PipeEnd::Writer, Sharing::Owned);
    let mut outbox = Outbox::new();
    let mut expected = Vec::new();
    for number in 0..20_u8 {
        let segment = vec![number; 3000];
        expected.extend_from_slice(&segment);
        outbox.write_bytes(segment.into());
    }
    assert!(!outbox.is_contiguous());
    assert!(!writer.send_outbox(&mut outbox).unwrap());
    drop(writer);
    let mut received = Vec::new();
    File::from(reader).read_to_end(&mut received).unwrap();
    assert!(received == expected);
}
