//! Generational slabs, which map a [`Key`] to a value.
//!
//! An event provider owns the [`Slab`] that creates the keys. Other parts store their own values for these keys in a
//! [`SecondaryMap`]. The key of a removed value matches nothing, even after its index has been used again. So a stale
//! event or a stale handle is harmless.

use std::fmt;

/// The key of a source, used between the reactor and its event provider: an index and a generation in one word.
///
/// ```
/// use ropewalk_proto::Key;
///
/// let key = Key::new(7, 3);
/// assert_eq!((key.index(), key.generation()), (7, 3));
/// assert_eq!(Key::from_u64(key.to_u64()), key);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(4))] // the alignment of two u32, so that a struct with a key has no extra padding
pub struct Key(u64);

impl Key {
    /// Creates a key from its index and its generation.
    pub const fn new(index: u32, generation: u32) -> Key {
        Key((generation as u64) << 32 | index as u64)
    }

    /// Returns the index in the slab.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Returns the number of values that were removed from this index before, modulo 2^32.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns index and generation in one integer, for example for the user data of an operating system's event.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Creates a key from the integer that [`Key::to_u64`] returned.
    pub const fn from_u64(bits: u64) -> Key {
        Key(bits)
    }

    const fn position(self) -> usize {
        self.index() as usize
    }

    /// Returns the next key with the same index.
    const fn successor(self) -> Key {
        Key::new(self.index(), self.generation().wrapping_add(1))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("index", &self.index()).field("generation", &self.generation()).finish()
    }
}

struct Slot<T> {
    /// The key of the present value, or of the next one.
    key: Key,
    value: Option<T>,
}

/// A map that creates the keys of its values.
///
/// Calls no callbacks, and may be sent to another thread if its values may.
///
/// ```
/// use ropewalk_proto::Slab;
///
/// let mut slab = Slab::new();
/// let first = slab.insert("first");
/// assert_eq!(slab.get(first), Some(&"first"));
/// assert_eq!(slab.remove(first), Some("first"));
/// let second = slab.insert("second"); // uses the index again
/// assert_eq!(second.index(), first.index());
/// assert_eq!(slab.get_mut(first), None); // the old key is stale
/// assert!(slab.iter_mut().all(|(key, _)| key == second));
/// assert_eq!((slab.len(), slab.is_empty(), slab.iter().count()), (1, false, 1));
/// ```
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Creates an empty slab. It allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` and returns its new key.
    ///
    /// A key repeats only after its index has been used 2^32 times.
    ///
    /// # Panics
    /// If the slab holds 2^32 values.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return slot.key;
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 values");
        let key = Key::new(index, 0);
        make_room(&mut self.slots, 1);
        self.slots.push(Slot { key, value: Some(value) });
        key
    }

    /// Removes and returns the value of `key`, or returns `None` if the key is stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.position()).filter(|slot| slot.key == key)?;
        let value = slot.value.take()?;
        slot.key = key.successor();
        self.free.push(key.index());
        Some(value)
    }

    /// Returns the value of `key`, or `None` if the key is stale.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.position())?;
        if slot.key == key { slot.value.as_mut() } else { None }
    }

    /// Returns the value of `key`, or `None` if the key is stale.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.position())?;
        if slot.key == key { slot.value.as_ref() } else { None }
    }

    /// Iterates over all keys and values, in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref().map(|value| (slot.key, value)))
    }

    /// Iterates over all keys and values, in the order of their indices.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slots.iter_mut().filter_map(|slot| {
            let key = slot.key;
            slot.value.as_mut().map(|value| (key, value))
        })
    }

    /// Returns all values, in the order of their indices.
    ///
    /// ```
    /// use ropewalk_proto::Slab;
    ///
    /// let mut slab = Slab::new();
    /// let [first, _] = ["first", "second"].map(|value| slab.insert(value));
    /// slab.remove(first);
    /// assert_eq!(slab.into_values().collect::<Vec<_>>(), ["second"]);
    /// ```
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.value)
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns whether the slab has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A map of values whose keys a [`Slab`] created.
///
/// Calls no callbacks, and may be sent to another thread if its values may.
///
/// ```
/// use ropewalk_proto::{SecondaryMap, Slab};
///
/// let mut people = Slab::new();
/// let mut ages = SecondaryMap::new();
/// let ada = people.insert("Ada");
/// assert_eq!(ages.insert(ada, 36), None);
/// assert_eq!((ages.get(ada), ages.len(), ages.iter().count()), (Some(&36), 1, 1));
/// people.remove(ada);
/// let bob = people.insert("Bob"); // uses the index of Ada again
/// assert_eq!(ages.get(bob), None); // the stale value is not returned
/// assert_eq!((ages.remove(ada), ages.is_empty()), (Some(36), true));
/// ```
pub struct SecondaryMap<T> {
    slots: Vec<Option<(Key, T)>>,
    len: usize,
}

