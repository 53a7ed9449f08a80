//! Descriptors that their owner reads and writes.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Instant;

use ropewalk_sys::{Event, Interest, Ready};

use crate::bench::{Bench, Directory, MOMENT, PATIENCE, assert_kind, pipe};

pub(crate) fn a_pipe_reports_what_it_was_watched_for(bench: &mut Bench) {
    let (reader, mut writer) = pipe();
    let read = bench.watches().watch(reader.as_raw_fd(), Interest::READ).unwrap();
    assert_eq!(bench.settle(), []);
    writer.write_all(b"x").unwrap();
    assert_eq!(bench.expect(read, Ready::READ).ready, Ready::READ);
    let write = bench.watches().watch(writer.as_raw_fd(), Interest::WRITE).unwrap();
    assert_eq!(bench.expect(write, Ready::WRITE).ready, Ready::WRITE);
}

pub(crate) fn a_watched_descriptor_is_reported_repeatedly(bench: &mut Bench) {
    let (mut reader, mut writer) = pipe();
    let read = bench.watches().watch(reader.as_raw_fd(), Interest::READ).unwrap();
    let write = bench.watches().watch(writer.as_raw_fd(), Interest::WRITE).unwrap();
    writer.write_all(b"x").unwrap();
    for _ in 0..3 {
        let mut events = bench.wait(MOMENT);
        events.sort_by_key(|event| event.key);
        assert_eq!(events, [Event { key: read, ready: Ready::READ }, Event { key: write, ready: Ready::WRITE }]);
    }
    reader.read_exact(&mut [0]).unwrap();
    bench.watches().set_interest(write, Interest::empty()).unwrap();
    assert_eq!(bench.settle(), []);
}

pub(crate) fn a_watched_descriptor_without_interest_is_silent(bench: &mut Bench) {
    let (reader, writer) = pipe();
    let key = bench.watches().watch(reader.as_raw_fd(), Interest::empty()).unwrap();
    drop(writer);
    assert_eq!(bench.settle(), [], "not even a hang-up");
    bench.watches().set_interest(key, Interest::READ).unwrap();
    bench.expect(key, Ready::READ);
    bench.watches().set_interest(key, Interest::empty()).unwrap();
    assert_eq!(bench.settle(), []);
}

/// epoll_ctl(2), EPERM: the file does not support epoll.
pub(crate) fn a_regular_file_is_always_ready(bench: &mut Bench) {
    let directory = Directory::new();
    fs::write(directory.path("file"), "x").unwrap();
    let file = File::open(directory.path("file")).unwrap();
    let key = bench.watches().watch(file.as_raw_fd(), Interest::READ).unwrap();
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(bench.wait(PATIENCE), [Event { key, ready: Ready::READ }]);
    }
    assert!(began.elapsed() < PATIENCE);
    bench.watches().set_interest(key, Interest::READ | Interest::WRITE).unwrap();
    assert_eq!(bench.wait(MOMENT), [Event { key, ready: Ready::READ | Ready::WRITE }]);
    bench.watches().set_interest(key, Interest::empty()).unwrap();
    assert_eq!(bench.settle(), []);
    bench.watches().set_interest(key, Interest::WRITE).unwrap();
    assert_eq!(bench.wait(MOMENT), [Event { key, ready: Ready::WRITE }]);
    bench.watches().unwatch(key);
    assert_eq!(bench.settle(), []);
}

pub(crate) fn a_descriptor_that_is_not_open_cannot_be_watched(bench: &mut Bench) {
    for number in [-1, i32::MIN, 1_000_000] {
        let error = bench.watches().watch(number, Interest::READ).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
    }
}

pub(crate) fn a_watched_descriptor_is_not_read_written_or_closed(bench: &mut Bench) {
    let (mut reader, mut writer) = pipe();
    let key = bench.watches().watch(reader.as_raw_fd(), Interest::READ).unwrap();
    assert_kind(bench.receive(key), ErrorKind::InvalidInput);
    assert_kind(bench.streams().send_slice(key, b"x"), ErrorKind::InvalidInput);
    assert_eq!(bench.sockets().raw_socket(key), None);
    bench.watches().unwatch(key);
    writer.write_all(b"x").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!(bench.settle(), []);
}

pub(crate) fn a_descriptor_may_be_watched_again_after_its_key_was_ended(bench: &mut Bench) {
    let (reader, mut writer) = pipe();
    let old = bench.watches().watch(reader.as_raw_fd(), Interest::READ).unwrap();
    writer.write_all(b"x").unwrap();
    bench.watches().unwatch(old);
    let new = bench.watches().watch(reader.as_raw_fd(), Interest::READ).unwrap();
    assert_eq!(bench.wait(MOMENT), [Event { key: new, ready: Ready::READ }]);
}
