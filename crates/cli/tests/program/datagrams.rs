//! The commands over UDP and UNIX datagrams.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::running::{PATIENCE, Running, eventually, outcome, program, reactors};
use crate::scratch::Scratch;
use crate::wire::converse;

/// The endpoint that the tests receive on.
const UDP: &str = "udp:0:interface=127.0.0.1";

/// The time after which no answer is expected.
const SILENCE: Duration = Duration::from_millis(200);

/// Returns a socket that sends to `peer`.
fn client(peer: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(peer).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a datagram, and returns the answer.
fn ask(socket: &UdpSocket, question: &[u8]) -> Vec<u8> {
    socket.send(question).unwrap();
    receive(socket).expect("an answer")
}

/// Calls `receive` again as long as a signal interrupts it: with a time limit, a socket does not restart the call by
/// itself (signal(7)).
fn uninterrupted<T>(mut receive: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match receive() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut answer = [0; 70_000];
    match uninterrupted(|| socket.recv(&mut answer)) {
        Ok(length) => Some(answer[..length].to_vec()),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => None,
        Err(error) => panic!("{error}"),
    }
}

fn start(arguments: &[&str]) -> Running {
    Running::start_command(program(&[arguments, &["--listen", UDP]].concat()))
}

/// Starts a forwarder to a target.
fn forwarding_to(place: &str, options: &[&str]) -> Running {
    start(&[&["portforward", "--to", place], options].concat())
}

fn bound() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let place = format!("udp:{}", socket.local_addr().unwrap());
    (socket, place)
}

#[test]
fn every_small_service_answers_on_every_reactor() {
    for reactor in reactors() {
        let service = |name| start(&["-r", reactor, name]);
        let echo = service("echo");
        for question in [&b"hello"[..], b"", &[7; 8192]] {
            assert_eq!(ask(&client(echo.address()), question), question, "{reactor}");
        }
        let line = String::from_utf8(ask(&client(service("daytime").address()), b"")).unwrap();
        let date = httpdate::parse_http_date(line.strip_suffix("\r\n").expect("a line")).expect("a date");
        assert!(SystemTime::now().duration_since(date).unwrap() < Duration::from_secs(10), "{line}");
        let discard = service("discard");
        let socket = client(discard.address());
        socket.send(b"hello").unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        assert_eq!(receive(&socket), None, "{reactor}");
    }
}

#[test]
fn chargen_answers_with_at_most_512_characters() {
    let server = start(&["chargen"]);
    let socket = client(server.address());
    let answers = Vec::from_iter((0..100).map(|_| ask(&socket, b"x")));
    assert!(answers.iter().all(|answer| answer.len() <= 512));
    assert!(answers.iter().flatten().all(|byte| (b' '..=b'~').contains(byte) || b"\r\n".contains(byte)));
    assert!(BTreeSet::from_iter(answers.iter().map(Vec::len)).len() > 10, "the lengths are random");
}

#[test]
fn streams_with_datagrams_are_served_together() {
    let scratch = Scratch::new();
    let path = scratch.join("echo.sock");
    let unix = format!("unix-datagram:{path}:mode=600");
    let mut server = Running::start(&["echo", "--listen", UDP, "--listen", &unix]);
    assert!(server.start_line.contains("/udp, "), "{}", server.start_line);
    assert_eq!(ask(&client(server.address()), b"hello"), b"hello");
    let tcp = server.start_line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(converse(std::net::TcpStream::connect::<SocketAddr>(tcp).unwrap(), b"hello"), b"hello");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let local = UnixDatagram::bind(scratch.join("client.sock")).unwrap();
    local.set_read_timeout(Some(PATIENCE)).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"without a name", &path).unwrap();
    local.send_to(b"hello", &path).unwrap();
    let mut answer = [0; 100];
    let length = uninterrupted(|| local.recv(&mut answer)).unwrap();
    assert_eq!(&answer[..length], b"hello");
    assert!(server.terminate().0.success());
    assert!(!std::fs::exists(&path).unwrap());
    assert_eq!(server.log(), "");
}

