//! fork(2): a child must not share its parent's provider. A fork copies only one thread, so these tests run one at a
//! time.
#![cfg(unix)]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ropewalk_proto::Address;
use ropewalk_sys::{EventProvider, Events, Interest, ListenSpec, Ready, providers};

/// Runs `child` in a forked process and returns its exit status.
fn in_child(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs only `child`, which takes no lock that another thread could hold, because no other test
    // runs meanwhile.
    match unsafe { libc::fork() } {
        0 => {
            let status = if child() { 0 } else { 1 };
            // SAFETY: exits the child without running the test runner's exit handlers.
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

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a child that does not serve exits, the server's file must stay. When a child that serves (a daemon) exits, the
/// file must go.
#[test]
fn a_socket_file_belongs_to_the_process_that_serves_it() {
    let _turn = turn();
    for entry in providers() {
        let path = std::env::temp_dir().join(format!("ropewalk-fork-{}-{}", std::process::id(), entry.name));
        let mut provider = Some((entry.open)().unwrap());
        let address = Address::Unix(Arc::from(path.as_path()));
        provider.as_mut().unwrap().streams().unwrap().listen(&ListenSpec::new(address)).unwrap();
        in_child(|| {
            drop(provider.take());
            true
        });
        assert!(path.exists(), "{}: a child that does not serve removed it", entry.name);
        in_child(|| {
            let reopened = provider.as_mut().is_some_and(|provider| provider.reopen_after_fork().is_ok());
            drop(provider.take());
            reopened
        });
        assert!(!path.exists(), "{}: a child that served left it", entry.name);
    }
}

#[test]
fn a_child_that_reopens_its_provider_leaves_its_parent_alone() {
    let _turn = turn();
    for entry in providers() {
        let mut provider = (entry.open)().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let key = provider.watches().unwrap().watch(near.as_raw_fd(), Interest::READ).unwrap();
        let status = in_child(|| {
            let reopened = provider.reopen_after_fork().is_ok();
            provider.waker().wake();
            let quiet = !reads(&mut *provider, Duration::from_millis(10));
            far.write_all(b"x").unwrap();
            let heard = reads(&mut *provider, Duration::from_secs(5));
            provider.streams().unwrap().close(key);
            reopened && quiet && heard
        });
        assert_eq!(status, 0, "{}", entry.name);
        // The child closed its key: the parent's registration is still there.
        assert!(reads(&mut *provider, Duration::from_secs(5)), "{}", entry.name);
    }
}
