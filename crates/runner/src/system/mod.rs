//! Services of the operating system: daemon mode, directories, users, pid files, syslog, the supervisor.

#[cfg_attr(unix, path = "unix/mod.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod kind;

pub(crate) use kind::{
    Interruptions, Notifier, PidFile, Report, Reporter, Syslog, change_directory, change_owner, change_root, daemonize,
    is_other_user, monotonic_micros, open_file, redirect_input, redirect_output,
};

/// The purpose for which [`open_file`] opens a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// To write at its end. A missing file is created.
    Append,
    /// To read it.
    Read,
    /// To read and replace its content. A missing file is created.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no pid files"))]
    Update,
}

/// The directories of the process, and its mask for new files.
#[derive(Debug, Default)]
pub(crate) struct Directories<'a> {
    pub(crate) chroot: Option<&'a std::path::Path>,
    pub(crate) rundir: Option<&'a std::path::Path>,
    pub(crate) umask: Option<u32>,
}

/// The side of the fork that [`daemonize`] returns on.
#[cfg_attr(not(unix), expect(dead_code, reason = "there are no daemons"))]
pub(crate) enum Daemonized {
    /// The process that was started. It waits for the report and exits.
    Parent(Report),
    /// The process in the background.
    Daemon(Reporter),
}

/// An event that interrupts the start of the services.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(unix), expect(dead_code, reason = "a start is not watched"))]
pub(crate) enum Interruption {
    /// A signal that asks the program to stop.
    Signal(i32),
    /// The command that started this daemon has ended before the daemon has reported.
    CommandEnded,
}
