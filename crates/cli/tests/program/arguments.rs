//! The command line: options, help and error messages.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{ANYWHERE, Running, eventually, outcome, program};
use crate::scratch::Scratch;
use crate::wire::{converse, read_all, read_exactly};

/// Returns the error message, which is the only line of output.
#[track_caller]
fn error_message(arguments: &[&str], status: i32) -> String {
    let Output { status: own, stdout, stderr } = outcome(arguments);
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(own.code(), Some(status), "{error}");
    assert_eq!(stdout, b"");
    assert_eq!(error.lines().count(), 1, "{error}");
    error.strip_prefix("ropewalk: ").expect("the name of the program").trim_end().to_owned()
}

#[track_caller]
fn output_of(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = outcome(arguments);
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    assert_eq!(status.code(), Some(0));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn a_wrong_argument_is_one_line_with_status_2() {
    assert_eq!(
        error_message(&["echo", "--lisen", "tcp:1"], 2),
        "unexpected argument '--lisen' found (did you mean '--listen'?) (try --help)"
    );
    assert!(error_message(&["dance"], 2).contains("'dance'"));
    assert_eq!(error_message(&["ech"], 2), "unrecognized subcommand 'ech' (did you mean 'echo'?) (try --help)");
    assert!(error_message(&["serve"], 2).contains("<DIR>"));
    assert!(error_message(&["portforward", "--to", "tcp:localhost:1"], 2).contains("--listen <ENDPOINT>"));
    assert!(error_message(&["-v"], 2).contains("--help"));
    let endpoint = error_message(&["echo", "--listen", "tcp:eighty"], 2);
    assert!(endpoint.contains("'eighty'") && endpoint.contains("0 to 65535"), "{endpoint}");
    let target = error_message(&["portforward", "--listen", ANYWHERE, "--to", "localhost:80"], 2);
    assert!(target.contains("did you mean tcp:localhost:80?"), "{target}");
}

#[test]
fn an_address_of_another_form_is_corrected() {
    for wrong in ["8000", "127.0.0.1:8000", "tcp:127.0.0.1:8000", "localhost:8000", "http://127.0.0.1:8000/"] {
        let error = error_message(&["echo", "-l", wrong], 2);
        assert!(error.ends_with("(did you mean tcp:8000:interface=127.0.0.1?) (try --help)"), "{error}");
    }
    for wrong in ["127.0.0.1:80", "http://127.0.0.1:80/"] {
        let error = error_message(&["portforward", "--listen", ANYWHERE, "--to", wrong], 2);
        assert!(error.ends_with("(did you mean tcp:127.0.0.1:80?) (try --help)"), "{error}");
    }
}

#[test]
fn options_of_other_programs_suggest_the_own_option() {
    let serve = |option: &[&str]| error_message(&[&["serve", "."], option].concat(), 2);
    for option in [&["--port", "80"][..], &["--port=80"], &["-p", "80"]] {
        let expected = "there is no option '--port' (did you mean --listen tcp:80:interface=127.0.0.1?) (try --help)";
        assert_eq!(serve(option), expected, "{option:?}");
    }
    for option in ["--host", "--bind", "--address", "--interface"] {
        let error = serve(&[option, "::1"]);
        assert!(error.ends_with(r"(did you mean --listen tcp:PORT:interface=\:\:1?) (try --help)"), "{error}");
    }
    assert!(!output_of(&["serve", "--help"]).contains("--port"));
}

#[test]
fn background_with_foreground_is_a_wrong_argument() {
    let error = error_message(&["echo", "--daemon", "-n"], 2);
    assert!(error.contains("'--daemon' cannot be used with '--nodaemon'"), "{error}");
}

#[test]
fn a_dash_as_the_log_file_is_standard_output() {
    let scratch = Scratch::new();
    let socket = scratch.join("echo.sock");
    let mut server = Running::start_command(program(&["-v", "-L", "-", "echo", "--listen", &format!("unix:{socket}")]));
    assert!(server.start_line.contains("INFO starting"), "{}", server.start_line);
    eventually("it listens", || UnixStream::connect(&socket).is_ok());
    server.terminate();
    let output = server.rest_of_output();
    assert!(output.contains("INFO started") && output.contains("echo on "), "{output}");
    assert!(!std::path::Path::new("-").exists());
    let error = error_message(&["echo", "--daemon", "--pidfile=", "-L", "-"], 2);
    assert!(error.starts_with("a daemon has no standard output to log to: name a file with --logfile"), "{error}");
}

#[test]
fn no_arguments_print_the_help_as_an_error() {
    let Output { status, stdout, stderr } = outcome(&[]);
    assert_eq!(status.code(), Some(2));
    assert_eq!(stdout, b"");
    assert!(String::from_utf8(stderr).unwrap().contains("Usage: ropewalk"));
}

#[test]
fn an_unknown_reactor_is_a_wrong_argument() {
    let known: Vec<_> = ropewalk::reactors().iter().map(|reactor| reactor.name).collect();
    assert_eq!(
        error_message(&["-r", "nonesuch", "echo"], 2),
        format!("no reactor is called 'nonesuch': choose one of {}", known.join(", "))
    );
}

#[test]
fn an_invalid_variable_is_named_in_the_error() {
    let refused = program(&["echo", "--listen", ANYWHERE]).env("ROPEWALK_REACTOR", "nonesuch").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with("ropewalk: ROPEWALK_REACTOR: no reactor is called 'nonesuch': choose one of "), "{said}");
    // An empty ROPEWALK_LOG is ignored. It does not disable the log.
    let mut command = program(&["-v", "echo", "--listen", ANYWHERE]);
    let mut server = Running::start_command({
        command.env("ROPEWALK_LOG", "");
        command
    });
    server.terminate();
    assert!(server.log().contains("INFO started"));
}

