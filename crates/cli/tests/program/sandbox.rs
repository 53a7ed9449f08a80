//! Runs the program in a sandbox that denies system calls, as containers do: seccomp(2).

use std::io;
use std::process::{Command, Output};
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use crate::http::Client;
use crate::running::{ANYWHERE, Running, program, reactors};
use crate::scratch::Scratch;
use crate::serve::{check_links, site_with_links};

/// Operations of io_uring_register, linux/io_uring.h: probe the operations, and register buffers.
const REGISTER_PROBE: u64 = 8;
const REGISTER_PBUF_RING: u64 = 22;

/// A system call that is denied always, or only with this second argument.
#[derive(Clone, Copy)]
struct Denied(libc::c_long, Option<u64>);

fn filter(Denied(call, second): Denied) -> BpfProgram {
    let condition =
        |value| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).expect("a condition");
    let rules = second.map(|value| SeccompRule::new(vec![condition(value)]).expect("a rule")).into_iter().collect();
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp supports");
    let (others, denied) = (SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32));
    let filter = SeccompFilter::new([(call, rules)].into(), others, denied, architecture).expect("a filter");
    filter.try_into().expect("a program")
}

/// Starts a process in a sandbox, from a new thread: a filter applies to the thread that installs it, and to its children.
fn within<T: Send>(denied: Denied, start: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let sandboxed = scope.spawn(|| {
            apply_filter(&filter(denied)).expect("seccomp(2)");
            start()
        });
        sandboxed.join().expect("the thread ends")
    })
}

/// Starts a process that may start processes but no threads: clone(2) with CLONE_THREAD fails. A filter cannot read the
/// flags of clone3(2), so that call is missing, as on old systems.
fn without_threads<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let (thread, flags) = (libc::CLONE_THREAD as u64, SeccompCmpArgLen::Qword);
    let condition = SeccompCondition::new(0, flags, SeccompCmpOp::MaskedEq(thread), thread).expect("a condition");
    let rule = SeccompRule::new(vec![condition]).expect("a rule");
    let filters = [(libc::SYS_clone3, vec![], libc::ENOSYS), (libc::SYS_clone, vec![rule], libc::EAGAIN)];
    thread::scope(|scope| {
        let sandboxed = scope.spawn(|| {
            for (call, rules, error) in filters {
                let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp supports");
                let (others, denied) = (SeccompAction::Allow, SeccompAction::Errno(error as u32));
                let filter = SeccompFilter::new([(call, rules)].into(), others, denied, architecture);
                let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
                apply_filter(&program).expect("seccomp(2)");
            }
            start()
        });
        sandboxed.join().expect("the thread ends")
    })
}

fn output(denied: Denied, mut command: Command) -> io::Result<Output> {
    within(denied, || command.output())
}

/// Ways to deny io_uring: its setup, as most containers do, or another call that it needs.
fn denials() -> [(Denied, &'static str); 4] {
    [
        (Denied(libc::SYS_io_uring_setup, None), "io_uring_setup"),
        (Denied(libc::SYS_io_uring_enter, None), "io_uring_enter"),
        (Denied(libc::SYS_io_uring_register, Some(REGISTER_PROBE)), "io_uring_register"),
        (Denied(libc::SYS_io_uring_register, Some(REGISTER_PBUF_RING)), "io_uring_register"),
    ]
}

#[test]
fn a_denied_reactor_is_reported_in_one_line() {
    // A reactor chosen by name is never replaced by another one.
    for (denied, call) in denials() {
        let by_option = program(&["-r", "uring", "echo", "--listen", ANYWHERE]);
        let mut by_environment = program(&["echo", "--listen", ANYWHERE]);
        by_environment.env("ROPEWALK_REACTOR", "uring");
        for command in [by_option, by_environment] {
            let output = output(denied, command).unwrap();
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), complaint.lines().count()), (Some(1), 1), "{complaint}");
            assert!(complaint.contains("uring") && complaint.contains(&format!("{call}: denied by")), "{complaint}");
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn the_list_of_reactors_names_the_denied_call() {
    for (denied, call) in denials() {
        let list = String::from_utf8(output(denied, program(&["--help-reactors"])).unwrap().stdout).unwrap();
        let line = list.lines().find(|line| line.contains("uring")).expect(&list);
        assert!(line.contains(call), "{line}");
    }
}

#[test]
fn the_doctor_names_the_remedy_of_a_denied_reactor() {
    let (denied, call) = denials()[0];
    let output = output(denied, program(&["doctor"])).unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    let line = report.lines().find(|line| line.contains("reactor uring")).expect(&report);
    assert!(line.starts_with("missing") && line.contains(call), "{line}");
    assert!(line.contains("seccomp filter") && line.contains("kernel.io_uring_disabled"), "{line}");
    assert_eq!(output.status.code(), Some(0), "other reactors work");
}

#[test]
fn the_next_best_reactor_replaces_a_denied_default() {
    let denied = Denied(libc::SYS_epoll_create1, None);
    let mut server = within(denied, || Running::start(&["echo"]));
    assert!(!server.start_line.contains("epoll"), "{}", server.start_line);
    let log = server.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("epoll"), "{log}");
}

#[test]
fn a_denied_io_uring_is_not_reported_unless_chosen() {
    for (denied, _) in denials() {
        let mut server = within(denied, || Running::start(&["echo"]));
        assert!(server.start_line.contains(" on epoll, "), "{}", server.start_line);
        assert_eq!(server.log(), "");
    }
}

#[test]
fn links_never_lead_out_without_openat2() {
    let scratch = site_with_links();
    for reactor in reactors() {
        let arguments = ["-r", reactor, "serve", &scratch.join("site")];
        check_links(within(Denied(libc::SYS_openat2, None), || Running::start(&arguments)));
    }
}

#[test]
fn requests_are_answered_without_threads() {
    let scratch = Scratch::new();
    scratch.write("a.txt", "here");
    for reactor in reactors() {
        let mut server = without_threads(|| Running::start(&["-r", reactor, "serve", &scratch.join("")]));
        let mut client = Client::new(&server);
        for _ in 0..3 {
            let reply = client.get("/a.txt", &[]);
            assert_eq!((reply.status, reply.field("retry-after")), (503, "1"), "{reactor}");
        }
        assert!(server.terminate().0.success(), "{reactor}");
        let log = server.log();
        assert!(log.contains("cannot start a thread: work is dropped"), "{log}");
    }
}