impl<T> Default for SecondaryMap<T> {
    fn default() -> Self {
        SecondaryMap { slots: Vec::new(), len: 0 }
    }
}

impl<T> SecondaryMap<T> {
    /// Creates an empty map. It allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` for `key`. Returns the previous value with the same index, of any generation.
    pub fn insert(&mut self, key: Key, value: T) -> Option<T> {
        let position = key.position();
        if position >= self.slots.len() {
            let more = position + 1 - self.slots.len();
            make_room(&mut self.slots, more);
            self.slots.resize_with(position + 1, || None);
        }
        let old = self.slots[position].replace((key, value));
        self.len += usize::from(old.is_none());
        old.map(|(_, value)| value)
    }

    /// Removes and returns the value of `key`, or returns `None` if the key is stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.len -= 1;
        self.slots[key.position()].take().map(|(_, value)| value)
    }

    /// Returns the value of `key`, or `None` if the key is stale.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.position())? {
            Some((own, value)) if *own == key => Some(value),
            _ => None,
        }
    }

    /// Iterates over all keys and values, in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|slot| slot.as_ref().map(|(key, value)| (*key, value)))
    }

    /// Returns all values, in the order of their indices.
    ///
    /// ```
    /// use ropewalk_proto::{SecondaryMap, Slab};
    ///
    /// let (mut people, mut ages) = (Slab::new(), SecondaryMap::new());
    /// ages.insert(people.insert("Ada"), 36);
    /// assert_eq!(ages.into_values().collect::<Vec<_>>(), [36]);
    /// ```
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().flatten().map(|(_, value)| value)
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the map has no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The number of slots below which the capacity doubles.
const FEW: usize = 64;

/// Reserves room for `more` slots.
///
/// Slots of idle connections stay for a long time, so at most an eighth of the capacity is unused. Doubling would leave
/// up to a half unused. In return, each value is moved about eight times, unless the allocator remaps its pages.
fn make_room<T>(slots: &mut Vec<T>, more: usize) {
    if slots.len() >= FEW && slots.capacity() - slots.len() < more {
        slots.reserve_exact(more.max(slots.len() / 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The memory of an idle connection is bounded for any number of connections.
    #[test]
    fn at_most_an_eighth_of_the_slots_is_unused() {
        let (mut slab, mut map) = (Slab::new(), SecondaryMap::new());
        for count in 1..20_000usize {
            map.insert(slab.insert(()), ());
            let most = (count + count / 8).max(2 * FEW);
            assert!(slab.slots.capacity() <= most && map.slots.capacity() <= most, "at {count}");
        }
    }

    #[test]
    fn a_reused_slot_does_not_match_an_earlier_key() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index(), second.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
    }

    #[test]
    fn a_key_is_restored_from_its_integer() {
        let key = Key::new(7, u32::MAX);
        assert_eq!(Key::from_u64(key.to_u64()), key);
    }

    #[test]
    fn a_secondary_map_matches_only_the_stored_generation() {
        let mut map = SecondaryMap::new();
        map.insert(Key::new(3, 1), "one");
        assert_eq!(map.get(Key::new(3, 0)), None);
        assert_eq!(map.remove(Key::new(3, 2)), None);
        assert_eq!(map.insert(Key::new(3, 2), "two"), Some("one"));
        assert_eq!(map.len(), 1);
        assert_eq!(map.remove(Key::new(3, 2)), Some("two"));
        assert!(map.is_empty());
    }
}