#[test]
fn numbers_out_of_range_name_the_expected_range() {
    for (option, value, expected) in [
        ("--max-connections", "-1", "expected a positive whole number".to_owned()),
        ("--max-connections", "99999999999999999999", format!("too large: expected at most {}", usize::MAX)),
        ("--idle-timeout", "-1", "expected a non-negative number of seconds".to_owned()),
        ("--log-rotate-count", "-1", "-1 is not in 0..=4294967295".to_owned()),
    ] {
        let error = error_message(&["echo", option, value], 2);
        assert!(error.contains(&format!("'{value}'")) && error.contains(&expected), "{error}");
    }
}

#[test]
fn a_failed_start_is_one_line_with_status_1() {
    let scratch = Scratch::new();
    scratch.write("file", "");
    let missing = scratch.join("missing");
    assert!(error_message(&["serve", &missing], 1).starts_with(&format!("cannot serve {missing}: No such file")));
    let file = scratch.join("file");
    assert!(error_message(&["serve", &file], 1).starts_with(&format!("cannot serve {file}: Not a directory")));
    let socket = format!("unix:{}", scratch.join("no/such/socket"));
    assert!(error_message(&["echo", "--listen", &socket], 1).starts_with("cannot listen on "));
}

#[test]
fn a_port_in_use_is_one_line_with_status_1() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    for interface in [":interface=127.0.0.1", ""] {
        let endpoint = format!("tcp:{}{interface}", taken.port());
        let error = error_message(&["discard", "--listen", &endpoint], 1);
        assert!(error.starts_with("cannot listen on ") && error.contains("in use"), "{error}");
        assert!(error.ends_with("('ss -ltnp' shows it), or choose another port with --listen"), "{error}");
    }
    drop(holder);
}

