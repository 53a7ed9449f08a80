//! ReconnectingClientFactory: connects again after a failure, with growing delays.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ropewalk_proto::{Address, Random};

use super::{ClientFactory, Factory, Protocol};
use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::jitter;
use crate::transports::Connector;

/// Twisted's defaults. The jitter is the molar Planck constant times the speed of light, in J m / mol.
const INITIAL_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(3600);
const JITTER: f64 = 0.119_626_565_582;

/// A client factory that connects again when its connection fails or ends, with growing delays.
///
/// Before each new attempt the delay grows by a factor of e, up to an hour. A random part from a normal distribution
/// spreads out the clients of a server that comes back. Keep an `Rc` of the factory to control it:
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
/// with attempts. [`reset_on_connection`](ReconnectingClientFactory::reset_on_connection) changes that.
pub struct ReconnectingClientFactory<F> {
    factory: F,
    backoff: Backoff,
    reset_on_connection: bool,
    max_retries: Option<u32>,
    retries: Cell<u32>,
    delay: Cell<Duration>,
    random: RefCell<Random>,
    continue_trying: Cell<bool>,
    connector: RefCell<Option<Connector>>,
    call: RefCell<Option<DelayedCall>>,
}

#[derive(Clone, Copy, Debug)]
struct Backoff {
    initial_delay: Duration,
    max_delay: Duration,
    factor: f64,
    jitter: f64,
}

impl<F: Factory> ReconnectingClientFactory<F> {
    /// Creates a factory that builds protocols with `factory`, and reconnects without a limit.
    pub fn new(factory: F) -> ReconnectingClientFactory<F> {
        let backoff =
            Backoff { initial_delay: INITIAL_DELAY, max_delay: MAX_DELAY, factor: std::f64::consts::E, jitter: JITTER };
        ReconnectingClientFactory {
            factory,
            backoff,
            reset_on_connection: false,
            max_retries: None,
            retries: Cell::new(0),
            delay: Cell::new(INITIAL_DELAY),
            random: RefCell::new(jitter::unpredictable()),
            continue_trying: Cell::new(true),
            connector: RefCell::default(),
            call: RefCell::default(),
        }
    }

    /// The delay before it grows for the first time; 1 second at first.
    #[must_use]
    pub fn initial_delay(mut self, delay: Duration) -> ReconnectingClientFactory<F> {
        self.backoff.initial_delay = delay;
        self.delay.set(delay);
        self
    }

    /// Up to what the delay grows; an hour at first. Jitter may add to it.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> ReconnectingClientFactory<F> {
        self.backoff.max_delay = delay;
        self
    }

    /// By how much the delay grows each time, at least 1; e at first.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> ReconnectingClientFactory<F> {
        self.backoff.factor = factor.max(1.0);
        self
    }

    /// The standard deviation of the delay, as a part of it; 0 for none, 0.1196 at first.
    #[must_use]
    pub fn jitter(mut self, part: f64) -> ReconnectingClientFactory<F> {
        self.backoff.jitter = part.max(0.0);
        self
    }

    /// Seeds the random numbers of the jitter, for tests that replay.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::protocols::ReconnectingClientFactory;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let due = || {
    ///     let net = MemoryReactor::new(); // no server is listening
    ///     let factory = ReconnectingClientFactory::new(AccumulatingProtocol::new().factory()).jitter_seed(7);
    ///     net.connect_tcp("10.0.0.1:80", factory.max_delay(Duration::from_secs(60))).unwrap();
    ///     net.settle();
    ///     net.deadline()
    /// };
    /// assert_eq!(due(), due());
    /// ```
    #[must_use]
    pub fn jitter_seed(mut self, seed: u64) -> ReconnectingClientFactory<F> {
        self.random = RefCell::new(Random::new(seed));
        self
    }

    /// Sets the maximum number of attempts without a [`reset_delay`](ReconnectingClientFactory::reset_delay) between
    /// them.
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
    /// net.connect_tcp("10.0.0.1:80", factory.reset_on_connection().factor(2.0).jitter(0.0))?;
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

    /// Resets the delay to the initial one and the number of retries to 0, and allows further attempts after a
    /// [`stop_trying`](ReconnectingClientFactory::stop_trying).
    ///
    /// A retry that is already scheduled keeps its time. May be called from any callback.
    pub fn reset_delay(&self) {
        self.delay.set(self.backoff.initial_delay);
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
    /// let factory = Rc::new(factory.initial_delay(Duration::from_secs(1)).factor(2.0).jitter(0.0).max_retries(3));
    /// let connector = net.connect_tcp("10.0.0.1:80", factory.clone())?;
    /// net.advance(Duration::from_secs(60)); // at 0, 2, 6 and 14 seconds
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
            return tracing::info!(destination, retries = self.retries.get(), "all retries used up");
        }
        let Some(reactor) = connector.try_reactor() else { return };
        self.retries.set(self.retries.get() + 1);
        self.delay.set(self.backoff.next(self.delay.get()));
        let delay = self.backoff.spread(self.delay.get(), &mut self.random.borrow_mut());
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

impl Backoff {
    fn next(&self, delay: Duration) -> Duration {
        let grown = Duration::try_from_secs_f64(delay.as_secs_f64() * self.factor);
        grown.unwrap_or(Duration::MAX).min(self.max_delay)
    }

