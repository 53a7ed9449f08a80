//! What the command line says, and what is said about it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{ANYWHERE, Running, eventually, outcome, program};
use crate::scratch::Scratch;
use crate::wire::{converse, read_all, read_exactly};

/// The one line of complaint, and nothing else.
#[track_caller]
fn complaint(arguments: &[&str], status: i32) -> String {
    let Output { status: own, stdout, stderr } = outcome(arguments);
    let complaint = String::from_utf8(stderr).unwrap();
    assert_eq!(own.code(), Some(status), "{complaint}");
    assert_eq!(stdout, b"");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint.strip_prefix("ropewalk: ").expect("it says who complains").trim_end().to_owned()
}

#[track_caller]
fn said(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = outcome(arguments);
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    assert_eq!(status.code(), Some(0));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn bad_arguments_are_one_line_and_status_2() {
    assert_eq!(
        complaint(&["echo", "--lisen", "tcp:1"], 2),
        "unexpected argument '--lisen' found; tip: a similar argument exists: '--listen' (try --help)"
    );
    assert!(complaint(&["dance"], 2).contains("'dance'"));
    assert!(complaint(&["serve"], 2).contains("<DIR>"));
    assert!(complaint(&["portforward", "--to", "tcp:localhost:1"], 2).contains("--listen <ENDPOINT>"));
    assert!(complaint(&["-v"], 2).contains("--help"));
    let endpoint = complaint(&["echo", "--listen", "tcp:eighty"], 2);
    assert!(endpoint.contains("'eighty'") && endpoint.contains("0 to 65535"), "{endpoint}");
    let target = complaint(&["portforward", "--listen", ANYWHERE, "--to", "localhost:80"], 2);
    assert!(target.contains("tcp:localhost:8000"), "{target}");
}

#[test]
fn no_argument_at_all_shows_the_help_and_is_an_error() {
    let Output { status, stdout, stderr } = outcome(&[]);
    assert_eq!(status.code(), Some(2));
    assert_eq!(stdout, b"");
    assert!(String::from_utf8(stderr).unwrap().contains("Usage: ropewalk"));
}

#[test]
fn a_reactor_that_does_not_exist_is_a_bad_argument() {
    let known: Vec<_> = ropewalk::reactors().iter().map(|reactor| reactor.name).collect();
    assert_eq!(
        complaint(&["-r", "nonesuch", "echo"], 2),
        format!("no reactor is called 'nonesuch': choose one of {}", known.join(", "))
    );
}

#[test]
fn what_the_environment_says_wrong_is_told_with_its_name() {
    let refused = program(&["echo", "--listen", ANYWHERE]).env("ROPEWALK_REACTOR", "nonesuch").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with("ropewalk: ROPEWALK_REACTOR: no reactor is called 'nonesuch': choose one of "), "{said}");
    // Empty, it says nothing, and not that there shall be no log.
    let mut command = program(&["-v", "echo", "--listen", ANYWHERE]);
    let mut server = Running::start_command({
        command.env("ROPEWALK_LOG", "");
        command
    });
    server.terminate();
    assert!(server.log().contains("INFO started"));
}

#[test]
fn numbers_are_told_in_which_bounds_they_are_expected() {
    for (option, value, expected) in [
        ("--max-connections", "-1", format!("expected a whole number from 1 to {}", usize::MAX)),
        ("--max-connections", "99999999999999999999", format!("expected a whole number from 1 to {}", usize::MAX)),
        ("--idle-timeout", "-1", "expected a number of seconds from 0 on".to_owned()),
        ("--log-rotate-count", "-1", "-1 is not in 0..=4294967295".to_owned()),
    ] {
        let complaint = complaint(&["echo", option, value], 2);
        assert!(complaint.contains(&format!("'{value}'")) && complaint.contains(&expected), "{complaint}");
    }
}

#[test]
fn what_cannot_be_done_is_one_line_and_status_1() {
    let scratch = Scratch::new();
    scratch.write("file", "");
    let missing = scratch.join("missing");
    assert!(complaint(&["serve", &missing], 1).starts_with(&format!("cannot serve {missing}: No such file")));
    let file = scratch.join("file");
    assert!(complaint(&["serve", &file], 1).starts_with(&format!("cannot serve {file}: Not a directory")));
    let socket = format!("unix:{}", scratch.join("no/such/socket"));
    assert!(complaint(&["echo", "--listen", &socket], 1).starts_with("cannot listen on "));
}

#[test]
fn a_port_in_use_is_one_line_and_status_1() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    for interface in [":interface=127.0.0.1", ""] {
        let endpoint = format!("tcp:{}{interface}", taken.port());
        let complaint = complaint(&["discard", "--listen", &endpoint], 1);
        assert!(complaint.starts_with("cannot listen on ") && complaint.contains("in use"), "{complaint}");
    }
    drop(holder);
}

#[test]
fn the_version_and_the_help_go_to_standard_output() {
    assert_eq!(said(&["--version"]), format!("ropewalk {}\n", env!("CARGO_PKG_VERSION")));
    let help = said(&["--help"]);
    for expected in ["echo", "portforward", "serve", "--help-reactors", "Examples:", "ropewalk serve ."] {
        assert!(help.contains(expected), "{expected}");
    }
    assert!(help.lines().all(|line| line.len() <= 100));
    assert!(said(&["serve", "--help"]).contains("--listen <ENDPOINT>"));
}

