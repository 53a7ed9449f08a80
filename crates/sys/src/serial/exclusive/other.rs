//! Systems that do not say whether TIOCEXCL is set.

use std::os::fd::BorrowedFd;

pub(super) fn is_taken(_fd: BorrowedFd<'_>) -> bool {
    false
}
