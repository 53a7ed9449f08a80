//! TLS of the program, with openssl, curl and Python as peers.
//!
//! A test whose peer is not installed prints that it was skipped.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;

use crate::running::{PATIENCE, Running, eventually, finish, outcome, program};
use crate::scratch::Scratch;
use crate::wire::{read_all, read_exactly};

/// The versions as the options of openssl name them.
const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// An authority with the files of its certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates an authority, whose certificate is written to the file `name`.
    pub(crate) fn new(scratch: &Scratch, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        scratch.write(name, params.self_signed(&key).unwrap().pem());
        Authority { issuer: Issuer::new(params, key) }
    }

    /// Returns a new certificate for `host` and its key, as PEM texts.
    pub(crate) fn issue(&self, host: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }
}

/// A folder with the files `authority` and `server.pem`, which has a certificate for localhost and its key.
pub(crate) fn files() -> Scratch {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "authority");
    scratch.write("server.pem", authority.issue("localhost").concat());
    scratch
}

/// Returns the description of a server with the certificates in the entry `name`.
pub(crate) fn at(scratch: &Scratch, name: &str) -> String {
    format!("tls:{}:port=0:interface=127.0.0.1", scratch.join(name))
}

/// Starts a command of the program that listens on `endpoint`.
pub(crate) fn serve(command: &[&str], endpoint: &str) -> Running {
    Running::start_command(program(&[command, &["--listen", endpoint]].concat()))
}

/// Returns the description of a client of a port on this machine.
pub(crate) fn to(port: u16, options: &[(&str, String)]) -> String {
    let options = options.iter().map(|(name, value)| format!(":{name}={value}"));
    format!("tls:localhost:{port}{}", options.collect::<String>())
}

/// Runs the command connect with `input`.
pub(crate) fn connect(endpoint: &str, input: &[u8]) -> Output {
    let mut command = program(&["connect", endpoint]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // The program may end without reading all of it.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Checks that `connect` fails, and returns its error.
fn refused(endpoint: &str) -> String {
    let output = connect(endpoint, b"hello\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", text(&output.stderr));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program that is not ours. Dropping it kills the program.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a program, unless it is not installed.
    fn start(command: &mut Command) -> Option<Peer> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let Ok(mut child) = command.spawn() else {
            let _ = writeln!(io::stderr(), "skipped: {} is not installed", command.get_program().to_string_lossy());
            return None;
        };
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Peer { child, input, output })
    }

    /// Starts openssl with these arguments.
    fn openssl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Option<Peer> {
        Peer::start(Command::new("openssl").args(arguments))
    }

    /// Starts a client of openssl that checks the certificate.
    fn client(port: u16, authority: &str, options: &[&str]) -> Option<Peer> {
        let place = format!("localhost:{port}");
        let checked = ["-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost", "-quiet"];
        let arguments = ["s_client", "-4", "-connect", &place, "-CAfile", authority];
        Peer::openssl(arguments.iter().chain(&checked).chain(options))
    }

    /// Starts a server of openssl that reverses each line. Returns its port.
    fn reverser(scratch: &Scratch, options: &[&str]) -> Option<(Peer, u16)> {
        let identity = scratch.join("server.pem");
        let arguments = ["s_server", "-accept", "127.0.0.1:0", "-cert", &identity, "-rev"];
        let mut peer = Peer::openssl(arguments.iter().chain(options))?;
        let place = peer.line_after("ACCEPT 127.0.0.1:");
        Some((peer, place.parse().expect("a port")))
    }

    /// Skips to the line that begins with `start`, and returns the rest of this line.
    fn line_after(&mut self, start: &str) -> String {
        let mut lines = self.output.by_ref().lines().map(|line| line.expect("text"));
        lines.find_map(|line| Some(line.strip_prefix(start)?.to_owned())).expect("the line")
    }

    /// Writes bytes, and returns as many that come back.
    fn echoed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.write_all(bytes).unwrap();
        self.input.flush().unwrap();
        read_exactly(&mut self.output, bytes.len())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn openssl_talks_to_a_self_signed_echo() {
    let scratch = Scratch::new();
    let saved = scratch.join("saved.pem");
    let echo = serve(&["echo"], &format!("self-signed:0:save={saved}"));
    for version in VERSIONS {
        let Some(mut client) = Peer::client(echo.address().port(), &saved, &[version]) else { return };
        assert_eq!(client.echoed(b"hello\n"), b"hello\n", "{version}");
    }
    let Some(mut old) = Peer::client(echo.address().port(), &saved, &["-tls1_1"]) else { return };
    assert_eq!(read_all(&mut old.output), b"", "TLS 1.1 is refused");
    assert!(!old.child.wait().unwrap().success());
}

#[test]
fn the_saved_certificate_is_all_that_connect_needs() {
    let scratch = Scratch::new();
    let saved = scratch.join("saved.pem");
    let echo = serve(&["echo"], &format!("self-signed:0:save={saved}"));
    let port = echo.address().port();
    let output = connect(&to(port, &[("trustRoots", saved)]), b"hello\n");
    assert_eq!((text(&output.stderr).as_str(), output.stdout.as_slice()), ("", &b"hello\n"[..]));
    // The authorities of the system do not know it.
    let error = refused(&to(port, &[]));
    let is_known = error.contains("it is self-signed and not among the trusted certificates");
    assert!(is_known || error.contains("no certificate authority of the system"), "{error}");
}

#[test]
fn curl_gets_a_file() {
    let scratch = files();
    scratch.write("files/page", vec![b'x'; 300_000]);
    let server = serve(&["serve", &scratch.join("files")], &at(&scratch, "server.pem"));
    assert!(server.start_line.contains("https://127.0.0.1:"), "{}", server.start_line);
    let (url, authority) = (format!("https://localhost:{}/page", server.address().port()), scratch.join("authority"));
    for version in ["1.2", "1.3"] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", &authority, "--tls-max", version, &url]);
        let Ok(Output { status, stdout, stderr }) = curl.output() else {
            return drop(writeln!(io::stderr(), "skipped: curl is not installed"));
        };
        assert!(status.success(), "TLS {version}: {}", text(&stderr));
        assert!(stdout == vec![b'x'; 300_000], "TLS {version}: {} bytes", stdout.len());
    }
}

