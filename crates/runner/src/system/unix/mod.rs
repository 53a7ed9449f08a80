//! Unix.

mod background;
mod notify;
mod pid_file;
mod surroundings;
mod syslog;

pub(crate) use background::{Report, Telling, become_daemon, close_streams, hide_input};
pub(crate) use notify::{Notifier, monotonic_micros};
pub(crate) use pid_file::PidFile;
pub(crate) use surroundings::{enter_directory, enter_root, give_to, is_another, open_without_waiting};
pub(crate) use syslog::Syslog;
