//! IReactorUNIX: paths, files, locks and abstract names, on a real file system.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ropewalk::sys::PeerCredentials;
use ropewalk::{Address, Error, Interface, Port, Reactor, Transport, UnixBinding, UnixDestination};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::links::Countdown;
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::{Subject, run, specifications};

fn lock_of(path: &Path) -> PathBuf {
    let mut link = path.as_os_str().to_owned();
    link.push(".lock");
    link.into()
}

fn listen(reactor: &Reactor, binding: impl Into<UnixBinding>) -> Result<Port, Error> {
    reactor.listen_unix(binding, Script::echo().factory())
}

/// Connects, and returns the factory's log after its start.
fn attempt(reactor: &Reactor, destination: impl Into<UnixDestination>) -> Vec<String> {
    let log = Log::new();
    let ends = Countdown::new(1);
    let made = ends.clone();
    let client = Script::new().on_made(move |transport| made.count(&transport.reactor()));
    let factory =
        LoggingFactory::new(&log, client).after(move |connector| ends.count(&connector.try_reactor().unwrap()));
    reactor.connect_unix(destination, factory).unwrap();
    run(reactor);
    log.entries().split_off(2)
}

fn stop_listening(reactor: &Reactor, port: &Port) {
    port.stop_listening().add_callback({
        let reactor = reactor.clone();
        move |()| stop(&reactor)
    });
    run(reactor);
}

/// Returns the id of a child that has ended, so no process has this id now.
fn dead_process() -> u32 {
    let mut child = std::process::Command::new("true").spawn().expect("true(1) is there");
    child.wait().expect("the child is ours");
    child.id()
}

/// Leaves a socket file behind, as a dead server does.
fn leave_a_socket_behind(path: &Path) {
    drop(UnixListener::bind(path).expect("the path is free"));
    assert!(fs::metadata(path).expect("std does not remove it").file_type().is_socket());
}

/// Returns a path that fills sun_path to its last byte, so no NUL follows. On Linux the path has 108 bytes.
fn longest_path(subject: &Subject) -> Cleaned {
    let mut path = subject.unix_path().into_os_string().into_string().expect("the folder's name is text");
    let fits = |path: &str| SocketAddrUnix::new(path).is_ok();
    assert!(fits(&path), "the folder for temporary files has a long name");
    while fits(&format!("{path}x")) {
        path.push('x');
    }
    Cleaned(path.into())
}

/// Opens a blocking connection to `server` from a socket that is bound to `name`.
fn connect_from(name: &Path, server: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(name)?)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(server)?)?;
    Ok(socket)
}

/// Removes the files of a test, also when the test fails.
struct Cleaned(PathBuf);

impl Cleaned {
    fn path(subject: &Subject) -> Cleaned {
        Cleaned(subject.unix_path())
    }
}

impl Drop for Cleaned {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(lock_of(&self.0));
    }
}

