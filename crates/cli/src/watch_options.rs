//! The options of `watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::values::duration;

#[derive(Args)]
pub(crate) struct Watch {
    /// Files and directories to watch, the directories with everything below them
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,

    /// Program to run, with its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(crate) command: Vec<OsString>,

    /// Let a running CMD finish, and run it again then. Without this, it is stopped and started again
    #[arg(long)]
    pub(crate) run: bool,

    /// Wait until nothing has changed for this time, so that several changes count as one
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "0.1", value_parser = duration)]
    pub(crate) settle: Duration,

    /// Also watch names that begin with a dot
    #[arg(long)]
    pub(crate) hidden: bool,

    /// Skip entries of this name, and everything below them (repeatable), such as a directory that CMD writes to
    #[arg(long, value_name = "NAME")]
    pub(crate) ignore: Vec<OsString>,

    /// Watch only the entries of the directories themselves
    #[arg(long)]
    pub(crate) no_recursive: bool,

    /// Time between TERM and KILL when CMD is stopped
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "5", value_parser = duration)]
    pub(crate) kill_time: Duration,
}

/// The reason why the command cannot run in the background.
pub(crate) const NEEDS_FOREGROUND: &str =
    "'watch' runs a program that writes to standard output, which a daemon does not have";
