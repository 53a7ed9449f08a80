//! Scenarios of child processes.

use super::dialogue::say;
use crate::Subject;
use crate::child::{run_child, shell};

/// Reports the status of a child. The process may ignore SIGCHLD, so that the system waits for its children.
pub(super) fn status(subject: &Subject) {
    let child = run_child(&subject.reactor(), &shell("exit 5"));
    say(child.log().entries().last().expect("it has ended"));
}
