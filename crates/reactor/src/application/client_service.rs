//! ClientService: keeps one connection, and connects again whenever the connection is lost.
//!
//! ```text
//!           start                made              prepared
//!   idle ----------> connecting ------> preparing ----------> connected
//!    ^                ^   | failed          | failed             | lost
//!    |                |   v                 v                    |
//!    |          time  '- waiting <----------'<-------------------'
//!    |
//!    '-- (the attempt or the connection is over) -- ending <-- stop, from anywhere
//!                                                     '- start -> connecting, after that end
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{CancelHandle, Cancelled, Deferred, Failure, Resolver, fail, succeed};

use super::{BackOff, RetryPolicy, Service};
use crate::endpoints::StreamClientEndpoint;
use crate::error::Error;
use crate::interfaces::core::TriggerResult;
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Reactor, WeakReactor};
use crate::protocols::Factory;
use crate::transports::Transport;

/// The delay before the next attempt if the policy panicked.
const FALLBACK_DELAY: Duration = Duration::from_secs(60);

/// A service that keeps a connection to an endpoint from `start` to `stop`.
///
/// The service connects again when an attempt fails or the connection is lost, after delays that a [`RetryPolicy`]
/// chooses. All clones refer to the same service. A started service runs until it is stopped or its reactor is dropped,
/// even if every handle to the service has been dropped.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::{ClientService, ServiceHandle};
/// use ropewalk::endpoints::TcpClientEndpoint;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let client = ClientService::new(TcpClientEndpoint::new("10.0.0.1:80")?, AccumulatingProtocol::new);
/// let service = ServiceHandle::new(client.clone());
/// service.start(&net);
/// let connected = client.when_connected(None);
/// net.advance(Duration::from_secs(1)); // no server is listening yet
/// let server = net.listen_stream("10.0.0.1:80")?;
/// net.advance(Duration::from_secs(3));
/// connected.add_callback(|transport| transport.write(b"hello"));
/// net.settle();
/// assert_eq!(server.accept().unwrap().received(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClientService(Rc<Client>);

type Prepare = Box<dyn FnMut(&Transport) -> Option<Deferred<()>>>;

struct Client {
    endpoint: Box<dyn StreamClientEndpoint>,
    factory: Rc<dyn Factory>,
    policy: RefCell<Box<dyn RetryPolicy>>,
    prepare: RefCell<Option<Prepare>>,
    reactor: RefCell<WeakReactor>,
    state: RefCell<State>,
    /// The number of the present attempt. Events of earlier attempts are ignored.
    attempt: Cell<u64>,
    /// The number of failed attempts since the last connection.
    failures: Cell<u32>,
    waiters: RefCell<Vec<Waiter>>,
    stopping: RefCell<Vec<Resolver<()>>>,
}

/// The states of the diagram above.
enum State {
    Idle { was_stopped: bool },
    Connecting(Option<CancelHandle>),
    Preparing(Transport, Option<CancelHandle>),
    Connected(Transport),
    Waiting(DelayedCall),
    Ending { transport: Option<Transport>, start_again: bool },
}

/// A caller that waits for a connection.
struct Waiter {
    resolver: Resolver<Transport>,
    /// The number of further failed attempts after which this waiter fails. `None` sets no limit.
    patience: Option<u32>,
}

impl ClientService {
    /// Creates a service that connects to `endpoint`. `factory` builds the protocol of each connection. [`BackOff`]
    /// chooses the delays.
    pub fn new(endpoint: impl StreamClientEndpoint + 'static, factory: impl Factory + 'static) -> ClientService {
        ClientService(Rc::new(Client {
            endpoint: Box::new(endpoint),
            factory: Rc::new(factory),
            policy: RefCell::new(Box::new(BackOff::new())),
            prepare: RefCell::default(),
            reactor: RefCell::default(),
            state: RefCell::new(State::Idle { was_stopped: false }),
            attempt: Cell::default(),
            failures: Cell::default(),
            waiters: RefCell::default(),
            stopping: RefCell::default(),
        }))
    }

