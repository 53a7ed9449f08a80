//! Datagram protocols for specifications.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk::{Address, Datagram, DatagramPort, DatagramProtocol, Error};

use crate::script::Log;

type Hook = Option<Rc<dyn Fn(&DatagramPort)>>;
type DataHook = Option<Rc<dyn Fn(&DatagramPort, &Datagram<'_>)>>;

/// The content of a datagram, and its sender.
type Received = (Vec<u8>, Address);

/// A protocol made of closures, which collects the datagrams that it receives.
#[derive(Clone, Default)]
pub struct DatagramScript {
    log: Option<(Log, &'static str)>,
    started: Hook,
    data: DataHook,
    refused: Hook,
    ready: Hook,
    received: Rc<RefCell<Vec<Received>>>,
}

impl DatagramScript {
    /// Creates a protocol that only collects.
    pub fn new() -> DatagramScript {
        DatagramScript::default()
    }

    /// Sends each datagram back to its sender.
    pub fn echo() -> DatagramScript {
        DatagramScript::new().on_data(|port, datagram| port.write_to(datagram.data, datagram.from).expect("an echo"))
    }

    /// Adds events to `log` under `name`: `name started`, `name data TEXT`, `name refused`, `name failed TO ERROR`,
    /// `name ready`, `name stopped`. Each event is added before a closure runs.
    #[must_use]
    pub fn logged(mut self, log: &Log, name: &'static str) -> DatagramScript {
        self.log = Some((log.clone(), name));
        self
    }

    /// Sets the closure for the start.
    #[must_use]
    pub fn on_started(mut self, hook: impl Fn(&DatagramPort) + 'static) -> DatagramScript {
        self.started = Some(Rc::new(hook));
        self
    }

    /// Sets the closure for a datagram.
    #[must_use]
    pub fn on_data(mut self, hook: impl Fn(&DatagramPort, &Datagram<'_>) + 'static) -> DatagramScript {
        self.data = Some(Rc::new(hook));
        self
    }

    /// Sets the closure for a refusal.
    #[must_use]
    pub fn on_refused(mut self, hook: impl Fn(&DatagramPort) + 'static) -> DatagramScript {
        self.refused = Some(Rc::new(hook));
        self
    }

    /// Sets the closure for room in the system's buffers.
    #[must_use]
    pub fn on_ready(mut self, hook: impl Fn(&DatagramPort) + 'static) -> DatagramScript {
        self.ready = Some(Rc::new(hook));
        self
    }

    /// Returns the contents of all datagrams so far.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.borrow().iter().map(|(data, _)| data.clone()).collect()
    }

    /// Returns the senders of all datagrams so far.
    pub fn senders(&self) -> Vec<Address> {
        self.received.borrow().iter().map(|(_, sender)| sender.clone()).collect()
    }

    /// Returns a condition: whether `count` datagrams have arrived.
    pub fn has(&self, count: usize) -> impl Fn() -> bool + 'static + use<> {
        let received = self.received.clone();
        move || received.borrow().len() >= count
    }

    fn note(&self, event: impl FnOnce() -> String) {
        if let Some((log, name)) = &self.log {
            log.add(format!("{name} {}", event()));
        }
    }

    fn call(hook: &Hook, port: &DatagramPort) {
        if let Some(hook) = hook {
            hook(port);
        }
    }
}

impl DatagramProtocol for DatagramScript {
    fn start_protocol(&mut self, port: &DatagramPort) {
        self.note(|| "started".into());
        Self::call(&self.started, port);
    }

    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        self.note(|| format!("data {}", datagram.data.escape_ascii()));
        self.received.borrow_mut().push((datagram.data.to_vec(), datagram.from.clone()));
        if let Some(hook) = &self.data {
            hook(port, datagram);
        }
    }

    fn connection_refused(&mut self, port: &DatagramPort) {
        self.note(|| "refused".into());
        Self::call(&self.refused, port);
    }

    fn send_failed(&mut self, _port: &DatagramPort, to: Option<&Address>, error: &Error) {
        let to = to.map_or_else(|| "peer".into(), ToString::to_string);
        self.note(|| format!("failed {to} {}", error.name()));
    }

    fn ready_to_send(&mut self, port: &DatagramPort) {
        self.note(|| "ready".into());
        Self::call(&self.ready, port);
    }

    fn stop_protocol(&mut self) {
        self.note(|| "stopped".into());
    }
}
