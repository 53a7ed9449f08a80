//! The program as a daemon, and under a supervisor.

use std::fs::{self, File};
use std::io::{ErrorKind, Write, stderr};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};

use crate::running::{ANYWHERE, PATIENCE, Running, eventually, finish, program};
use crate::scratch::Scratch;
use crate::wire::read_all;

const NO_SUCH_USER: &str =
    "no user is called 'nosuchuser': set --uid to a name that 'getent passwd' lists, or to a number";

/// A daemon. Dropping it kills the process.
struct Daemon(Pid);

impl Daemon {
    /// Finds the daemon that wrote this pid file.
    fn of(pid_file: &str) -> Daemon {
        let text = fs::read_to_string(pid_file).expect("a pid file");
        Daemon(Pid::from_raw(text.trim().parse().expect("a number")).expect("a process"))
    }

    fn is_alive(&self) -> bool {
        test_kill_process(self.0).is_ok() && !self.status("State:").starts_with('Z')
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).expect("the process exists");
    }

    /// Returns the value of a line of the status file: proc(5).
    fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

/// Returns a command for an echo service that runs in the directory, on the socket `echo`.
fn echo(scratch: &Scratch, arguments: &[&str]) -> Command {
    let directory = scratch.join("");
    let common = ["--rundir", &directory, "--listen", "unix:echo"];
    program(&[&["echo"], &common[..], arguments].concat())
}

/// Uses the echo service once, which makes it write to its log.
fn talk(scratch: &Scratch) {
    let mut stream = UnixStream::connect(scratch.path().join("echo")).expect("the socket exists");
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), b"hello");
}

#[track_caller]
fn succeeded(command: Command) -> String {
    let Output { status, stdout, stderr } = finish(command);
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap()), (Some(0), String::new()));
    String::from_utf8(stdout).unwrap()
}

#[track_caller]
fn refused(command: Command, expected_status: i32) -> String {
    let Output { status, stdout, stderr } = finish(command);
    let complaint = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), &stdout[..]), (Some(expected_status), &b""[..]), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint.strip_prefix("ropewalk: ").expect("the name of the program").trim_end().to_owned()
}

/// Returns the session of a process, from proc_pid_stat(5). In a PID namespace whose first process came from outside,
/// getsid(2) returns 0, which rustix does not accept.
fn session_of(process: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after_the_name) = stat.rsplit_once(')').expect("a name in parentheses");
    after_the_name.split_whitespace().nth(3).expect("a session").to_owned()
}

#[test]
fn daemon_mode_returns_once_the_services_have_started() {
    let scratch = Scratch::new();
    let said = succeeded(echo(&scratch, &["--daemon"]));
    assert_eq!(said.lines().count(), 1, "the start line reaches the terminal: {said}");
    let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
    talk(&scratch);
    let session = session_of(&daemon.0.to_string());
    assert_ne!(session, session_of("self"), "the daemon has its own session");
    assert_ne!(session, daemon.0.to_string(), "the daemon is not the session leader");
    for descriptor in 0..3 {
        let target = fs::read_link(format!("/proc/{}/fd/{descriptor}", daemon.0)).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    daemon.signal(Signal::TERM);
    eventually("the daemon exits", || !daemon.is_alive());
    assert!(!scratch.path().join("ropewalk.pid").exists());
}

#[test]
fn an_empty_pid_file_option_disables_the_pid_file() {
    let scratch = Scratch::new();
    succeeded(echo(&scratch, &["--daemon", "--pidfile=", "-v"]));
    let log = fs::read_to_string(scratch.path().join("ropewalk.log")).unwrap();
    let (_, after) = log.split_once("pid=").expect("the log names the process");
    let id = after.split_whitespace().next().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
    let daemon = Daemon(id.expect("a process id"));
    assert!(daemon.is_alive());
    let files: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().ends_with("pid")), "{files:?}");
}

