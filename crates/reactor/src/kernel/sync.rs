//! The primitives of the code that threads share: std's. The models of that code (`models/`) have loom's.

pub(super) use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
pub(super) use std::thread::{self, ThreadId};
