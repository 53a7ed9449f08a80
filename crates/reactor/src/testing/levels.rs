//! Reads the log in this crate's own tests.

use std::sync::{Arc, LazyLock, Mutex};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// A second subscriber, which exists as long as the process. With a single one, `tracing-core` asks the subscriber of the
/// thread that reaches an event first, and remembers the answer for all threads. Other tests would switch events off.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// Runs `work`. Returns its result and the levels of the lines logged meanwhile, in order.
///
/// Only lines of modules whose names begin with `target` are included.
pub(crate) fn levels_logged<R>(target: &'static str, work: impl FnOnce() -> R) -> (R, Vec<Level>) {
    LazyLock::force(&ANOTHER);
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
