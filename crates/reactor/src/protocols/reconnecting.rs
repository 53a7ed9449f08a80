//! ReconnectingClientFactory: connects again after a failure, with growing delays.

use std::cell::{Cell, RefCell};

use ropewalk_proto::Address;

use super::{BackOff, ClientFactory, Factory, Protocol, RetryPolicy};
use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::transports::Connector;

/// A client factory that connects again when its connection fails or ends, with growing delays.
///
/// A [`RetryPolicy`] chooses the delays. The default is [`BackOff::reconnecting`]: the delays grow up to an hour, each
/// with a random part. Keep an `Rc` of the factory to control it:
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::ReconnectingClientFactory;
///
/// # struct Client;
/// # impl Protocol for Client { fn data_received(&mut self, _: &Transport, _: &[u8]) {} }
/// let reactor = Reactor::new()?;
/// let factory = Rc::new(ReconnectingClientFactory::new(|| Client));
/// reactor.connect_tcp("127.0.0.1:4000", factory.clone())?;
/// // Once the server has proved to work:
/// factory.reset_delay();
/// // When the program ends:
/// factory.stop_trying();
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// By default, making a connection does not reset the delay, so a server that accepts and then fails is not flooded
/// with attempts. With [`reset_on_connection`](ReconnectingClientFactory::reset_on_connection), a connection resets the
/// delay.
pub struct ReconnectingClientFactory<F> {
    factory: F,
    policy: RefCell<Box<dyn RetryPolicy>>,
    reset_on_connection: bool,
    max_retries: Option<u32>,
    /// The number of attempts that were scheduled since the last reset.
    retries: Cell<u32>,
    continue_trying: Cell<bool>,
    connector: RefCell<Option<Connector>>,
    call: RefCell<Option<DelayedCall>>,
}

impl<F: Factory> ReconnectingClientFactory<F> {
    /// Creates a factory that builds protocols with `factory`, and reconnects without a limit.
    pub fn new(factory: F) -> ReconnectingClientFactory<F> {
        ReconnectingClientFactory {
            factory,
            policy: RefCell::new(Box::new(BackOff::reconnecting())),
            reset_on_connection: false,
            max_retries: None,
            retries: Cell::new(0),
            continue_trying: Cell::new(true),
            connector: RefCell::default(),
            call: RefCell::default(),
        }
    }

    /// Sets the policy that chooses the delay before each further attempt.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::protocols::{BackOff, ReconnectingClientFactory};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let due = || {
    ///     let net = MemoryReactor::new(); // no server is listening
    ///     let factory = ReconnectingClientFactory::new(AccumulatingProtocol::new().factory());
    ///     let policy = BackOff::reconnecting().max_delay(Duration::from_secs(60)).jitter_seed(7);
    ///     net.connect_tcp("10.0.0.1:80", factory.retry_policy(policy)).unwrap();
    ///     net.settle();
    ///     net.deadline()
    /// };
    /// assert_eq!(due(), due()); // the same seed gives the same delay
    /// ```
    #[must_use]
    pub fn retry_policy(self, policy: impl RetryPolicy + 'static) -> ReconnectingClientFactory<F> {
        *self.policy.borrow_mut() = Box::new(policy);
        self
    }

