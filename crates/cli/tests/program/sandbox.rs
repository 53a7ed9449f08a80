//! The program in a sandbox that denies system calls, as those of containers do: seccomp(2).

use std::io;
use std::process::{Command, Output};
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use crate::running::{ANYWHERE, Running, program};

/// What io_uring_register is asked to do, linux/io_uring.h: what is there, and to have buffers.
const REGISTER_PROBE: u64 = 8;
const REGISTER_PBUF_RING: u64 = 22;

/// A system call that is denied: any of it, or with this as its second argument.
#[derive(Clone, Copy)]
struct Denied(libc::c_long, Option<u64>);

fn filter(Denied(call, second): Denied) -> BpfProgram {
    let condition =
        |value| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).expect("a condition");
    let rules = second.map(|value| SeccompRule::new(vec![condition(value)]).expect("a rule")).into_iter().collect();
    let architecture = std::env::consts::ARCH.try_into().expect("one that seccomp knows");
    let (others, denied) = (SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32));
    let filter = SeccompFilter::new([(call, rules)].into(), others, denied, architecture).expect("a filter");
    filter.try_into().expect("a program")
}

/// Starts a process in a sandbox, by a thread of its own: a filter holds for the thread that asks for it, and its children.
fn within<T: Send>(denied: Denied, start: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let sandboxed = scope.spawn(|| {
            apply_filter(&filter(denied)).expect("seccomp(2)");
            start()
        });
        sandboxed.join().expect("it starts")
    })
}

fn output(denied: Denied, mut command: Command) -> io::Result<Output> {
    within(denied, || command.output())
}

/// Each way to deny io_uring: as most containers do, and where its set-up is allowed and something that it needs is not.
fn denials() -> [(Denied, &'static str); 4] {
    [
        (Denied(libc::SYS_io_uring_setup, None), "io_uring_setup"),
        (Denied(libc::SYS_io_uring_enter, None), "io_uring_enter"),
        (Denied(libc::SYS_io_uring_register, Some(REGISTER_PROBE)), "io_uring_register"),
        (Denied(libc::SYS_io_uring_register, Some(REGISTER_PBUF_RING)), "io_uring_register"),
    ]
}

#[test]
fn a_reactor_that_is_asked_for_by_name_and_denied_is_one_line_that_says_what_and_why() {
    // LESSONS, bug 12; what was asked for by name is never replaced.
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
fn the_list_of_reactors_says_which_one_a_sandbox_denies() {
    for (denied, call) in denials() {
        let list = String::from_utf8(output(denied, program(&["--help-reactors"])).unwrap().stdout).unwrap();
        let line = list.lines().find(|line| line.contains("uring")).expect(&list);
        assert!(line.contains(call), "{line}");
    }
}

#[test]
fn without_a_name_the_next_best_is_taken_and_one_line_says_so() {
    let denied = Denied(libc::SYS_epoll_create1, None);
    let mut server = within(denied, || Running::start(&["echo"]));
    assert!(!server.start_line.contains("epoll"), "{}", server.start_line);
    let log = server.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("epoll"), "{log}");
}

#[test]
fn a_sandbox_without_io_uring_is_nothing_to_whoever_does_not_ask_for_it() {
    for (denied, _) in denials() {
        let mut server = within(denied, || Running::start(&["echo"]));
        assert!(server.start_line.contains(" on epoll, "), "{}", server.start_line);
        assert_eq!(server.log(), "");
    }
}
