//! Unix.

mod daemon;
mod interruptions;
mod notify;
mod open_file;
mod pid_file;
mod process;
mod syslog;

pub(crate) use daemon::{Report, Reporter, daemonize, redirect_input, redirect_output};
pub(crate) use interruptions::Interruptions;
pub(crate) use notify::{Notifier, monotonic_micros};
pub(crate) use open_file::open_file;
pub(crate) use pid_file::PidFile;
pub(crate) use process::{change_directory, change_owner, change_root, is_other_user};
pub(crate) use syslog::Syslog;
