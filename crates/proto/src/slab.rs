//! Generational slabs: what a [`Key`] names, and what is stored beside it.
//!
//! A provider owns the [`Slab`] that hands out keys; whoever keeps something of his own for each key uses a
//! [`SecondaryMap`]. A key of a removed entry matches nothing, even after its index has been used again: that is what
//! makes a stale event or a stale handle harmless.

use std::fmt;

/// Names a source between the reactor and its event provider: an index and a generation, in one word. Each message carries
/// it through every layer.
///
/// ```
/// use ropewalk_proto::Key;
///
/// let key = Key::new(7, 3);
/// assert_eq!((key.index(), key.generation()), (7, 3));
/// assert_eq!(Key::from_u64(key.to_u64()), key);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(4))] // as two halves would be: what has a key in it is no larger
pub struct Key(u64);

impl Key {
    /// The key that these halves make; the inverse of [`Key::index`] and [`Key::generation`].
    pub const fn new(index: u32, generation: u32) -> Key {
        Key((generation as u64) << 32 | index as u64)
    }

    /// The place in the slab.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// How often that place had been used when this key was made.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Both halves in one integer, for a kernel that carries 64 bits of user data.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`Key::to_u64`].
    pub const fn from_u64(bits: u64) -> Key {
        Key(bits)
    }

    const fn place(self) -> usize {
        self.index() as usize
    }

    /// The next key of the same place.
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
    /// Of the value that is there, or of the next one.
    key: Key,
    value: Option<T>,
}

/// Values under keys that it hands out.
///
/// ```
/// use ropewalk_proto::Slab;
///
/// let mut slab = Slab::new();
/// let first = slab.insert("first");
/// assert_eq!(slab.get(first), Some(&"first"));
/// assert_eq!(slab.remove(first), Some("first"));
/// let second = slab.insert("second"); // in the same place
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
    /// An empty slab, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` under a key that no earlier value had.
    ///
    /// # Panics
    /// With more than `u32::MAX` values at once.
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

    /// Takes the value out; its key is stale from here on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.place()).filter(|slot| slot.key == key)?;
        let value = slot.value.take()?;
        slot.key = key.successor();
        self.free.push(key.index());
        Some(value)
    }

    /// The value under `key`, unless the key is stale.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.place())?;
        if slot.key == key { slot.value.as_mut() } else { None }
    }

    /// The value under `key`, unless the key is stale.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.place())?;
        if slot.key == key { slot.value.as_ref() } else { None }
    }

    /// Every key and value, in the order of the places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref().map(|value| (slot.key, value)))
    }

    /// Every key and value, in the order of the places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slots.iter_mut().filter_map(|slot| {
            let key = slot.key;
            slot.value.as_mut().map(|value| (key, value))
        })
    }

    /// How many values are stored.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values under keys that somebody else handed out.
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
/// let bob = people.insert("Bob"); // in Ada's place
/// assert_eq!(ages.get(bob), None); // and not of her age
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
    /// An empty map, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` under `key`, and returns what stood at its place, whatever generation that had.
    pub fn insert(&mut self, key: Key, value: T) -> Option<T> {
        let place = key.place();
        if place >= self.slots.len() {
            let more = place + 1 - self.slots.len();
            make_room(&mut self.slots, more);
            self.slots.resize_with(place + 1, || None);
        }
        let old = self.slots[place].replace((key, value));
        self.len += usize::from(old.is_none());
        old.map(|(_, value)| value)
    }

    /// Takes the value under `key` out, unless the key is stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.len -= 1;
        self.slots[key.place()].take().map(|(_, value)| value)
    }

    /// The value under `key`, unless the key is stale.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.place())? {
            Some((own, value)) if *own == key => Some(value),
            _ => None,
        }
    }

    /// Every key and value, in the order of the places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|slot| slot.as_ref().map(|(key, value)| (*key, value)))
    }

    /// How many values are stored.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Below this, slots are few enough to double.
const FEW: usize = 64;

/// Room for so many more. Slots of idle connections stay for long, so what is in vain is an eighth at most; to double would
/// make it a half. Each value is moved some eight times for that, where the allocator does not remap the pages instead.
fn make_room<T>(slots: &mut Vec<T>, more: usize) {
    if slots.len() >= FEW && slots.capacity() - slots.len() < more {
        slots.reserve_exact(more.max(slots.len() / 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept for idle connections is a promise, at any number of them.
    #[test]
    fn at_most_an_eighth_of_the_slots_is_in_vain() {
        let (mut slab, mut map) = (Slab::new(), SecondaryMap::new());
        for count in 1..20_000usize {
            map.insert(slab.insert(()), ());
            let most = (count + count / 8).max(2 * FEW);
            assert!(slab.slots.capacity() <= most && map.slots.capacity() <= most, "at {count}");
        }
    }

    #[test]
    fn a_reused_slot_does_not_answer_to_its_predecessors_key() {
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
    fn a_key_survives_the_trip_through_64_bits() {
        let key = Key::new(7, u32::MAX);
        assert_eq!(Key::from_u64(key.to_u64()), key);
    }

    #[test]
    fn a_secondary_map_answers_only_to_the_generation_it_stores() {
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
