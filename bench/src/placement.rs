//! The core and the scheduling policy of a process.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Returns the last core that this process may use: the first ones take most of a machine's interrupts.
pub(crate) fn last_core() -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core)).ok_or_else(|| io::Error::other("no core is allowed"))
}

/// Keeps this thread, and threads that it starts, on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)?;
    Ok(())
}

/// Sets SCHED_BATCH, sched(7): a wake-up does not pre-empt the running thread.
pub(crate) fn never_preempt_others() -> io::Result<()> {
    scheduler::set_self_policy(scheduler::Policy::Batch, 0).map_err(|()| io::Error::last_os_error())
}
