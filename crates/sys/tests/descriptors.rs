//! Tests of the descriptors of the whole process, so they run one at a time.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{ConnectSpec, Event, EventProvider, Events, Interest, Kind, ListenSpec, Ready, Received, providers};
use rustix::io::{dup, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const PATIENCE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(30);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(name: &str) -> Box<dyn EventProvider> {
    let provider = providers().iter().find(|provider| provider.name == name).expect("a provider of this system");
    (provider.open)().unwrap()
}

fn each(specification: impl Fn(&mut dyn EventProvider)) {
    for provider in providers() {
        specification(&mut *open(provider.name));
    }
}

fn wait(provider: &mut dyn EventProvider, timeout: Duration) -> Events {
    let mut events = Events::new();
    provider.wait(Some(timeout), &mut events).unwrap();
    events
}

/// Waits until a short wait reports nothing. Returns all events before that.
fn settle(provider: &mut dyn EventProvider) -> Events {
    let mut events = Events::new();
    for _ in 0..4 {
        let began = Instant::now();
        let reported = wait(provider, MOMENT);
        if reported.is_empty() && began.elapsed() >= MOMENT {
            return events;
        }
        events.extend(reported);
    }
    panic!("{} does not come to rest: {events:?}", provider.name());
}

fn port(provider: &mut dyn EventProvider) -> (Key, SocketAddr) {
    let loopback = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (port, address) = provider.streams().unwrap().listen(&ListenSpec::new(loopback)).unwrap();
    provider.streams().unwrap().set_reading(port, true).unwrap();
    (port, address.inet().unwrap())
}

/// A connection that is read, and its peer.
fn connection(provider: &mut dyn EventProvider) -> (Key, TcpStream) {
    let (port, address) = port(provider);
    let peer = TcpStream::connect(address).unwrap();
    wait(provider, PATIENCE);
    let (key, _) = provider.streams().unwrap().accept(port).unwrap().unwrap();
    provider.streams().unwrap().set_reading(key, true).unwrap();
    (key, peer)
}

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer.into())
}

/// Returns the number of open descriptors.
fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").unwrap().count()
}

/// Takes every number below `bound`, so that the next descriptor is at least `bound`.
fn occupy_below(bound: RawFd) -> Vec<OwnedFd> {
    let mut taken = vec![OwnedFd::from(File::open("/dev/null").unwrap())];
    loop {
        let copy = dup(&taken[0]).unwrap();
        if copy.as_raw_fd() >= bound {
            return taken;
        }
        taken.push(copy);
    }
}

/// A changed limit of open descriptors. Dropping the value restores the old limit.
struct Limit(Rlimit);

impl Limit {
    fn of(descriptors: u64) -> Limit {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), ..before }).unwrap();
        Limit(before)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

const FD_SETSIZE: RawFd = libc::FD_SETSIZE as RawFd;

fn assert_beyond_select<T>(outcome: std::io::Result<T>) {
    let message = outcome.err().expect("an error").to_string();
    assert!(message.contains("select cannot watch descriptor"), "{message}");
    assert!(message.contains("1023") && message.contains("poll"), "{message}");
}

/// select(2): FD_SET beyond FD_SETSIZE is undefined behaviour.
#[test]
fn select_refuses_every_descriptor_beyond_its_limit() {
    let _turn = turn();
    let _limit = Limit::of(2048);
    let mut select = open("select");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reader, _writer) = pipe();
    let high = fcntl_dupfd_cloexec(&reader, FD_SETSIZE).unwrap();
    let high_listener = fcntl_dupfd_cloexec(&listener, FD_SETSIZE).unwrap();
    let taken = occupy_below(FD_SETSIZE);
    let before = open_descriptors();

    assert_beyond_select(select.watches().unwrap().watch(high.as_raw_fd(), Interest::READ));
    let loopback = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    assert_beyond_select(select.streams().unwrap().listen(&ListenSpec::new(loopback)));
    let address = listener.local_addr().unwrap().into();
    assert_beyond_select(select.streams().unwrap().connect(&ConnectSpec { address, bind: None }));
    assert_eq!(open_descriptors(), before, "refused sockets are closed");
    assert_beyond_select(select.adoption().unwrap().adopt(high_listener, Kind::StreamPort));
    assert_eq!(open_descriptors(), before - 1, "the adopted socket is closed");
    drop(taken);
    assert_eq!(wait(&mut *select, MOMENT), []);
}

