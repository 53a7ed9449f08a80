//! The receiving half of a connection: whether the provider should report readability, and bytes to deliver again.
//!
//! Invariant: nothing is delivered while a policy holds reading (`READING_HELD`, the count is above zero) or while the
//! queue of a paced connection drains (`PACE_HELD`, only with `PACED`). Bytes that were given back (`UNREAD`) are
//! delivered before newer ones. `ARMED` is true while the provider reports readability.

use ropewalk_sys::PassedDescriptors;

use super::flags::{Flags, Word};
use super::slot::Slot;

#[derive(Default)]
pub(super) struct Inbound {
    rare: Slot<Rare>,
}

/// State that few connections need.
#[derive(Default)]
struct Rare {
    /// Bytes that the protocol gave back.
    unread: Vec<u8>,
    /// The descriptors that precede the last of the unread bytes.
    passed: PassedDescriptors,
    /// The number of policies that hold reading back.
    holds: u32,
    /// The most bytes of one delivery.
    read_size: Option<usize>,
}

impl Inbound {
    /// Puts bytes that the protocol gave back in front of the other unread bytes.
    pub(super) fn unread(&self, bytes: &[u8], flags: &Word) {
        self.rare.with(|rare| rare.unread.splice(..0, bytes.iter().copied()).for_each(drop));
        flags.mark(Flags::UNREAD, true);
    }

    /// Keeps bytes that cannot be delivered now, behind the other unread bytes.
    pub(super) fn keep(&self, bytes: &[u8], flags: &Word) {
        if !bytes.is_empty() {
            self.rare.with(|rare| rare.unread.extend_from_slice(bytes));
            flags.mark(Flags::UNREAD, true);
        }
    }

    pub(super) fn take_unread(&self, flags: &Word) -> Option<Vec<u8>> {
        if !flags.has(Flags::UNREAD) {
            return None;
        }
        flags.mark(Flags::UNREAD, false);
        Some(self.rare.with(|rare| std::mem::take(&mut rare.unread)))
    }

    /// Keeps the descriptors that came with the bytes that are kept next.
    pub(super) fn keep_passed(&self, passed: PassedDescriptors) {
        if !passed.is_empty() {
            self.rare.with(|rare| {
                rare.passed.descriptors.extend(passed.descriptors);
                rare.passed.are_lost |= passed.are_lost;
            });
        }
    }

    pub(super) fn has_passed(&self) -> bool {
        self.rare.peek(|rare| !rare.passed.is_empty()).unwrap_or(false)
    }

    pub(super) fn take_passed(&self) -> Option<PassedDescriptors> {
        self.rare.peek(|rare| std::mem::take(&mut rare.passed)).filter(|passed| !passed.is_empty())
    }

    /// Adds or removes a hold.
    pub(super) fn hold(&self, on: bool, flags: &Word) {
        let holds = self.rare.with(|rare| {
            rare.holds = if on { rare.holds + 1 } else { rare.holds - 1 };
            rare.holds
        });
        flags.mark(Flags::READING_HELD, holds > 0);
    }

    pub(super) fn set_paced(&self, on: bool, flags: &Word) {
        flags.mark(Flags::PACED, on);
        if !on {
            flags.mark(Flags::PACE_HELD, false);
        }
    }

    pub(super) fn set_read_size(&self, most: usize, flags: &Word) {
        self.rare.with(|rare| rare.read_size = Some(most.max(1)));
        flags.mark(Flags::SIZED, true);
    }

    /// The most bytes of one delivery.
    pub(super) fn read_size(&self) -> usize {
        self.rare.peek(|rare| rare.read_size).flatten().unwrap_or(usize::MAX)
    }

    /// Holds reading when `queued` exceeds the high-water mark, until `queued` has fallen to the low-water mark.
    pub(super) fn pace(&self, queued: usize, (high, low): (usize, usize), flags: &Word) {
        let most = if flags.has(Flags::PACE_HELD) { low } else { high };
        flags.mark(Flags::PACE_HELD, queued > most);
    }

    /// Forgets the bytes and the holds of a connection that has ended.
    pub(super) fn clear(&self, flags: &Word) {
        flags.mark(Flags::UNREAD | Flags::READING_HELD | Flags::SIZED, false);
        self.rare.take();
    }

    /// Asserts that the flags summarize the facts of this part.
    #[cfg(debug_assertions)]
    pub(super) fn assert_flags(&self, flags: &Word) {
        let facts = |rare: &mut Rare| (!rare.unread.is_empty(), rare.holds > 0, rare.read_size.is_some());
        let (has_unread, is_held, has_read_size) = self.rare.peek(facts).unwrap_or_default();
        flags.assert_is(Flags::SIZED, has_read_size);
        flags.assert_is(Flags::UNREAD, has_unread);
        flags.assert_is(Flags::READING_HELD, is_held);
        flags.assert_is(Flags::PACE_HELD, flags.has(Flags::PACE_HELD | Flags::PACED));
    }
}
