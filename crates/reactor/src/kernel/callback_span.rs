//! The log context of a callback: a span of `tracing`, which says for each event in which callback it was logged.
//!
//! Source: the system of a log event in Twisted, which is the `logPrefix` of the object that is called.

use ropewalk_proto::Address;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::{Level, Span};

/// Returns whether a subscriber may want spans of callbacks. This question is asked for each message, and costs two
/// instructions: the comparison of a static variable, and a jump.
#[inline(always)]
pub(super) fn may_be_wanted() -> bool {
    Level::DEBUG <= STATIC_MAX_LEVEL && Level::DEBUG <= LevelFilter::current()
}

/// Returns the span of a callback of `kind`. `peer` is the peer of the callback's connection.
pub(super) fn callback_span(kind: &str, prefix: impl FnOnce() -> &'static str, peer: Option<&Address>) -> Span {
    tracing::debug_span!(
        target: "ropewalk::callback",
        "callback",
        %kind,
        prefix = prefix(),
        peer = peer.map(tracing::field::display),
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};
    use std::sync::{Arc, LazyLock, Mutex};
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::NoSubscriber;
    use tracing::{Dispatch, Event, Metadata, Subscriber};

    use crate::prelude::*;
    use crate::testing::MemoryReactor;

    /// A second subscriber, without which `tracing-core` would remember the answer of the first one for all threads.
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

    /// Records each event with the spans around it.
    #[derive(Clone, Default)]
    struct Contexts(Arc<Mutex<Recorded>>);

    #[derive(Default)]
    struct Recorded {
        spans: Vec<String>,
        entered: Vec<usize>,
        events: Vec<String>,
    }

    #[derive(Default)]
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }

    impl Subscriber for Contexts {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "ropewalk::callback" || metadata.target() == "test"
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut text = Text::default();
            span.record(&mut text);
            let mut recorded = self.0.lock().unwrap();
            recorded.spans.push(text.0);
            Id::from_u64(recorded.spans.len() as u64)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut recorded = self.0.lock().unwrap();
            let mut text = Text(recorded.entered.iter().map(|&at| recorded.spans[at].as_str()).collect());
            event.record(&mut text);
            recorded.events.push(text.0.trim_end().to_owned());
        }

        fn enter(&self, span: &Id) {
            self.0.lock().unwrap().entered.push(span.into_u64() as usize - 1);
        }

        fn exit(&self, _: &Id) {
            self.0.lock().unwrap().entered.pop();
        }
    }

    struct Noisy;

    impl Protocol for Noisy {
        fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
            tracing::info!(target: "test", "data");
            transport.lose_connection();
        }

        fn connection_lost(&mut self, _transport: &Transport, _reason: &Error) {
            tracing::info!(target: "test", "lost");
        }

        fn log_prefix(&self) -> &'static str {
            "noisy"
        }
    }

    fn events(act: impl FnOnce(&MemoryReactor)) -> Vec<String> {
        LazyLock::force(&ANOTHER);
        let contexts = Contexts::default();
        tracing::subscriber::with_default(contexts.clone(), || act(&MemoryReactor::new()));
        std::mem::take(&mut contexts.0.lock().unwrap().events)
    }

    #[test]
    fn an_event_in_a_protocol_has_its_prefix_with_its_peer() {
        let events = events(|net| {
            net.listen_tcp("10.0.0.1:80", || Noisy).unwrap();
            let client = net.connect_stream("10.0.0.1:80");
            client.write(b"x");
            net.settle();
            tracing::info!(target: "test", peer = %client.local_address().unwrap(), "outside");
        });
        let peer = events.last().unwrap().rsplit("peer=").next().unwrap().to_owned();
        let context = format!("kind=protocol prefix=\"noisy\" peer={peer}");
        assert_eq!(events[..2], [format!("{context} message=data"), format!("{context} message=lost")]);
        assert_eq!(events[2], format!("message=outside peer={peer}"));
    }

    #[test]
    fn an_event_in_a_delayed_call_has_a_context() {
        let events = events(|net| {
            net.call_later(Duration::ZERO, |_| tracing::info!(target: "test", "called"));
            net.settle();
        });
        assert!(events[0].starts_with("kind=delayed call prefix="), "{events:?}");
        assert!(events[0].ends_with("message=called") && !events[0].contains("peer="), "{events:?}");
    }
}
