//! The two halves of a move.
//!
//! The system reports a move as two records with the same number. The second record usually follows at once, but it may
//! arrive later, and a move to elsewhere has none.
//!
//! ```text
//!   left(cookie) --- arrived(cookie) --> a move
//!                +-- some time -------> it has left for good
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use ropewalk_proto::Moment;

/// The time in which the second half of a move must arrive. The system writes both at once.
const PATIENCE: Duration = Duration::from_millis(10);

/// The number of first halves that are kept.
const MAX_WAITING: usize = 1024;

/// An entry that has left its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Departure {
    pub(super) cookie: u32,
    /// The watched path under which it was seen.
    pub(super) root: u64,
    pub(super) from: PathBuf,
    /// The numbers of the watched directories that left with it, and their paths below the root.
    pub(super) directories: Vec<i32>,
    /// The path below the root.
    pub(super) relative: PathBuf,
    pub(super) since: Moment,
    /// The place of the event among the pending ones.
    pub(super) place: Option<u64>,
}

/// The entries that have left and may still arrive.
#[derive(Default)]
pub(super) struct Moves(Vec<Departure>);

impl Moves {
    /// Remembers an entry that has left. Returns the oldest one if there are too many.
    pub(super) fn leave(&mut self, departure: Departure) -> Option<Departure> {
        self.0.push(departure);
        (self.0.len() > MAX_WAITING).then(|| self.0.remove(0))
    }

    /// Returns the first half of the move whose second half has arrived under `root`. A half under the same root comes
    /// first, because a directory may be watched twice.
    pub(super) fn arrive(&mut self, cookie: u32, root: u64) -> Option<Departure> {
        let same = self.0.iter().position(|half| half.cookie == cookie && half.root == root);
        let at = same.or_else(|| self.0.iter().position(|half| half.cookie == cookie))?;
        Some(self.0.remove(at))
    }

    /// Keeps a directory that was found again under `root`, although an entry that contains it has left.
    pub(super) fn found(&mut self, directory: i32, root: u64) {
        for half in self.0.iter_mut().filter(|half| half.root == root) {
            half.directories.retain(|number| *number != directory);
        }
    }

    /// Returns an entry that has left for good.
    pub(super) fn expire(&mut self, now: Moment) -> Option<Departure> {
        let first = self.0.first()?;
        (first.since + PATIENCE <= now).then(|| self.0.remove(0))
    }

    /// Returns the time at which the next entry has left for good.
    pub(super) fn due(&self) -> Option<Moment> {
        self.0.first().map(|half| half.since + PATIENCE)
    }

    /// Returns the halves, which may name directories that are no longer watched.
    pub(super) fn take(&mut self) -> Vec<Departure> {
        std::mem::take(&mut self.0)
    }
}

/// Returns `path` below `to` instead of below `from`, or `None` if it is not below `from`.
pub(super) fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    // Joining an empty path would add a slash.
    Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(cookie: u32, root: u64, since: Moment) -> Departure {
        let from = PathBuf::from(format!("{root}/{cookie}"));
        Departure { cookie, root, relative: from.clone(), from, directories: Vec::new(), since, place: None }
    }

    #[test]
    fn halves_with_the_same_number_are_a_move() {
        let (mut moves, now) = (Moves::default(), Moment::default());
        for (cookie, root) in [(1, 7), (2, 7), (2, 8)] {
            assert!(moves.leave(half(cookie, root, now)).is_none());
        }
        assert_eq!(moves.arrive(2, 8), Some(half(2, 8, now)));
        // It left from one watched directory for another.
        assert_eq!(moves.arrive(1, 8), Some(half(1, 7, now)));
        assert_eq!(moves.arrive(3, 7), None);
        assert_eq!(moves.take(), [half(2, 7, now)]);
    }

    #[test]
    fn a_half_without_the_other_one_expires() {
        let (mut moves, now) = (Moves::default(), Moment::default());
        moves.leave(half(1, 7, now));
        moves.leave(half(2, 7, now + PATIENCE));
        assert_eq!((moves.due(), moves.expire(now)), (Some(now + PATIENCE), None));
        assert_eq!(moves.expire(now + PATIENCE), Some(half(1, 7, now)));
        assert_eq!(moves.expire(now + PATIENCE), None);
    }

    #[test]
    fn the_number_of_halves_is_bounded() {
        let (mut moves, now) = (Moves::default(), Moment::default());
        let pushed_out = (0..MAX_WAITING as u32 + 2).filter_map(|cookie| moves.leave(half(cookie, 7, now)));
        assert_eq!(pushed_out.map(|half| half.cookie).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_moved_directory_takes_its_paths_along() {
        let moved = |path: &str| moved(Path::new(path), Path::new("a/b"), Path::new("c"));
        assert_eq!(moved("a/b"), Some("c".into()));
        assert_eq!(moved("a/b/d/e"), Some("c/d/e".into()));
        assert_eq!(moved("a/bc"), None);
        assert_eq!(moved("a"), None);
    }
}