    /// Sets the policy that chooses the delay before each further attempt.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::application::{ClientService, ServiceHandle};
    /// use ropewalk::endpoints::TcpClientEndpoint;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new(); // no server is listening
    /// let client = ClientService::new(TcpClientEndpoint::new("10.0.0.1:80")?, AccumulatingProtocol::new)
    ///     .retry_policy(|failures| Duration::from_secs(u64::from(failures)));
    /// let service = ServiceHandle::new(client);
    /// service.start(&net);
    /// net.advance(Duration::from_secs(6)); // attempts at 0, 1, 3 and 6 s
    /// assert_eq!(net.tcp_clients().len(), 4);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn retry_policy(self, policy: impl RetryPolicy + 'static) -> ClientService {
        *self.0.policy.borrow_mut() = Box::new(policy);
        self
    }

    /// Sets a function to run with each new connection, for example to log in.
    ///
    /// [`when_connected`](ClientService::when_connected) fires only after `prepare` has finished. `prepare` may return
    /// a Deferred. If the Deferred fails, or `prepare` panics, the connection is aborted and the attempt counts as
    /// failed.
    ///
    /// ```
    /// use ropewalk::application::{ClientService, ServiceHandle};
    /// use ropewalk::endpoints::TcpClientEndpoint;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let client = ClientService::new(TcpClientEndpoint::new("10.0.0.1:80")?, AccumulatingProtocol::new)
    ///     .prepare_connection(|transport| transport.write(b"user ada\n"));
    /// ServiceHandle::new(client.clone()).start(&net);
    /// client.when_connected(None).add_callback(|transport| transport.write(b"list\n"));
    /// net.settle();
    /// assert_eq!(server.accept().unwrap().received(), b"user ada\nlist\n");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn prepare_connection<R, F>(self, mut prepare: F) -> ClientService
    where
        R: TriggerResult,
        F: FnMut(&Transport) -> R + 'static,
    {
        *self.0.prepare.borrow_mut() = Some(Box::new(move |transport| prepare(transport).into_deferred()));
        self
    }

    /// Returns a Deferred that fires with the service's connection. The Deferred fires at once if the service is
    /// connected.
    ///
    /// The Deferred fails after `fail_after_failures` further failed attempts, with the failure of the last attempt.
    /// `None` sets no limit, and 0 counts as 1. The Deferred fails with [`Cancelled`] if the service is stopped now or
    /// later. Before the first start the Deferred waits.
    ///
    /// May be called from any callback.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Error;
    /// use ropewalk::application::{ClientService, ServiceHandle};
    /// use ropewalk::endpoints::TcpClientEndpoint;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new(); // no server is listening
    /// let client = ClientService::new(TcpClientEndpoint::new("10.0.0.1:80")?, AccumulatingProtocol::new);
    /// ServiceHandle::new(client.clone()).start(&net);
    /// let connected = client.when_connected(2); // fails after two failed attempts
    /// net.advance(Duration::from_secs(10));
    /// let failure = connected.try_result().unwrap().unwrap_err();
    /// assert!(matches!(failure.downcast_ref(), Some(Error::ConnectionRefused(..))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn when_connected(&self, fail_after_failures: impl Into<Option<u32>>) -> Deferred<Transport> {
        match &*self.0.state.borrow() {
            State::Connected(transport) => return succeed(transport.clone()),
            State::Idle { was_stopped: true } | State::Ending { start_again: false, .. } => return fail(Cancelled),
            _ => {}
        }
        let (deferred, resolver) = Deferred::new();
        let patience = fail_after_failures.into().map(|failures| failures.max(1));
        self.0.waiters.borrow_mut().push(Waiter { resolver, patience });
        deferred
    }
}

impl Service for ClientService {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let client = &self.0;
        *client.reactor.borrow_mut() = reactor.downgrade();
        let is_idle = match &mut *client.state.borrow_mut() {
            State::Ending { start_again, .. } => {
                *start_again = true;
                false
            }
            state => matches!(state, State::Idle { .. }),
        };
        if is_idle {
            client.failures.set(0);
            client.connect();
        }
        succeed(())
    }

    /// Cancels the attempt, or closes the connection after sending the data already written.
    ///
    /// Cancelling the returned Deferred aborts the connection.
    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        let client = &self.0;
        let weak = Rc::downgrade(client);
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            if let Some(client) = weak.upgrade() {
                client.abort();
            }
        });
        client.stopping.borrow_mut().push(resolver);
        client.begin_to_end();
        client.fail_waiters();
        deferred
    }
}

