//! An eventfd: a counter, and a wait until the counter is above zero.

use std::io;
use std::os::fd::BorrowedFd;

use loom::sync::{Condvar, Mutex};

pub(crate) struct Channel {
    count: Mutex<u64>,
    is_readable: Condvar,
}

#[allow(dead_code, reason = "a model has no descriptors")]
impl Channel {
    pub(crate) fn new() -> io::Result<Channel> {
        Ok(Channel { count: Mutex::new(0), is_readable: Condvar::new() })
    }

    pub(crate) fn replace(&self) -> io::Result<()> {
        unreachable!("a model does not fork")
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        unreachable!("a model has no descriptor")
    }

    pub(crate) fn notify(&self) {
        *self.count.lock().expect("no panic") += 1;
        self.is_readable.notify_one();
    }

    pub(crate) fn drain(&self) -> u64 {
        std::mem::take(&mut *self.count.lock().expect("no panic"))
    }

    pub(crate) fn wait(&self) {
        let mut count = self.count.lock().expect("no panic");
        while *count == 0 {
            count = self.is_readable.wait(count).expect("no panic");
        }
    }
}
