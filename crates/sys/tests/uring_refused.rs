//! io_uring in a sandbox that denies it: the error names the reason. The test has its own process, because a fork
//! copies only one thread.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use ropewalk_sys::providers;

/// Places in seccomp_data: the number of the system call, and the lower half of its second argument.
const NUMBER: u32 = 0;
const SECOND_ARGUMENT: u32 = if cfg!(target_endian = "little") { 24 } else { 28 };

/// The requests of io_uring_register, linux/io_uring.h.
const REGISTER_PROBE: u32 = 8;
const REGISTER_ENABLE_RINGS: u32 = 12;
const REGISTER_PBUF_RING: u32 = 22;

/// A system call that is refused. With a `second_argument`, only calls with this second argument are refused: one
/// request of io_uring_register.
#[derive(Clone, Copy)]
struct Denial {
    call: libc::c_long,
    second_argument: Option<u32>,
    errno: i32,
}

fn all_of(call: libc::c_long, errno: i32) -> Denial {
    Denial { call, second_argument: None, errno }
}

fn registering(what: u32, errno: i32) -> Denial {
    Denial { call: libc::SYS_io_uring_register, second_argument: Some(what), errno }
}

/// Makes a system call fail in this process from now on, seccomp(2).
fn deny(Denial { call, second_argument, errno }: Denial) {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let (place, value) = second_argument.map_or((NUMBER, call as u32), |value| (SECOND_ARGUMENT, value));
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, call as u32),
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, place),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, value),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: this prctl(2) takes no pointer.
    let outcome = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(outcome, 0);
    // SAFETY: the program and its instructions outlive the call, which copies them.
    let outcome = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(outcome, 0);
}

/// Returns the outcome of opening each provider in a process with that denial.
fn outcomes_with(denial: Denial) -> String {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // SAFETY: under the test runner this is the process's only test, so no other thread holds a lock.
    match unsafe { libc::fork() } {
        0 => {
            deny(denial);
            report(writer);
            // SAFETY: exits the child without running the test runner's exit handlers.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(writer);
            let mut text = String::new();
            File::from(reader).read_to_string(&mut text).unwrap();
            // SAFETY: waits for the child made above, and passes no place for its status.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            text
        }
    }
}

fn report(writer: OwnedFd) {
    let mut writer = File::from(writer);
    for entry in providers() {
        let outcome = match (entry.open)() {
            Ok(_) => "opens".to_owned(),
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        let _ = writeln!(writer, "{} {outcome}", entry.name);
    }
}

/// Containers deny io_uring by default.
#[test]
fn an_error_names_the_sandbox_that_denies_io_uring() {
    let cases = [
        (
            all_of(libc::SYS_io_uring_setup, libc::EPERM),
            "PermissionDenied: io_uring_setup: denied by kernel.io_uring_disabled or by a sandbox",
        ),
        (
            all_of(libc::SYS_io_uring_setup, libc::ENOSYS),
            "Unsupported: io_uring_setup: this kernel has no io_uring, or a sandbox",
        ),
        (
            all_of(libc::SYS_io_uring_setup, libc::ENOMEM),
            "OutOfMemory: io_uring_setup: not enough memory may be locked",
        ),
        (
            all_of(libc::SYS_io_uring_setup, libc::EINVAL),
            "InvalidInput: io_uring_setup: this kernel's io_uring is too old",
        ),
        (all_of(libc::SYS_io_uring_register, libc::EPERM), "PermissionDenied: io_uring_register: denied"),
        (registering(REGISTER_PROBE, libc::EPERM), "PermissionDenied: io_uring_register: denied"),
        (registering(REGISTER_PBUF_RING, libc::EPERM), "PermissionDenied: io_uring_register: denied"),
        (
            registering(REGISTER_PBUF_RING, libc::ENOMEM),
            "OutOfMemory: io_uring_register: not enough memory may be locked",
        ),
        (registering(REGISTER_ENABLE_RINGS, libc::EPERM), "PermissionDenied: io_uring_register: denied"),
        (all_of(libc::SYS_io_uring_enter, libc::EPERM), "PermissionDenied: io_uring_enter: denied"),
    ];
    for (denial, expected) in cases {
        let outcomes = outcomes_with(denial);
        let uring = outcomes.lines().find(|line| line.starts_with("uring")).expect("a line for each");
        assert!(uring.starts_with(&format!("uring {expected}")), "{uring}");
        for other in ["epoll", "poll", "select"] {
            assert!(outcomes.contains(&format!("{other} opens\n")), "{outcomes}");
        }
    }
}
