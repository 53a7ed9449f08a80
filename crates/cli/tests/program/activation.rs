//! Socket activation by systemd's own tool.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{PATIENCE, eventually};
use crate::wire::read_all;

#[test]
#[ignore = "needs systemd-socket-activate, from the Debian package systemd"]
fn the_first_connection_starts_the_program() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut activated = Command::new("systemd-socket-activate")
        .args(["--listen", &free.to_string(), "--fdname=web", env!("CARGO_BIN_EXE_ropewalk")])
        .args(["echo", "--listen", "systemd:name=web"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-socket-activate");
    let mut stream = None;
    eventually("the tool listens", || {
        stream = TcpStream::connect(free).ok();
        stream.is_some()
    });
    let mut stream = stream.expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"who is there").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), b"who is there");
    // The tool has replaced itself with the program.
    let process = Pid::from_raw(activated.id() as i32).expect("a process");
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(activated.wait().unwrap().code(), Some(0));
}
