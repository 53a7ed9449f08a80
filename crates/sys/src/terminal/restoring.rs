//! The ends of a process that restore the terminal: fatal signals, exit(3). And its stops.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::{Once, OnceLock};

use super::system::{restore_now, set_again};

/// The signals that end a process by default, signal(7), except SIGKILL.
const FATAL: [c_int; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGFPE,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGSYS,
];

/// The faults for which Rust has handlers of its own: they report an overflow of the stack, and are called afterwards.
const FAULTS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The handlers that were installed for `FAULTS` before.
static BEFORE: [OnceLock<libc::sigaction>; 2] = [const { OnceLock::new() }; 2];

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

pub(super) fn install() -> io::Result<()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `at_exit` is a function without captures that lives as long as the program. If it cannot be
        // registered for lack of memory, the other ways remain.
        unsafe { libc::atexit(at_exit) };
    });
    for signal in FATAL {
        if current(signal)?.sa_sigaction == libc::SIG_DFL {
            set(signal, &action(on_fatal))?;
        }
    }
    for (signal, before) in FAULTS.into_iter().zip(&BEFORE) {
        let present = current(signal)?;
        if !is(&present, on_fatal) {
            before.get_or_init(|| present);
            set(signal, &action(on_fatal))?;
        }
    }
    for (signal, handler) in [(libc::SIGTSTP, on_stop as Handler), (libc::SIGCONT, on_continue)] {
        if current(signal)?.sa_sigaction == libc::SIG_DFL {
            set(signal, &action(handler))?;
        }
    }
    Ok(())
}

/// Restores the earlier dispositions, unless others were installed meanwhile.
pub(super) fn uninstall() {
    for signal in FATAL.into_iter().chain(FAULTS).chain([libc::SIGTSTP, libc::SIGCONT]) {
        let is_ours =
            |action: &libc::sigaction| [on_fatal as Handler, on_stop, on_continue].iter().any(|&it| is(action, it));
        if current(signal).is_ok_and(|action| is_ours(&action)) {
            // The disposition was valid before, so setting it again does not fail.
            let _ = set(signal, &before(signal));
        }
    }
}

extern "C" fn at_exit() {
    restore_now();
}

/// Restores the terminal, then lets the signal have its earlier effect. Async-signal-safe.
extern "C" fn on_fatal(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    let errno = errno::errno();
    restore_now();
    let _ = set(signal, &before(signal));
    // SAFETY: the system passes a valid `info` to a handler with SA_SIGINFO.
    let is_sent = unsafe { (*info).si_code } <= 0;
    let is_fault = FAULTS.contains(&signal) || [libc::SIGILL, libc::SIGFPE, libc::SIGTRAP].contains(&signal);
    if is_sent || !is_fault {
        // The instruction of a fault runs again when this handler returns, and fails again.
        // SAFETY: raise(3) takes any number. The signal is blocked until this handler returns.
        unsafe { libc::raise(signal) };
    }
    errno::set_errno(errno);
}

/// Restores the terminal, stops the process, and sets the mode again when it continues. Async-signal-safe.
extern "C" fn on_stop(signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    let errno = errno::errno();
    restore_now();
    if set(signal, &default()).is_ok() {
        // SAFETY: raise(3) takes any number. The signal is blocked until this handler returns, or is unblocked.
        unsafe { libc::raise(signal) };
        unblock(signal);
        let _ = set(signal, &action(on_stop));
    }
    set_again();
    errno::set_errno(errno);
}

extern "C" fn on_continue(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    let errno = errno::errno();
    set_again();
    errno::set_errno(errno);
}

/// Unblocks a signal for this thread. A pending one has its effect before this returns. Async-signal-safe.
fn unblock(signal: c_int) {
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `signals` is valid for writes.
    unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
    // SAFETY: sigemptyset(3) has filled in `signals`.
    unsafe { libc::sigaddset(signals.as_mut_ptr(), signal) };
    // SAFETY: `signals` is filled in, and the null pointer says that the earlier mask is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, signals.as_ptr(), null_mut()) };
}

/// Returns the disposition before ours.
fn before(signal: c_int) -> libc::sigaction {
    let fault = FAULTS.iter().position(|&fault| fault == signal);
    fault.and_then(|place| BEFORE[place].get().copied()).unwrap_or_else(default)
}

fn action(handler: Handler) -> libc::sigaction {
    let mut action = default();
    action.sa_sigaction = handler as libc::sighandler_t;
    // SA_ONSTACK: an overflow of the stack leaves no room on it. SA_RESTART: system calls continue after a stop.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    action
}

fn is(action: &libc::sigaction, handler: Handler) -> bool {
    action.sa_sigaction == handler as libc::sighandler_t
}

fn default() -> libc::sigaction {
    // SAFETY: all fields of sigaction are integers, sets of bits and optional functions: zero is a value of each, and
    // SIG_DFL.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn current(signal: c_int) -> io::Result<libc::sigaction> {
    let mut action = default();
    // SAFETY: the null pointer says that nothing is set, and `action` is valid for writes.
    check(unsafe { libc::sigaction(signal, null(), &mut action) })?;
    Ok(action)
}

fn set(signal: c_int, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action is a handler of this file, which is async-signal-safe, or the earlier disposition.
    check(unsafe { libc::sigaction(signal, action, null_mut()) })
}

fn check(outcome: c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