    /// Twisted grows the next delay from the spread one: a random walk that may even reach zero. Here only the wait is
    /// spread.
    fn spread(&self, delay: Duration, random: &mut Random) -> Duration {
        if self.jitter == 0.0 {
            return delay;
        }
        let seconds = delay.as_secs_f64() * (1.0 + self.jitter * random.normal());
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    }
}

impl<F: Factory> Factory for ReconnectingClientFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        if self.reset_on_connection {
            self.reset_delay();
        }
        self.factory.build_protocol(peer)
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

    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    type Reconnecting = ReconnectingClientFactory<fn() -> AccumulatingProtocol>;

    fn steady() -> Reconnecting {
        Reconnecting::new(AccumulatingProtocol::new).jitter(0.0)
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
        connect(&net, steady().factor(2.0).max_delay(Duration::from_secs(5)));
        assert_eq!(attempts(&net, 20), [10, 2000, 6000, 11000, 16000]);
    }

    #[test]
    fn the_first_retry_waits_e_times_the_initial_delay() {
        let net = MemoryReactor::new();
        connect(&net, steady());
        assert_eq!(attempts(&net, 12), [10, 2720, 10110]);
    }

    #[test]
    fn retries_stop_at_their_maximum() {
        let net = MemoryReactor::new();
        connect(&net, steady().factor(1.0).max_retries(2));
        assert_eq!(attempts(&net, 10), [10, 1000, 2000]);
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn reset_on_connection_restarts_from_the_initial_delay() {
        let net = MemoryReactor::new();
        let listener = net.listen_stream("10.0.0.1:80").unwrap();
        connect(&net, steady().factor(2.0).reset_on_connection());
        for _ in 0..3 {
            assert_eq!(attempts(&net, 3).len(), 1, "always after 2 s");
            listener.accept().unwrap().close();
        }
    }

    #[test]
    fn without_a_reset_the_delay_keeps_growing() {
        let net = MemoryReactor::new();
        let listener = net.listen_stream("10.0.0.1:80").unwrap();
        connect(&net, steady().factor(2.0));
        for delay in [1, 3, 5] {
            assert_eq!(attempts(&net, delay).len(), 1);
            listener.accept().unwrap().close();
        }
        assert_eq!(attempts(&net, 7), []);
    }

    #[test]
    fn stop_trying_cancels_the_retry_and_the_attempt() {
        let net = MemoryReactor::new();
        let factory = connect(&net, steady());
        net.advance(Duration::from_secs(1));
        factory.stop_trying();
        assert_eq!(attempts(&net, 5), []);
        assert!(net.get_delayed_calls().is_empty());

        let factory = connect(&net, steady());
        factory.stop_trying();
        assert_eq!(attempts(&net, 5), []);
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_reset_allows_retries_after_stop_trying() {
        let net = MemoryReactor::new();
        let factory = Rc::new(steady());
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
        let factory = Rc::new(steady().max_retries(1));
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
        let factory = Rc::new(steady());
        let connector = net.connect_tcp("10.0.0.1:80", factory.clone()).unwrap();
        net.advance(Duration::from_secs(1));
        factory.retry(&connector);
        assert_eq!(net.get_delayed_calls().len(), 1);
    }

    #[test]
    fn each_attempt_starts_and_stops_the_factory() {
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
        let factory = ReconnectingClientFactory::new(counting.clone()).jitter(0.0).max_retries(2);
        net.connect_tcp("10.0.0.1:80", factory).unwrap();
        assert_eq!((counting.0.get(), counting.1.get()), (1, 0));
        net.advance(Duration::from_secs(60));
        assert_eq!((counting.0.get(), counting.1.get()), (3, 3));
    }

    #[test]
    fn delays_follow_the_seed() {
        let delays = |seed| {
            let net = MemoryReactor::new();
            connect(&net, Reconnecting::new(AccumulatingProtocol::new).jitter_seed(seed));
            attempts(&net, 40)
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn jitter_is_normally_distributed_around_the_delay() {
        let mut random = Random::new(7);
        let backoff = Reconnecting::new(AccumulatingProtocol::new).backoff;
        let delays: Vec<_> =
            (0..10_000).map(|_| backoff.spread(Duration::from_secs(100), &mut random).as_secs_f64()).collect();
        let mean = delays.iter().sum::<f64>() / 10_000.0;
        let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / 10_000.0).sqrt();
        assert!((mean - 100.0).abs() < 0.5, "mean {mean}");
        assert!((deviation - 11.96).abs() < 0.3, "deviation {deviation}");
        let within = delays.iter().filter(|&&delay| (delay - 100.0).abs() < 11.96).count();
        assert!((6600..7050).contains(&within), "{within} of 10000 within one deviation; 6827 expected");
    }

    #[test]
    fn extreme_parameters_still_give_a_valid_delay() {
        let backoff = Reconnecting::new(AccumulatingProtocol::new).factor(f64::INFINITY).jitter(1000.0).backoff;
        assert_eq!(backoff.next(Duration::from_secs(1)), MAX_DELAY);
        let mut random = Random::new(1);
        assert!((0..100).any(|_| backoff.spread(MAX_DELAY, &mut random) == Duration::ZERO));
        let nan = Reconnecting::new(AccumulatingProtocol::new).factor(f64::NAN).jitter(f64::NAN).backoff;
        assert_eq!(nan.next(Duration::from_secs(2)), Duration::from_secs(2));
        assert_eq!(nan.spread(Duration::from_secs(2), &mut random), Duration::from_secs(2));
    }
}
