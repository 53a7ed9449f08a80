//! A pool of empty outboxes. Because of the pool, an idle connection holds no outbox, and a busy connection rarely
//! allocates one.

use std::cell::{Cell, RefCell};

use ropewalk_proto::Outbox;

/// The maximum number of spare outboxes besides `first`. They serve turns in which many connections write outside their
/// own callbacks.
const KEPT: usize = 32;

#[derive(Default)]
pub(crate) struct SpareOutboxes {
    /// The outbox that is lent to one callback after the other.
    first: Cell<Option<Box<Outbox>>>,
    #[expect(clippy::vec_box, reason = "a connection holds a pointer, so that an idle one holds nothing more")]
    others: RefCell<Vec<Box<Outbox>>>,
}

impl SpareOutboxes {
    #[inline]
    pub(crate) fn take(&self) -> Box<Outbox> {
        match self.first.take() {
            Some(outbox) => outbox,
            None => self.take_other(),
        }
    }

    #[inline(never)]
    fn take_other(&self) -> Box<Outbox> {
        self.others.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps an empty outbox for the next writer.
    #[inline]
    pub(crate) fn keep(&self, outbox: Box<Outbox>) {
        debug_assert!(outbox.is_empty(), "an outbox with unsent bytes must be cleared first");
        if let Some(other) = self.first.replace(Some(outbox)) {
            self.keep_other(other);
        }
    }

    #[inline(never)]
    fn keep_other(&self, outbox: Box<Outbox>) {
        let mut others = self.others.borrow_mut();
        if others.len() < KEPT {
            others.push(outbox);
        }
    }
}