#[test]
fn plain_http_on_a_tls_port_is_answered_in_words() {
    let scratch = files();
    let server = serve(&["serve", &scratch.join("")], &at(&scratch, "server.pem"));
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let answer = text(&read_all(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("This port speaks HTTPS"), "{answer}");
}

#[test]
fn connect_talks_to_a_server_of_openssl() {
    let scratch = files();
    for version in VERSIONS {
        let Some((_server, port)) = Peer::reverser(&scratch, &[version]) else { return };
        let output = connect(&to(port, &[("trustRoots", scratch.join("authority"))]), b"hello\n");
        assert_eq!((text(&output.stderr), text(&output.stdout)), (String::new(), "olleh\n".to_owned()), "{version}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn an_unknown_authority_is_named() {
    let scratch = files();
    let Some((_server, port)) = Peer::reverser(&scratch, &[]) else { return };
    Authority::new(&scratch, "other authority");
    let error = refused(&to(port, &[("trustRoots", scratch.join("other authority"))]));
    assert!(error.contains("its issuer (CN=authority) is not a trusted authority"), "{error}");
}

#[test]
fn a_certificate_for_another_name_is_named() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "authority");
    scratch.write("server.pem", authority.issue("other.test").concat());
    let Some((_server, port)) = Peer::reverser(&scratch, &["-naccept", "2"]) else { return };
    let trusted = ("trustRoots", scratch.join("authority"));
    let error = refused(&to(port, std::slice::from_ref(&trusted)));
    assert!(error.contains("it is for other.test, expected localhost"), "{error}");
    let output = connect(&to(port, &[trusted, ("name", "other.test".to_owned())]), b"hello\n");
    assert_eq!(text(&output.stdout), "olleh\n", "{}", text(&output.stderr));
}

#[test]
fn a_server_without_tls_is_named_by_its_first_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.test ESMTP\r\n").unwrap();
        // Closing now would reset the connection, and with it the greeting.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let scratch = files();
    let error = refused(&to(port, &[("trustRoots", scratch.join("authority"))]));
    assert!(error.contains("the peer does not speak TLS: its first bytes are \"220 mail.test ESMTP\""), "{error}");
    server.join().unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_named_at_the_start() {
    let scratch = files();
    scratch.write("text.pem", "no certificate");
    scratch.write("empty/readme", "");
    let [certificate, _key] = Authority::new(&scratch, "other").issue("localhost");
    scratch.write("half.pem", certificate);
    for (name, fault) in [
        ("missing.pem", "No such file or directory"),
        ("text.pem", "no certificate found, expected PEM text with BEGIN CERTIFICATE"),
        ("half.pem", "no private key found, expected PEM text with BEGIN PRIVATE KEY"),
        ("empty", "no file in this folder has a name that ends in .pem"),
    ] {
        let output = outcome(&["echo", "--listen", &at(&scratch, name)]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("{}: {fault}", scratch.join(name))), "{error}");
    }
    let missing = scratch.join("missing.pem");
    let error = refused(&format!("tls:localhost:1:trustRoots={missing}"));
    assert!(error.contains(&format!("{missing}: No such file or directory")), "{error}");
}

