//! Features of Linux only: abstract UNIX addresses, unix(7), and waits in nanoseconds.
#![cfg(target_os = "linux")]

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::Address;
use ropewalk_sys::{ConnectSpec, Event, Events, ListenSpec, Ready, providers};
use rustix::fs::inotify;

#[test]
fn an_abstract_name_needs_no_file() {
    for provider in providers() {
        let mut provider = (provider.open)().unwrap();
        let name = format!("ropewalk\0test {}", std::process::id());
        let address = Address::Abstract(Arc::from(name.as_bytes()));
        let spec = ListenSpec { mode: Some(0o600), ..ListenSpec::new(address.clone()) };
        let (port, bound) = provider.streams().unwrap().listen(&spec).unwrap();
        assert_eq!(bound, address);
        provider.streams().unwrap().set_reading(port, true).unwrap();
        let client =
            provider.streams().unwrap().connect(&ConnectSpec { address: address.clone(), bind: None }).unwrap();
        provider.streams().unwrap().finish_connect(client).unwrap();
        assert_eq!(provider.sockets().unwrap().peer_address(client).unwrap(), address);
        let mut events = Events::new();
        provider.wait(Some(Duration::from_secs(10)), &mut events).unwrap();
        assert!(events.contains(&Event { key: port, ready: Ready::READ }), "{events:?}");
        let (server, peer) = provider.streams().unwrap().accept(port).unwrap().expect("a connection");
        assert_eq!(peer, Address::Unnamed);
        assert_eq!(provider.sockets().unwrap().local_address(server).unwrap(), address);
        provider.streams().unwrap().close(port);
        provider.streams().unwrap().listen(&spec).unwrap();
    }
}

/// epoll_pwait2(2), ppoll(2), pselect(2). With a timeout in milliseconds, a timer could be a millisecond late.
#[test]
fn a_wait_is_precise_to_less_than_a_millisecond() {
    for provider in providers() {
        let mut provider = (provider.open)().unwrap();
        // Takes the best of many waits, because the machine may be busy.
        let waits = (0..100).map(|_| {
            let clock = provider.clock();
            let before = clock();
            provider.wait(Some(Duration::from_micros(100)), &mut Events::new()).unwrap();
            clock() - before
        });
        let best = waits.min().unwrap();
        assert!(best < Duration::from_micros(900), "{}: {best:?}", provider.name());
    }
}

/// chmod(2) follows a symbolic link that another user may have put in the file's place.
#[test]
fn a_socket_file_is_created_with_its_mode() {
    for provider in providers() {
        let mut provider = (provider.open)().unwrap();
        let directory = std::env::temp_dir().join(format!("ropewalk-{}-{}", provider.name(), std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, &directory, inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB).unwrap();
        for mode in [0o666, 0o600, 0o777] {
            let path = directory.join(format!("{mode:o}"));
            let spec = ListenSpec { mode: Some(mode), ..ListenSpec::new(Address::Unix(path.as_path().into())) };
            provider.streams().unwrap().listen(&spec).unwrap();
            assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        for _ in 0..3 {
            assert_eq!(events.next().unwrap().events(), inotify::ReadFlags::CREATE);
        }
        assert!(events.next().is_err(), "nothing has changed the files");
        drop(provider);
        fs::remove_dir_all(&directory).unwrap();
    }
}
