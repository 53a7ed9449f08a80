//! The primitives of the code that threads share: std's. The models of that code (`models/`) have loom's.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::{self, ThreadId};
