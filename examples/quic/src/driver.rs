//! The port, its connections, and the order in which they are driven.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{
    ClientConfig, ConnectError, Connection, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint, EndpointConfig,
    Incoming,
};
use ropewalk::{Datagram, DatagramPort, DatagramProtocol, Datagrams, Moment, Reactor, Result, UdpBinding};

use crate::deadlines::Deadlines;
use crate::sender::{Sender, send};
use crate::service::{Application, Service};

/// A datagram port that speaks QUIC.
///
/// Clones are handles of the same port. Dropping a handle does not close the port.
///
/// All methods may be called from any callback on the reactor's thread, except those of an [`Application`].
///
/// ```
/// use std::rc::Rc;
/// use std::cell::RefCell;
/// use std::time::Instant;
/// use ropewalk::UdpBinding;
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk_quic::quinn_proto::{Connection, EndpointConfig, Event};
/// use ropewalk_quic::{Application, Quic, Service, identity};
///
/// /// Notes the events of a connection.
/// #[derive(Clone, Default)]
/// struct Notes(Rc<RefCell<Vec<String>>>);
///
/// impl Application for Notes {
///     fn event(&mut self, connection: &mut Connection, now: Instant, event: Event) {
///         if let Event::Connected = event {
///             connection.close(now, 7_u32.into(), "enough".into());
///         }
///         self.0.borrow_mut().push(format!("{event:?}"));
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let binding = |text| UdpBinding::try_from(text);
/// let service = Service::new(identity::server(), Notes::default);
/// let server = Quic::open(&net, binding("10.0.0.1:4433")?, EndpointConfig::default(), service)?;
/// let client = Quic::open(&net, binding("10.0.0.2:0")?, EndpointConfig::default(), None)?;
/// let (to, notes) = (server.port().host().inet().unwrap(), Notes::default());
/// client.connect(identity::client(), to, identity::NAME, notes.clone()).unwrap();
/// net.settle();
/// assert_eq!(*notes.0.borrow(), ["HandshakeDataReady", "Connected"]);
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Quic {
    driver: Rc<RefCell<Driver>>,
    port: DatagramPort,
}

impl Quic {
    /// Opens a port. It accepts connections if there is a `service`.
    ///
    /// # Errors
    /// As [`Reactor::listen_udp`].
    pub fn open(
        reactor: &Reactor,
        binding: UdpBinding,
        config: EndpointConfig,
        service: impl Into<Option<Service>>,
    ) -> Result<Quic> {
        let service = service.into();
        let server_config = service.as_ref().map(|service| service.config.clone());
        let driver = Rc::new(RefCell::new(Driver {
            endpoint: Endpoint::new(Arc::new(config), server_config, true, None),
            service,
            epoch: Instant::now(),
            live: BTreeMap::new(),
            waiting: BTreeSet::new(),
            deadlines: Deadlines::default(),
            sender: Sender::default(),
            answer: Vec::new(),
        }));
        let port = reactor.listen_udp(binding.details(), Receiver(driver.clone()))?;
        // Without fragments on the way, a probe of the MTU measures the path.
        port.set_mtu_probing(true)?;
        Ok(Quic { driver, port })
    }

    /// Begins to connect to the server `name` at `to`.
    ///
    /// # Errors
    /// When `name` or an address is not valid.
    ///
    /// # Panics
    /// In a callback of an [`Application`] of this port.
    pub fn connect(
        &self,
        config: ClientConfig,
        to: SocketAddr,
        name: &str,
        application: impl Application + 'static,
    ) -> std::result::Result<(), ConnectError> {
        let mut outcome = Ok(());
        turn(&self.driver, &self.port, |driver, now| match driver.endpoint.connect(now, config, to, name) {
            Ok((handle, connection)) => driver.add(handle, connection, Box::new(application)),
            Err(error) => outcome = Err(error),
        });
        outcome
    }

    /// Closes every connection with the error code 0, and sends `reason` to the peers.
    ///
    /// # Panics
    /// In a callback of an [`Application`] of this port.
    pub fn close_all(&self, reason: &str) {
        turn(&self.driver, &self.port, |driver, now| {
            for (handle, live) in &mut driver.live {
                live.connection.close(now, 0_u32.into(), reason.to_owned().into());
                driver.waiting.insert(*handle);
            }
        });
    }

    /// Returns the port.
    pub fn port(&self) -> &DatagramPort {
        &self.port
    }

    /// Returns the number of connections. A closed connection counts until late datagrams of its peer are unlikely.
    pub fn connection_count(&self) -> usize {
        self.driver.borrow().live.len()
    }
}

/// A connection and its application.
struct Live {
    connection: Connection,
    application: Box<dyn Application>,
    is_drained: bool,
}

