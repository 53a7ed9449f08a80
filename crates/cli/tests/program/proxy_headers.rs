//! portforward between TCP, TLS and UNIX sockets, with PROXY headers read and written. HAProxy and nginx are the
//! receivers if they are installed, and otherwise this program.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::thread;

use crate::running::{PATIENCE, Running, eventually, outcome, program};
use crate::scratch::Scratch;
use crate::tls::connect;
use crate::wire::{converse, read_all, read_exactly};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const KINDS: [&str; 3] = ["tcp", "tls", "unix"];
const VERSIONS: [&str; 2] = ["v1", "v2"];

/// A folder with `server.pem`, which has a certificate for localhost and its key.
fn files() -> Scratch {
    let scratch = Scratch::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    scratch.write("server.pem", made.cert.pem() + &made.signing_key.serialize_pem());
    scratch
}

/// Returns the description of a server of this kind. `name` is that of its socket.
fn server(scratch: &Scratch, kind: &str, name: &str) -> String {
    match kind {
        "tcp" => "tcp:0:interface=127.0.0.1".to_owned(),
        "tls" => format!("tls:{}:port=0:interface=127.0.0.1", scratch.join("server.pem")),
        _ => format!("unix:{}", scratch.join(name)),
    }
}

/// Returns the description of a client of a running server.
fn client(scratch: &Scratch, kind: &str, name: &str, server: &Running) -> String {
    match kind {
        "tcp" => format!("tcp:{}", server.address()),
        "tls" => format!("tls:localhost:{}:trustRoots={}", server.address().port(), scratch.join("server.pem")),
        _ => format!("unix:{}", scratch.join(name)),
    }
}

/// Sends `input` to an endpoint, and returns the answer.
fn exchange(endpoint: &str, input: &[u8]) -> Vec<u8> {
    let output = connect(endpoint, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn each_kind_is_forwarded_to_each_kind() {
    let (scratch, sent) = (files(), (0..100_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    for inner in KINDS {
        let echo = Running::start_command(program(&["echo", "--listen", &server(&scratch, inner, "inner")]));
        for outer in KINDS {
            let (listen, to) = (server(&scratch, outer, "outer"), client(&scratch, inner, "inner", &echo));
            let forward = Running::start_command(program(&["portforward", "--listen", &listen, "--to", &to]));
            let back = exchange(&client(&scratch, outer, "outer", &forward), &sent);
            assert!(back == sent, "from {outer} to {inner}: {} bytes", back.len());
        }
    }
}

/// Starts a program that forwards from `listen` to a target of this test, with a header of this version.
fn announcing(version: &str, listen: &str) -> (Running, TcpListener) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", target.local_addr().unwrap());
    let options = ["portforward", "--listen", listen, "--to", &to, "--send-proxy", version];
    (Running::start_command(program(&options)), target)
}

fn accept(target: &TcpListener) -> TcpStream {
    let (stream, _) = target.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Returns a header of version 2 for two IPv4 addresses.
fn binary(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(source), SocketAddr::V4(destination)) = (source, destination) else { unreachable!() };
    let ips = [source.ip().octets(), destination.ip().octets()].concat();
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    [SIGNATURE, &[0x21, 0x11, 0, 12], &ips, &ports].concat()
}

#[test]
fn a_header_names_the_addresses_of_the_client() {
    for version in VERSIONS {
        let (forward, target) = announcing(version, "tcp:0:interface=127.0.0.1");
        let mut stream = forward.connect();
        let (source, destination) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let header = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", source.port(), destination.port()).into_bytes(),
            _ => binary(source, destination),
        };
        // The header comes without a byte of the client.
        let mut accepted = accept(&target);
        assert_eq!(read_exactly(&mut accepted, header.len()), header, "{version}");
        stream.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&mut accepted, 5), b"hello", "{version}");
        accepted.write_all(b"world").unwrap();
        assert_eq!(read_exactly(&mut stream, 5), b"world", "{version}");
    }
}