/// An echo whose log is a file, so that it logs each SIGHUP.
struct Logged {
    scratch: Scratch,
    echo: Running,
}

impl Logged {
    fn start() -> Logged {
        let scratch = files();
        let log = scratch.join("log");
        let echo = serve(&["-v", "--logfile", &log, "echo"], &at(&scratch, "server.pem"));
        Logged { scratch, echo }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).unwrap()
    }

    /// Waits until the log has `count` lines with `part`, or more.
    fn await_lines(&self, part: &str, count: usize) {
        eventually(part, || self.log().matches(part).count() >= count);
    }

    fn reload(&self) {
        self.echo.signal(Signal::HUP);
    }

    /// Whether a new connection gets a certificate of the authority in this file.
    fn is_signed_by(&self, authority: &str) -> bool {
        let trusted = ("trustRoots", self.scratch.join(authority));
        connect(&to(self.echo.address().port(), &[trusted]), b"hello\n").stdout == b"hello\n"
    }
}

pub(crate) const LOADED: &str = "the certificates were loaded again";
const NOT_LOADED: &str = "the certificates were not loaded again";

#[test]
fn sighup_loads_a_new_certificate() {
    let logged = Logged::start();
    let (scratch, port) = (&logged.scratch, logged.echo.address().port());
    let old = Peer::client(port, &scratch.join("authority"), &[]);
    let Some(mut old) = old else { return };
    assert_eq!(old.echoed(b"before\n"), b"before\n");
    let authority = Authority::new(scratch, "new authority");
    scratch.write("server.pem", authority.issue("localhost").concat());
    logged.reload();
    logged.await_lines(LOADED, 1);
    assert!(logged.is_signed_by("new authority") && !logged.is_signed_by("authority"));
    assert_eq!(old.echoed(b"after\n"), b"after\n", "the connection lives");
}