#[test]
fn how_to_run_as_a_daemon_is_explained_once() {
    assert!(said(&["--help"]).contains("--pidfile"));
    for help in [&["echo", "--help"][..], &["help", "echo"], &["serve", "-h"]] {
        let help = said(help);
        assert!(!help.contains("--pidfile") && help.contains("Running as a daemon: ropewalk --help\n"), "{help}");
        assert!(help.contains("--config"), "{help}");
    }
    // They are options of the commands all the same.
    assert!(complaint(&["echo", "--umask", "9"], 2).contains("expected permissions in octal"));
}

#[test]
fn the_reactors_are_listed_a_line_each() {
    let list = said(&["--help-reactors"]);
    for (line, reactor) in ropewalk::reactors().iter().enumerate() {
        let line = list.lines().nth(line).expect("a line for each reactor");
        let mark = if reactor.unavailable.is_some() { '!' } else { ' ' };
        assert!(line.starts_with(&format!("{mark}{}", reactor.name)), "{line}");
        assert!(line.contains(reactor.description), "{line}");
    }
}

#[test]
fn the_start_line_names_the_reactor_and_every_place() {
    let scratch = Scratch::new();
    let socket = scratch.join("echo.sock");
    let place = format!("unix:{socket}");
    let mut running = Running::start(&["-r", "poll", "echo", "--listen", &place]);
    assert_eq!(running.start_line, format!("echo on poll, listening on {socket}, {}\n", running.address()));
    assert_eq!(converse(running.connect(), b"hello"), b"hello");
    assert_eq!(running.rest_of_output(), "");
}

#[test]
fn every_interface_is_listened_on_when_none_is_named() {
    let server = Running::start_command(program(&["echo", "--listen", "tcp:0"]));
    let stream = TcpStream::connect(("127.0.0.1", server.address().port())).unwrap();
    assert_eq!(converse(stream, b"hello"), b"hello");
}

#[test]
fn a_quiet_service_says_nothing() {
    let scratch = Scratch::new();
    let socket = scratch.join("echo.sock");
    let mut command = program(&["-q", "echo", "--max-connections", "1", "--listen", &format!("unix:{socket}")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it listens", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(read_exactly(&mut stream, 1), b"x");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), &stdout[..], &stderr[..]), (Some(0), &b""[..], &b""[..]));
}

#[test]
fn the_environment_names_a_reactor_and_the_option_overrules_it() {
    let mut command = program(&["echo", "--listen", ANYWHERE]);
    let by_environment = Running::start_command({
        command.env("ROPEWALK_REACTOR", "select");
        command
    });
    assert!(by_environment.start_line.starts_with("echo on select,"));
    let mut command = program(&["echo", "-r", "poll", "--listen", ANYWHERE]);
    command.env("ROPEWALK_REACTOR", "select");
    assert!(Running::start_command(command).start_line.starts_with("echo on poll,"));
}

#[test]
fn serving_without_a_place_says_where() {
    let scratch = Scratch::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = program(&["serve", &scratch.join("")]);
    let errors = theirs.try_clone().unwrap();
    let mut child = command.stdout(OwnedFd::from(theirs)).stderr(OwnedFd::from(errors)).spawn().unwrap();
    // What is ours of the program's end closes with it.
    drop(command);
    let mut first = String::new();
    BufReader::new(ours).read_line(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Where somebody else has the port, the complaint names it.
    assert!(first.contains("127.0.0.1:8080"), "{first}");
}

/// Where nobody listens, and where there is no room.
fn deaf_ears() -> [Stdio; 2] {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    [OwnedFd::from(theirs).into(), File::options().write(true).open("/dev/full").unwrap().into()]
}

#[test]
fn nobody_has_to_listen_to_what_it_says_but_what_finds_no_room_is_an_error() {
    let full = "ropewalk: cannot write to standard output: No space left on device (os error 28)\n";
    let questions: [&[&str]; 6] = [
        &["--help"],
        &["echo", "--help"],
        &["help", "serve"],
        &["--help-reactors"],
        &["--version"],
        &["--completions", "bash"],
    ];
    for arguments in questions {
        for (ears, expected) in deaf_ears().into_iter().zip([(Some(0), ""), (Some(1), full)]) {
            let Output { status, stderr, .. } =
                program(arguments).stdout(ears).stderr(Stdio::piped()).output().unwrap();
            assert_eq!((status.code(), &*String::from_utf8(stderr).unwrap()), expected, "{arguments:?}");
        }
    }
    for ears in deaf_ears() {
        assert_eq!(program(&["echo", "--lisen"]).stderr(ears).status().unwrap().code(), Some(2));
    }
}

#[test]
fn a_log_file_without_room_is_told_once_and_stops_nothing() {
    let scratch = Scratch::new();
    let socket = scratch.join("echo.sock");
    let place = format!("unix:{socket}");
    let mut command = program(&["-vvv", "echo", "--logfile", "/dev/full", "--listen", &place]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it listens", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut stream, 5), b"hello");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let expected =
        "ropewalk: cannot write the log file /dev/full, whose lines are lost: No space left on device (os error 28)\n";
    assert_eq!((status.code(), &*String::from_utf8(stderr).unwrap()), (Some(0), expected));
}

#[test]
fn a_service_runs_on_when_nobody_listens_to_its_start_line_and_log() {
    for (output, errors) in deaf_ears().into_iter().zip(deaf_ears()) {
        let scratch = Scratch::new();
        let socket = scratch.join("echo.sock");
        let mut command = program(&["-vvv", "echo", "--listen", &format!("unix:{socket}")]);
        let mut child = command.stdout(output).stderr(errors).spawn().unwrap();
        eventually("it listens", || UnixStream::connect(&socket).is_ok());
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream), b"hello");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
