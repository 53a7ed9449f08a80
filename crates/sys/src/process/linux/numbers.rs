//! The numbers of descriptors in a child.
//!
//! ```text
//!   wanted   1 <- 2, 2 <- 1               number in the child <- number here
//!   move up  1 -> 3, 2 -> 4               sources that a target may overwrite are copied above all targets
//!   place    1 <- 4, 2 <- 3               dup3(2), which also clears close-on-exec
//!   shut     0, 3 and above               close-on-exec for every other number
//! ```

use std::os::fd::RawFd;

use super::steps::{Outcome, check};

pub(super) struct Numbers {
    moves: Vec<Move>,
    /// The first number above all targets.
    above: RawFd,
    /// The first and last numbers of the ranges that no target is in.
    gaps: Vec<(u32, u32)>,
}

struct Move {
    target: RawFd,
    source: RawFd,
    /// The source's number after it was moved up.
    moved: RawFd,
}

impl Numbers {
    /// Plans for targets in ascending order, each with the number of its source in this process.
    pub(super) fn new(wanted: impl Iterator<Item = (u32, RawFd)>) -> Numbers {
        let (mut moves, mut gaps, mut next) = (Vec::new(), Vec::new(), 0);
        for (target, source) in wanted {
            if next < target {
                gaps.push((next, target - 1));
            }
            next = target + 1;
            moves.push(Move { target: target as RawFd, source, moved: source });
        }
        gaps.push((next, u32::MAX));
        Numbers { moves, above: next as RawFd, gaps }
    }

    /// Renumbers the descriptors of the calling process. Allocates nothing.
    pub(super) fn apply(&mut self) -> Outcome {
        for one in &mut self.moves {
            one.moved = if one.source < self.above { copy_above(one.source, self.above)? } else { one.source };
        }
        for one in &self.moves {
            // SAFETY: dup3(2) touches no memory. The descriptors of the child belong to no object of this process.
            check(unsafe { libc::dup3(one.moved, one.target, 0) })?;
        }
        for (first, last) in &self.gaps {
            shut(*first, *last)?;
        }
        Ok(())
    }
}

fn copy_above(source: RawFd, above: RawFd) -> Outcome<RawFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory, and fails for a number that is not open.
    check(unsafe { libc::fcntl(source, libc::F_DUPFD_CLOEXEC, above) })
}

/// Marks all numbers from `first` to `last` as close-on-exec, which is right also for those that are not open.
fn shut(first: u32, last: u32) -> Outcome {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: with this flag close_range(2) closes nothing and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } as libc::c_int).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_the_numbers_beside_the_targets() {
        let gaps = |targets: &[u32]| Numbers::new(targets.iter().map(|target| (*target, 9))).gaps;
        assert_eq!(gaps(&[]), [(0, u32::MAX)]);
        assert_eq!(gaps(&[0, 1, 2]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[1, 4]), [(0, 0), (2, 3), (5, u32::MAX)]);
    }
}
