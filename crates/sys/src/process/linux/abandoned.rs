//! Children that still run although no provider watches them any more.
//!
//! A process that has ended stays in the system's table until its parent waits for it. These children are waited for
//! whenever a process starts, and whenever a child is abandoned.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use super::status;

static ABANDONED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Keeps the descriptor of a process until the process has ended.
pub(super) fn keep(process: OwnedFd) {
    let mut abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
    abandoned.push(process);
    abandoned.retain(|process| status::runs(process.as_fd()));
}

/// Waits for those that have ended. Does not block.
pub(super) fn reap() {
    let mut abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
    abandoned.retain(|process| status::runs(process.as_fd()));
}
