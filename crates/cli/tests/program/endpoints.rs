//! Endpoints that others provide: a service manager, a shell, a load balancer.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use ropewalk::endpoints::Endpoints;

use crate::running::{PATIENCE, Running, program};
use crate::wire::{converse, read_all};

/// Returns a command that passes `listener` as descriptor 3, as systemd does, and then becomes the program.
pub(crate) fn activated(listener: &TcpListener, environment: &str, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("exec 3<&0 </dev/null; {environment} exec \"$0\" {arguments}");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ropewalk")]);
    command.stdin(OwnedFd::from(listener.try_clone().unwrap()));
    command
}

#[test]
fn a_socket_of_the_service_manager_is_served() {
    // sd_listen_fds(3)
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web";
    for which in ["systemd:", "systemd:INET:index=0", "systemd:name=web", "fd:3"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Running::start_command(activated(&listener, environment, &format!("echo --listen {which}")));
        assert_eq!(server.address(), listener.local_addr().unwrap(), "{which}");
        // From here on, only the server accepts.
        drop(listener);
        assert_eq!(converse(server.connect(), b"hello"), b"hello", "{which}");
    }
}

#[test]
fn invalid_or_foreign_descriptors_are_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (environment, which, expected) in [
        ("LISTEN_PID=1 LISTEN_FDS=1", "systemd:", "LISTEN_PID is '1', but this process is "),
        ("", "systemd:", "LISTEN_PID is not set"),
        (
            "LISTEN_PID=$$ LISTEN_FDS=1",
            "systemd:index=1",
            "no socket with index 1 from the service manager: it passed 1",
        ),
        ("LISTEN_PID=$$ LISTEN_FDS=1", "systemd:UNIX", "wrong domain INET of the inherited socket "),
        ("", "fd:99", "cannot listen on descriptor 99: Bad file descriptor"),
        ("LISTEN_PID=$$ LISTEN_FDS=9", "systemd:index=8", "cannot listen on descriptor 11: Bad file descriptor"),
        ("", "fd:2", "cannot listen on descriptor 2: "),
    ] {
        let mut command = activated(&listener, environment, &format!("echo --listen {which}"));
        let output = command.env_remove("LISTEN_PID").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn the_program_exits_when_its_standard_streams_close() {
    let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut command = program(&["echo", "--listen", "stdio:"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, sent) = (child.stdin.take().unwrap(), text.clone());
    let writing = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let mut answer = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    assert!(answer == text, "{} bytes of {}", answer.len(), text.len());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn standard_streams_may_carry_a_proxy_header() {
    let header = b"PROXY TCP4 192.0.2.77 192.0.2.1 54321 7\r\n";
    let whole = [&header[..], b"hello"].concat();
    for (input, answer) in
        [(&whole[..], &b"hello"[..]), (header, b""), (&header[..9], b""), (b"hello", b""), (b"", b"")]
    {
        let mut command = program(&["echo", "--listen", "haproxy:stdio:"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), answer), "{}", input.escape_ascii());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_output_device_fails_with_its_reason() {
    // full(4): ENOSPC.
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for reactor in crate::running::reactors() {
        for command in ["echo", "daytime", "chargen"] {
            let mut command = program(&["-r", reactor, command, "--listen", "stdio:"]);
            let mut child = command.stdin(Stdio::piped()).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(b"hello").unwrap();
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{reactor}: {error}");
            assert_eq!(
                error, "ropewalk: cannot write to standard output: No space left on device (os error 28)\n",
                "{reactor}"
            );
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_as_input_fails_with_its_reason() {
    let input = fs::File::open("/").unwrap();
    let output = program(&["echo", "--listen", "stdio:"]).stdin(input).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(error, "ropewalk: cannot read standard input: Is a directory (os error 21)\n");
}

#[test]
fn an_endless_input_ends_with_the_output() {
    // yes | ropewalk portforward --listen stdio: --to tcp:... | head
    let target = Running::start(&["echo"]);
    let place = format!("tcp:{}", target.address());
    let mut command = program(&["portforward", "--listen", "stdio:", "--to", &place]);
    let zero = fs::File::open("/dev/zero").unwrap();
    let mut child = command.stdin(zero).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert!(child.wait().unwrap().code().is_some());
}

#[test]
fn a_closed_output_pipe_is_not_a_failure() {
    // ropewalk chargen --listen stdio: | head
    let mut command = program(&["chargen", "--listen", "stdio:"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 80]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[test]
fn standard_streams_are_forwarded() {
    // nc(1) uses standard input and output in this way.
    let target = Running::start(&["echo"]);
    let place = format!("tcp:{}", target.address());
    let mut command = program(&["portforward", "--listen", "stdio:", "--to", &place]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"hello"[..]));
}

#[test]
fn a_connection_without_its_proxy_header_is_closed() {
    let mut server =
        Running::start_command(program(&["-v", "discard", "--listen", "haproxy:tcp:0:interface=127.0.0.1"]));
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"PROXY TCP4 192.0.2.77 192.0.2.1 54321 9\r\nhello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"");
    let mut stranger = server.connect();
    stranger.write_all(b"hello").unwrap();
    assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)));
    assert!(server.log().lines().all(|line| !line.contains("WARN")));
}

/// Returns the part of `text` from `heading` to the next `end`.
fn section<'a>(text: &'a str, heading: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    rest.split_once(end).map_or(rest, |(section, _)| section)
}

#[test]
fn every_list_of_endpoint_types_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let help = String::from_utf8(program(&["--help"]).output().unwrap().stdout).unwrap();
    let book = fs::read_to_string(root.join("docs/src/endpoints.md")).unwrap();
    let words = fs::read_to_string(root.join("fuzz/description.dict")).unwrap();
    let registry = Endpoints::new();
    let sides = [
        (registry.server_names(), "Endpoints to listen on:\n", "Endpoints to", "### To listen\n"),
        (registry.client_names(), "Endpoints to connect to:\n", "Datagram", "### To connect\n"),
        (registry.datagram_server_names(), "to receive at:\n", "Datagram", "### To receive datagrams\n"),
        (registry.datagram_client_names(), "to send to:\n", "Write", "### To send datagrams\n"),
    ];
    for (names, help_heading, help_end, book_heading) in sides {
        let help = section(&help, help_heading, help_end);
        let book = section(&book, book_heading, "\n#");
        for name in names {
            assert!(help.lines().any(|line| line.starts_with(&format!("  {name}:"))), "{name}: not in --help");
            assert!(book.lines().any(|line| line.starts_with(&format!("| `{name}:"))), "{name}: not in the book");
            assert!(words.lines().any(|line| line == format!("\"{name}:\"")), "{name}: not in the fuzz dictionary");
        }
    }
}
