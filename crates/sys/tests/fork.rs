//! fork(2): the child's provider is its own. One test in its own process, because a fork copies only one thread.
#![cfg(unix)]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ropewalk_sys::{EventProvider, Events, Interest, Ready, providers};

/// Runs `child` in a forked process and returns its exit status.
fn in_child(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child calls only what this test gives it, which takes no lock that another thread could hold: under
    // the test runner this is the process's only test.
    match unsafe { libc::fork() } {
        0 => {
            let status = if child() { 0 } else { 1 };
            // SAFETY: ends the child without running the test runner's exit handlers.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: waits for the child made above, with a valid place for its status.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            libc::WEXITSTATUS(status)
        }
    }
}

fn reads(provider: &mut dyn EventProvider, timeout: Duration) -> bool {
    let mut events = Events::new();
    provider.wait(Some(timeout), &mut events).is_ok() && events.iter().any(|event| event.ready.contains(Ready::READ))
}

#[test]
fn a_child_that_reopens_its_provider_hears_its_sources_and_does_not_disturb_its_parent() {
    for entry in providers() {
        let mut provider = (entry.open)().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let key = provider.watch(near.as_raw_fd(), Interest::READ).unwrap();
        let status = in_child(|| {
            let reopened = provider.reopen_after_fork().is_ok();
            provider.waker().wake();
            let quiet = !reads(&mut *provider, Duration::from_millis(10));
            far.write_all(b"x").unwrap();
            let heard = reads(&mut *provider, Duration::from_secs(5));
            provider.close(key);
            reopened && quiet && heard
        });
        assert_eq!(status, 0, "{}", entry.name);
        // The child closed its key: the parent's registration is still there.
        assert!(reads(&mut *provider, Duration::from_secs(5)), "{}", entry.name);
    }
}