impl Client {
    fn reactor(&self) -> Option<Reactor> {
        self.reactor.borrow().upgrade()
    }

    fn set(&self, state: State) {
        // Dropping a state may run destructors of user code.
        let before = self.state.replace(state);
        drop(before);
    }

    fn connect(self: &Rc<Client>) {
        let Some(reactor) = self.reactor() else { return };
        let attempt = self.attempt.get() + 1;
        self.attempt.set(attempt);
        self.set(State::Connecting(None));
        let connecting = self.endpoint.connect(&reactor, self.factory.clone());
        let handle = connecting.cancel_handle();
        let client = self.clone();
        connecting.add_both(move |outcome| match outcome {
            Ok(transport) => client.made(attempt, transport),
            Err(failure) => client.failed(attempt, failure),
        });
        if self.attempt.get() != attempt {
            return;
        }
        match &mut *self.state.borrow_mut() {
            State::Connecting(place) => return *place = Some(handle),
            State::Ending { transport: None, .. } => {}
            _ => return,
        }
        // The endpoint or the factory called `stop` during `connect`.
        handle.cancel();
    }

    fn made(self: &Rc<Client>, attempt: u64, transport: Transport) {
        if attempt != self.attempt.get() {
            return transport.abort_connection();
        }
        let client = self.clone();
        transport.when_lost().add_callback(move |_| client.lost(attempt));
        let state = self.state.replace(State::Preparing(transport.clone(), None));
        if let State::Ending { start_again, .. } = state {
            // The endpoint finished although the attempt was cancelled.
            transport.lose_connection();
            return self.set(State::Ending { transport: Some(transport), start_again });
        }
        let prepared = self.prepare(&transport);
        let handle = prepared.cancel_handle();
        let client = self.clone();
        prepared.add_both(move |outcome| client.prepared(attempt, outcome));
        match &mut *self.state.borrow_mut() {
            State::Preparing(_, place) if self.attempt.get() == attempt => return *place = Some(handle),
            _ => {}
        }
        // `prepare` has finished, or it called `stop` itself.
        handle.cancel();
    }

    /// Runs the user's `prepare` on a new connection.
    fn prepare(&self, transport: &Transport) -> Deferred<()> {
        let (Some(mut prepare), Some(reactor)) = (self.prepare.take(), self.reactor()) else { return succeed(()) };
        let outcome = reactor.call_guarded(CallbackKind::Service, "prepare_connection", || prepare(transport));
        *self.prepare.borrow_mut() = Some(prepare);
        match outcome {
            Ok(prepared) => prepared.unwrap_or_else(|| succeed(())),
            Err(error) => fail(error),
        }
    }

    fn prepared(self: &Rc<Client>, attempt: u64, outcome: Result<(), Failure>) {
        let transport = match &*self.state.borrow() {
            State::Preparing(transport, _) if attempt == self.attempt.get() => transport.clone(),
            // The service was stopped, or the connection was lost, while `prepare` ran.
            _ => return,
        };
        match outcome {
            Ok(()) if transport.is_connected() => self.connected(transport),
            Ok(()) => self.failed(attempt, Error::ConnectionLost(None).into()),
            Err(failure) => {
                self.failed(attempt, failure);
                transport.abort_connection();
            }
        }
    }

    fn connected(&self, transport: Transport) {
        self.failures.set(0);
        self.set(State::Connected(transport.clone()));
        for waiter in self.waiters.take() {
            let _ = waiter.resolver.callback(transport.clone());
        }
    }

    /// Handles the failure of an attempt.
    fn failed(self: &Rc<Client>, attempt: u64, failure: Failure) {
        if attempt != self.attempt.get() {
            return;
        }
        if matches!(*self.state.borrow(), State::Ending { .. }) {
            return self.ended();
        }
        tracing::info!(%failure, "cannot connect");
        self.wait();
        self.lose_patience(&failure);
    }