    /// Sets the maximum number of retries. [`reset_delay`](ReconnectingClientFactory::reset_delay) starts the count
    /// again.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> ReconnectingClientFactory<F> {
        self.max_retries = Some(retries);
        self
    }

    /// Resets the delay whenever a connection is made.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::protocols::ReconnectingClientFactory;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let factory = ReconnectingClientFactory::new(AccumulatingProtocol::new().factory());
    /// let two_four_eight = |failures: u32| Duration::from_secs(1 << failures);
    /// net.connect_tcp("10.0.0.1:80", factory.reset_on_connection().retry_policy(two_four_eight))?;
    /// for _ in 0..5 {
    ///     net.settle();
    ///     server.accept().expect("a connection").close();
    ///     net.advance(Duration::from_secs(2)); // always the first delay
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn reset_on_connection(mut self) -> ReconnectingClientFactory<F> {
        self.reset_on_connection = true;
        self
    }

    /// Resets the number of retries, and so the delay, and allows further attempts after a
    /// [`stop_trying`](ReconnectingClientFactory::stop_trying).
    ///
    /// A retry that is already scheduled keeps its time. May be called from any callback.
    pub fn reset_delay(&self) {
        self.retries.set(0);
        self.continue_trying.set(true);
    }

    /// Cancels the current attempt or the scheduled retry, and stops reconnecting. An existing connection stays open.
    ///
    /// May be called from any callback.
    pub fn stop_trying(&self) {
        self.continue_trying.set(false);
        if let Some(call) = self.call.take() {
            let _ = call.cancel();
        }
        let connector = self.connector.take();
        if let Some(connector) = connector {
            let _ = connector.stop_connecting();
        }
    }

    /// Schedules an attempt of `connector` after the next delay, unless reconnecting was stopped or the retries are
    /// used up.
    ///
    /// May be called from any callback.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::protocols::ReconnectingClientFactory;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new(); // no server is listening
    /// let factory = ReconnectingClientFactory::new(AccumulatingProtocol::new().factory());
    /// let two_four_eight = |failures: u32| Duration::from_secs(1 << failures);
    /// let factory = Rc::new(factory.retry_policy(two_four_eight).max_retries(3));
    /// let connector = net.connect_tcp("10.0.0.1:80", factory.clone())?;
    /// net.advance(Duration::from_secs(60)); // attempts at 0, 2, 6 and 14 s
    /// assert_eq!(net.tcp_clients().len(), 4);
    /// factory.reset_delay();
    /// factory.retry(&connector); // one more attempt, after 2 seconds
    /// net.advance(Duration::from_secs(2));
    /// assert_eq!(net.tcp_clients().len(), 5);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn retry(&self, connector: &Connector) {
        if !self.continue_trying.get() {
            return;
        }
        let destination = connector.destination();
        if self.max_retries.is_some_and(|most| self.retries.get() >= most) {
            return tracing::info!(destination, retries = self.retries.get(), "no retries are left");
        }
        let Some(reactor) = connector.try_reactor() else { return };
        self.retries.set(self.retries.get().saturating_add(1));
        let delay = self.policy.borrow_mut().delay(self.retries.get());
        tracing::info!(destination, ?delay, "connecting again later");
        let again = connector.clone();
        let call = reactor.call_later(delay, move |_| {
            let _ = again.connect();
        });
        if let Some(earlier) = self.call.replace(Some(call)) {
            let _ = earlier.cancel();
        }
    }
}

impl<F: Factory> Factory for ReconnectingClientFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        if self.reset_on_connection {
            self.reset_delay();
        }
        self.factory.build_protocol(peer)
    }

    fn is_paced(&self) -> bool {
        self.factory.is_paced()
    }

    fn start_factory(&self) {
        self.factory.start_factory();
    }

    fn stop_factory(&self) {
        self.factory.stop_factory();
    }
}

impl<F: Factory> ClientFactory for ReconnectingClientFactory<F> {
    fn started_connecting(&self, connector: &Connector) {
        *self.connector.borrow_mut() = Some(connector.clone());
    }

    fn client_connection_failed(&self, connector: &Connector, _reason: &Error) {
        self.retry(connector);
    }

