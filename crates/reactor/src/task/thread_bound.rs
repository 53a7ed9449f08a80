//! A value that stays on its thread, and a key to it that may be sent to other threads.
//!
//! Some traits require `Send` of values that a single-threaded loop only uses on its own thread. The key satisfies them
//! without a lock.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::thread::ThreadId;

use ropewalk_proto::{Key, Slab};

thread_local! {
    static VALUES: RefCell<Slab<Rc<dyn Any>>> = RefCell::default();
}

/// A key to a `T` on the thread that created it. Dropping the key on that thread drops the value. If the key is dropped
/// on another thread, the value lives until its own thread ends.
pub(super) struct ThreadBound<T> {
    thread: ThreadId,
    key: Key,
    value: PhantomData<fn() -> T>,
}

impl<T: 'static> ThreadBound<T> {
    pub(super) fn new(value: T) -> ThreadBound<T> {
        let key = VALUES.with_borrow_mut(|values| values.insert(Rc::new(value)));
        ThreadBound { thread: std::thread::current().id(), key, value: PhantomData }
    }

    /// Returns the value, or `None` on a thread other than the value's own.
    pub(super) fn get(&self) -> Option<Rc<T>> {
        if std::thread::current().id() != self.thread {
            return None;
        }
        let value = VALUES.with_borrow(|values| values.get(self.key).cloned())?;
        value.downcast().ok()
    }
}

impl<T> Drop for ThreadBound<T> {
    fn drop(&mut self) {
        if std::thread::current().id() == self.thread {
            // At the end of a thread, the slab may have been dropped already, and the value with it.
            let value = VALUES.try_with(|values| values.borrow_mut().remove(self.key));
            drop(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_only_reachable_on_its_own_thread() {
        let value = Rc::new(7);
        let weak = Rc::downgrade(&value);
        let bound = ThreadBound::new(value);
        assert_eq!(**bound.get().unwrap(), 7);
        let bound = std::thread::spawn(move || bound.get().is_none().then_some(bound)).join().unwrap().unwrap();
        assert!(weak.upgrade().is_some());
        drop(bound);
        assert!(weak.upgrade().is_none());
    }
}