#[test]
fn a_failure_to_listen_names_its_remedy() {
    // An address for documentation, which no interface has: RFC 5737.
    let error = error_message(&["echo", "--listen", "tcp:0:interface=192.0.2.1"], 1);
    assert!(error.contains("no interface of this machine has that address"), "{error}");
    let scratch = Scratch::new();
    let error = error_message(&["echo", "--listen", &format!("unix:{}", scratch.join("no/such/socket"))], 1);
    assert!(error.contains("create the directory of the socket first"), "{error}");
    let socket = format!("unix:{}", scratch.join("socket"));
    let server = Running::start(&["echo", "--listen", &socket]);
    let error = error_message(&["echo", "--listen", &socket], 1);
    assert!(error.contains("choose another path with --listen"), "{error}");
    drop(server);
}

#[test]
fn help_or_version_go_to_standard_output() {
    assert_eq!(output_of(&["--version"]), format!("ropewalk {}\n", env!("CARGO_PKG_VERSION")));
    let help = output_of(&["--help"]);
    for expected in ["echo", "portforward", "serve", "--help-reactors", "Examples:", "ropewalk serve ."] {
        assert!(help.contains(expected), "{expected}");
    }
    assert!(help.lines().all(|line| line.len() <= 100));
    assert!(output_of(&["serve", "--help"]).contains("--listen <ENDPOINT>"));
}

#[test]
fn daemon_options_are_explained_only_once() {
    assert!(output_of(&["--help"]).contains("--pidfile"));
    for help in [&["echo", "--help"][..], &["help", "echo"], &["serve", "-h"]] {
        let help = output_of(help);
        assert!(!help.contains("--pidfile") && help.contains("Running as a daemon: see ropewalk --help\n"), "{help}");
        assert!(help.contains("--config"), "{help}");
    }
    // The commands accept these options nevertheless.
    assert!(error_message(&["echo", "--umask", "9"], 2).contains("expected an octal mask"));
}

#[test]
fn each_reactor_is_listed_on_one_line() {
    let list = output_of(&["--help-reactors"]);
    for (line, reactor) in ropewalk::reactors().iter().enumerate() {
        let line = list.lines().nth(line).expect("a line for each reactor");
        let mark = if reactor.unavailable.is_some() { '!' } else { ' ' };
        assert!(line.starts_with(&format!("{mark}{}", reactor.name)), "{line}");
        assert!(line.contains(reactor.description), "{line}");
    }
}

#[test]
fn the_doctor_reports_each_subject_on_one_line() {
    let report = output_of(&["doctor"]);
    let subjects = ["open files", "IPv6", "names", "systemd", "syslog", "low ports"].map(str::to_owned);
    let reactors = ropewalk::reactors().into_iter().map(|reactor| format!("reactor {}", reactor.name));
    for subject in subjects.into_iter().chain(reactors) {
        let lines = report.lines().filter(|line| line.get(9..).is_some_and(|line| line.starts_with(&subject)));
        assert_eq!(lines.count(), 1, "{subject}: {report}");
    }
    let states = ["ok     ", "limited", "missing"];
    assert!(report.lines().all(|line| states.iter().any(|state| line.starts_with(state))), "{report}");
}

#[test]
fn the_manual_page_describes_options_with_commands() {
    let page = output_of(&["--man"]);
    assert!(page.contains(".TH ropewalk 1"), "{page}");
    for expected in ["ROPEWALK PORTFORWARD", "ROPEWALK DOCTOR", "max\\-connections", "pidfile", "Examples:"] {
        assert!(page.contains(expected), "{expected}");
    }
    // The option of daemons is described once, and hidden options never.
    assert_eq!(page.matches("Write the process id").count(), 1, "{page}");
    assert!(!page.contains("\\-\\-port"), "{page}");
}