#[test]
fn a_daemon_keeps_no_descriptor_of_its_caller() {
    // A script that holds a lock on descriptor 9 would hold the lock as long as the daemon runs.
    let scratch = Scratch::new();
    let held = File::create(scratch.path().join("held")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for inherited in [held.as_fd(), listener.as_fd()] {
        fcntl_setfd(inherited, FdFlags::empty()).unwrap();
    }
    let place = format!("fd:{}", listener.as_raw_fd());
    succeeded(echo(&scratch, &["--daemon", "--listen", &place]));
    let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.0)).unwrap();
    for file in descriptors.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()) {
        assert_ne!(file, scratch.path().join("held"));
    }
    // The service has taken the other one.
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    drop(listener);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
}

#[test]
fn the_log_of_a_daemon_contains_its_life() {
    let scratch = Scratch::new();
    succeeded(echo(&scratch, &["--daemon"]));
    let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
    talk(&scratch);
    daemon.signal(Signal::TERM);
    eventually("the daemon exits", || !daemon.is_alive());
    let log = fs::read_to_string(scratch.path().join("ropewalk.log")).unwrap();
    let expected = ["starting", "listening on echo", "started", "received a signal", "stopped"];
    assert_eq!(log.lines().count(), expected.len(), "{log}");
    for (line, expected) in log.lines().zip(expected) {
        assert!(line.contains(" INFO ") && line.contains(expected), "{log}");
    }
}

#[test]
fn files_of_a_daemon_are_private_by_default() {
    let scratch = Scratch::new();
    succeeded(echo(&scratch, &["--daemon"]));
    let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
    assert_eq!(fs::metadata(scratch.path().join("ropewalk.pid")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(scratch.path().join("ropewalk.log")).unwrap().mode() & 0o777, 0o600);
    drop(daemon);
    let other = Scratch::new();
    succeeded(echo(&other, &["--daemon", "--umask", "027", "--logfile", "l", "--pidfile", "p"]));
    let _daemon = Daemon::of(&other.join("p"));
    assert_eq!(fs::metadata(other.path().join("l")).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn the_parent_reports_a_failed_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}:interface=127.0.0.1", taken.local_addr().unwrap().port());
    let scratch = Scratch::new();
    let complaint = refused(echo(&scratch, &["--daemon", "--listen", &place]), 1);
    assert!(complaint.starts_with("cannot listen on 127.0.0.1:") && complaint.contains("in use"), "{complaint}");
    assert!(!scratch.path().join("ropewalk.pid").exists());
    let log = fs::read_to_string(scratch.path().join("ropewalk.log")).unwrap();
    assert!(log.contains("in use"), "the log contains the error, too: {log}");
}

#[test]
fn an_unlocked_pid_file_is_stale() {
    // After a restart of the system, the id in the file may be that of any process, such as this one.
    let scratch = Scratch::new();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    for left in [format!("{}\n", dead.id()), format!("{}\n", std::process::id()), "1\n".to_owned(), String::new()] {
        scratch.write("pid", left);
        let mut running = Running::start_command(echo(&scratch, &["--pidfile", "pid"]));
        let written = fs::read_to_string(scratch.path().join("pid")).unwrap();
        assert_eq!(written, format!("{}\n", running.id()));
        running.terminate();
        assert!(!scratch.path().join("pid").exists());
    }
}

#[test]
fn a_locked_pid_file_prevents_a_start() {
    let scratch = Scratch::new();
    let running = Running::start_command(echo(&scratch, &["--pidfile", "pid"]));
    let own = running.id();
    let complaint = refused(echo(&scratch, &["--pidfile", "pid", "--daemon"]), 1);
    assert!(complaint.starts_with(&format!("process {own} is running and holds the pid file ")), "{complaint}");
    assert!(scratch.path().join("pid").exists());
}

#[test]
fn a_file_that_is_not_a_pid_file_is_unchanged() {
    let scratch = Scratch::new();
    scratch.write("precious", "my thesis");
    let complaint = refused(echo(&scratch, &["--pidfile", "precious"]), 1);
    assert!(complaint.ends_with("is not a pid file: it contains 'my thesis'"), "{complaint}");
    assert_eq!(fs::read(scratch.path().join("precious")).unwrap(), b"my thesis");
}

#[test]
fn a_log_file_rotates_by_size() {
    let scratch = Scratch::new();
    let log = ["-vv", "--logfile", "log", "--log-rotate-size", "1K", "--log-rotate-count", "2"];
    let mut running = Running::start_command(echo(&scratch, &log));
    for _ in 0..60 {
        talk(&scratch);
    }
    running.terminate();
    let length = |name| fs::metadata(scratch.path().join(name)).map(|file| file.len());
    assert!((1..=1024).contains(&length("log").unwrap()));
    assert!((512..=1024).contains(&length("log.1").unwrap()) && (512..=1024).contains(&length("log.2").unwrap()));
    assert!(length("log.3").is_err());
    assert_eq!(running.log(), "", "lines in the file are not printed as well");
}

#[test]
fn signals_reopen_or_rotate_the_log() {
    let scratch = Scratch::new();
    let running = Running::start_command(echo(&scratch, &["-vv", "--logfile", "log"]));
    let [log, moved, first] = ["log", "moved", "log.1"].map(|name| scratch.path().join(name));
    fs::rename(&log, &moved).unwrap();
    running.signal(Signal::HUP);
    eventually("the log is reopened", || log.exists());
    talk(&scratch);
    eventually("the new log has the line", || fs::read_to_string(&log).unwrap().contains("echo connection closed"));
    assert!(!fs::read_to_string(&moved).unwrap().contains("echo connection closed"));
    running.signal(Signal::USR1);
    eventually("the log is rotated", || first.exists());
    assert!(fs::read_to_string(&first).unwrap().contains("echo connection closed"));
}

#[test]
fn sighup_kills_a_program_without_a_log_file() {
    let scratch = Scratch::new();
    let mut running = Running::start_command(echo(&scratch, &[]));
    running.signal(Signal::HUP);
    let status = running.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(1));
}