#[test]
fn each_sighup_loads_the_certificates() {
    let logged = Logged::start();
    for round in 1..=3 {
        // A round trip, after which the start is over.
        assert!(logged.is_signed_by("authority"));
        logged.reload();
        logged.await_lines(LOADED, round);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_changed_certificate_is_loaded_without_a_signal() {
    let logged = Logged::start();
    let authority = Authority::new(&logged.scratch, "new authority");
    logged.scratch.write("next.pem", authority.issue("localhost").concat());
    std::fs::rename(logged.scratch.join("next.pem"), logged.scratch.join("server.pem")).unwrap();
    logged.await_lines(LOADED, 1);
    assert!(logged.is_signed_by("new authority"));
}

#[test]
fn sighup_keeps_the_certificate_when_its_file_is_broken() {
    let logged = Logged::start();
    let good = Authority::new(&logged.scratch, "new authority");
    let [certificate, _] = good.issue("localhost");
    let [_, other_key] = good.issue("localhost");
    logged.scratch.write("server.pem", format!("{certificate}{other_key}"));
    for round in 1..=3 {
        logged.reload();
        logged.await_lines("SIGHUP: reopening the log file", round);
        // A round trip, after which the signal has been handled.
        assert!(logged.is_signed_by("authority"));
    }
    let log = logged.log();
    assert_eq!(log.matches(NOT_LOADED).count(), 1, "the same error is logged once: {log}");
    assert!(log.contains("the private key does not belong to the certificate"), "{log}");
    logged.scratch.write("server.pem", "another fault");
    logged.reload();
    logged.await_lines(NOT_LOADED, 2);
    logged.scratch.write("server.pem", good.issue("localhost").concat());
    logged.reload();
    logged.await_lines(LOADED, 1);
    assert!(logged.is_signed_by("new authority"));
}

/// Sends a megabyte through `stream`, and returns what comes back.
fn a_megabyte_through(stream: TcpStream, sent: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let (mut reader, sent) = (stream, sent.to_vec());
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let back = read_all(&mut reader);
    writing.join().unwrap();
    back
}

fn a_megabyte() -> Vec<u8> {
    (0..250_000_u32).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn portforward_adds_tls() {
    let (scratch, sent) = (files(), a_megabyte());
    let inner = serve(&["echo"], &at(&scratch, "server.pem"));
    let target = to(inner.address().port(), &[("trustRoots", scratch.join("authority"))]);
    let outer = Running::start(&["portforward", "--to", &target]);
    assert!(a_megabyte_through(outer.connect(), &sent) == sent);
}

#[test]
fn portforward_takes_tls_off() {
    let (scratch, sent) = (files(), a_megabyte());
    let inner = Running::start(&["echo"]);
    let target = format!("tcp:{}", inner.address());
    let outer = serve(&["portforward", "--to", &target], &at(&scratch, "server.pem"));
    let endpoint = to(outer.address().port(), &[("trustRoots", scratch.join("authority"))]);
    let output = connect(&endpoint, &sent);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(output.stdout == sent, "{} bytes", output.stdout.len());
}

#[test]
fn the_old_form_has_a_file_for_the_key() {
    let scratch = Scratch::new();
    let [certificate, key] = Authority::new(&scratch, "roots/authority.pem").issue("localhost");
    scratch.write("certificate.pem", certificate);
    scratch.write("key.pem", key);
    let (certificate, key) = (scratch.join("certificate.pem"), scratch.join("key.pem"));
    let echo = serve(&["echo"], &format!("ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"));
    let (port, roots) = (echo.address().port(), scratch.join("roots"));
    let output = connect(&format!("ssl:localhost:{port}:caCertsDir={roots}"), b"hello\n");
    assert_eq!((text(&output.stderr), text(&output.stdout)), (String::new(), "hello\n".to_owned()));
    let error = refused(&format!("ssl:localhost:{port}:caCertsDir={roots}:hostname=other.test"));
    assert!(error.contains("it is for localhost, expected other.test"), "{error}");
}

#[test]
fn clients_need_a_certificate_of_the_authorities() {
    let scratch = files();
    let clients = Authority::new(&scratch, "client authority");
    scratch.write("client.pem", clients.issue("ada").concat());
    scratch.write("stranger.pem", Authority::new(&scratch, "stranger authority").issue("eve").concat());
    let endpoint = format!("{}:clientAuthorities={}", at(&scratch, "server.pem"), scratch.join("client authority"));
    let echo = serve(&["echo"], &endpoint);
    let (port, trusted) = (echo.address().port(), ("trustRoots", scratch.join("authority")));
    let (ada, eve) = (scratch.join("client.pem"), scratch.join("stranger.pem"));
    let output = connect(&to(port, &[trusted.clone(), ("certificate", ada.clone())]), b"hello\n");
    assert_eq!((text(&output.stderr), text(&output.stdout)), (String::new(), "hello\n".to_owned()));
    let error = refused(&to(port, std::slice::from_ref(&trusted)));
    assert!(error.contains("it requires a certificate of ours, and got none"), "{error}");
    let error = refused(&to(port, &[trusted, ("certificate", eve.clone())]));
    assert!(error.contains("it does not trust the issuer of our certificate"), "{error}");
    for version in VERSIONS {
        let authority = scratch.join("authority");
        let Some(mut client) = Peer::client(port, &authority, &[version, "-cert", &ada, "-key", &ada]) else { return };
        assert_eq!(client.echoed(b"hello\n"), b"hello\n", "{version}");
        let stranger = Peer::client(port, &authority, &[version, "-cert", &eve, "-key", &eve]);
        assert_eq!(read_all(&mut stranger.expect("openssl").output), b"", "{version}");
    }
}

/// Sends a megabyte, reads as much, and ends TLS in both directions.
const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, sys.argv[3])
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20) as plain:
    stream = context.wrap_socket(plain, server_hostname="localhost")
    for number in range(64):
        piece = bytes([number]) * 16384
        stream.sendall(piece)
        back = b""
        while len(back) < len(piece):
            back += stream.recv(65536)
        assert back == piece
    plain = stream.unwrap()
    print(plain.recv(1))
"#;

/// Echoes one connection up to the end of TLS, and ends TLS as well.
const PYTHON_SERVER: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
with socket.create_server(("127.0.0.1", 0)) as listener:
    print("port", listener.getsockname()[1], flush=True)
    plain, _ = listener.accept()
    plain.settimeout(20)
    stream = context.wrap_socket(plain, server_side=True)
    total = 0
    while piece := stream.recv(65536):
        stream.sendall(piece)
        total += len(piece)
    stream.unwrap()
    print("echoed", total, flush=True)
"#;

#[test]
fn python_ends_tls_with_our_server() {
    let scratch = files();
    let echo = serve(&["echo"], &at(&scratch, "server.pem"));
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut python = Command::new("python3");
        let (port, authority) = (echo.address().port().to_string(), scratch.join("authority"));
        python.args(["-c", PYTHON_CLIENT, &port, &authority, version]);
        if Command::new("python3").arg("-V").output().is_err() {
            return drop(writeln!(io::stderr(), "skipped: python3 is not installed"));
        }
        let output = finish(python);
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("b''\n".to_owned(), String::new()), "{version}");
    }
}

