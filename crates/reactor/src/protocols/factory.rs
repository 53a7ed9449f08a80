//! Factories, which build a protocol for each connection.

use std::any::Any;
use std::rc::Rc;

use ropewalk_proto::Address;

use super::Protocol;
use crate::error::Error;
use crate::transports::Connector;

/// Builds a protocol for each connection: IProtocolFactory.
///
/// A closure or constructor without arguments is a factory: `|| Echo`, `Echo::default`. Methods take `&self`, because
/// one factory can serve many ports and may be called during its own callbacks. Keep state that changes in a `Cell` or
/// `RefCell`. To share a factory, pass an `Rc<F>`.
///
/// The reactor calls the methods on its own thread.
///
/// ```
/// use std::cell::Cell;
/// use ropewalk::prelude::*;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// /// Accepts two connections.
/// struct Tickets(Cell<u32>);
///
/// impl Factory for Tickets {
///     fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
///         self.0.set(self.0.get().checked_sub(1)?);
///         Some(Box::new(AccumulatingProtocol::new()))
///     }
///
///     fn start_factory(&self) {
///         self.0.set(2);
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", Tickets(Cell::default()))?;
/// let guests = [(); 3].map(|()| net.connect_stream("10.0.0.1:80"));
/// net.settle();
/// assert_eq!(guests.map(|guest| guest.is_eof()), [false, false, true]);
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(note = "a closure is a factory: `|| Echo` builds an `Echo` for each connection")]
pub trait Factory {
    /// Returns the protocol for a connection with `peer`, or `None` to close the connection at once.
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>>;

    /// Reserves a place for an accepted connection whose protocol is built later, for example after its PROXY protocol
    /// header has arrived. If this method returns `None`, the connection is closed.
    ///
    /// A factory that counts connections takes a place here. Dropping the returned value releases the place. The caller
    /// drops it right before it calls [`build_protocol`](Factory::build_protocol), or when the connection ends before
    /// that. A factory that wraps another factory also calls `reserve` of the wrapped factory, and keeps both values.
    /// The default implementation always has a place.
    ///
    /// Only endpoints call this method. A port calls `build_protocol` at once.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::policies::LimitTotalConnectionsFactory;
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let limited = LimitTotalConnectionsFactory::new(AccumulatingProtocol::new().factory(), 1);
    /// let place = limited.reserve().expect("a free place"); // for a connection without a header
    /// assert!(limited.reserve().is_none());
    /// drop(place); // the header has arrived, or the connection has ended
    /// assert!(limited.reserve().is_some());
    /// ```
    fn reserve(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(()))
    }

    /// Called when the first port or connector starts to use this factory.
    fn start_factory(&self) {}

    /// Called when the last port or connector has stopped using this factory.
    fn stop_factory(&self) {}

    /// Called when a port could not accept a connection, usually because too many descriptors are open.
    ///
    /// The reactor has logged the failure. The port tries again when a descriptor is closed.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// #[derive(Default)]
    /// struct Alarm {
    ///     rings: Cell<u32>,
    /// }
    ///
    /// impl Factory for Alarm {
    ///     fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
    ///         Some(Box::new(AccumulatingProtocol::new()))
    ///     }
    ///
    ///     fn stop_factory(&self) {
    ///         println!("{} alarms", self.rings.get());
    ///     }
    ///
    ///     fn accept_failed(&self, _reason: &Error) {
    ///         self.rings.set(self.rings.get() + 1);
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().descriptors(2));
    /// let alarm = Rc::new(Alarm::default());
    /// net.listen_tcp("10.0.0.1:80", alarm.clone())?;
    /// let _clients = [(); 2].map(|()| net.connect_stream("10.0.0.1:80")); // the port left one descriptor
    /// net.settle();
    /// assert!(alarm.rings.get() > 0);
    /// # Ok::<(), Error>(())
    /// ```
    fn accept_failed(&self, reason: &Error) {
        let _ = reason;
    }

    /// Returns whether connections of this factory are paced: [`Transport::set_paced`](crate::Transport::set_paced).
    /// Called once for each connection, before `connection_made`. [`paced`](super::paced) wraps a factory so that its
    /// connections are paced.
    ///
    /// A factory that wraps another one must forward this method. Otherwise its connections are not paced.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// struct Named<F>(&'static str, F);
    ///
    /// impl<F: Factory> Factory for Named<F> {
    ///     fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
    ///         println!("{}: a connection from {peer}", self.0);
    ///         self.1.build_protocol(peer)
    ///     }
    ///
    ///     fn is_paced(&self) -> bool {
    ///         self.1.is_paced()
    ///     }
    /// }
    ///
    /// assert!(Named("echo", paced(AccumulatingProtocol::new)).is_paced());
    /// assert!(!Named("echo", AccumulatingProtocol::new).is_paced());
    /// ```
    fn is_paced(&self) -> bool {
        false
    }

    /// Returns a pointer that is equal for handles of one factory, so that [`start_factory`](Factory::start_factory)
    /// runs once for all its ports.
    #[doc(hidden)]
    fn identity(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }
}

