//! The keys that are registered with epoll under each descriptor number.
//!
//! ```text
//!   holders   [ number -> (key, watch) ]                   nearly always the only key of its number
//!   shared    [ (number, [(key, watch), ...]) ]            the first key is the one in the registration
//! ```
//!
//! Several keys may watch one descriptor, for example a watch on the handle of a connection. They share a
//! level-triggered registration for everything that any of them is watched for.
//!
//! The owner of a watched descriptor may close it, and the system may give its number to another descriptor, without a
//! report to the key. The old key must not change or remove the registration of the new descriptor.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use ropewalk_proto::Key;

use super::selector::Watch;
use crate::seam::{Event, Ready};

#[derive(Default)]
pub(super) struct Numbers {
    holders: Vec<Option<(Key, Watch)>>,
    shared: Vec<(RawFd, Vec<(Key, Watch)>)>,
}

/// The relation of a key to the registration of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The registration is for this key alone.
    Alone,
    /// The registration is also for other keys.
    Shared,
    /// The registration is not for this key.
    Other,
}

impl Numbers {
    /// Records a new registration. An earlier one under this number is gone: its descriptor was closed.
    pub(super) fn take(&mut self, fd: BorrowedFd<'_>, key: Key, watch: Watch) {
        let number = fd.as_raw_fd();
        if self.are_shared() {
            self.shared.retain(|(shared, _)| *shared != number);
        }
        self.set(number, Some((key, watch)));
    }

    /// Adds a key to the registration that exists under this number.
    pub(super) fn join(&mut self, fd: BorrowedFd<'_>, key: Key, watch: Watch) {
        let number = fd.as_raw_fd();
        if let Some(keys) = self.keys_mut(number) {
            return keys.push((key, watch));
        }
        match self.holder(number) {
            Some(first) => self.shared.push((number, vec![first, (key, watch)])),
            // No key holds the registration, but a copy of the closed descriptor keeps it alive, and the number is
            // again one of this open file.
            None => self.set(number, Some((key, watch))),
        }
    }

    /// Records what a key is watched for.
    pub(super) fn change(&mut self, fd: BorrowedFd<'_>, key: Key, watch: Watch) -> Holder {
        let number = fd.as_raw_fd();
        let shared = self.keys_mut(number).and_then(|keys| keys.iter_mut().find(|(shared, _)| *shared == key));
        if let Some(entry) = shared {
            entry.1 = watch;
            return Holder::Shared;
        }
        match self.holder(number) {
            Some((holder, _)) if holder == key => {
                self.set(number, Some((key, watch)));
                Holder::Alone
            }
            _ => Holder::Other,
        }
    }

    /// Removes a key.
    pub(super) fn leave(&mut self, fd: BorrowedFd<'_>, key: Key) -> Holder {
        let number = fd.as_raw_fd();
        if let Some(keys) = self.keys_mut(number) {
            let before = keys.len();
            keys.retain(|(shared, _)| *shared != key);
            if keys.len() == before {
                return Holder::Other;
            }
            let first = keys[0];
            if keys.len() == 1 {
                self.shared.retain(|(shared, _)| *shared != number);
            }
            self.set(number, Some(first));
            return Holder::Shared;
        }
        match self.holder(number) {
            Some((holder, _)) if holder == key => {
                self.set(number, None);
                Holder::Alone
            }
            _ => Holder::Other,
        }
    }

    /// Returns the key in the registration of a number, and everything that it is for.
    pub(super) fn registered(&self, fd: BorrowedFd<'_>) -> Option<(Key, Watch)> {
        let number = fd.as_raw_fd();
        match self.shared.iter().find(|(shared, _)| *shared == number) {
            Some((_, keys)) => Some((keys[0].0, keys.iter().fold(Watch::empty(), |all, (_, watch)| all | *watch))),
            None => self.holder(number),
        }
    }

    /// Returns whether any descriptor is watched under several keys.
    #[inline]
    pub(super) fn are_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    /// Returns the events of all keys that share the registration of this event.
    pub(super) fn share_out(&self, event: Event) -> impl Iterator<Item = Event> {
        let keys = self.shared.iter().map(|(_, keys)| keys).find(|keys| keys[0].0 == event.key);
        let own = if keys.is_none() { Some(event) } else { None };
        let shared = keys.into_iter().flatten().filter_map(move |&(key, watch)| {
            let unasked = Ready::ERROR | Ready::HANGUP | Ready::GONE;
            let ready = event.ready & (watch.ready() | unasked);
            (!ready.is_empty()).then_some(Event { key, ready })
        });
        own.into_iter().chain(shared)
    }

    fn holder(&self, number: RawFd) -> Option<(Key, Watch)> {
        *self.holders.get(number as usize)?
    }

    fn set(&mut self, number: RawFd, holder: Option<(Key, Watch)>) {
        let place = number as usize;
        if place >= self.holders.len() {
            self.holders.resize(place + 1, None);
        }
        self.holders[place] = holder;
    }

    fn keys_mut(&mut self, number: RawFd) -> Option<&mut Vec<(Key, Watch)>> {
        self.shared.iter_mut().find(|(shared, _)| *shared == number).map(|(_, keys)| keys)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const FIRST: Key = Key::new(1, 0);
    const SECOND: Key = Key::new(2, 0);
    const THIRD: Key = Key::new(3, 0);

    fn ready(numbers: &Numbers, ready: Ready) -> Vec<(Key, Ready)> {
        numbers.share_out(Event { key: FIRST, ready }).map(|event| (event.key, event.ready)).collect()
    }

    #[test]
    fn keys_of_one_number_get_what_they_are_watched_for() {
        let file = std::io::stdin();
        let (fd, mut numbers) = (file.as_fd(), Numbers::default());
        numbers.take(fd, FIRST, Watch::READ);
        assert_eq!(ready(&numbers, Ready::READ), [(FIRST, Ready::READ)]);
        numbers.join(fd, SECOND, Watch::WRITE);
        numbers.join(fd, THIRD, Watch::READ);
        assert_eq!(numbers.registered(fd), Some((FIRST, Watch::READ | Watch::WRITE)));
        assert_eq!(ready(&numbers, Ready::READ), [(FIRST, Ready::READ), (THIRD, Ready::READ)]);
        assert_eq!(ready(&numbers, Ready::WRITE | Ready::HANGUP).len(), 3);
        assert_eq!(numbers.change(fd, THIRD, Watch::WRITE), Holder::Shared);
        assert_eq!(ready(&numbers, Ready::READ), [(FIRST, Ready::READ)]);
        assert_eq!(numbers.leave(fd, FIRST), Holder::Shared);
        assert_eq!(numbers.registered(fd), Some((SECOND, Watch::WRITE)));
        assert_eq!(numbers.leave(fd, SECOND), Holder::Shared);
        assert!(!numbers.are_shared());
        assert_eq!(numbers.leave(fd, THIRD), Holder::Alone);
        assert_eq!(numbers.registered(fd), None);
    }

    #[test]
    fn an_old_key_does_not_touch_a_number_that_was_reused() {
        let file = std::io::stdin();
        let (fd, mut numbers) = (file.as_fd(), Numbers::default());
        numbers.take(fd, FIRST, Watch::READ);
        numbers.join(fd, SECOND, Watch::READ);
        numbers.take(fd, THIRD, Watch::READ);
        for old in [FIRST, SECOND] {
            assert_eq!(numbers.change(fd, old, Watch::WRITE), Holder::Other);
            assert_eq!(numbers.leave(fd, old), Holder::Other);
        }
        assert_eq!(numbers.registered(fd), Some((THIRD, Watch::READ)));
    }
}