#[test]
fn select_closes_a_connection_beyond_its_limit() {
    let _turn = turn();
    let _limit = Limit::of(2048);
    let mut select = open("select");
    let (port, address) = port(&mut *select);
    let taken = occupy_below(FD_SETSIZE);
    let mut refused = TcpStream::connect(address).unwrap();
    assert_eq!(wait(&mut *select, PATIENCE), [Event { key: port, ready: Ready::READ }]);
    let before = open_descriptors();
    assert_beyond_select(select.streams().unwrap().accept(port));
    assert_eq!(open_descriptors(), before);
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    drop(taken);
    let _served = TcpStream::connect(address).unwrap();
    assert_eq!(wait(&mut *select, PATIENCE), [Event { key: port, ready: Ready::READ }]);
    assert!(select.streams().unwrap().accept(port).unwrap().is_some());
}

#[test]
fn other_providers_go_beyond_the_limit_of_select() {
    let _turn = turn();
    let _limit = Limit::of(2048);
    let (reader, mut writer) = pipe();
    let high = fcntl_dupfd_cloexec(&reader, FD_SETSIZE + 100).unwrap();
    writer.write_all(b"x").unwrap();
    each(|provider| {
        if provider.name() != "select" {
            let key = provider.watches().unwrap().watch(high.as_raw_fd(), Interest::READ).unwrap();
            assert_eq!(wait(provider, PATIENCE), [Event { key, ready: Ready::READ }]);
        }
    });
}

/// accept(2), EMFILE.
#[test]
fn a_port_accepts_again_once_descriptors_are_free() {
    let _turn = turn();
    each(|provider| {
        let (port, address) = port(provider);
        let _peer = TcpStream::connect(address).unwrap();
        let first_free = dup(std::io::stderr()).unwrap().as_raw_fd();
        let limit = Limit::of(first_free as u64);
        assert_eq!(wait(provider, PATIENCE), [Event { key: port, ready: Ready::READ }]);
        let error = provider.streams().unwrap().accept(port).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        provider.streams().unwrap().set_reading(port, false).unwrap();
        assert_eq!(settle(provider), [], "a port without descriptors does not spin");
        drop(limit);
        provider.streams().unwrap().set_reading(port, true).unwrap();
        assert_eq!(wait(provider, PATIENCE), [Event { key: port, ready: Ready::READ }]);
        assert!(provider.streams().unwrap().accept(port).unwrap().is_some());
    });
}

/// Twisted's ConnectionFdescWentAway. epoll forgets a closed file without a report.
#[test]
fn a_closed_watched_descriptor_is_reported_gone_once() {
    let _turn = turn();
    each(|provider| {
        let (reader, _writer) = pipe();
        let (other, mut other_writer) = pipe();
        let key = provider.watches().unwrap().watch(reader.as_raw_fd(), Interest::READ).unwrap();
        let other_key = provider.watches().unwrap().watch(other.as_raw_fd(), Interest::READ).unwrap();
        drop(reader);
        let reported = wait(provider, MOMENT);
        let gone = Event { key, ready: Ready::GONE };
        assert_eq!(reported, if provider.name() == "epoll" { vec![] } else { vec![gone] });
        assert_eq!(settle(provider), []);
        other_writer.write_all(b"x").unwrap();
        assert_eq!(wait(provider, PATIENCE), [Event { key: other_key, ready: Ready::READ }]);
        provider.watches().unwrap().unwatch(key);
        provider.watches().unwrap().unwatch(other_key);
    });
}

/// epoll(7): a copy of a closed descriptor keeps the file registered, and the registration can no longer be removed by
/// its number.
#[test]
fn a_copy_of_a_closed_watched_descriptor_stops_reporting() {
    let _turn = turn();
    each(|provider| {
        let (reader, mut writer) = pipe();
        let (other, mut other_writer) = pipe();
        let _copy = dup(&reader).unwrap();
        let number = reader.as_raw_fd();
        let key = provider.watches().unwrap().watch(number, Interest::READ).unwrap();
        let other_key = provider.watches().unwrap().watch(other.as_raw_fd(), Interest::READ).unwrap();
        let handle = provider.host_handle();
        writer.write_all(b"x").unwrap();
        drop(reader);
        provider.watches().unwrap().unwatch(key);
        assert_eq!(settle(provider), []);
        other_writer.write_all(b"x").unwrap();
        assert_eq!(wait(provider, PATIENCE), [Event { key: other_key, ready: Ready::READ }]);
        assert_eq!(provider.host_handle(), handle);
        provider.waker().wake();
        let began = Instant::now();
        wait(provider, PATIENCE);
        assert!(began.elapsed() < PATIENCE, "the waker was forgotten");
    });
}