#[test]
fn a_received_header_is_passed_on() {
    let received = binary("192.0.2.1:54321".parse().unwrap(), "198.51.100.7:443".parse().unwrap());
    let text = b"PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n";
    for (version, expected) in [("v1", &text[..]), ("v2", &received)] {
        for sent in [&text[..], &received] {
            let (forward, target) = announcing(version, "haproxy:tcp:0:interface=127.0.0.1");
            let answering = thread::spawn(move || read_all(&mut accept(&target)));
            converse(forward.connect(), &[sent, b"hello"].concat());
            assert_eq!(answering.join().unwrap(), [expected, b"hello"].concat(), "{version}");
        }
    }
}

#[test]
fn a_unix_client_has_a_header_without_addresses() {
    let scratch = Scratch::new();
    let path = scratch.join("outer");
    let binary = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for (version, header) in [("v1", b"PROXY UNKNOWN\r\n".to_vec()), ("v2", binary)] {
        let (_forward, target) = announcing(version, &format!("unix:{path}"));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut accept(&target)), [&header[..], b"hello"].concat(), "{version}");
    }
}

#[test]
fn a_header_precedes_the_handshake() {
    let scratch = files();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    let to = format!("tls:localhost:{port}:trustRoots={}", scratch.join("server.pem"));
    let forward = Running::start(&["portforward", "--to", &to, "--send-proxy", "v1"]);
    let stream = forward.connect();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {}", stream.local_addr().unwrap().port());
    let mut accepted = accept(&target);
    assert_eq!(read_exactly(&mut accepted, expected.len()), expected.as_bytes());
    let rest = read_exactly(&mut accepted, forward.address().port().to_string().len() + 3 + 3);
    // A record of the handshake: RFC 8446, section 5.1.
    assert!(rest.ends_with(b"\r\n\x16\x03\x01"), "{rest:?}");
}

#[test]
fn a_chain_of_programs_keeps_the_first_address() {
    // TCP, then a UNIX socket, then TLS behind its header.
    let scratch = files();
    scratch.write("site/page", "a page\n");
    for version in VERSIONS {
        let listen = format!(r"tls:{}:endpoint=haproxy\:tcp\:0\:interface=127.0.0.1", scratch.join("server.pem"));
        let mut site = Running::start_command(program(&["-v", "serve", &scratch.join("site"), "--listen", &listen]));
        let (middle, to) = (scratch.join("middle"), client(&scratch, "tls", "", &site));
        let haproxy = format!("haproxy:unix:{middle}");
        let chain = ["portforward", "--listen", &haproxy, "--to", &to, "--send-proxy", version];
        let _second = Running::start_command(program(&chain));
        let to = format!("unix:{middle}");
        let first = Running::start(&["portforward", "--to", &to, "--send-proxy", version]);
        let stream = first.connect();
        let peer = stream.local_addr().unwrap();
        assert!(converse(stream, b"GET /page HTTP/1.0\r\n\r\n").ends_with(b"a page\n"), "{version}");
        let log = site.log_until("GET /page");
        let line = log + &site.log();
        assert!(line.contains(&format!("peer={peer}")), "{version}: {line}");
    }
}

#[test]
fn a_header_is_written_to_a_unix_socket() {
    let scratch = Scratch::new();
    let path = scratch.join("target");
    let target = UnixListener::bind(&path).unwrap();
    let forward = Running::start(&["portforward", "--to", &format!("unix:{path}"), "--send-proxy", "v1"]);
    let stream = forward.connect();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} ", stream.local_addr().unwrap().port());
    let (mut accepted, _) = target.accept().unwrap();
    assert_eq!(read_exactly(&mut accepted, expected.len()), expected.as_bytes());
}