#[test]
fn the_log_counts_the_answers_that_the_system_has_taken() {
    // unix(7): the queue of a client that does not read holds a few datagrams.
    let scratch = Scratch::new();
    let path = scratch.join("echo.sock");
    let endpoint = format!("unix-datagram:{path}");
    let mut server = Running::start_command(program(&["-v", "echo", "--listen", &endpoint]));
    let local = UnixDatagram::bind(scratch.join("client.sock")).unwrap();
    for _ in 0..200 {
        local.send_to(b"x", &path).unwrap();
    }
    assert!(server.terminate().0.success());
    local.set_nonblocking(true).unwrap();
    let answers = std::iter::from_fn(|| local.recv(&mut [0; 8]).ok()).count();
    let log = server.log();
    assert!(answers < 200 && log.contains(&format!("answered={answers} ")), "{answers} answers: {log}");
}

#[test]
fn a_datagram_from_another_service_is_not_answered() {
    let server = start(&["echo", "--listen", UDP]);
    let addresses = server.start_line.split([' ', ',', '/']).filter_map(|word| word.parse::<SocketAddr>().ok());
    let [first, second] = Vec::from_iter(addresses).try_into().unwrap();
    // A forged sender, here by an address of another interface with the number of the second port.
    let forged = UdpSocket::bind(("127.0.0.2", second.port())).unwrap();
    forged.set_read_timeout(Some(SILENCE)).unwrap();
    forged.send_to(b"hello", first).unwrap();
    assert_eq!(receive(&forged), None);
    assert_eq!(ask(&client(first), b"still here"), b"still here");
}

#[test]
fn answers_to_other_machines_need_an_option() {
    for command in ["echo", "chargen", "daytime"] {
        for endpoint in ["udp:0", "udp:0:interface=0.0.0.0", r"udp:0:interface=\:\:", "udp:0:interface=192.0.2.1"] {
            let output = outcome(&[command, "--listen", endpoint]);
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
            assert!(error.contains("--allow-reflection"), "{error}");
            assert!(error.contains("did you mean udp:0:interface=127.0.0.1?"), "{error}");
        }
    }
    for command in [&["echo", "--allow-reflection"][..], &["discard"]] {
        let server = Running::start_command(program(&[command, &["--listen", "udp:0:interface=0.0.0.0"]].concat()));
        assert_eq!(server.address().ip().to_string(), "0.0.0.0");
        if command[0] == "echo" {
            // The answer leaves from the address that was asked, or this connected socket would not receive it.
            let asked = ("127.0.0.3", server.address().port());
            assert_eq!(ask(&client(format!("{}:{}", asked.0, asked.1).parse().unwrap()), b"x"), b"x");
        }
    }
}

#[test]
fn a_configured_service_obeys_the_same_rules() {
    let scratch = Scratch::new();
    let configured = |text: &str| {
        scratch.write("services.toml", text);
        outcome(&["--config", &scratch.join("services.toml")])
    };
    let echo = configured("[[service]]\nkind = \"echo\"\nlisten = \"udp:0\"\n");
    let error = String::from_utf8(echo.stderr).unwrap();
    assert!(!echo.status.success() && error.contains("--allow-reflection"), "{error}");
    let mixed = "[[service]]\nkind = \"portforward\"\nlisten = \"udp:0\"\nto = \"tcp:localhost:1\"\n";
    let error = String::from_utf8(configured(mixed).stderr).unwrap();
    assert!(error.contains("cannot forward datagrams to streams"), "{error}");
}

