//! `procmon` with real programs, most of them scripts of sh(1).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{Running, eventually, outcome, program};
use crate::scratch::Scratch;

/// Starts `procmon` with these arguments. The start line is the first line of output.
fn procmon(arguments: &[&str]) -> Running {
    Running::start_command(program(&[&["procmon"], arguments].concat()))
}

/// Runs `procmon` to its end, and returns its status, output after the start line, and errors.
fn ended(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = outcome(&[&["procmon"], arguments].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let out = text(output.stdout);
    (output.status.code(), out.split_once('\n').map_or("", |(_, rest)| rest).to_owned(), text(output.stderr))
}

/// Whether a process runs, which a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Returns the children of a process, zombies too.
fn children(of: u32) -> Vec<String> {
    fs::read_to_string(format!("/proc/{of}/task/{of}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn lines_of(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_signal_before_readiness_is_no_failure() {
    let mut server = procmon(&["--ready-line", "never", "--", "sleep", "300"]);
    assert_eq!(server.terminate().0.code(), Some(0));
    assert_eq!(server.log(), "");
}

#[test]
fn an_empty_command_is_refused() {
    // A shell without a command succeeds, and would be started again for ever.
    for (arguments, code, fault) in
        [(["--", ""], 1, "the program has no name"), (["--process", "web= "], 2, "expected a command behind '='")]
    {
        let (status, _, errors) = ended(&arguments);
        assert_eq!(status, Some(code));
        assert!(errors.contains(fault), "{errors}");
    }
}

#[test]
fn output_is_printed_behind_the_name() {
    let (status, out, errors) = ended(&["--restart", "never", "--", "/bin/sh", "-c", "echo hello; printf last >&2"]);
    let lines: BTreeSet<_> = out.lines().collect();
    assert_eq!(lines, BTreeSet::from(["sh | hello", "sh | last"]));
    assert_eq!((status, &*errors), (Some(0), ""));
    let (_, out, _) = ended(&["--restart=never", "--no-prefix", "--", "echo", "hello"]);
    assert_eq!(out, "hello\n");
}

#[test]
fn options_of_the_program_belong_to_the_program() {
    let (_, out, _) = ended(&["--restart=never", "--name", "it", "echo", "--restart", "-v"]);
    assert_eq!(out, "it | --restart -v\n");
}

#[test]
fn the_exit_status_reports_failed_programs() {
    let (status, _, errors) = ended(&["--restart=never", "--process", "a=exit 3", "--process", "b=exit 0"]);
    assert_eq!(status, Some(1));
    assert!(errors.ends_with("ropewalk: 'a' exited with status 3\n"), "{errors}");
    let (status, _, errors) = ended(&["--restart=never", "--", "/no/such/program"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("'program': cannot run the program '/no/such/program': there is no such file"), "{errors}");
}

#[test]
fn a_failing_program_is_started_until_it_succeeds() {
    let scratch = Scratch::new();
    let count = scratch.join("count");
    let script = format!("echo x >> {count}; test $(wc -l < {count}) = 4");
    let began = Instant::now();
    let options = ["--restart", "on-failure", "--min-restart-delay", "0.1", "--max-restart-delay", "0.2"];
    let (status, _, errors) = ended(&[&options[..], &["--", "sh", "-c", &script]].concat());
    assert_eq!((status, lines_of(&count).len()), (Some(0), 4), "{errors}");
    // 0.1, 0.2 and, because of the maximum, 0.2 seconds.
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[test]
fn a_missing_program_is_reported_for_each_start() {
    let mut server = procmon(&["--min-restart-delay", "0.01", "--max-restart-delay", "0.01", "--", "/no/such/program"]);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.terminate().0.code(), Some(0));
    let log = server.log();
    assert!(log.matches("/no/such/program").count() > 2, "{log}");
}

#[test]
fn a_failed_program_is_a_warning() {
    let (_, _, errors) = ended(&["--restart=never", "--process", "a=exit 3", "--process", "b=exit 0"]);
    let warnings: Vec<_> = errors.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("exited with status 3"), "{errors}");
}

#[test]
fn a_signal_stops_every_program() {
    let scratch = Scratch::new();
    let pids = scratch.join("pids");
    // The program leaves a process behind, and waits.
    let script = format!("sleep 300 & echo $$ $! >> {pids}; wait");
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = std::process::Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_ropewalk"), "procmon"]);
        command.args(["--process", &format!("a={script}"), "--process", &format!("b={script}")]);
        let mut server = Running::start_command(command);
        eventually("both run", || lines_of(&pids).len() == 2);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        let pids = lines_of(&pids).join(" ");
        assert!(pids.split(' ').all(|pid| !runs(pid)), "{pids}");
        fs::remove_file(scratch.join("pids")).unwrap();
    }
}

#[test]
fn a_program_that_ignores_term_is_killed() {
    let scratch = Scratch::new();
    let pids = scratch.join("pids");
    let script = format!("trap '' TERM; sleep 300 & echo $$ $! >> {pids}; wait; wait");
    let mut server = procmon(&["--kill-time", "0.2", "--", "sh", "-c", &script]);
    eventually("it runs", || lines_of(&pids).len() == 1);
    let (status, took) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took >= Duration::from_millis(200), "{took:?}");
    let pids = lines_of(&pids).remove(0);
    eventually("the group is gone", || pids.split(' ').all(|pid| !runs(pid)));
}

#[test]
fn a_second_signal_kills_every_program() {
    let scratch = Scratch::new();
    let pids = scratch.join("pids");
    let script = format!("trap '' TERM; sleep 300 & echo $$ $! >> {pids}; wait; wait");
    let mut server =
        procmon(&["--kill-time", "300", "--process", &format!("a={script}"), "--process", &format!("b={script}")]);
    eventually("both run", || lines_of(&pids).len() == 2);
    server.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(server.terminate().0.code(), Some(143));
    let pids = lines_of(&pids).join(" ");
    eventually("the groups are gone", || pids.split(' ').all(|pid| !runs(pid)));
}

#[test]
fn a_stop_does_not_wait_for_a_delay() {
    let mut server = procmon(&["--min-restart-delay", "300", "--max-restart-delay", "300", "--", "false"]);
    eventually("it has ended", || children(server.id()).is_empty());
    thread::sleep(Duration::from_millis(100));
    let (status, took) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn many_lines_arrive_whole() {
    let (status, out, errors) = ended(&["--restart=never", "--", "seq", "200000"]);
    assert_eq!((status, &*errors), (Some(0), ""));
    assert!(out.lines().eq((1..=200_000).map(|number| format!("seq | {number}"))));
}

#[test]
fn a_slow_reader_pauses_the_programs() {
    let mut server = procmon(&["--", "yes"]);
    thread::sleep(Duration::from_millis(500));
    let before = server.processor_time();
    thread::sleep(Duration::from_millis(300));
    assert!(server.processor_time() - before < Duration::from_millis(100), "procmon is busy");
    assert!(server.memory() < 16 << 20, "{}", server.memory());
    assert_eq!(server.terminate().0.code(), Some(0));
}

#[test]
fn a_closed_standard_output_does_not_stop_the_programs() {
    let scratch = Scratch::new();
    let end = scratch.join("end");
    let script = format!("seq 100000; sleep 0.2; seq 100000; echo x > {end}");
    let mut command = program(&["procmon", "--restart=never", "--", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(lines_of(&end), ["x"]);
}

#[test]
fn closed_output_is_no_exit() {
    let scratch = Scratch::new();
    let starts = scratch.join("starts");
    let script = format!("echo x >> {starts}; exec >/dev/null 2>&1; exec sleep 300");
    let mut server = procmon(&["--", "sh", "-c", &script]);
    eventually("it runs", || lines_of(&starts).len() == 1);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((lines_of(&starts).len(), children(server.id()).len()), (1, 1));
    assert_eq!(server.terminate().0.code(), Some(0));
}

#[test]
fn fifty_programs_leave_no_zombie() {
    let scratch = Scratch::new();
    let pids = scratch.join("pids");
    let processes: Vec<_> = (0..50).map(|n| format!("--process=p{n}=echo $$ >> {pids}; sleep 0.{n:02}")).collect();
    let arguments: Vec<_> = processes.iter().map(String::as_str).collect();
    let mut server = procmon(&[&["--threshold", "0"], &arguments[..]].concat());
    eventually("all have started again and again", || lines_of(&pids).len() > 300);
    let zombies = || children(server.id()).into_iter().filter(|pid| !runs(pid)).count();
    eventually("no zombie", || zombies() == 0);
    assert_eq!(server.terminate().0.code(), Some(0));
    assert!(lines_of(&pids).iter().all(|pid| !runs(pid)));
}

#[test]
fn a_program_starts_when_the_one_before_is_ready() {
    let scratch = Scratch::new();
    let order = scratch.join("order");
    let script = format!("sleep 0.2; echo first >> {order}; echo up and ready; exec sleep 300");
    let second = format!("second=echo second >> {order}; echo ready; exec sleep 300");
    let mut server = procmon(&["--ready-line", "ready", "--process", &second, "--", "sh", "-c", &script]);
    eventually("both run", || lines_of(&order).len() == 2);
    assert_eq!(lines_of(&order), ["first", "second"]);
    assert_eq!(server.terminate().0.code(), Some(0));
}

#[test]
fn an_open_port_is_a_sign_of_readiness() {
    let scratch = Scratch::new();
    let order = scratch.join("order");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ready = format!("tcp:127.0.0.1:{port}");
    let listen = format!("tcp:{port}:interface=127.0.0.1");
    let second = format!("second=echo second >> {order}; exec sleep 300");
    let ropewalk = env!("CARGO_BIN_EXE_ropewalk");
    let first = ["--", ropewalk, "echo", "--listen", &listen];
    let mut server = procmon(&[&["--ready-port", &ready, "--process", &second], &first[..]].concat());
    eventually("the second runs", || lines_of(&order).len() == 1);
    assert_eq!(server.terminate().0.code(), Some(0));
}

#[test]
fn a_program_that_is_not_ready_in_time_is_stopped() {
    let scratch = Scratch::new();
    let late = ["--ready-line", "ready", "--ready-timeout", "0.2", "--restart", "never", "--", "sleep", "300"];
    let (status, _, errors) = ended(&late);
    assert_eq!(status, Some(1));
    assert!(errors.ends_with("ropewalk: 'sleep': it was not ready within 0.2 seconds\n"), "{errors}");
    let service = "[[service]]\nkind = 'process'\nname = 'web'\ncommand = ['sleep', '300']\nready-timeout = 0.2\n";
    scratch.write("late.toml", format!("{service}ready-line = 'ready'\nrestart = 'never'\n"));
    let output = outcome(&["--config", &scratch.join("late.toml")]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && errors.contains("not ready within 0.2 seconds"), "{errors}");
    scratch.write("no-sign.toml", service);
    let errors = String::from_utf8(outcome(&["--config", &scratch.join("no-sign.toml")]).stderr).unwrap();
    assert!(errors.contains("`ready-timeout` needs `ready-line` or `ready-port`"), "{errors}");
}

#[test]
fn a_configuration_file_describes_programs() {
    let scratch = Scratch::new();
    let pids = scratch.join("pids");
    let file = format!(
        "[[service]]\nkind = 'process'\nname = 'web'\ncommand = 'echo $$ $GREETING $PWD >> {pids}; exec sleep 300'\n\
         directory = '/'\nenv = {{ GREETING = 'hello' }}\n\n\
         [[service]]\nkind = 'process'\nname = 'worker'\ncommand = ['sleep', '300']\nrestart = 'on-failure'\n\
         kill-time = 0.5\n"
    );
    scratch.write("services.toml", &file);
    let mut server = Running::start_command(program(&["--config", &scratch.join("services.toml")]));
    eventually("both run", || children(server.id()).len() == 2 && lines_of(&pids).len() == 1);
    let line = lines_of(&pids).remove(0);
    assert!(line.ends_with(" hello /"), "{line}");
    // A program that a signal has killed is started again.
    let pid = line.split(' ').next().unwrap().parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    eventually("it is started again", || lines_of(&pids).len() == 2);
    assert_eq!(server.terminate().0.code(), Some(0));
}

#[test]
fn wrong_options_are_one_line_with_status_2() {
    let error = |arguments: &[&str]| {
        let (status, _, errors) = ended(arguments);
        assert_eq!((status, errors.lines().count()), (Some(2), 1), "{errors}");
        errors
    };
    assert!(error(&[]).contains("--process <NAME=CMD>"));
    assert!(error(&["--process", "sleep 5"]).contains("expected a name before '='"));
    assert!(error(&["--restart", "sometimes", "--", "true"]).contains("on-failure"));
    assert!(error(&["--ready-port", "80", "--", "true"]).contains("did you mean tcp:localhost:80?"));
    assert!(error(&["--daemon", "--", "true"]).contains("--log-output"));
    assert!(error(&["--ready-timeout", "5", "--", "true"]).contains("--ready-line"));
    let misspelled = error(&["--treshold", "5", "--", "true"]);
    assert!(misspelled.ends_with("found (did you mean '--threshold'?) (try --help)\n"), "{misspelled}");
}

#[test]
fn a_twice_used_name_is_refused() {
    let (status, _, errors) = ended(&["--process", "a=true", "--process", "a=true"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("'a'"), "{errors}");
}

#[test]
fn standard_output_may_be_a_file() {
    let scratch = Scratch::new();
    let path = scratch.join("out");
    let mut file = fs::File::create(&path).unwrap();
    writeln!(file, "before").unwrap();
    let mut command = program(&["procmon", "--restart=never", "--", "seq", "3"]);
    command.stdout(file).stderr(Stdio::inherit());
    assert_eq!(command.status().unwrap().code(), Some(0));
    let lines = lines_of(&path);
    assert_eq!((&*lines[0], &lines[2..]), ("before", &["seq | 1", "seq | 2", "seq | 3"].map(str::to_owned)[..]));
}