    fn client_connection_lost(&self, connector: &Connector, _reason: &Error) {
        self.retry(connector);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    type Reconnecting = ReconnectingClientFactory<fn() -> AccumulatingProtocol>;

    fn steady(factor: f64) -> Reconnecting {
        Reconnecting::new(AccumulatingProtocol::new).retry_policy(unspread().factor(factor))
    }

    fn unspread() -> BackOff {
        BackOff::reconnecting().spread(0.0)
    }

    /// The times of the attempts within `seconds`, in milliseconds, rounded up to tens.
    fn attempts(net: &MemoryReactor, seconds: u64) -> Vec<u64> {
        let mut times = Vec::new();
        for _ in 0..seconds * 100 {
            let before = net.tcp_clients().len();
            net.advance(Duration::from_millis(10));
            times.extend((before..net.tcp_clients().len()).map(|_| (net.seconds() * 1000.0).round() as u64));
        }
        times
    }

    fn connect(net: &MemoryReactor, factory: Reconnecting) -> Rc<Reconnecting> {
        let factory = Rc::new(factory);
        net.connect_tcp("10.0.0.1:80", factory.clone()).unwrap();
        factory
    }

    #[test]
    fn the_delay_grows_by_its_factor_up_to_the_maximum() {
        let net = MemoryReactor::new();
        connect(&net, steady(1.0).retry_policy(unspread().factor(2.0).max_delay(Duration::from_secs(5))));
        assert_eq!(attempts(&net, 20), [10, 2000, 6000, 11000, 16000]);
    }

    #[test]
    fn the_first_retry_waits_e_times_the_initial_delay() {
        let net = MemoryReactor::new();
        connect(&net, steady(std::f64::consts::E));
        assert_eq!(attempts(&net, 12), [10, 2720, 10110]);
    }

    #[test]
    fn retries_stop_at_their_maximum() {
        let net = MemoryReactor::new();
        connect(&net, steady(1.0).max_retries(2));
        assert_eq!(attempts(&net, 10), [10, 1000, 2000]);
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn reset_on_connection_restarts_from_the_initial_delay() {
        let net = MemoryReactor::new();
        let listener = net.listen_stream("10.0.0.1:80").unwrap();
        connect(&net, steady(2.0).reset_on_connection());
        for _ in 0..3 {
            assert_eq!(attempts(&net, 3).len(), 1, "always after 2 s");
            listener.accept().unwrap().close();
        }
    }

    #[test]
    fn without_a_reset_the_delay_keeps_growing() {
        let net = MemoryReactor::new();
        let listener = net.listen_stream("10.0.0.1:80").unwrap();
        connect(&net, steady(2.0));
        for delay in [1, 3, 5] {
            assert_eq!(attempts(&net, delay).len(), 1);
            listener.accept().unwrap().close();
        }
        assert_eq!(attempts(&net, 7), []);
    }

    #[test]
    fn stop_trying_cancels_a_retry_or_an_attempt() {
        let net = MemoryReactor::new();
        let factory = connect(&net, steady(2.0));
        net.advance(Duration::from_secs(1));
        factory.stop_trying();
        assert_eq!(attempts(&net, 5), []);
        assert!(net.get_delayed_calls().is_empty());

        let factory = connect(&net, steady(2.0));
        factory.stop_trying();
        assert_eq!(attempts(&net, 5), []);
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_reset_allows_retries_after_stop_trying() {
        let net = MemoryReactor::new();
        let factory = Rc::new(steady(2.0));
        let connector = net.connect_tcp("10.0.0.1:80", factory.clone()).unwrap();
        net.advance(Duration::from_secs(1));
        factory.stop_trying();
        factory.retry(&connector);
        assert!(net.get_delayed_calls().is_empty());
        factory.reset_delay();
        factory.retry(&connector);
        assert_eq!(attempts(&net, 3).len(), 1);
    }

    #[test]
    fn a_reset_restores_the_number_of_retries() {
        let net = MemoryReactor::new();
        let factory = Rc::new(steady(2.0).max_retries(1));
        let connector = net.connect_tcp("10.0.0.1:80", factory.clone()).unwrap();
        assert_eq!(attempts(&net, 20).len(), 2);
        factory.retry(&connector);
        assert_eq!(attempts(&net, 20), []);
        factory.reset_delay();
        factory.retry(&connector);
        assert_eq!(attempts(&net, 20).len(), 1);
    }

    #[test]
    fn a_second_retry_replaces_the_first() {
        let net = MemoryReactor::new();
        let factory = Rc::new(steady(2.0));
        let connector = net.connect_tcp("10.0.0.1:80", factory.clone()).unwrap();
        net.advance(Duration::from_secs(1));
        factory.retry(&connector);
        assert_eq!(net.get_delayed_calls().len(), 1);
    }

    #[test]
    fn each_attempt_starts_the_factory_again() {
        #[derive(Default)]
        struct Counting(Cell<u32>, Cell<u32>);
        impl Factory for Rc<Counting> {
            fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
                None
            }
            fn start_factory(&self) {
                self.0.set(self.0.get() + 1);
            }
            fn stop_factory(&self) {
                self.1.set(self.1.get() + 1);
            }
        }
        let net = MemoryReactor::new();
        let counting = Rc::new(Counting::default());
        let factory = ReconnectingClientFactory::new(counting.clone()).max_retries(2);
        net.connect_tcp("10.0.0.1:80", factory).unwrap();
        assert_eq!((counting.0.get(), counting.1.get()), (1, 0));
        net.advance(Duration::from_secs(60));
        assert_eq!((counting.0.get(), counting.1.get()), (3, 3));
    }

    #[test]
    fn delays_follow_the_seed() {
        let delays = |seed| {
            let net = MemoryReactor::new();
            let policy = BackOff::reconnecting().jitter_seed(seed);
            connect(&net, Reconnecting::new(AccumulatingProtocol::new).retry_policy(policy));
            attempts(&net, 40)
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