    /// Handles the end of the connection that `attempt` made.
    fn lost(self: &Rc<Client>, attempt: u64) {
        if attempt != self.attempt.get() {
            return;
        }
        let unprepared = match &mut *self.state.borrow_mut() {
            State::Ending { transport: Some(_), .. } => None,
            State::Connected(_) => None,
            State::Preparing(_, handle) => Some(handle.take()),
            _ => return,
        };
        if let Some(handle) = unprepared {
            self.failed(attempt, Error::ConnectionLost(None).into());
            return handle.iter().for_each(CancelHandle::cancel);
        }
        if matches!(*self.state.borrow(), State::Ending { .. }) {
            return self.ended();
        }
        tracing::info!("connection lost");
        self.wait();
    }

    /// Schedules the next attempt.
    fn wait(self: &Rc<Client>) {
        let Some(reactor) = self.reactor() else { return };
        // Late events of the present attempt no longer matter.
        self.attempt.set(self.attempt.get() + 1);
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let choose = || self.policy.borrow_mut().delay(failures);
        let delay = reactor.call_guarded(CallbackKind::Service, "RetryPolicy::delay", choose).unwrap_or(FALLBACK_DELAY);
        tracing::info!(?delay, "connecting again later");
        // The pending call keeps the service alive until the service is stopped.
        let client = self.clone();
        let call = reactor.call_later(delay, move |_| client.connect());
        self.set(State::Waiting(call));
    }

    /// Fails the waiters whose number of failed attempts is reached.
    fn lose_patience(&self, failure: &Failure) {
        let mut impatient = Vec::new();
        self.waiters.borrow_mut().retain_mut(|waiter| {
            let Some(patience) = &mut waiter.patience else { return true };
            *patience -= 1;
            if *patience == 0 {
                impatient.push(waiter.resolver.clone());
            }
            *patience > 0
        });
        for resolver in impatient {
            let error = failure.downcast_ref::<Error>().cloned();
            let error = error.unwrap_or_else(|| Error::Failed(failure.to_string().into()));
            let _ = resolver.errback(error);
        }
    }

    fn begin_to_end(self: &Rc<Client>) {
        let ending = |transport| State::Ending { transport, start_again: false };
        let state = self.state.replace(ending(None));
        match state {
            State::Idle { .. } => self.ended(),
            State::Waiting(call) => {
                let _ = call.cancel();
                self.ended();
            }
            State::Connecting(handle) => handle.iter().for_each(CancelHandle::cancel),
            State::Preparing(transport, handle) => {
                self.set(ending(Some(transport.clone())));
                handle.iter().for_each(CancelHandle::cancel);
                transport.lose_connection();
            }
            State::Connected(transport) => {
                self.set(ending(Some(transport.clone())));
                transport.lose_connection();
            }
            State::Ending { transport, .. } => self.set(ending(transport)),
        }
    }

    fn fail_waiters(&self) {
        for waiter in self.waiters.take() {
            let _ = waiter.resolver.errback(Cancelled);
        }
    }

    fn abort(&self) {
        let transport = match &*self.state.borrow() {
            State::Ending { transport, .. } => transport.clone(),
            _ => None,
        };
        transport.iter().for_each(Transport::abort_connection);
    }

    /// Completes the stop, after the end of the connection or the attempt.
    fn ended(self: &Rc<Client>) {
        let state = self.state.replace(State::Idle { was_stopped: true });
        self.attempt.set(self.attempt.get() + 1);
        if let State::Ending { start_again: true, .. } = state {
            self.failures.set(0);
            self.connect();
        }
        for resolver in self.stopping.take() {
            let _ = resolver.callback(());
        }
    }
}

impl std::fmt::Debug for ClientService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &*self.0.state.borrow() {
            State::Idle { .. } => "idle",
            State::Connecting(_) => "connecting",
            State::Preparing(..) => "preparing",
            State::Connected(_) => "connected",
            State::Waiting(_) => "waiting",
            State::Ending { .. } => "ending",
        };
        f.debug_struct("ClientService").field("state", &state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
