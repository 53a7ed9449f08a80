//! OpenSSL as the peer: the versions, suites and groups of the book are those that a server accepts. Nothing is checked
//! if the program `openssl` is not installed.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use ropewalk::ThreadHandle;
use ropewalk::tls::{Identity, ServerOptions, TlsServer};
use ropewalk_conformance::script::{Script, stop};
use ropewalk_conformance::{Subject, run};

const BOOK: &str = include_str!("../../docs/src/tls.md");

/// The groups that a server accepts, by OpenSSL's names.
const GROUPS: [&str; 3] = ["X25519", "P-256", "P-384"];

/// Groups that it refuses.
const OTHER_GROUPS: [&str; 4] = ["P-521", "X448", "ffdhe2048", "ffdhe3072"];

/// An echo with a certificate of the kind that `openssl req` calls `algorithm`, in another thread.
struct Server {
    host: SocketAddr,
    handle: ThreadHandle,
    running: Option<JoinHandle<()>>,
}

impl Server {
    fn new(algorithm: &[&str]) -> Server {
        let folder = Subject::named("epoll").unix_path().with_extension("openssl");
        fs::create_dir(&folder).unwrap();
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| folder.join(name));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "90", "-subj", "/CN=localhost", "-newkey"])
            .args(algorithm)
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let (sender, receiver) = mpsc::channel();
        let running = thread::spawn(move || {
            let identity = Identity::read(&certificate, &key).unwrap();
            fs::remove_dir_all(&folder).unwrap();
            let tls = TlsServer::new(ServerOptions::new().identity(identity)).unwrap();
            let reactor = Subject::named("epoll").reactor();
            let port = reactor.listen_tls("127.0.0.1:0", Script::echo().factory(), &tls).unwrap();
            sender.send((port.host().unwrap().inet().unwrap(), reactor.thread_handle())).unwrap();
            run(&reactor);
        });
        let (host, handle) = receiver.recv().unwrap();
        Server { host, handle, running: Some(running) }
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &self.host.to_string(), "-servername", "localhost"]).args(arguments);
        client
    }

    /// Whether a client with these arguments completes its handshake.
    fn accepts(&self, arguments: &[&str]) -> bool {
        let output = self.client(arguments).stdin(Stdio::null()).output().unwrap();
        let text = text(&output);
        text.contains("Cipher is ") && !text.contains("Cipher is (NONE)")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.call_from_thread(stop);
        let _ = self.running.take().unwrap().join();
    }
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

fn servers() -> Option<[(&'static str, Server); 2]> {
    Command::new("openssl").arg("version").output().ok()?;
    let curve = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    Some([("RSA", Server::new(&["rsa:2048"])), ("ECDSA", Server::new(&curve))])
}

/// Returns the rows of the book's table of suites, without spaces.
fn book() -> BTreeSet<String> {
    let rows = BOOK.lines().filter(|line| line.starts_with("| 1.") && line.contains('`'));
    rows.map(|row| row.replace(['`', ' '], "")).collect()
}

/// Returns the names of OpenSSL's suites for a version.
fn suites(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("openssl").arg("ciphers").arg("-s").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap().trim().split(':').map(str::to_owned).collect()
}

#[test]
fn the_accepted_suites_are_those_of_the_book() {
    let Some(servers) = servers() else { return };
    let mut accepted = BTreeSet::new();
    for suite in suites(&[
        "-tls1_3",
        "-ciphersuites",
        "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256",
    ]) {
        let kinds = servers.iter().filter(|(_, server)| server.accepts(&["-tls1_3", "-ciphersuites", &suite])).count();
        if suite.starts_with("TLS_") && kinds > 0 {
            assert_eq!(kinds, 2, "{suite}");
            accepted.insert(format!("|1.3|{suite}|any|"));
        }
    }
    let old = suites(&["-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]);
    assert!(old.len() > 20, "too few suites to prove anything: {old:?}");
    for suite in old.iter().filter(|suite| !suite.starts_with("TLS_")) {
        for (kind, server) in &servers {
            if server.accepts(&["-tls1_2", "-cipher", &format!("{suite}:@SECLEVEL=0")]) {
                accepted.insert(format!("|1.2|{suite}|{kind}|"));
            }
        }
    }
    assert_eq!(accepted, book());
}

#[test]
fn the_accepted_groups_are_those_of_the_book() {
    let Some(servers) = servers() else { return };
    let row = BOOK.lines().find(|line| line.starts_with("| 1.3 |") && !line.contains('`')).unwrap();
    assert!(row.contains(&GROUPS.join(", ")), "{row}");
    for version in ["-tls1_3", "-tls1_2"] {
        for (kind, server) in &servers {
            for group in GROUPS {
                // With TLS 1.2 the curve of the certificate must be one of the groups.
                let needs_more = *kind == "ECDSA" && group != "P-256";
                let groups = if needs_more { format!("{group}:P-256") } else { group.to_owned() };
                assert!(server.accepts(&[version, "-groups", &groups]), "{version} {kind} {group}");
            }
            for group in OTHER_GROUPS {
                assert!(!server.accepts(&[version, "-groups", group]), "{version} {kind} {group}");
            }
        }
    }
}

#[test]
fn older_versions_are_refused_with_an_alert() {
    let Some([(_, server), _]) = servers() else { return };
    for version in ["-tls1", "-tls1_1"] {
        let arguments = [version, "-cipher", "ALL:@SECLEVEL=0"];
        let output = server.client(&arguments).stdin(Stdio::null()).output().unwrap();
        let text = text(&output);
        assert!(!output.status.success() && text.contains("SSL alert number"), "{version}: {text}");
    }
}

#[test]
fn a_renegotiation_is_refused() {
    // CVE-2009-3555, and a way to make a server compute for free. The server survives.
    let Some([(_, server), _]) = servers() else { return };
    let mut client = server.client(&["-tls1_2"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"R\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let text = text(&output);
    assert!(text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    assert!(server.accepts(&["-tls1_2"]));
}