#[test]
fn wrong_options_for_a_header_name_the_remedy() {
    let options = ["portforward", "--listen", "udp:0:interface=127.0.0.1", "--to", "udp:127.0.0.1:9"];
    let output = outcome(&[&options[..], &["--send-proxy", "v2"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("--send-proxy is for streams: 'udp:127.0.0.1:9' is for datagrams"), "{error}");
    let output = outcome(&["portforward", "--listen", "tcp:0", "--to", "haproxy:tcp:127.0.0.1:9"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("use --send-proxy v1 or v2"), "{error}");
    let output = outcome(&["portforward", "--listen", "tcp:0", "--to", "tcp:127.0.0.1:9", "--send-proxy", "3"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("v1") && error.contains("v2"), "{error}");
}

/// A program that is not ours. Dropping it kills the program.
struct Peer(Child);

impl Peer {
    fn start(command: &mut Command, port: u16) -> Peer {
        let peer = Peer(command.spawn().expect("the peer is installed"));
        eventually("the peer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Checks that a receiver answers with the address of the client that it has found in the header.
fn names_the_client(scratch: &Scratch, plain: u16, secure: u16) {
    let trusted = format!("trustRoots={}", scratch.join("server.pem"));
    for to in [format!("tcp:127.0.0.1:{plain}"), format!("tls:localhost:{secure}:{trusted}")] {
        for version in VERSIONS {
            let forward = Running::start(&["portforward", "--to", &to, "--send-proxy", version]);
            let mut stream = forward.connect();
            let source = stream.local_addr().unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(&format!("client {source}.")), "{to} {version}: {answer}");
            // A client without an address of IP is accepted as well.
            let socket = scratch.join("unix");
            let listen = format!("unix:{socket}");
            let options = ["portforward", "--listen", &listen, "--to", &to, "--send-proxy", version];
            let _forward = Running::start_command(program(&options));
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{to} {version}: {answer}");
        }
    }
}

#[test]
#[ignore = "needs haproxy, which few machines have"]
fn haproxy_reads_the_header() {
    let scratch = files();
    let (plain, secure, pem) = (free_port(), free_port(), scratch.join("server.pem"));
    let answer = "http-request return status 200 content-type text/plain lf-string \"client %[src]:%[src_port].\"";
    let config = format!(
        "defaults\n  mode http\n  timeout client 20s\n  timeout connect 5s\n  timeout server 20s\n\
         frontend site\n  bind 127.0.0.1:{plain} accept-proxy\n  \
         bind 127.0.0.1:{secure} accept-proxy ssl crt {pem}\n  {answer}\n"
    );
    scratch.write("haproxy.cfg", config);
    let mut haproxy = Command::new("haproxy");
    haproxy.args(["-db", "-q", "-f", &scratch.join("haproxy.cfg")]);
    let _peer = Peer::start(&mut haproxy, plain);
    names_the_client(&scratch, plain, secure);
}

#[test]
#[ignore = "needs nginx, which few machines have"]
fn nginx_reads_the_header() {
    let scratch = files();
    let (plain, secure, pem) = (free_port(), free_port(), scratch.join("server.pem"));
    let site = format!(
        "listen 127.0.0.1:{plain} proxy_protocol; listen 127.0.0.1:{secure} ssl proxy_protocol; ssl_certificate {pem}; \
         ssl_certificate_key {pem}; return 200 \"client $proxy_protocol_addr:$proxy_protocol_port.\";"
    );
    // By default these folders are those of an installed package.
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
    let http = format!("http {{ access_log off; {} server {{ {site} }} }}", folders.concat());
    scratch.write(
        "nginx.conf",
        format!("daemon off; master_process off; pid nginx.pid; events {{}} error_log stderr; {http}"),
    );
    let mut nginx = Command::new("nginx");
    nginx.args(["-p", &scratch.join(""), "-c", &scratch.join("nginx.conf")]);
    let _peer = Peer::start(&mut nginx, plain);
    names_the_client(&scratch, plain, secure);
}
