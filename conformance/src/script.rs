//! Protocols, factories and logs for specifications.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ropewalk::{Address, ClientFactory, Connector, Error, Factory, Protocol, Reactor, Transport};

/// A list of events in order. Other threads may add to it.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Creates an empty log.
    pub fn new() -> Log {
        Log::default()
    }

    /// Adds an event.
    pub fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    /// Returns a call that adds `entry`.
    pub fn note(&self, entry: &'static str) -> impl Fn(&Reactor) + Clone + Send + 'static + use<> {
        let log = self.clone();
        move |_| log.add(entry)
    }

    /// Returns all events so far.
    pub fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Counts the events that equal `entry`.
    pub fn count(&self, entry: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|happened| *happened == entry).count()
    }

    /// Returns whether `entry` is in the log.
    pub fn contains(&self, entry: &str) -> bool {
        self.count(entry) > 0
    }

    /// Fails unless the log has exactly these events, in this order.
    #[track_caller]
    pub fn expect(&self, expected: &[&str]) {
        assert_eq!(self.entries(), expected);
    }
}

type Hook = Option<Rc<dyn Fn(&Transport)>>;
type DataHook = Option<Rc<dyn Fn(&Transport, &[u8])>>;
type LostHook = Option<Rc<dyn Fn(&Transport, &Error)>>;

/// A protocol made of closures. A missing closure means the default of [`Protocol`]. Received data is collected.
#[derive(Clone, Default)]
pub struct Script {
    made: Hook,
    opened: Hook,
    data: DataHook,
    read_lost: Hook,
    write_lost: Hook,
    lost: LostHook,
    received: Rc<RefCell<Vec<u8>>>,
}

impl Script {
    /// Creates a protocol that only collects the data it receives.
    pub fn new() -> Script {
        Script::default()
    }

    /// Sends all data back.
    pub fn echo() -> Script {
        Script::new().on_data(Transport::write)
    }

    /// Returns a script that adds its events to `log` under `name`: `name made`, `name data TEXT`, `name read lost`,
    /// `name write lost`, `name lost REASON`. Each event is added before later closures run. Closes at the end of the
    /// input, as the default does.
    pub fn logged(log: &Log, name: &'static str) -> Script {
        let [made, data, read, write, lost] = std::array::from_fn(|_| log.clone());
        Script::new()
            .on_made(move |_| made.add(format!("{name} made")))
            .on_data(move |_, bytes| data.add(format!("{name} data {}", bytes.escape_ascii())))
            .on_read_lost(move |transport| {
                read.add(format!("{name} read lost"));
                transport.lose_connection();
            })
            .on_write_lost(move |_| write.add(format!("{name} write lost")))
            .on_lost(move |_, reason| lost.add(format!("{name} lost {}", reason_name(reason))))
    }

    /// Adds a closure that runs after the earlier ones.
    #[must_use]
    pub fn on_made(mut self, hook: impl Fn(&Transport) + 'static) -> Script {
        let before = self.made.take();
        self.made = Some(Rc::new(move |transport| {
            if let Some(before) = &before {
                before(transport);
            }
            hook(transport);
        }));
        self
    }

    /// Adds a closure that runs after the earlier ones.
    #[must_use]
    pub fn on_data(mut self, hook: impl Fn(&Transport, &[u8]) + 'static) -> Script {
        let before = self.data.take();
        self.data = Some(Rc::new(move |transport, data| {
            if let Some(before) = &before {
                before(transport, data);
            }
            hook(transport, data);
        }));
        self
    }

    /// Replaces the earlier closure and the default.
    #[must_use]
    pub fn on_read_lost(mut self, hook: impl Fn(&Transport) + 'static) -> Script {
        self.read_lost = Some(Rc::new(move |transport| hook(transport)));
        self
    }

    /// Replaces the hook for an opened layer.
    #[must_use]
    pub fn on_opened(mut self, hook: impl Fn(&Transport) + 'static) -> Script {
        self.opened = Some(Rc::new(move |transport| hook(transport)));
        self
    }

    /// Replaces the earlier closure.
    #[must_use]
    pub fn on_write_lost(mut self, hook: impl Fn(&Transport) + 'static) -> Script {
        self.write_lost = Some(Rc::new(move |transport| hook(transport)));
        self
    }