specifications! {
    unix;

    fn a_port_creates_a_world_writable_socket_file(subject: &Subject) {
        // IReactorUNIX.listenUNIX: mode=0o666, whatever the umask is.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        let metadata = fs::symlink_metadata(&file.0).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o666);
        assert_eq!(port.host().unwrap(), Address::Unix(file.0.as_path().into()));
    }

    fn both_ends_know_the_process_at_the_other_end(subject: &Subject) {
        // SO_PEERCRED, unix(7): the kernel vouches for the numbers. A TCP connection has none.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let log = Log::new();
        let note = |name: &'static str| {
            let log = log.clone();
            move |transport: &Transport| log.add(format!("{name} {:?}", transport.peer_credentials().ok()))
        };
        let ends = Countdown::new(2);
        let count = move |transport: &Transport| ends.count(&transport.reactor());
        let [server, client] = ["end", "end"].map(|name| Script::new().on_made(note(name)).on_made(count.clone()));
        let _port = reactor.listen_unix(&file.0, server.factory()).unwrap();
        reactor.connect_unix(&file.0, client.factory()).unwrap();
        run(&reactor);
        let own = format!("end {:?}", Some(PeerCredentials::of_this_process().unwrap()));
        log.expect(&[&own, &own]);
    }

    fn the_mode_of_the_socket_file_can_be_set(subject: &Subject) {
        // IReactorUNIX.listenUNIX: mode
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        for mode in [0o600, 0o660, 0o777] {
            let port = listen(&reactor, UnixBinding::new(&file.0).mode(mode)).unwrap();
            assert_eq!(fs::symlink_metadata(&file.0).unwrap().permissions().mode() & 0o777, mode);
            stop_listening(&reactor, &port);
        }
    }

    fn a_mode_beyond_the_permission_bits_is_refused(subject: &Subject) {
        // A socket's file has no other bits, and dropping them would let more users connect than was asked for.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        for mode in [0o1000, 0o1600, u32::MAX] {
            let error = listen(&reactor, UnixBinding::new(&file.0).mode(mode)).unwrap_err();
            assert!(matches!(error, Error::CannotListen(..)), "{error:?}");
            assert!(error.to_string().ends_with("expected permission bits from 0 to 777 in octal"), "{error}");
            assert!(!file.0.exists());
        }
    }

    fn a_port_removes_its_file_when_it_stops(subject: &Subject) {
        // unix.Port.connectionLost: unlink
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        stop_listening(&reactor, &port);
        assert!(!file.0.exists());
        listen(&reactor, &file.0).unwrap();
        reactor.call_when_running(stop);
        run(&reactor);
        assert!(!file.0.exists(), "the loop's end leaves it behind");
        listen(&reactor, &file.0).unwrap();
        drop(reactor);
        assert!(!file.0.exists(), "a dropped reactor leaves it behind");
    }

    fn a_foreign_file_in_the_sockets_place_is_kept(subject: &Subject) {
        // unix.Port.connectionLost: only the file that bind(2) created is removed.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        fs::remove_file(&file.0).unwrap();
        fs::write(&file.0, "another program's").unwrap();
        stop_listening(&reactor, &port);
        assert_eq!(fs::read(&file.0).unwrap(), b"another program's");
    }

    fn listening_on_a_used_path_is_an_error(subject: &Subject) {
        // CannotListenError
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        fs::write(&file.0, "no socket").unwrap();
        let error = listen(&reactor, &file.0).unwrap_err();
        assert!(matches!(&error, Error::CannotListen(Address::Unix(path), _) if **path == *file.0));
        assert!(error.to_string().contains(file.0.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&file.0).unwrap(), b"no socket");
    }

    fn listening_on_an_impossible_path_is_an_error(subject: &Subject) {
        // unix(7): sun_path has about 108 bytes. The second path is in a folder that does not exist, and the third is
        // empty.
        let reactor = subject.reactor();
        for path in [format!("/tmp/{}", "x".repeat(200)), "/nowhere/socket".to_owned(), String::new()] {
            let error = listen(&reactor, &path).unwrap_err();
            assert!(matches!(error, Error::CannotListen(..)), "{path}: {error:?}");
        }
    }

    fn without_a_lock_a_dead_servers_socket_prevents_listening(subject: &Subject) {
        // IReactorUNIX.listenUNIX: only wantPID removes the old socket.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        leave_a_socket_behind(&file.0);
        assert!(matches!(listen(&reactor, &file.0), Err(Error::CannotListen(..))));
        assert!(file.0.exists());
    }

    fn a_lock_replaces_a_dead_servers_socket(subject: &Subject) {
        // IReactorUNIX.listenUNIX: wantPID=True
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        leave_a_socket_behind(&file.0);
        std::os::unix::fs::symlink(dead_process().to_string(), lock_of(&file.0)).unwrap();
        let port = listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert_eq!(fs::read_link(lock_of(&file.0)).unwrap(), Path::new(&std::process::id().to_string()));
        assert_eq!(attempt(&reactor, &file.0)[0], "build");
        drop(port);
    }

    fn a_lock_that_names_another_program_is_broken(subject: &Subject) {
        // After a restart of the system, a living process may have the id of a server that is gone.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        leave_a_socket_behind(&file.0);
        std::os::unix::fs::symlink(std::os::unix::process::parent_id().to_string(), lock_of(&file.0)).unwrap();
        listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert_eq!(fs::read_link(lock_of(&file.0)).unwrap(), Path::new(&std::process::id().to_string()));
    }

    fn the_lock_of_a_live_server_is_respected(subject: &Subject) {
        // IReactorUNIX.listenUNIX: wantPID=True. The error is CannotListenError with EADDRINUSE.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        let other = subject.reactor();
        let error = listen(&other, UnixBinding::new(&file.0).lock()).unwrap_err();
        assert!(matches!(error, Error::CannotListen(..)), "{error:?}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "it names the owner: {error}");
        assert!(port.is_listening() && file.0.exists());
        assert_eq!(attempt(&reactor, &file.0)[0], "build");
    }

    fn a_port_removes_its_lock_when_it_stops(subject: &Subject) {
        // unix.Port.connectionLost
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_ok());
        stop_listening(&reactor, &port);
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_err());
        port.start_listening().unwrap();
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_ok());
    }

    fn a_failed_listen_releases_its_lock(subject: &Subject) {
        // unix.Port.startListening
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        fs::write(&file.0, "no socket").unwrap();
        assert!(matches!(listen(&reactor, UnixBinding::new(&file.0).lock()), Err(Error::CannotListen(..))));
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_err());
        assert_eq!(fs::read(&file.0).unwrap(), b"no socket");
    }

    fn a_stale_lock_does_not_remove_a_file_of_another_kind(subject: &Subject) {
        // unix.Port.startListening: a stale file is removed only if it is a socket.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        fs::write(&file.0, "no socket").unwrap();
        std::os::unix::fs::symlink(dead_process().to_string(), lock_of(&file.0)).unwrap();
        assert!(matches!(listen(&reactor, UnixBinding::new(&file.0).lock()), Err(Error::CannotListen(..))));
        assert_eq!(fs::read(&file.0).unwrap(), b"no socket");
    }

    fn a_client_can_require_a_live_lock(subject: &Subject) {
        // IReactorUNIX.connectUNIX: checkPID. Without a lock the error is BadFileError.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        let checked = || UnixDestination::new(&file.0).check_lock();
        assert_eq!(attempt(&reactor, checked()), ["failed BadFile", "stop factory"]);
        assert!(!port.is_listening(), "the end of a run stops the ports");
        listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert_eq!(attempt(&reactor, checked())[0], "build");
        std::os::unix::fs::symlink(dead_process().to_string(), lock_of(&file.0)).unwrap();
        assert_eq!(attempt(&reactor, checked()), ["failed BadFile", "stop factory"]);
    }

    fn a_missing_file_fails_differently_from_a_dead_server(subject: &Subject) {
        // getConnectError: ENOENT is a ConnectError, ECONNREFUSED a ConnectionRefusedError.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        assert_eq!(attempt(&reactor, &file.0), ["failed Connect", "stop factory"]);
        leave_a_socket_behind(&file.0);
        assert_eq!(attempt(&reactor, &file.0), ["failed ConnectionRefused", "stop factory"]);
    }

    fn a_full_queue_fails_the_attempt(subject: &Subject) {
        // unix(7): connect(2) reports EAGAIN, and no event would ever come.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, UnixBinding::new(&file.0).backlog(0)).unwrap();
        port.pause_producing();
        let (log, ends) = (Log::new(), Countdown::new(2));
        for _ in 0..4 {
            let ends = ends.clone();
            let after = move |connector: &ropewalk::Connector| ends.count(&connector.try_reactor().unwrap());
            reactor.connect_unix(&file.0, LoggingFactory::new(&log, Script::new()).after(after)).unwrap();
        }
        run(&reactor);
        assert!(log.count("failed Connect") >= 2, "{:?}", log.entries());
    }

    fn only_the_servers_end_has_a_name(subject: &Subject) {
        // UNIXAddress: only getHost of the server and getPeer of the client return a name.
        let (reactor, file, hosts) = (subject.reactor(), Cleaned::path(subject), Log::new());
        let told = hosts.clone();
        let server = Script::new().on_made(move |transport| {
            told.add(format!("server {} {}", transport.host().unwrap(), transport.peer()));
            stop(&transport.reactor());
        });
        let told = hosts.clone();
        let client = Script::new().on_made(move |transport| {
            told.add(format!("client {} {}", transport.host().unwrap(), transport.peer()));
        });
        reactor.listen_unix(&file.0, server.factory()).unwrap();
        reactor.connect_unix(&file.0, client.factory()).unwrap();
        run(&reactor);
        let path = file.0.display();
        assert!(hosts.contains(&format!("server {path} (unnamed)")), "{:?}", hosts.entries());
        assert!(hosts.contains(&format!("client (unnamed) {path}")), "{:?}", hosts.entries());
    }

    fn a_peer_with_the_longest_path_is_served(subject: &Subject) {
        // unix(7), BUGS: a path may fill sun_path, without a NUL behind it.
        let (reactor, file, name) = (subject.reactor(), Cleaned::path(subject), longest_path(subject));
        let (peers, server) = (Log::new(), Script::echo().stop_when_lost());
        let shown = peers.clone();
        let server = server.on_made(move |transport| {
            shown.add(transport.peer().to_string());
            transport.lose_connection();
        });
        reactor.listen_unix(&file.0, server.factory()).unwrap();
        drop(connect_from(&name.0, &file.0).unwrap());
        run(&reactor);
        assert_eq!(peers.entries(), [name.0.display().to_string()]);
    }

    fn a_port_on_the_longest_path_reports_it_whole(subject: &Subject) {
        // unix(7): a path that is one byte shorter is followed by a NUL.
        let reactor = subject.reactor();
        let longest = longest_path(subject);
        let shorter = Cleaned(longest.0.to_str().unwrap().strip_suffix('x').unwrap().into());
        for file in [&shorter, &longest] {
            let port = listen(&reactor, &file.0).unwrap();
            assert_eq!(port.host().unwrap(), Address::Unix(file.0.as_path().into()));
            assert_eq!(attempt(&reactor, &file.0)[0], "build");
        }
    }

    fn tcp_options_are_false_on_unix_sockets(subject: &Subject) {
        // ITCPTransport.setTcpNoDelay is accepted and ignored (Twisted #12369).
        subject.over_unix().converse(&Script::new(), &Script::new().on_made(|transport| {
            transport.set_tcp_no_delay(true).unwrap();
            transport.set_tcp_keep_alive(true).unwrap();
            assert!(!transport.tcp_no_delay().unwrap() && !transport.tcp_keep_alive().unwrap());
            transport.lose_connection();
        }));
    }

    fn a_path_may_be_relative_or_not_utf8(subject: &Subject) {
        // IReactorUNIX.listenUNIX: paths may be str or bytes.
        use std::os::unix::ffi::OsStringExt;
        let reactor = subject.reactor();
        let mut bytes = subject.unix_path().into_os_string().into_vec();
        bytes.extend_from_slice(b"\xff\xfe");
        let file = Cleaned(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
        let port = listen(&reactor, &file.0).unwrap();
        assert_eq!(port.host().unwrap(), Address::Unix(file.0.as_path().into()));
        assert_eq!(attempt(&reactor, &file.0)[0], "build");
    }

    fn a_client_waits_for_a_slow_server(subject: &Subject) {
        // unix(7): the queue of a paused port holds the client, whose connection is already made.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        port.pause_producing();
        let client = Script::new().on_made(move |transport| {
            transport.write(b"early");
            let port = port.clone();
            transport.reactor().call_later(Duration::from_millis(20), move |_| port.resume_producing());
        });
        let client = client.on_data(|transport, _| stop(&transport.reactor()));
        reactor.connect_unix(&file.0, client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"early");
    }

    fn this_provider_reports_that_it_offers_unix_sockets(subject: &Subject) {
        // The HOWTO on choosing a reactor: "Some of the interfaces may not be implemented."
        assert!(subject.reactor().provides(Interface::Unix));
    }
}