#[test]
fn one_command_installs_the_program_with_its_documents() {
    let scratch = Scratch::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/install.sh");
    let mut install = Command::new("sh");
    install.args([script, env!("CARGO_BIN_EXE_ropewalk"), "/opt/rope"]).env("DESTDIR", scratch.join(""));
    let Output { status, stderr, .. } = install.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let installed = |name: &str| std::fs::read_to_string(scratch.join(&format!("opt/rope/{name}"))).expect(name);
    for (name, content) in [
        ("share/man/man1/ropewalk.1", ".TH ropewalk 1"),
        ("share/bash-completion/completions/ropewalk", "complete -F _ropewalk"),
        ("share/zsh/site-functions/_ropewalk", "#compdef ropewalk"),
        ("share/fish/vendor_completions.d/ropewalk.fish", "complete -c ropewalk"),
        ("lib/systemd/system/ropewalk.service", "ExecStart=/opt/rope/bin/ropewalk "),
        ("lib/systemd/system/ropewalk.socket", "ListenStream=80"),
        ("share/doc/ropewalk/logrotate", "postrotate"),
    ] {
        assert!(installed(name).contains(content), "{name}");
    }
    let version = Command::new(scratch.join("opt/rope/bin/ropewalk")).arg("--version").output().unwrap();
    assert!(version.status.success());
}

#[test]
fn the_start_line_names_all_addresses() {
    let scratch = Scratch::new();
    let socket = scratch.join("echo.sock");
    let place = format!("unix:{socket}");
    let mut running = Running::start(&["-r", "poll", "echo", "--listen", &place]);
    assert_eq!(running.start_line, format!("echo on poll, listening on {socket}, {}\n", running.address()));
    assert_eq!(converse(running.connect(), b"hello"), b"hello");
    assert_eq!(running.rest_of_output(), "");
}

#[test]
fn all_interfaces_are_the_default_of_tcp_endpoints() {
    let server = Running::start_command(program(&["echo", "--listen", "tcp:0"]));
    let stream = TcpStream::connect(("127.0.0.1", server.address().port())).unwrap();
    assert_eq!(converse(stream, b"hello"), b"hello");
}

#[test]
fn a_quiet_service_prints_nothing() {
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
fn the_reactor_option_overrides_the_environment() {
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
fn serve_prints_its_default_address() {
    let scratch = Scratch::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = program(&["serve", &scratch.join("")]);
    let errors = theirs.try_clone().unwrap();
    let mut child = command.stdout(OwnedFd::from(theirs)).stderr(OwnedFd::from(errors)).spawn().unwrap();
    // Closes our copies of the end of the program.
    drop(command);
    let mut first = String::new();
    BufReader::new(ours).read_line(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // If the port is in use, the error message names it.
    assert!(first.contains("127.0.0.1:8080"), "{first}");
}

/// A pipe whose reader is closed, and a device without free space.
fn unwritable_outputs() -> [Stdio; 2] {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    [OwnedFd::from(theirs).into(), File::options().write(true).open("/dev/full").unwrap().into()]
}

#[test]
fn a_closed_pipe_is_ignored_unlike_a_full_disk() {
    let full = "ropewalk: cannot write to standard output: No space left on device (os error 28)\n";
    let questions: [&[&str]; 8] = [
        &["--help"],
        &["echo", "--help"],
        &["help", "serve"],
        &["--help-reactors"],
        &["--version"],
        &["--completions", "bash"],
        &["--man"],
        &["doctor"],
    ];
    for arguments in questions {
        for (output, expected) in unwritable_outputs().into_iter().zip([(Some(0), ""), (Some(1), full)]) {
            let Output { status, stderr, .. } =
                program(arguments).stdout(output).stderr(Stdio::piped()).output().unwrap();
            assert_eq!((status.code(), &*String::from_utf8(stderr).unwrap()), expected, "{arguments:?}");
        }
    }
    for output in unwritable_outputs() {
        assert_eq!(program(&["echo", "--lisen"]).stderr(output).status().unwrap().code(), Some(2));
    }
}

#[test]
fn a_full_log_file_is_reported_once() {
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
        "ropewalk: cannot write the log file /dev/full, dropping lines: No space left on device (os error 28)\n";
    assert_eq!((status.code(), &*String::from_utf8(stderr).unwrap()), (Some(0), expected));
}

#[test]
fn unwritable_output_does_not_stop_a_service() {
    for (output, errors) in unwritable_outputs().into_iter().zip(unwritable_outputs()) {
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
