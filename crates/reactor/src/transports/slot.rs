//! A cell for one boxed object, which its user takes out and puts back.
//!
//! Invariant: at most one user has taken the object, and no other object is put in before that user puts it back. So no
//! object is ever overwritten, and the cell needs no count of borrows.

use std::cell::Cell;

/// Takes the size of one pointer, or of two for a trait object.
pub(super) struct Slot<T: ?Sized>(Cell<Option<Box<T>>>);

impl<T: ?Sized> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot(Cell::new(None))
    }
}

impl<T: ?Sized> Slot<T> {
    #[inline]
    pub(super) fn take(&self) -> Option<Box<T>> {
        self.0.take()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        let object = self.0.take();
        let is_empty = object.is_none();
        std::mem::forget(self.0.replace(object));
        is_empty
    }

    /// Fills the empty slot.
    #[inline]
    pub(super) fn put(&self, object: Box<T>) {
        let before = self.0.replace(Some(object));
        debug_assert!(before.is_none(), "the slot was filled while its object was taken");
        // `before` is `None`. Dropping it would cost a comparison for each message.
        std::mem::forget(before);
    }

    /// Calls `look` with the object if the slot has one.
    #[inline]
    pub(super) fn peek<R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut object = self.take()?;
        let found = look(&mut object);
        self.put(object);
        Some(found)
    }
}

impl<T: Default> Slot<T> {
    /// Calls `act` with the object, which is created if the slot is empty.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        let mut object = self.take().unwrap_or_default();
        let result = act(&mut object);
        self.put(object);
        result
    }
}
