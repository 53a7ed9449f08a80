//! Reads the log in this crate's own tests.

use std::sync::{Arc, Mutex};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Runs `work`. Returns its result and the levels of the lines logged meanwhile, in order.
///
/// Only lines of modules whose names begin with `target` are included.
pub(crate) fn levels_logged<R>(target: &'static str, work: impl FnOnce() -> R) -> (R, Vec<Level>) {
    let levels = Levels { target, logged: Arc::default() };
    let result = tracing::subscriber::with_default(levels.clone(), work);
    let logged = levels.logged.lock().unwrap().clone();
    (result, logged)
}

#[derive(Clone)]
struct Levels {
    target: &'static str,
    logged: Arc<Mutex<Vec<Level>>>,
}

impl Subscriber for Levels {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(self.target)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.logged.lock().unwrap().push(*event.metadata().level());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