#[test]
fn the_log_is_json_on_request() {
    let scratch = Scratch::new();
    let mut running = Running::start_command(echo(&scratch, &["-v", "--log-format", "json"]));
    running.terminate();
    let log = running.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}') && line.contains(r#""level":"INFO""#), "{line}");
    }
    assert!(log.contains(r#""message":"started""#), "{log}");
}

#[test]
fn syslog_lines_have_a_severity() {
    let scratch = Scratch::new();
    let socket = UnixDatagram::bind(scratch.path().join("devlog")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let option = format!("--syslog={}", scratch.join("devlog"));
    let running = Running::start_command(echo(&scratch, &[&option]));
    let prefix = format!("<30>ropewalk[{}]: ", running.id());
    for expected in ["starting reactor=", "echo on ", "started"] {
        let line = receive(&socket);
        assert!(line.starts_with(&format!("{prefix}{expected}")), "{line}");
    }
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = loop {
        match socket.recv(&mut buffer) {
            // EINTR: SIGSTOP and SIGCONT interrupt a read with a timeout, signal(7).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => break outcome.expect("a datagram"),
        }
    };
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Receives datagrams up to one that contains `text`.
fn receive_until(socket: &UnixDatagram, text: &str) -> Vec<String> {
    let mut received = Vec::new();
    while !received.last().is_some_and(|last: &String| last.contains(text)) {
        received.push(receive(socket));
    }
    received
}

#[test]
fn the_supervisor_is_notified_of_each_state() {
    let scratch = Scratch::new();
    let socket = UnixDatagram::bind(scratch.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = echo(&scratch, &[]);
    command.env("NOTIFY_SOCKET", scratch.path().join("notify")).env("WATCHDOG_USEC", "500000");
    let mut running = Running::start_command(command);
    let ready = format!("READY=1\nMAINPID={}", running.id());
    receive_until(&socket, &ready);
    for _ in 0..3 {
        receive_until(&socket, "WATCHDOG=1");
    }
    running.signal(Signal::HUP);
    let reloading = receive_until(&socket, "RELOADING=1").pop().unwrap();
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    receive_until(&socket, &ready);
    running.signal(Signal::TERM);
    receive_until(&socket, "STOPPING=1");
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_tiny_watchdog_interval_is_bounded() {
    let scratch = Scratch::new();
    let socket = UnixDatagram::bind(scratch.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = echo(&scratch, &[]);
    command.env("NOTIFY_SOCKET", scratch.path().join("notify")).env("WATCHDOG_USEC", "1");
    let mut running = Running::start_command(command);
    let began = Instant::now();
    for _ in 0..20 {
        receive_until(&socket, "WATCHDOG=1");
    }
    // The first message is sent at the start.
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    running.terminate();
    let log = running.log();
    assert_eq!(log.matches("WATCHDOG_USEC is too short").count(), 1, "{log}");
}

#[test]
fn the_watchdog_of_another_process_is_ignored() {
    let scratch = Scratch::new();
    let socket = UnixDatagram::bind(scratch.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = echo(&scratch, &["--daemon"]);
    command.env("NOTIFY_SOCKET", scratch.path().join("notify")).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    succeeded(command);
    let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
    assert_eq!(receive(&socket), format!("READY=1\nMAINPID={}", daemon.0));
    talk(&scratch);
    daemon.signal(Signal::TERM);
    assert_eq!(receive(&socket), "STOPPING=1", "no watchdog message in between");
}

#[test]
fn the_user_is_switched_after_binding() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let arguments = ["--uid", "nobody", "--gid", "12345", "--pidfile", "pid", "--logfile", "log"];
    if !geteuid().is_root() {
        let complaint = refused(echo(&scratch, &arguments), 1);
        assert!(complaint.starts_with("cannot change the user and group: "), "{complaint}");
        return assert!(complaint.ends_with(": only root may use --uid and --gid"), "{complaint}");
    }
    let mut running = Running::start_command(echo(&scratch, &arguments));
    let itself = Daemon::of(&scratch.join("pid"));
    assert_eq!(itself.status("Uid:").split_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
    assert_eq!(itself.status("Gid:").split_whitespace().collect::<Vec<_>>(), ["12345"; 4]);
    assert!(!itself.status("Groups:").split_whitespace().any(|group| group == "0"));
    let log = fs::metadata(scratch.path().join("log")).unwrap();
    assert_eq!((log.uid(), log.gid()), (65534, 12345));
    talk(&scratch);
    assert_eq!(running.terminate().0.code(), Some(0));
    // The daemon can no longer remove a file from root's directory, so it empties the pid file.
    assert_eq!(fs::read(scratch.path().join("pid")).unwrap(), b"");
}

#[test]
fn root_opens_no_file_that_another_user_chose() {
    if !geteuid().is_root() {
        return drop(writeln!(stderr(), "skipped: only root opens the files of other users"));
    }
    let scratch = Scratch::new();
    let nobody = Some(65534);
    let link = "it leads through a symbolic link in a directory that other users may write";
    let name = "it is a hard link: expected a file with one name";
    let owner = "it belongs to the user 65534: expected a file of root or of the user that the program switches to";
    let place = |name: &str| scratch.path().join(name);
    fs::create_dir(place("shared")).unwrap();
    chown(place("shared"), nobody, nobody).unwrap();
    scratch.write("target/file", "");
    symlink(place("target/file"), place("shared/link")).unwrap();
    symlink(place("target"), place("shared/directory")).unwrap();
    fs::hard_link(place("target/file"), place("shared/name")).unwrap();
    scratch.write("shared/theirs", "");
    chown(place("shared/theirs"), nobody, nobody).unwrap();
    for (option, what) in [("--pidfile", "pid file"), ("--logfile", "log file")] {
        for (file, reason) in
            [("link", link), ("missing-link", link), ("directory/new", link), ("name", name), ("theirs", owner)]
        {
            let _ = symlink(place("target/new"), place("shared/missing-link"));
            let file = format!("shared/{file}");
            let expected = format!("cannot open the {what} {file}: {reason}");
            assert_eq!(refused(echo(&scratch, &[option, &file]), 1), expected);
        }
        // A link of root's own may lead to a file of another user.
        let _ = symlink(place("shared/theirs"), place("own-link-to-theirs"));
        let expected = format!("cannot open the {what} own-link-to-theirs: {owner}");
        assert_eq!(refused(echo(&scratch, &[option, "own-link-to-theirs"]), 1), expected);
    }
    assert_eq!(fs::read_dir(place("target")).unwrap().count(), 1);
    assert_eq!(fs::metadata(place("target/file")).unwrap().uid(), 0);
    // The user that the program becomes may own the file, and root may place a link in a directory of its own.
    symlink(place("target/file"), place("own-link")).unwrap();
    fs::remove_file(place("shared/name")).unwrap();
    for (file, user) in [("shared/theirs", "nobody"), ("own-link", "root")] {
        fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut running = Running::start_command(echo(&scratch, &["-v", "--logfile", file, "--uid", user]));
        assert_eq!(running.terminate().0.code(), Some(0));
        assert!(fs::read_to_string(place(file)).unwrap().contains("started"));
    }
}

#[test]
fn an_unknown_user_is_named() {
    let scratch = Scratch::new();
    assert_eq!(refused(echo(&scratch, &["--uid", "nosuchuser"]), 1), NO_SUCH_USER);
    let complaint = refused(echo(&scratch, &["--gid", "nosuchgroup"]), 1);
    let remedy = "set --gid to a name that 'getent group' lists, or to a number";
    assert_eq!(complaint, format!("no group is called 'nosuchgroup': {remedy}"));
}

#[test]
fn a_user_id_without_a_user_needs_a_group() {
    let scratch = Scratch::new();
    let complaint = refused(echo(&scratch, &["--uid", "3999999999"]), 1);
    assert_eq!(complaint, "no user has the id 3999999999, so its group is unknown: set it with --gid");
    if geteuid().is_root() {
        let running = Running::start_command(program(&[
            "echo",
            "--uid",
            "3999999999",
            "--gid",
            "3999999998",
            "--listen",
            ANYWHERE,
        ]));
        let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
        assert!(status.contains("Gid:\t3999999998\t3999999998"), "{status}");
    }
}

#[test]
fn chroot_changes_the_root_directory() {
    let scratch = Scratch::new();
    let root = scratch.join("");
    let mut command = program(&["echo", "--chroot", &root, "--listen", "unix:/echo"]);
    if !geteuid().is_root() {
        let complaint = refused(command, 1);
        return assert!(complaint.ends_with("Operation not permitted (os error 1)"), "{complaint}");
    }
    command.args(["--pidfile", "/pid"]);
    let _running = Running::start_command(command);
    talk(&scratch);
    assert!(scratch.path().join("pid").exists());
}

#[test]
fn missing_paths_are_named() {
    let scratch = Scratch::new();
    let missing = scratch.join("missing");
    let complaint = refused(program(&["echo", "--listen", ANYWHERE, "--rundir", &missing]), 1);
    assert!(complaint.starts_with(&format!("cannot change to the directory {missing}: No such file")), "{complaint}");
    let complaint = refused(echo(&scratch, &["--logfile", "no/log"]), 1);
    assert!(complaint.starts_with("cannot open the log file no/log: No such file"), "{complaint}");
    let complaint = refused(echo(&scratch, &["--daemon", "--logfile", "no/log"]), 1);
    assert!(complaint.starts_with("cannot open the log file no/log: No such file"), "{complaint}");
    let complaint = refused(echo(&scratch, &["--syslog=/no/log"]), 1);
    assert!(complaint.starts_with("cannot connect to syslog at /no/log: "), "{complaint}");
}

#[test]
fn a_configuration_file_starts_several_services() {
    let scratch = Scratch::new();
    let directory = scratch.join("");
    scratch.write("site/index.html", "hello");
    scratch.write(
        "services.toml",
        format!(
            "[runner]\nreactor = 'poll'\nrundir = '{directory}'\npidfile = 'pid'\n\n\
             [[service]]\nkind = 'echo'\nlisten = 'unix:echo'\nmax-connections = 10\n\n\
             [[service]]\nkind = 'echo'\nname = 'another'\nlisten = ['unix:second', 'unix:third']\nidle-timeout = 5\n\n\
             [[service]]\nkind = 'serve'\ndirectory = 'site'\nlisten = 'unix:web'\n"
        ),
    );
    let running = Running::start_command(program(&["--config", &scratch.join("services.toml")]));
    assert_eq!(running.start_line, "echo on poll, listening on echo\n");
    talk(&scratch);
    for socket in ["second", "third", "web"] {
        eventually("the socket exists", || UnixStream::connect(scratch.path().join(socket)).is_ok());
    }
    assert!(scratch.path().join("pid").exists());
}

#[test]
fn a_configuration_error_is_one_line_with_its_location() {
    let scratch = Scratch::new();
    let file = scratch.join("services.toml");
    let complaint = |text: &str| {
        scratch.write("services.toml", text);
        let complaint = refused(program(&["--config", &file]), 2);
        complaint.strip_prefix(&format!("{file}:")).expect("the name of the file").to_owned()
    };
    assert_eq!(
        complaint("[[service]]\nkind = 'echo'\nlisen = 'tcp:1'\n"),
        "3:1: unknown key `lisen`, expected one of `listen`, `max-connections`, `idle-timeout`, `allow-reflection`"
    );
    assert_eq!(
        complaint("[[service]]\nkind = 'ecco'\n"),
        "2:8: unknown kind `ecco`, expected `chargen`, `daytime`, `discard`, `echo`, `portforward`, `process` or `serve`"
    );
    let endpoint = complaint("[[service]]\nkind = 'echo'\nlisten = 'tcp:eighty'\n");
    assert!(endpoint.starts_with("3:10: ") && endpoint.contains("'eighty'"), "{endpoint}");
    let missing = complaint("[[service]]\nkind = 'portforward'\nlisten = 'tcp:0'\n");
    assert_eq!(missing, "1:1: missing key `to`");
    let idle = complaint("[[service]]\nkind = 'echo'\nidle-timeout = -1\n");
    assert_eq!(idle, "3:16: expected a non-negative number of seconds, not the number -1");
    assert!(complaint("[runner\n").starts_with("1:8: "));
    for (wrong, expected) in [
        ("listen = 8000", "10: expected an endpoint or an array of endpoints, as in \"tcp:8000\", not the number 8000"),
        ("listen = []", "10: expected at least one endpoint"),
        ("listen = ['unix:a', 3]", "21: expected an endpoint in quotes, as in \"tcp:8000\", not the number 3"),
        ("max-connections = 0", "19: expected a positive whole number, not the number 0"),
        ("max-connections = 1.5", "19: expected a positive whole number, not the number 1.5"),
        ("max-connections = 3.0", "19: expected a positive whole number, not the number 3.0"),
        ("max-connections = 'many'", "19: expected a positive whole number, not the string \"many\""),
        ("idle-timeout = nan", "16: expected a non-negative number of seconds, not the number NaN"),
        ("idle-timeout = true", "16: expected a non-negative number of seconds, not true"),
    ] {
        assert_eq!(complaint(&format!("[[service]]\nkind = 'echo'\n{wrong}\n")), format!("3:{expected}"));
    }
    let second = complaint("[[service]]\nkind = 'echo'\nlisten = ['unix:a', 'tcp:eighty']\n");
    assert!(second.starts_with("3:21: ") && second.contains("'eighty'"), "{second}");
    let absent = refused(program(&["--config", &scratch.join("absent.toml")]), 2);
    assert!(absent.starts_with("cannot read the configuration "), "{absent}");
}

#[test]
fn an_inaccessible_directory_is_not_served() {
    let scratch = Scratch::new();
    scratch.write("private/index.html", "hello");
    let private = scratch.join("private");
    // Root may enter any directory until it switches to `nobody`.
    let (mode, arguments) = if geteuid().is_root() { (0o700, &["--uid", "nobody"][..]) } else { (0o600, &[][..]) };
    fs::set_permissions(&private, fs::Permissions::from_mode(mode)).unwrap();
    let complaint = refused(program(&[&["serve", &private, "--listen", ANYWHERE], arguments].concat()), 1);
    assert!(complaint.starts_with(&format!("cannot serve {private}: Permission denied")), "{complaint}");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_daemon_removes_only_its_own_pid_file() {
    let scratch = Scratch::new();
    // A link to the device: if this test fails, the device itself survives.
    std::os::unix::fs::symlink("/dev/null", scratch.join("device")).unwrap();
    for (name, path) in [("device", scratch.join("device")), ("directory", scratch.join(""))] {
        let complaint = refused(echo(&scratch, &["--pidfile", &path]), 1);
        assert_eq!(complaint, format!("cannot use {path} as the pid file: it is not a regular file"), "{name}");
    }
    assert!(fs::symlink_metadata(scratch.join("device")).unwrap().is_symlink());
    let mut running = Running::start_command(echo(&scratch, &["--pidfile", "pid"]));
    fs::rename(scratch.join("pid"), scratch.join("moved")).unwrap();
    scratch.write("pid", "another's");
    assert_eq!(running.terminate().0.code(), Some(0));
    assert_eq!(fs::read_to_string(scratch.join("pid")).unwrap(), "another's");
    assert_eq!(fs::read_to_string(scratch.join("moved")).unwrap(), "");
}

#[test]
fn a_pid_file_that_cannot_be_removed_is_emptied() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let path = scratch.join("pid");
    // Without root there is no switch of users, and the file is removed.
    let user = if geteuid().is_root() { &["--uid", "nobody"][..] } else { &[] };
    let arguments = [&["echo", "--listen", ANYWHERE, "--pidfile", &path], user].concat();
    let mut running = Running::start_command(program(&arguments));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", running.id()));
    assert_eq!(running.terminate().0.code(), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), "");
}

#[test]
fn errors_of_the_system_name_the_configuration_line() {
    let scratch = Scratch::new();
    let file = scratch.join("services.toml");
    let service = "[[service]]\nkind = 'serve'\nlisten = 'unix:web'\n";
    let complaint = |text: &str, status: i32, arguments: &[&str]| {
        scratch.write("services.toml", text);
        let mut command = program(&[&["--config", &file], arguments].concat());
        command.current_dir(scratch.path());
        let complaint = refused(command, status);
        complaint.strip_prefix(&format!("{file}:")).unwrap_or(&complaint).to_owned()
    };
    let missing = format!("[runner]\n\n{service}directory = 'missing'\n");
    let expected =
        "3:1: the service 'serve' did not start: cannot serve missing: No such file or directory (os error 2)";
    assert_eq!(complaint(&missing, 1, &[]), expected);
    assert_eq!(complaint(&missing, 1, &["--daemon"]), expected);
    for (option, status, expected) in [
        ("uid = 'nosuchuser'", 1, NO_SUCH_USER),
        ("gid = 'nosuchgroup'", 1, "no group is called 'nosuchgroup'"),
        ("rundir = 'no/where'", 1, "cannot change to the directory no/where: No such file"),
        ("chroot = 'no/where'", 1, "cannot change the root directory to no/where: "),
        ("pidfile = 'no/pid'", 1, "cannot open the pid file no/pid: No such file"),
        ("logfile = 'no/log'", 1, "cannot open the log file no/log: No such file"),
        ("syslog = '/no/log'", 1, "cannot connect to syslog at /no/log: No such file"),
        ("reactor = 'nonesuch'", 2, "no reactor is called 'nonesuch': choose one of "),
    ] {
        let complaint = complaint(&format!("[runner]\n{option}\n{service}directory = '.'\n"), status, &[]);
        let column = option.find('\'').unwrap() + 1;
        assert!(complaint.starts_with(&format!("2:{column}: {expected}")), "{complaint}");
    }
    // An error in a command-line option has no location in the file.
    let overridden =
        complaint(&format!("[runner]\nuid = 'root'\n{service}directory = '.'\n"), 1, &["--uid", "nosuchuser"]);
    assert_eq!(overridden, NO_SUCH_USER);
}

#[test]
fn a_daemon_cannot_use_standard_streams() {
    let scratch = Scratch::new();
    let file = scratch.join("services.toml");
    let reason = |place: &str| {
        format!("'{place}' needs standard input and output, which a daemon does not have: run it in the foreground")
    };
    for place in ["stdio:", "haproxy:stdio:"] {
        assert_eq!(refused(echo(&scratch, &["--daemon", "--listen", place]), 2), reason(place));
        for kind in ["echo", "portforward", "serve"] {
            let more = match kind {
                "portforward" => "to = 'tcp:127.0.0.1:9'",
                "serve" => "directory = '.'",
                _ => "",
            };
            scratch.write(
                "services.toml",
                format!("[runner]\ndaemon = true\n[[service]]\nkind = '{kind}'\nlisten = '{place}'\n{more}\n"),
            );
            assert_eq!(refused(program(&["--config", &file]), 2), format!("{file}:3:1: {}", reason(place)));
        }
    }
    assert!(!scratch.path().join("ropewalk.pid").exists() && !scratch.path().join("ropewalk.log").exists());
    // In the foreground, standard streams work.
    succeeded(program(&["--nodaemon", "--config", &file, "-q"]));
}

#[test]
fn a_configuration_without_services_is_an_error() {
    let scratch = Scratch::new();
    scratch.write("empty.toml", "");
    let complaint = refused(program(&["--config", &scratch.join("empty.toml")]), 1);
    assert_eq!(complaint, "nothing to run: no services were added");
}

#[test]
fn nodaemon_overrides_the_configuration_file() {
    let scratch = Scratch::new();
    scratch.write("services.toml", "[runner]\ndaemon = true\n");
    let file = scratch.join("services.toml");
    let mut running = Running::start_command(echo(&scratch, &["-n", "--config", &file]));
    talk(&scratch);
    assert_eq!(running.terminate().0.code(), Some(0));
    assert!(!scratch.path().join("ropewalk.pid").exists());
    succeeded(echo(&scratch, &["--config", &file]));
    let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
    assert!(daemon.is_alive());
}

#[test]
fn completions_contain_commands_with_their_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = succeeded(program(&["--completions", shell]));
        for expected in ["portforward", "pidfile", "listen"] {
            assert!(script.contains(expected), "{shell}: {expected}");
        }
    }
    let complaint = refused(program(&["--completions", "cmd"]), 2);
    assert!(complaint.contains("fish"), "{complaint}");
}

#[test]
fn daemons_start_repeatedly_in_one_directory() {
    let scratch = Scratch::new();
    for _ in 0..20 {
        succeeded(echo(&scratch, &["--daemon", "-q"]));
        let daemon = Daemon::of(&scratch.join("ropewalk.pid"));
        daemon.signal(Signal::TERM);
        eventually("the daemon exits", || !daemon.is_alive());
    }
}