/// A factory for connections that this side makes.
///
/// Every closure that is a [`Factory`] is also a client factory, but is not notified of failed attempts.
///
/// The reactor calls the methods on its own thread. They may use the reactor and the connector.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// #[derive(Default)]
/// struct Log(RefCell<Vec<String>>);
///
/// impl Factory for Log {
///     fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
///         Some(Box::new(AccumulatingProtocol::new()))
///     }
/// }
///
/// impl ClientFactory for Log {
///     fn started_connecting(&self, connector: &Connector) {
///         self.0.borrow_mut().push(format!("to {}", connector.destination()));
///     }
///
///     fn client_connection_failed(&self, _connector: &Connector, reason: &Error) {
///         self.0.borrow_mut().push(reason.to_string());
///     }
///
///     fn client_connection_lost(&self, _connector: &Connector, reason: &Error) {
///         self.0.borrow_mut().push(format!("lost: {reason}"));
///     }
/// }
///
/// let net = MemoryReactor::new(); // no server is listening
/// let log = Rc::new(Log::default());
/// net.connect_tcp("10.0.0.1:80", log.clone())?;
/// net.settle();
/// assert_eq!(*log.0.borrow(), ["to 10.0.0.1:80", "connection to 10.0.0.1:80 was refused"]);
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(note = "a closure is a factory: `|| Echo` builds an `Echo` for each connection")]
pub trait ClientFactory: Factory {
    /// Called when an attempt begins.
    fn started_connecting(&self, connector: &Connector) {
        let _ = connector;
    }

    /// Called when an attempt has failed. `connector.connect()` may be called from here to try again.
    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        let _ = (connector, reason);
    }

    /// Called when a connection has ended, after `connection_lost` of its protocol. `connector.connect()` may be called
    /// from here to connect again.
    fn client_connection_lost(&self, connector: &Connector, reason: &Error) {
        let _ = (connector, reason);
    }
}

impl<F, P> Factory for F
where
    F: Fn() -> P,
    P: Protocol + 'static,
{
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self()))
    }
}

impl<F, P> ClientFactory for F
where
    F: Fn() -> P,
    P: Protocol + 'static,
{
}

impl<F: Factory + ?Sized> Factory for Rc<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        (**self).build_protocol(peer)
    }

    fn reserve(&self) -> Option<Box<dyn Any>> {
        (**self).reserve()
    }

    fn start_factory(&self) {
        (**self).start_factory();
    }

    fn stop_factory(&self) {
        (**self).stop_factory();
    }

    fn is_paced(&self) -> bool {
        (**self).is_paced()
    }

    fn accept_failed(&self, reason: &Error) {
        (**self).accept_failed(reason);
    }

    fn identity(&self) -> *const () {
        (**self).identity()
    }
}

impl<F: ClientFactory + ?Sized> ClientFactory for Rc<F> {
    fn started_connecting(&self, connector: &Connector) {
        (**self).started_connecting(connector);
    }

    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        (**self).client_connection_failed(connector, reason);
    }

    fn client_connection_lost(&self, connector: &Connector, reason: &Error) {
        (**self).client_connection_lost(connector, reason);
    }
}
