//! The number of datagrams to ask the system for.
//!
//! Asking for several costs more than asking for one, if only one has arrived. So a port that gets one datagram at a
//! time asks for one, and tries for more in each 16th turn. Slow callbacks make the batches smaller, because other
//! sources wait until a batch is delivered.

use std::cell::Cell;
use std::time::Duration;

/// The most datagrams of a batch. More gained nothing that could be measured.
const BATCH_MOST: usize = 16;

/// The number of turns with one datagram between two attempts to get more.
const SINGLES: u8 = 16;

/// The number of datagrams of such an attempt, and the factor by which batches grow.
const GROWTH: usize = 4;

/// The time that one batch may take.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(1);

pub(super) struct Pace {
    batch: Cell<u8>,
    singles: Cell<u8>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { batch: Cell::new(1), singles: Cell::new(0) }
    }
}

impl Pace {
    /// Returns the number of datagrams to ask for now.
    pub(super) fn next(&self) -> usize {
        if self.batch.get() > 1 {
            return self.batch.get().into();
        }
        let singles = (self.singles.get() + 1) % SINGLES;
        self.singles.set(singles);
        if singles == 0 { GROWTH } else { 1 }
    }

    /// Learns from a batch of `got` datagrams, of which `asked` were asked for. A single datagram at the end of a turn
    /// says nothing about the next turn, so only the first batch of a turn makes later ones small.
    pub(super) fn learn(&self, asked: usize, got: usize, is_slow: bool, is_first: bool) {
        let batch = match got {
            _ if is_slow => asked / 2,
            0 | 1 if is_first => 1,
            _ if got == asked => asked * GROWTH,
            _ => asked,
        };
        self.batch.set(batch.clamp(1, BATCH_MOST) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pace: &Pace, turns: usize, mut waiting: impl FnMut() -> usize) -> Vec<usize> {
        let turn = |_| {
            let asked = pace.next();
            pace.learn(asked, waiting().min(asked), false, true);
            asked
        };
        (0..turns).map(turn).collect()
    }

    #[test]
    fn single_datagrams_are_asked_for_one_by_one() {
        let asked = run(&Pace::default(), 64, || 1);
        assert_eq!(asked.iter().filter(|asked| **asked > 1).count(), 4);
    }

    #[test]
    fn a_flood_is_taken_in_full_batches() {
        let asked = run(&Pace::default(), 20, || 100);
        assert_eq!(asked[15..], [4, 16, 16, 16, 16]);
    }

    #[test]
    fn the_rest_of_a_turn_does_not_shrink_batches() {
        let pace = Pace::default();
        run(&pace, 20, || 100);
        pace.learn(16, 1, false, false);
        assert_eq!(pace.next(), 16);
        pace.learn(16, 1, false, true);
        assert_eq!(pace.next(), 1);
    }

    #[test]
    fn slow_callbacks_halve_the_batches() {
        let pace = Pace::default();
        run(&pace, 20, || 100);
        for expected in [16, 8, 4, 2] {
            assert_eq!(pace.next(), expected);
            pace.learn(expected, expected, true, true);
        }
        assert_eq!(pace.batch.get(), 1);
    }
}
