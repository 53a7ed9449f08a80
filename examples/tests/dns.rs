//! Runs the programs `dns_server` and `dns_client` against each other.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A name server with a hosts file, both of which end with the test.
struct Server {
    child: Child,
    hosts: PathBuf,
    address: String,
}

impl Server {
    fn start(name: &str, hosts: &str) -> Server {
        let path = std::env::temp_dir().join(format!("ropewalk-dns-{name}-{}", std::process::id()));
        std::fs::write(&path, hosts).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dns_server"));
        command.arg(&path).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("answering at ").unwrap().to_owned();
        Server { child, hosts: path, address }
    }

    /// Runs the client, and returns its standard output and its status.
    fn ask(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dns_client"));
        let Output { stdout, status, .. } = command.args(["--server", &self.address]).args(arguments).output().unwrap();
        (String::from_utf8(stdout).unwrap(), status.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.hosts);
    }
}

#[test]
fn the_client_prints_the_records_of_the_server() {
    let server = Server::start("records", "10.0.0.9 printer.example printer\nfd00::9 printer.example\n");
    let (text, status) = server.ask(&["printer.example"]);
    assert_eq!((text.as_str(), status), ("; No Error\nprinter.example. 60 IN A 10.0.0.9\n", Some(0)));
    let (text, status) = server.ask(&["printer.example", "--type", "aaaa", "--tcp"]);
    assert_eq!((text.as_str(), status), ("; No Error\nprinter.example. 60 IN AAAA fd00::9\n", Some(0)));
    let (text, status) = server.ask(&["scanner.example"]);
    assert_eq!((text.as_str(), status), ("; Non-Existent Domain\n", Some(1)));
}

#[test]
fn an_answer_longer_than_a_datagram_is_complete() {
    let hosts: String = (1..=200).map(|last| format!("10.0.1.{last} farm.example\n")).collect();
    let (text, _) = Server::start("long", &hosts).ask(&["farm.example"]);
    assert_eq!(text.lines().count(), 201);
}

#[test]
fn a_server_that_is_not_there_is_reported() {
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dns_client"));
    let output = command.args(["host.example", "--server", &nowhere]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("host.example: no name server has answered"), "{text}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn dig_understands_the_server() {
    if Command::new("dig").arg("-v").output().is_err() {
        println!("skipped: dig is not installed");
        return;
    }
    let hosts: String = (1..=200).map(|last| format!("10.0.1.{last} farm.example\n")).collect();
    let server = Server::start("dig", &format!("10.0.0.9 printer.example\n{hosts}"));
    let (host, port) = server.address.split_once(':').unwrap();
    let dig = |arguments: &[&str]| {
        let output = Command::new("dig").arg(format!("@{host}")).args(["-p", port]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(dig(&["+short", "printer.example"]), "10.0.0.9\n");
    assert_eq!(dig(&["+short", "+tcp", "printer.example"]), "10.0.0.9\n");
    assert!(dig(&["scanner.example"]).contains("status: NXDOMAIN"));
    let long = dig(&["+short", "+noedns", "farm.example"]);
    assert_eq!(long.lines().filter(|line| line.starts_with("10.0.1.")).count(), 200);
}