/// epoll_create1(2), EMFILE: to drop the stale copy, the provider needs a new epoll instance and so a descriptor.
#[test]
fn a_stale_copy_wakes_no_wait_without_spare_descriptors() {
    let _turn = turn();
    each(|provider| {
        let (reader, mut writer) = pipe();
        let (mut other, mut other_writer) = pipe();
        let _copy = dup(&reader).unwrap();
        let key = provider.watches().unwrap().watch(reader.as_raw_fd(), Interest::READ).unwrap();
        let other_key = provider.watches().unwrap().watch(other.as_raw_fd(), Interest::READ).unwrap();
        drop(reader);
        provider.watches().unwrap().unwatch(key);
        let first_free = dup(std::io::stderr()).unwrap().as_raw_fd();
        let limit = Limit::of(first_free as u64);
        writer.write_all(b"x").unwrap();
        other_writer.write_all(b"x").unwrap();
        assert_eq!(wait(provider, PATIENCE), [Event { key: other_key, ready: Ready::READ }]);
        drop(limit);
        other.read_exact(&mut [0]).unwrap();
        assert_eq!(settle(provider), []);
    });
}

/// fork(2) and dup(2): the file lives on in the copy, but it has left the selector.
#[test]
fn a_copy_of_a_closed_connection_reports_nothing() {
    let _turn = turn();
    each(|provider| {
        let (key, mut peer) = connection(provider);
        // SAFETY: the provider keeps the descriptor open until `close`.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(provider.sockets().unwrap().raw_socket(key).unwrap()) };
        let copy = dup(fd).unwrap();
        provider.streams().unwrap().close(key);
        peer.write_all(b"x").unwrap();
        assert_eq!(settle(provider), []);
        assert_eq!(rustix::io::read(copy.as_fd(), &mut [0; 4]).unwrap(), 1);
    });
}

/// Returns whether `fd`, which the provider keeps open, is readable within `timeout`.
fn is_readable(fd: RawFd, timeout: Duration) -> bool {
    // SAFETY: the provider keeps the descriptor open for the whole test.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let mut array = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut array, Some(&timeout.try_into().unwrap())).unwrap() == 1
}

/// A host loop watches this descriptor instead of waiting.
#[test]
fn the_host_handle_is_readable_when_there_are_events() {
    let _turn = turn();
    let is_readable = |fd| is_readable(fd, Duration::ZERO);
    each(|provider| {
        assert_eq!(provider.host_handle().is_some(), ["epoll", "uring"].contains(&provider.name()));
        let Some(handle) = provider.host_handle() else { return };
        assert!(!is_readable(handle));
        provider.waker().wake();
        assert!(is_readable(handle), "a wake while nobody waits");
        assert_eq!(wait(provider, PATIENCE), []);
        provider.submit().unwrap();
        assert!(!is_readable(handle));
        provider.waker().wake();
        assert!(is_readable(handle), "a wake after a wait");
        assert_eq!(wait(provider, Duration::ZERO), []);
        provider.submit().unwrap();
        let (reader, mut writer) = pipe();
        let key = provider.watches().unwrap().watch(reader.as_raw_fd(), Interest::READ).unwrap();
        assert!(!is_readable(handle));
        writer.write_all(b"x").unwrap();
        assert!(is_readable(handle));
        assert_eq!(wait(provider, Duration::ZERO), [Event { key, ready: Ready::READ }]);
    });
}

/// The promise holds also for connections that were opened before the call of `host_handle`.
#[test]
fn the_host_handle_is_readable_while_bytes_are_left() {
    let _turn = turn();
    each(|provider| {
        let (key, mut peer) = connection(provider);
        settle(provider);
        let Some(handle) = provider.host_handle() else { return };
        peer.write_all(b"abc").unwrap();
        for _ in 0..3 {
            assert!(is_readable(handle, PATIENCE));
            assert_eq!(wait(provider, Duration::ZERO), [Event { key, ready: Ready::READ }]);
            if let Received::Lent(_) = provider.streams().unwrap().receive(key, &mut [0; 1]).unwrap() {
                return;
            }
            provider.submit().unwrap();
        }
        assert!(matches!(provider.streams().unwrap().receive(key, &mut [0; 1]).unwrap(), Received::Empty));
        settle(provider);
        provider.submit().unwrap();
        assert!(!is_readable(handle, Duration::ZERO));
    });
}

#[test]
fn a_wake_before_the_host_handle_is_taken_is_not_lost() {
    let _turn = turn();
    each(|provider| {
        provider.waker().wake();
        provider.host_handle();
        let began = Instant::now();
        assert_eq!(wait(provider, PATIENCE), []);
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(settle(provider), []);
    });
}

/// However a provider is used and dropped, it keeps no descriptor.
#[test]
fn a_provider_that_is_dropped_leaves_no_descriptor_behind() {
    let _turn = turn();
    let before = open_descriptors();
    each(|provider| {
        let (port, address) = port(provider);
        let _peers = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        wait(provider, PATIENCE);
        let (key, _) = provider.streams().unwrap().accept(port).unwrap().unwrap();
        assert!(matches!(provider.streams().unwrap().receive(key, &mut [0; 8]), Ok(Received::Empty)));
        provider.streams().unwrap().connect(&ConnectSpec { address: address.into(), bind: None }).unwrap();
    });
    assert_eq!(open_descriptors(), before);
}
