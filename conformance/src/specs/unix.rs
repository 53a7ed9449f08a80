//! IReactorUNIX: paths, files, locks and abstract names, on a real file system.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ropewalk::{Address, Error, Interface, Port, Reactor, UnixBinding, UnixDestination};
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

/// Connects, and returns what the factory was told after it was started.
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

/// A process id that no process has: that of a child which has ended.
fn dead_process() -> u32 {
    let mut child = std::process::Command::new("true").spawn().expect("true(1) is there");
    child.wait().expect("the child is ours");
    child.id()
}

/// A socket file whose server is gone without removing it.
fn leave_a_socket_behind(path: &Path) {
    drop(UnixListener::bind(path).expect("the path is free"));
    assert!(fs::metadata(path).expect("std does not remove it").file_type().is_socket());
}

/// A path that fills sun_path to its last byte: 108 on Linux, where no NUL follows then.
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

/// Removes what a test left, also when it fails.
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

    fn a_port_makes_a_socket_file_that_everybody_may_use(subject: &Subject) {
        // listenUNIX: mode=0o666, set after bind (contract 60), so whatever the umask.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        let metadata = fs::symlink_metadata(&file.0).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o666);
        assert_eq!(port.host().unwrap(), Address::Unix(file.0.as_path().into()));
    }

    fn the_files_permissions_can_be_chosen(subject: &Subject) {
        // listenUNIX: mode
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        for mode in [0o600, 0o660, 0o777] {
            let port = listen(&reactor, UnixBinding::new(&file.0).mode(mode)).unwrap();
            assert_eq!(fs::symlink_metadata(&file.0).unwrap().permissions().mode() & 0o777, mode);
            stop_listening(&reactor, &port);
        }
    }

    fn the_file_goes_with_the_port(subject: &Subject) {
        // Contract 60: unlink on close.
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

    fn a_file_that_took_the_place_of_the_sockets_is_left_alone(subject: &Subject) {
        // Contract 60: only what bind(2) made is removed.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        fs::remove_file(&file.0).unwrap();
        fs::write(&file.0, "somebody else's").unwrap();
        stop_listening(&reactor, &port);
        assert_eq!(fs::read(&file.0).unwrap(), b"somebody else's");
    }

    fn a_path_that_is_taken_cannot_be_listened_on(subject: &Subject) {
        // CannotListenError
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        fs::write(&file.0, "no socket").unwrap();
        let error = listen(&reactor, &file.0).unwrap_err();
        assert!(matches!(&error, Error::CannotListen(Address::Unix(path), _) if **path == *file.0));
        assert!(error.to_string().contains(file.0.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&file.0).unwrap(), b"no socket");
    }

    fn a_path_that_no_socket_can_have_is_cannot_listen(subject: &Subject) {
        // unix(7): sun_path has about 108 bytes; a folder that is not there.
        let reactor = subject.reactor();
        for path in [format!("/tmp/{}", "x".repeat(200)), "/nowhere/socket".to_owned(), String::new()] {
            let error = listen(&reactor, &path).unwrap_err();
            assert!(matches!(error, Error::CannotListen(..)), "{path}: {error:?}");
        }
    }

    fn a_socket_that_a_dead_server_left_is_in_the_way_without_a_lock(subject: &Subject) {
        // Contract 60: only wantPID removes it.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        leave_a_socket_behind(&file.0);
        assert!(matches!(listen(&reactor, &file.0), Err(Error::CannotListen(..))));
        assert!(file.0.exists());
    }

    fn a_lock_replaces_a_socket_that_a_dead_server_left(subject: &Subject) {
        // listenUNIX: wantPID=True
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        leave_a_socket_behind(&file.0);
        std::os::unix::fs::symlink(dead_process().to_string(), lock_of(&file.0)).unwrap();
        let port = listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert_eq!(fs::read_link(lock_of(&file.0)).unwrap(), Path::new(&std::process::id().to_string()));
        assert_eq!(attempt(&reactor, &file.0)[0], "build");
        drop(port);
    }

    fn a_lock_of_a_server_that_lives_is_respected(subject: &Subject) {
        // listenUNIX: wantPID=True; CannotListenError with EADDRINUSE.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        let other = subject.reactor();
        let error = listen(&other, UnixBinding::new(&file.0).lock()).unwrap_err();
        assert!(matches!(error, Error::CannotListen(..)), "{error:?}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "it says who has it: {error}");
        assert!(port.is_listening() && file.0.exists());
        assert_eq!(attempt(&reactor, &file.0)[0], "build");
    }

    fn a_lock_goes_with_the_port(subject: &Subject) {
        // Contract 60
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_ok());
        stop_listening(&reactor, &port);
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_err());
        port.start_listening().unwrap();
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_ok());
    }

    fn a_lock_is_given_up_when_listening_fails(subject: &Subject) {
        // Contract 60
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        fs::write(&file.0, "no socket").unwrap();
        assert!(matches!(listen(&reactor, UnixBinding::new(&file.0).lock()), Err(Error::CannotListen(..))));
        assert!(fs::symlink_metadata(lock_of(&file.0)).is_err());
        assert_eq!(fs::read(&file.0).unwrap(), b"no socket");
    }

    fn a_stale_lock_does_not_remove_a_file_that_is_no_socket(subject: &Subject) {
        // Contract 60: "stale socket file removed only if it is a socket".
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        fs::write(&file.0, "no socket").unwrap();
        std::os::unix::fs::symlink(dead_process().to_string(), lock_of(&file.0)).unwrap();
        assert!(matches!(listen(&reactor, UnixBinding::new(&file.0).lock()), Err(Error::CannotListen(..))));
        assert_eq!(fs::read(&file.0).unwrap(), b"no socket");
    }

    fn a_client_can_ask_for_a_living_lock(subject: &Subject) {
        // connectUNIX: checkPID; BadFileError when there is none (contract 60).
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        let port = listen(&reactor, &file.0).unwrap();
        let checked = || UnixDestination::new(&file.0).check_lock();
        assert_eq!(attempt(&reactor, checked()), ["failed BadFile", "stop factory"]);
        assert!(!port.is_listening(), "each run ends with its ports");
        listen(&reactor, UnixBinding::new(&file.0).lock()).unwrap();
        assert_eq!(attempt(&reactor, checked())[0], "build");
        std::os::unix::fs::symlink(dead_process().to_string(), lock_of(&file.0)).unwrap();
        assert_eq!(attempt(&reactor, checked()), ["failed BadFile", "stop factory"]);
    }

    fn a_path_without_a_file_and_one_without_a_server_fail_apart(subject: &Subject) {
        // getConnectError: ENOENT is a ConnectError, ECONNREFUSED a ConnectionRefusedError.
        let (reactor, file) = (subject.reactor(), Cleaned::path(subject));
        assert_eq!(attempt(&reactor, &file.0), ["failed Connect", "stop factory"]);
        leave_a_socket_behind(&file.0);
        assert_eq!(attempt(&reactor, &file.0), ["failed ConnectionRefused", "stop factory"]);
    }

    fn a_full_queue_fails_the_attempt(subject: &Subject) {
        // unix(7): connect(2) answers EAGAIN, and no event would ever come.
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

    fn one_end_has_a_name_and_the_other_has_none(subject: &Subject) {
        // Contract 62
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

    fn the_longest_paths_to_listen_on_are_shown_whole(subject: &Subject) {
        // unix(7): with one byte less there is a NUL.
        let reactor = subject.reactor();
        let longest = longest_path(subject);
        let shorter = Cleaned(longest.0.to_str().unwrap().strip_suffix('x').unwrap().into());
        for file in [&shorter, &longest] {
            let port = listen(&reactor, &file.0).unwrap();
            assert_eq!(port.host().unwrap(), Address::Unix(file.0.as_path().into()));
            assert_eq!(attempt(&reactor, &file.0)[0], "build");
        }
    }

    fn options_of_tcp_are_false_and_ignored(subject: &Subject) {
        // Contract 2.3: UNIX stream transports also answer get/setTcpNoDelay (#12369).
        subject.over_unix().converse(&Script::new(), &Script::new().on_made(|transport| {
            transport.set_tcp_no_delay(true).unwrap();
            transport.set_tcp_keep_alive(true).unwrap();
            assert!(!transport.tcp_no_delay().unwrap() && !transport.tcp_keep_alive().unwrap());
            transport.lose_connection();
        }));
    }

    fn a_path_may_be_relative_and_need_not_be_text(subject: &Subject) {
        // Contract 2.1: str or bytes paths.
        use std::os::unix::ffi::OsStringExt;
        let reactor = subject.reactor();
        let mut bytes = subject.unix_path().into_os_string().into_vec();
        bytes.extend_from_slice(b"\xff\xfe");
        let file = Cleaned(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
        let port = listen(&reactor, &file.0).unwrap();
        assert_eq!(port.host().unwrap(), Address::Unix(file.0.as_path().into()));
        assert_eq!(attempt(&reactor, &file.0)[0], "build");
    }

    fn a_slow_server_is_waited_for(subject: &Subject) {
        // The queue of a paused port holds the client, whose connection is made already: unix(7).
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

    fn this_provider_says_that_it_offers_unix_sockets(subject: &Subject) {
        // "Some of the interfaces may not be implemented."
        assert!(subject.reactor().provides(Interface::Unix));
    }
}
