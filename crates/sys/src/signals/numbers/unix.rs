//! The numbers of this system, signal(7).

macro_rules! signals {
    ($($name:ident = $number:ident)*) => {
        $(#[allow(dead_code)]
        pub(super) const $name: i32 = libc::$number;)*

        pub(super) const NAMED: &[(&str, i32)] = &[$((stringify!($name), $name)),*];
    };
}

signals! {
    HUP = SIGHUP INT = SIGINT QUIT = SIGQUIT ILL = SIGILL TRAP = SIGTRAP ABRT = SIGABRT BUS = SIGBUS FPE = SIGFPE
    KILL = SIGKILL USR1 = SIGUSR1 SEGV = SIGSEGV USR2 = SIGUSR2 PIPE = SIGPIPE ALRM = SIGALRM TERM = SIGTERM
    CHLD = SIGCHLD CONT = SIGCONT STOP = SIGSTOP TSTP = SIGTSTP TTIN = SIGTTIN TTOU = SIGTTOU URG = SIGURG
    XCPU = SIGXCPU XFSZ = SIGXFSZ VTALRM = SIGVTALRM PROF = SIGPROF WINCH = SIGWINCH IO = SIGIO SYS = SIGSYS
}
