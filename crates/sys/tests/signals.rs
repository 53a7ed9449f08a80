//! Signals belong to the whole process, so these tests run one at a time.
#![cfg(unix)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk_sys::signals::{SIGINT, SIGTERM, STOP_SIGNALS, SignalGuard};
use ropewalk_sys::{Events, Wake, Waker, providers};

const PATIENCE: Duration = Duration::from_secs(10);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn no_waker() -> Waker {
    Waker::new(Arc::new(Count::default()))
}

fn raise(signal: i32) {
    // SAFETY: raise(3) has no preconditions.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

fn disposition(signal: i32) -> libc::sighandler_t {
    // SAFETY: zero is a value of each field of sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set, and `action` is valid for writes.
    assert_eq!(unsafe { libc::sigaction(signal, ptr::null(), &mut action) }, 0);
    action.sa_sigaction
}

fn set_disposition(signal: i32, disposition: libc::sighandler_t) {
    // SAFETY: the tests pass SIG_DFL, SIG_IGN and functions that do nothing.
    assert_ne!(unsafe { libc::signal(signal, disposition) }, libc::SIG_ERR);
}

extern "C" fn nothing(_: libc::c_int) {}

fn nothing_address() -> libc::sighandler_t {
    nothing as extern "C" fn(libc::c_int) as libc::sighandler_t
}

#[test]
fn a_signal_interrupts_a_wait_of_every_provider() {
    let _turn = turn();
    for provider in providers() {
        let mut provider = (provider.open)().unwrap();
        let guard = SignalGuard::install(STOP_SIGNALS, provider.waker()).unwrap();
        assert_eq!(guard.take(), None);
        // Another thread gets the signal, so the waker interrupts this wait, not EINTR.
        let sender = thread::spawn(|| raise(SIGTERM));
        let began = Instant::now();
        provider.wait(Some(PATIENCE), &mut Events::new()).unwrap();
        assert!(began.elapsed() < PATIENCE, "{} was not interrupted", provider.name());
        sender.join().unwrap();
        assert_eq!(guard.take(), Some(SIGTERM));
        assert_eq!(guard.take(), None);
    }
}

#[test]
fn several_signals_are_all_taken() {
    let _turn = turn();
    let guard = SignalGuard::install(&[SIGTERM, SIGINT, SIGINT], no_waker()).unwrap();
    raise(SIGTERM);
    raise(SIGINT);
    raise(SIGINT);
    assert_eq!([guard.take(), guard.take(), guard.take()], [Some(SIGINT), Some(SIGTERM), None]);
}

#[test]
fn every_loop_gets_a_signal_that_it_asked_for() {
    let _turn = turn();
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let both = SignalGuard::install(&[SIGINT, SIGTERM], Waker::new(first.clone())).unwrap();
    let one = SignalGuard::install(&[SIGTERM], Waker::new(second.clone())).unwrap();
    raise(SIGINT);
    assert_eq!((both.take(), one.take()), (Some(SIGINT), None));
    raise(SIGTERM);
    assert_eq!((both.take(), one.take()), (Some(SIGTERM), Some(SIGTERM)));
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn dropping_the_last_guard_restores_the_disposition() {
    let _turn = turn();
    for before in [libc::SIG_DFL, nothing_address()] {
        set_disposition(SIGINT, before);
        let first = SignalGuard::install(&[SIGINT], no_waker()).unwrap();
        let second = SignalGuard::install(&[SIGINT], no_waker()).unwrap();
        drop(first);
        raise(SIGINT);
        assert_eq!(second.take(), Some(SIGINT));
        drop(second);
        assert_eq!(disposition(SIGINT), before);
    }
    set_disposition(SIGINT, libc::SIG_DFL);
}

#[test]
fn a_later_disposition_is_left_alone() {
    let _turn = turn();
    let guard = SignalGuard::install(&[SIGINT], no_waker()).unwrap();
    set_disposition(SIGINT, nothing_address());
    drop(guard);
    assert_eq!(disposition(SIGINT), nothing_address());
    set_disposition(SIGINT, libc::SIG_DFL);
}

/// nohup(1) starts programs with SIGHUP ignored.
#[test]
fn an_ignored_signal_stays_ignored() {
    let _turn = turn();
    set_disposition(SIGINT, libc::SIG_IGN);
    let guard = SignalGuard::install(&[SIGINT, SIGTERM], no_waker()).unwrap();
    assert_eq!(disposition(SIGINT), libc::SIG_IGN);
    raise(SIGINT);
    assert_eq!(guard.take(), None);
    drop(guard);
    assert_eq!(disposition(SIGINT), libc::SIG_IGN);
    set_disposition(SIGINT, libc::SIG_DFL);
}

#[test]
fn a_signal_that_cannot_be_caught_is_an_error() {
    let _turn = turn();
    for impossible in [libc::SIGKILL, 0, -1, 65, i32::MIN] {
        let error = SignalGuard::install(&[SIGINT, impossible], no_waker()).err().expect("an error");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{impossible}");
        assert_eq!(disposition(SIGINT), libc::SIG_DFL);
    }
}

/// A fault would be repeated without an end if the signal handler returned.
#[test]
fn a_signal_that_reports_a_fault_is_refused() {
    let _turn = turn();
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL] {
        let before = disposition(fault);
        let error = SignalGuard::install(&[SIGINT, fault], no_waker()).err().expect("an error");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&fault.to_string()), "{error}");
        assert_eq!((disposition(fault), disposition(SIGINT)), (before, libc::SIG_DFL));
    }
}

/// A guard that takes over the place of another must not inherit its signals.
#[test]
fn a_new_guard_begins_without_signals() {
    let _turn = turn();
    let old = SignalGuard::install(&[SIGINT], no_waker()).unwrap();
    raise(SIGINT);
    drop(old);
    let new = SignalGuard::install(&[SIGINT], no_waker()).unwrap();
    assert_eq!(new.take(), None);
}

#[test]
fn the_interrupted_code_finds_errno_as_it_was() {
    struct Spoiler;
    impl Wake for Spoiler {
        fn wake(&self) {
            errno::set_errno(errno::Errno(libc::EDOM));
        }
    }
    let _turn = turn();
    let _guard = SignalGuard::install(&[SIGINT], Waker::new(Arc::new(Spoiler))).unwrap();
    errno::set_errno(errno::Errno(libc::ERANGE));
    raise(SIGINT);
    assert_eq!(errno::errno().0, libc::ERANGE);
}

/// Each waker counts in its own memory, so that AddressSanitizer notices a use after free.
#[test]
fn guards_may_be_dropped_while_signals_arrive() {
    let _turn = turn();
    let _permanent = SignalGuard::install(&[SIGINT], no_waker()).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let sender = thread::spawn(move || {
        let mut sent = 0;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            raise(SIGINT);
            sent += 1;
        }
        sent
    });
    let coming: Vec<_> = (0..2).map(|_| thread::spawn(come_and_go)).collect();
    let learnt: u32 = coming.into_iter().map(|thread| thread.join().unwrap()).sum();
    drop(stop);
    assert!(sender.join().unwrap() > 0);
    assert!(learnt > 0, "no guard recorded a signal");
}

fn come_and_go() -> u32 {
    let mut learnt = 0;
    for _ in 0..2_000 {
        let count = Arc::new(Count::default());
        let guard = SignalGuard::install(&[SIGINT], Waker::new(count.clone())).unwrap();
        thread::yield_now();
        learnt += u32::from(guard.take().is_some());
        drop(guard);
        assert_eq!(Arc::strong_count(&count), 1, "every waker was dropped");
    }
    learnt
}
