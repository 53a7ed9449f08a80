//! What a runner asks of the operating system: places, pid files, the system's log, its supervisor.

#[cfg_attr(unix, path = "unix/mod.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod kind;

pub(crate) use kind::{
    Notifier, PidFile, Report, Syslog, Telling, become_daemon, close_streams, enter_directory, enter_root, give_to,
    hide_input, is_another, monotonic_micros, open_without_waiting,
};

/// Where the process goes before it does anything.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) chroot: Option<&'a std::path::Path>,
    pub(crate) rundir: Option<&'a std::path::Path>,
    pub(crate) umask: Option<u32>,
}

/// Which process this is after [`become_daemon`].
#[cfg_attr(not(unix), expect(dead_code, reason = "no process goes into the background there"))]
pub(crate) enum Side {
    /// It ends with what the daemon reports.
    Parent(Report),
    Daemon(Telling),
}