    /// Adds a closure that runs after the earlier ones.
    #[must_use]
    pub fn on_lost(mut self, hook: impl Fn(&Transport, &Error) + 'static) -> Script {
        let before = self.lost.take();
        self.lost = Some(Rc::new(move |transport, reason| {
            if let Some(before) = &before {
                before(transport, reason);
            }
            hook(transport, reason);
        }));
        self
    }

    /// Adds a closure that runs before the earlier closures, and so even if one of them panics.
    #[must_use]
    pub fn before_lost(mut self, hook: impl Fn(&Transport, &Error) + 'static) -> Script {
        let after = self.lost.take();
        self.lost = Some(Rc::new(move |transport, reason| {
            hook(transport, reason);
            if let Some(after) = &after {
                after(transport, reason);
            }
        }));
        self
    }

    /// Returns the data that all connections of this script received, one after the other.
    pub fn received(&self) -> Vec<u8> {
        self.received.borrow().clone()
    }

    /// Stops the reactor when a connection ends.
    #[must_use]
    pub fn stop_when_lost(self) -> Script {
        self.on_lost(|transport, _| stop(&transport.reactor()))
    }
}

impl Protocol for Script {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(hook) = &self.made {
            hook(transport);
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.borrow_mut().extend_from_slice(data);
        if let Some(hook) = &self.data {
            hook(transport, data);
        }
    }

    fn layer_opened(&mut self, transport: &Transport) {
        if let Some(hook) = &self.opened {
            hook(transport);
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        match &self.read_lost {
            Some(hook) => hook(transport),
            None => transport.lose_connection(),
        }
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        if let Some(hook) = &self.write_lost {
            hook(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        if let Some(hook) = &self.lost {
            hook(transport, reason);
        }
    }
}

impl Script {
    /// Returns a factory that gives each connection a clone of this script.
    pub fn factory(&self) -> impl Fn() -> Script + use<> {
        let script = self.clone();
        move || script.clone()
    }
}

/// A factory that logs its calls, and builds clones of a script, or no protocol.
pub struct LoggingFactory {
    /// The log of the factory's calls.
    pub log: Log,
    /// The script that the factory clones.
    pub script: Option<Script>,
    /// Called when an attempt failed or a connection was lost.
    pub after: Rc<dyn Fn(&Connector)>,
}

impl LoggingFactory {
    /// Builds clones of `script`.
    pub fn new(log: &Log, script: Script) -> LoggingFactory {
        LoggingFactory { log: log.clone(), script: Some(script), after: Rc::new(|_| {}) }
    }

    /// Builds no protocol.
    pub fn refusing(log: &Log) -> LoggingFactory {
        LoggingFactory { log: log.clone(), script: None, after: Rc::new(|_| {}) }
    }

    /// Sets a closure to call when an attempt failed or a connection was lost.
    #[must_use]
    pub fn after(mut self, after: impl Fn(&Connector) + 'static) -> LoggingFactory {
        self.after = Rc::new(after);
        self
    }
}

impl Factory for LoggingFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        self.log.add("build");
        self.script.clone().map(|script| Box::new(script) as Box<dyn Protocol>)
    }

    fn start_factory(&self) {
        self.log.add("start factory");
    }

    fn stop_factory(&self) {
        self.log.add("stop factory");
    }

    fn accept_failed(&self, _reason: &Error) {
        self.log.add("accept failed");
    }
}

impl ClientFactory for LoggingFactory {
    fn started_connecting(&self, _connector: &Connector) {
        self.log.add("started connecting");
    }

    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        self.log.add(format!("failed {}", reason_name(reason)));
        (self.after)(connector);
    }

    fn client_connection_lost(&self, connector: &Connector, reason: &Error) {
        self.log.add(format!("connection lost {}", reason_name(reason)));
        (self.after)(connector);
    }
}

/// Returns the variant's name, without details that differ between systems.
pub fn reason_name(reason: &Error) -> String {
    reason.name().to_owned()
}

/// Stops `reactor`, unless it is stopping already.
pub fn stop(reactor: &Reactor) {
    let _ = reactor.stop();
}