impl Live {
    /// Handles the events of the connection. Returns whether there were any, because they may have caused others.
    fn handle_events(&mut self, endpoint: &mut Endpoint, handle: ConnectionHandle, now: Instant) -> bool {
        let mut had_events = false;
        while let Some(event) = self.connection.poll() {
            self.application.event(&mut self.connection, now, event);
            had_events = true;
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            self.is_drained |= event.is_drained();
            if let Some(answer) = endpoint.handle_event(handle, event) {
                self.connection.handle_event(answer);
            }
            had_events = true;
        }
        had_events
    }
}

struct Driver {
    endpoint: Endpoint,
    service: Option<Service>,
    /// The start of the reactor's clock, in the units of quinn-proto. Only differences count.
    epoch: Instant,
    live: BTreeMap<ConnectionHandle, Live>,
    /// Connections to drive: something has happened to them, or the system did not take their datagrams.
    waiting: BTreeSet<ConnectionHandle>,
    deadlines: Deadlines,
    sender: Sender,
    /// A buffer for answers that belong to no connection.
    answer: Vec<u8>,
}

/// Lets `take` tell connections about something that has happened. Then drives these connections, and sets the timer.
fn turn(shared: &Rc<RefCell<Driver>>, port: &DatagramPort, take: impl FnOnce(&mut Driver, Instant)) {
    let mut driver = shared.borrow_mut();
    let reactor = port.reactor();
    let now = driver.epoch + (reactor.now() - Moment::ZERO);
    take(&mut driver, now);
    driver.drive(port, now);
    let (again, port) = (shared.clone(), port.clone());
    driver.deadlines.set_timer(&reactor, now, move || {
        turn(&again, &port, Driver::time_out);
    });
}

impl Driver {
    fn add(&mut self, handle: ConnectionHandle, connection: Connection, application: Box<dyn Application>) {
        self.live.insert(handle, Live { connection, application, is_drained: false });
        self.waiting.insert(handle);
    }

    fn receive(&mut self, port: &DatagramPort, now: Instant, datagram: &Datagram<'_>) {
        let Some(from) = datagram.from.inet() else { return };
        let mark = EcnCodepoint::from_bits(datagram.ecn);
        self.answer.clear();
        match self.endpoint.handle(now, from, datagram.local, mark, datagram.data.into(), &mut self.answer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(live) = self.live.get_mut(&handle) {
                    live.connection.handle_event(event);
                    self.waiting.insert(handle);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(port, now, incoming),
            // The client asks again if the system does not take this now.
            Some(DatagramEvent::Response(transmit)) => {
                send(port, &transmit, &self.answer[..transmit.size]);
            }
            None => {}
        }
    }

    fn accept(&mut self, port: &DatagramPort, now: Instant, incoming: Incoming) {
        let Some(service) = &mut self.service else { return self.endpoint.ignore(incoming) };
        self.answer.clear();
        match self.endpoint.accept(incoming, now, &mut self.answer, None) {
            Ok((handle, connection)) => {
                let application = (service.build)();
                self.add(handle, connection, application);
            }
            Err(error) => {
                tracing::debug!(cause = %error.cause, "a connection is not accepted");
                if let Some(transmit) = error.response {
                    send(port, &transmit, &self.answer[..transmit.size]);
                }
            }
        }
    }

    fn time_out(&mut self, now: Instant) {
        self.deadlines.timer_fired();
        while let Some(handle) = self.deadlines.take_due(now) {
            if let Some(live) = self.live.get_mut(&handle) {
                live.connection.handle_timeout(now);
                self.waiting.insert(handle);
            }
        }
    }

    /// Drives the connections that wait for it.
    fn drive(&mut self, port: &DatagramPort, now: Instant) {
        for handle in std::mem::take(&mut self.waiting) {
            let Some(live) = self.live.get_mut(&handle) else { continue };
            let has_sent_all = loop {
                let had_events = live.handle_events(&mut self.endpoint, handle, now);
                let has_sent_all = self.sender.send_all(port, &mut live.connection, now);
                if !had_events {
                    break has_sent_all;
                }
            };
            if live.is_drained {
                self.live.remove(&handle);
                self.deadlines.set(handle, None);
                continue;
            }
            self.deadlines.set(handle, live.connection.poll_timeout());
            if !has_sent_all {
                self.waiting.insert(handle);
            }
        }
    }
}

/// The protocol of the port.
struct Receiver(Rc<RefCell<Driver>>);

impl DatagramProtocol for Receiver {
    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        turn(&self.0, port, |driver, now| batch.for_each(|datagram| driver.receive(port, now, &datagram)));
    }

    fn ready_to_send(&mut self, port: &DatagramPort) {
        turn(&self.0, port, |driver, _| driver.sender.resume(port));
    }

    fn stop_protocol(&mut self) {
        let mut driver = self.0.borrow_mut();
        driver.deadlines.stop_timer();
        driver.live.clear();
    }

    fn log_prefix(&self) -> &'static str {
        "quic"
    }
}