#[test]
fn wrong_endpoints_are_explained_in_one_line() {
    let long = format!("unix-datagram:/tmp/{}", "x".repeat(200));
    let cases: [(&[&str], i32, &str); 12] = [
        (&["serve", ".", "--listen", "udp:80"], 2, "'udp' is for datagrams"),
        (&["serve", ".", "--listen", "udp:80"], 2, "(did you mean tcp:80?)"),
        (&["connect", "udp:localhost:80"], 2, "(did you mean tcp:localhost:80?)"),
        (&["echo", "--listen", "haproxy:udp:80"], 2, "'udp' is for datagrams"),
        (
            &["echo", "--listen", "ipx:80"],
            2,
            "expected one of fd, haproxy, self-signed, serial, ssl, stdio, systemd, tcp, tcp6, tls, udp, unix",
        ),
        (&["echo", "--listen", "udp:80:iface=lo"], 2, "unknown key 'iface' in 'udp:80:iface=lo': expected udp:PORT"),
        (&["echo", "--listen", "udp:127.0.0.1:80"], 2, "(did you mean udp:80:interface=127.0.0.1?)"),
        (&["echo", "--listen", "dup:80"], 2, "(did you mean udp:80?)"),
        (&["discard", "--listen", "unix-datagram:/no/such/directory"], 1, "create the directory of the socket first"),
        (&["discard", "--listen", &long], 1, "cannot listen on"),
        (&["portforward", "--listen", UDP, "--to", "tcp:localhost:1"], 2, "cannot forward datagrams to streams"),
        (&["portforward", "--listen", "stdio:", "--to", "udp:localhost:1"], 2, "cannot forward streams to datagrams"),
    ];
    for (arguments, status, expected) in cases {
        let output = outcome(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(status), 1), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn a_place_in_use_names_the_remedy() {
    let scratch = Scratch::new();
    let path = scratch.join("used.sock");
    let _used = UnixDatagram::bind(&path).unwrap();
    let (socket, _) = bound();
    let port = socket.local_addr().unwrap().port();
    for (endpoint, remedy) in [
        (format!("udp:{port}:interface=127.0.0.1"), "'ss -lunp' shows it"),
        (format!("unix-datagram:{path}"), "remove the file"),
    ] {
        let output = outcome(&["echo", "--listen", &endpoint]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(remedy), "{error}");
    }
}

#[test]
fn each_client_of_a_forwarder_gets_its_own_answers() {
    for reactor in reactors() {
        let (target, place) = bound();
        let server = forwarding_to(&place, &["-r", reactor]);
        let clients = Vec::from_iter((0..5).map(|_| client(server.address())));
        for (number, client) in clients.iter().enumerate() {
            client.send(&[number as u8]).unwrap();
        }
        // The answers leave in another order.
        let mut questions = Vec::from_iter((0..5).map(|_| {
            let mut question = [0];
            let (_, from) = uninterrupted(|| target.recv_from(&mut question)).unwrap();
            (question, from)
        }));
        questions.reverse();
        assert_eq!(BTreeSet::from_iter(questions.iter().map(|(_, from)| *from)).len(), 5, "a socket for each client");
        for (question, from) in questions {
            target.send_to(&[b'a' + question[0]], from).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(receive(client).unwrap(), [b'a' + number as u8], "{reactor}");
        }
    }
}

#[test]
fn a_host_name_of_a_datagram_target_is_resolved() {
    let target = UdpSocket::bind("[::1]:0").unwrap();
    target.set_read_timeout(Some(PATIENCE)).unwrap();
    let server = forwarding_to(&format!("udp:localhost:{}", target.local_addr().unwrap().port()), &[]);
    client(server.address()).send(b"hello").unwrap();
    assert_eq!(receive(&target).unwrap(), b"hello");
}

#[test]
fn datagrams_are_forwarded_to_a_unix_socket() {
    let scratch = Scratch::new();
    let (inner, outer) = (scratch.join("inner"), scratch.join("outer"));
    let _echo = Running::start_command(program(&["echo", "--listen", &format!("unix-datagram:{inner}")]));
    let inner = format!("unix-datagram:{inner}");
    let server = forwarding_to(&inner, &["--listen", &format!("unix-datagram:{outer}")]);
    assert_eq!(ask(&client(server.address()), b"hello"), b"hello");
    let local = UnixDatagram::bind(scratch.join("client")).unwrap();
    local.set_read_timeout(Some(PATIENCE)).unwrap();
    local.send_to(b"hello", &outer).unwrap();
    assert_eq!(uninterrupted(|| local.recv(&mut [0; 100])).unwrap(), 5);
}

#[test]
fn a_refused_datagram_is_dropped_without_a_line() {
    let (target, place) = bound();
    drop(target);
    let mut server = forwarding_to(&place, &[]);
    let socket = client(server.address());
    for _ in 0..100 {
        socket.send(b"x").unwrap();
    }
    // The target is there again, and the flow still works.
    let target = UdpSocket::bind(place.trim_start_matches("udp:")).unwrap();
    target.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    eventually("a datagram arrives", || {
        socket.send(b"y").unwrap();
        receive(&target).is_some_and(|data| data == b"y")
    });
    assert!(server.terminate().0.success());
    assert_eq!(server.log(), "");
}

#[test]
fn a_flow_ends_when_it_is_idle() {
    let (target, place) = bound();
    let server = forwarding_to(&place, &["--idle-timeout", "0.2"]);
    let before = server.descriptors();
    let socket = client(server.address());
    socket.send(b"x").unwrap();
    receive(&target).unwrap();
    eventually("the socket of the flow is closed", || server.descriptors() == before);
    socket.send(b"y").unwrap();
    assert_eq!(receive(&target).unwrap(), b"y");
}

#[test]
fn ten_thousand_clients_open_a_bounded_number_of_sockets() {
    let (target, place) = bound();
    let mut server = forwarding_to(&place, &["--max-connections", "50"]);
    let before = server.descriptors();
    let reading = thread::spawn(move || (0..).take_while(|_| receive(&target).is_some_and(|it| it != b"end")).count());
    for _ in 0..10_000 {
        client(server.address()).send(b"x").unwrap();
    }
    let last = client(server.address());
    while !reading.is_finished() {
        last.send(b"end").unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(reading.join().unwrap() > 0);
    // A closed flow keeps its descriptor until the next turn.
    eventually("the flows are closed", || server.descriptors() <= before + 50);
    assert!(server.memory() < 8 << 20, "{}", server.memory());
    assert!(server.terminate().0.success());
    let log = server.log();
    assert!(log.contains("flow limit reached") && log.lines().count() < 20, "{log}");
}

#[test]
fn a_datagram_target_that_is_the_own_listener_is_refused() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scratch = Scratch::new();
    let path = format!("unix-datagram:{}", scratch.join("socket"));
    for (listen, to) in [
        (format!("udp:{port}:interface=127.0.0.1"), format!("udp:127.0.0.1:{port}")),
        (format!("udp:{port}"), format!("udp:localhost:{port}")),
        (path.clone(), path),
    ] {
        let mut server = Running::start_command(program(&["portforward", "--listen", &listen, "--to", &to]));
        let before = server.descriptors();
        match listen.strip_prefix("unix-datagram:") {
            Some(path) => drop(UnixDatagram::unbound().unwrap().send_to(b"x", path).unwrap()),
            None => drop(client(([127, 0, 0, 1], port).into()).send(b"x").unwrap()),
        }
        eventually("a flow is open", || server.descriptors() > before);
        assert_eq!(server.descriptors(), before + 1, "{listen}: one flow");
        let mut log = server.log_until("the target is this program's own listener");
        assert!(server.terminate().0.success());
        log += &server.log();
        assert!(log.lines().count() < 4, "{listen}: {log}");
    }
}

#[test]
fn sigterm_during_traffic_stops_the_program_in_order() {
    let (_target, place) = bound();
    let commands: [&[&str]; 3] = [&["echo"], &["chargen"], &["portforward", "--to", &place]];
    for command in commands {
        let mut server = start(command);
        let sockets = Vec::from_iter((0..50).map(|_| client(server.address())));
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                // The end of the program refuses a datagram.
                while sockets.iter().all(|socket| socket.send(b"x").is_ok()) {}
            });
            thread::sleep(Duration::from_millis(100));
            assert!(server.terminate().0.success(), "{command:?}");
            sending.join().unwrap();
        });
        assert_eq!(server.log(), "", "{command:?}");
    }
}

#[test]
fn a_port_number_may_be_served_over_both_transports() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints =
        [format!("tcp:{}:interface=127.0.0.1", tcp.port()), format!("udp:{}:interface=127.0.0.1", tcp.port())];
    let server = Running::start_command(program(&["echo", "-l", &endpoints[0], "-l", &endpoints[1]]));
    assert_eq!(ask(&client(tcp), b"datagram"), b"datagram");
    assert_eq!(converse(server.connect(), b"stream"), b"stream");
}