#[test]
fn python_ends_tls_with_our_client() {
    let (scratch, sent) = (files(), a_megabyte());
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON_SERVER, &scratch.join("server.pem"), version]);
        let Some(mut server) = Peer::start(&mut python) else { return };
        let port: u16 = server.line_after("port ").parse().expect("a port");
        let output = connect(&to(port, &[("trustRoots", scratch.join("authority"))]), &sent);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{version}");
        assert!(output.stdout == sent, "{version}: {} bytes", output.stdout.len());
        assert_eq!(server.line_after("echoed "), sent.len().to_string());
    }
}

#[test]
#[ignore = "needs gnutls-cli, which few machines have"]
fn gnutls_talks_to_an_echo() {
    let scratch = files();
    let echo = serve(&["echo"], &at(&scratch, "server.pem"));
    for version in ["1.2", "1.3"] {
        let mut gnutls = Command::new("gnutls-cli");
        gnutls.args(["--x509cafile", &scratch.join("authority"), "--port", &echo.address().port().to_string()]);
        gnutls.args(["--priority", &format!("NORMAL:-VERS-ALL:+VERS-TLS{version}"), "localhost"]);
        let mut client = Peer::start(&mut gnutls).expect("gnutls-cli is installed");
        client.line_after("- Handshake was completed");
        client.input.write_all(b"hello\n").unwrap();
        assert_eq!(client.line_after("hel"), "lo", "TLS {version}");
    }
}

#[test]
#[ignore = "needs nginx, which few machines have"]
fn connect_talks_to_nginx() {
    let scratch = files();
    scratch.write("files/page", "a page of nginx");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (pem, root) = (scratch.join("server.pem"), scratch.join("files"));
    let site = format!("listen 127.0.0.1:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {pem}; root {root};");
    let http = format!("http {{ access_log off; server {{ {site} }} }}");
    scratch.write(
        "nginx.conf",
        format!("daemon off; master_process off; pid nginx.pid; events {{}} error_log stderr; {http}"),
    );
    let mut nginx = Command::new("nginx");
    nginx.args(["-p", &scratch.join(""), "-c", &scratch.join("nginx.conf")]);
    let _server = Peer::start(&mut nginx).expect("nginx is installed");
    eventually("nginx listens", || TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PATIENCE).is_ok());
    let request = b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let output = connect(&to(port, &[("trustRoots", scratch.join("authority"))]), request);
    assert!(text(&output.stdout).ends_with("a page of nginx"), "{}", text(&output.stderr));
}
