//! Errors, with Twisted's names.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ropewalk_proto::description::DescriptionError;
use ropewalk_proto::escape::Quoted;
use ropewalk_proto::{Address, DeferredError, Failure};
use ropewalk_sys::{BindError, FamilyError, SpawnError, is_message_too_long};

/// `Result` with ropewalk's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why an operation failed, or why a connection ended.
///
/// `connection_lost` gets one of the variants from [`Error::ConnectionDone`] to [`Error::TimedOut`]. `ConnectionDone`
/// is the ordinary end. Errors are cheap to clone. The source is Twisted's `internet/error.py`.
///
/// `Debug` prints the same text as `Display`, because Rust uses `Debug` to print an error that `main` returns. `{:#?}`
/// puts the [`name`](Error::name) before it.
///
/// An error may be sent to another thread.
///
/// ```
/// use ropewalk::Error;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let reason = net.listen_tcp("somewhere", AccumulatingProtocol::new().factory()).unwrap_err();
/// assert!(matches!(reason, Error::InvalidAddress(..)));
/// assert!(reason.to_string().starts_with("'somewhere' is not an address: expected"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The connection was closed cleanly, by either side.
    ConnectionDone,
    /// The connection broke. The peer reset it, the system gave up on the peer, or the reactor shut down. The field is
    /// the system's error. A shutdown has none, and the system does not explain every loss.
    ConnectionLost(Option<Arc<io::Error>>),
    /// This side called `abort_connection`.
    ConnectionAborted,
    /// The descriptor of the connection was closed outside the reactor.
    ConnectionFdescWentAway,
    /// A callback or a call of the event provider panicked. The fields are the name and the message. The name is that
    /// of the callback in the log, or names the provider and its call, such as `epoll::receive`.
    Panicked(Arc<str>, Arc<str>),
    /// This side called `release`, and uses the socket itself.
    Released,
    /// The connection closed in order, but a descriptor was queued that no byte followed, so it could not be sent.
    FileDescriptorOverrun,
    /// The peer sent descriptors that the system could not open in this process.
    FileDescriptorsLost,
    /// The connection was idle for longer than its policy allows.
    TimedOut,

    /// No server is listening at the address. The second field is the system's error.
    ConnectionRefused(Address, Arc<io::Error>),
    /// The attempt took too long. The field is the system's error. The timeout of the attempt itself has none.
    ConnectTimedOut(Option<Arc<io::Error>>),
    /// The local address of an outgoing connection could not be bound.
    ConnectBind(Arc<io::Error>),
    /// There is no route to the host. The second field is the system's error.
    NoRoute(Address, Arc<io::Error>),
    /// No address was found for a name. The fields are the name and the resolver's reason.
    DnsLookup(Arc<str>, Arc<str>),
    /// `stop_connecting` cancelled the attempt.
    UserAborted,
    /// The Deferred of a client endpoint was cancelled. The field is the destination.
    ConnectingCancelled(Arc<str>),
    /// The factory of a client endpoint built no protocol.
    NoProtocol,
    /// The lock file of a UNIX socket is missing or stale, so no server is running there.
    BadFile(Address),
    /// Another failure to connect.
    Connect(Address, Arc<io::Error>),
    /// All addresses of a name failed. The field has each address with its reason, in the order of the attempts. If the
    /// name has a single address, the error is the reason itself.
    NoneOfSeveral(Arc<[(Address, Error)]>),

    /// A program was not started. The field names the step, the path and the reason.
    Spawn(Arc<SpawnError>),
    /// A signal was sent to a process that has ended.
    ProcessExitedAlready,

    /// Listening at the address failed.
    CannotListen(Address, Arc<io::Error>),
    /// The reactor has no streams of this address family, which an adopted socket has.
    UnsupportedAddressFamily(Arc<io::Error>),
    /// The text is not an address. The second field says what was expected.
    InvalidAddress(Arc<str>, Arc<str>),
    /// The text is not the description of an endpoint.
    InvalidDescription(Arc<DescriptionError>),

    /// The address is of a family that the port does not have. The second field says what was expected.
    WrongFamily(Address, &'static str),
    /// The datagram is longer than its socket or its network takes. The first field is its length.
    MessageLength(usize, Arc<io::Error>),
    /// The system takes no more datagrams now.
    SendBufferFull,
    /// A group could not be joined or left.
    MulticastJoin(IpAddr, Arc<io::Error>),
    /// `connect` was called on a datagram port that is connected.
    AlreadyConnected,

    /// The delayed call has already been called.
    AlreadyCalled,
    /// The delayed call has already been cancelled.
    AlreadyCancelled,
    /// `run` was called while the reactor was running.
    ReactorAlreadyRunning,
    /// `stop` was called on a reactor that is not running, or for a second time.
    ReactorNotRunning,
    /// `stop_connecting` was called on a connector that is not connecting.
    NotConnecting,
    /// `connect` was called on a connector that is connecting or connected.
    ConnectInProgress,
    /// `start_listening` was called on a port that is listening.
    AlreadyListening,
    /// The transport already has a producer.
    ProducerRegistered,
    /// The trigger has fired or been removed.
    NoSuchTrigger,
    /// The service's parent has another service of this name.
    ServiceNameTaken(Arc<str>),
    /// The service already has a parent.
    ServiceHasParent(Arc<str>),
    /// The connection, port or reactor of this object no longer exists.
    Closed,
    /// A [`DetachedWait`](crate::DetachedWait) owns the reactor's event provider.
    Waiting,
    /// The reactor is the [guest](crate::hosting) of a host loop already, or that loop must be run instead of the reactor.
    Hosted,

    /// The process was forked while the reactor ran. The child must not continue to use the reactor.
    Forked,

    /// No reactor has this name. The second field lists the existing ones.
    NoSuchReactor(Arc<str>, Arc<str>),
    /// The event provider does not offer the interface.
    Unsupported {
        /// The interface that was requested.
        interface: &'static str,
        /// The name of the event provider.
        provider: &'static str,
    },
    /// Another failure, described by its message.
    Failed(Arc<str>),
    /// The operating system reported an error. The first field says what was attempted.
    Io(&'static str, Arc<io::Error>),
}

impl Error {
    /// Returns whether this is the clean end of a connection.
    ///
    /// ```
    /// use ropewalk::Error;
    ///
    /// fn report(reason: &Error) {
    ///     if !reason.is_done() {
    ///         eprintln!("connection failed: {reason}");
    ///     }
    /// }
    /// # report(&Error::ConnectionDone);
    /// assert!(Error::ConnectionDone.is_done() && !Error::ConnectionAborted.is_done());
    /// ```
    pub fn is_done(&self) -> bool {
        matches!(self, Error::ConnectionDone)
    }

    /// Returns the variant's name, for use in metrics and comparisons.
    ///
    /// ```
    /// use ropewalk::Error;
    ///
    /// assert_eq!(Error::ConnectionDone.name(), "ConnectionDone");
    /// ```
    pub fn name(&self) -> &'static str {
        match self {
            Error::ConnectionDone => "ConnectionDone",
            Error::ConnectionLost(..) => "ConnectionLost",
            Error::ConnectionAborted => "ConnectionAborted",
            Error::ConnectionFdescWentAway => "ConnectionFdescWentAway",
            Error::Panicked(..) => "Panicked",
            Error::Released => "Released",
            Error::FileDescriptorOverrun => "FileDescriptorOverrun",
            Error::FileDescriptorsLost => "FileDescriptorsLost",
            Error::TimedOut => "TimedOut",
            Error::ConnectionRefused(..) => "ConnectionRefused",
            Error::ConnectTimedOut(..) => "ConnectTimedOut",
            Error::ConnectBind(..) => "ConnectBind",
            Error::NoRoute(..) => "NoRoute",
            Error::DnsLookup(..) => "DnsLookup",
            Error::UserAborted => "UserAborted",
            Error::ConnectingCancelled(..) => "ConnectingCancelled",
            Error::NoProtocol => "NoProtocol",
            Error::BadFile(..) => "BadFile",
            Error::Connect(..) => "Connect",
            Error::NoneOfSeveral(..) => "NoneOfSeveral",
            Error::Spawn(..) => "Spawn",
            Error::ProcessExitedAlready => "ProcessExitedAlready",
            Error::CannotListen(..) => "CannotListen",
            Error::UnsupportedAddressFamily(..) => "UnsupportedAddressFamily",
            Error::InvalidAddress(..) => "InvalidAddress",
            Error::InvalidDescription(..) => "InvalidDescription",
            Error::WrongFamily(..) => "WrongFamily",
            Error::MessageLength(..) => "MessageLength",
            Error::SendBufferFull => "SendBufferFull",
            Error::MulticastJoin(..) => "MulticastJoin",
            Error::AlreadyConnected => "AlreadyConnected",
            Error::AlreadyCalled => "AlreadyCalled",
            Error::AlreadyCancelled => "AlreadyCancelled",
            Error::ReactorAlreadyRunning => "ReactorAlreadyRunning",
            Error::ReactorNotRunning => "ReactorNotRunning",
            Error::NotConnecting => "NotConnecting",
            Error::ConnectInProgress => "ConnectInProgress",
            Error::AlreadyListening => "AlreadyListening",
            Error::ProducerRegistered => "ProducerRegistered",
            Error::NoSuchTrigger => "NoSuchTrigger",
            Error::ServiceNameTaken(..) => "ServiceNameTaken",
            Error::ServiceHasParent(..) => "ServiceHasParent",
            Error::Closed => "Closed",
            Error::Waiting => "Waiting",
            Error::Hosted => "Hosted",
            Error::Forked => "Forked",
            Error::NoSuchReactor(..) => "NoSuchReactor",
            Error::Unsupported { .. } => "Unsupported",
            Error::Failed(..) => "Failed",
            Error::Io(..) => "Io",
        }
    }

    /// Returns the number of the system's error (errno on Unix), if the system's error is among the causes of this
    /// error.
    ///
    /// Errors that ropewalk itself finds have none, such as an expired timeout. The errors of a simulated network have
    /// the numbers of the system that the test runs on. [`Error::NoneOfSeveral`] has a number in each of its attempts
    /// instead.
    ///
    /// ```
    /// use ropewalk::{Error, Reactor};
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// # #[cfg(target_os = "linux")] {
    /// let reactor = Reactor::new()?;
    /// let first = reactor.listen_tcp("127.0.0.1:0", AccumulatingProtocol::new().factory())?;
    /// let taken = first.host()?.inet().expect("a TCP port");
    /// let error = reactor.listen_tcp(taken, AccumulatingProtocol::new().factory()).unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(98)); // EADDRINUSE
    /// # }
    /// assert_eq!(Error::ConnectionDone.raw_os_error(), None);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(self);
        while let Some(error) = cause {
            // An `io::Error` that holds another error hides it from `source`.
            let within = error.downcast_ref::<io::Error>();
            if let Some(number) = within.and_then(io::Error::raw_os_error) {
                return Some(number);
            }
            cause = match within.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    /// Returns the panic of the provider, if `error` holds one.
    pub(crate) fn panic_within(error: &io::Error) -> Option<Error> {
        let inner = error.get_ref()?.downcast_ref::<Error>()?;
        matches!(inner, Error::Panicked(..)).then(|| inner.clone())
    }

    pub(crate) fn spawn(error: SpawnError) -> Error {
        Error::panic_within(error.io_error()).unwrap_or_else(|| Error::Spawn(Arc::new(error)))
    }

    pub(crate) fn lost(error: io::Error) -> Error {
        if let Some(panicked) = Error::panic_within(&error) {
            return panicked;
        }
        Error::ConnectionLost(Some(Arc::new(error)))
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::panic_within(&error).unwrap_or_else(|| Error::Io(doing, Arc::new(error)))
    }

    pub(crate) fn invalid_address(text: &str, expected: &str) -> Error {
        Error::InvalidAddress(text.into(), expected.into())
    }

    pub(crate) fn cannot_listen(address: Address, error: io::Error) -> Error {
        Error::panic_within(&error).unwrap_or_else(|| Error::CannotListen(address, Arc::new(error)))
    }

    /// Chooses the variant for a socket that cannot be adopted.
    pub(crate) fn adopt(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |error| match error.kind() {
            io::ErrorKind::Unsupported => Error::UnsupportedAddressFamily(Arc::new(error)),
            _ => Error::io(doing)(error),
        }
    }

    /// Chooses the variant for a datagram of `length` bytes that was not sent.
    pub(crate) fn send(error: io::Error, length: usize) -> Error {
        if let Some(family) = error.get_ref().and_then(|inner| inner.downcast_ref::<FamilyError>()) {
            return Error::WrongFamily(family.address.clone(), family.expected);
        }
        match error.kind() {
            io::ErrorKind::WouldBlock => Error::SendBufferFull,
            _ if is_message_too_long(&error) => Error::MessageLength(length, Arc::new(error)),
            _ => Error::io("cannot send a datagram")(error),
        }
    }

    /// Chooses the variant for a failed connection attempt: `getConnectError`.
    pub(crate) fn connect(address: Address, error: io::Error) -> Error {
        if let Some(panicked) = Error::panic_within(&error) {
            return panicked;
        }
        let error = match error.downcast::<BindError>() {
            Ok(BindError(cause)) => return Error::ConnectBind(Arc::new(cause)),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::ConnectionRefused(address, Arc::new(error)),
            io::ErrorKind::TimedOut => Error::ConnectTimedOut(Some(Arc::new(error))),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                Error::NoRoute(address, Arc::new(error))
            }
            _ => Error::Connect(address, Arc::new(error)),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::ConnectionDone => f.write_str("connection was closed cleanly"),
            Error::ConnectionLost(None) => {
                f.write_str("connection was lost: the peer is gone, or the reactor shut down")
            }
            Error::ConnectionLost(Some(cause)) => write!(f, "connection was lost: {cause}"),
            Error::ConnectionAborted => f.write_str("connection was aborted by this side"),
            Error::ConnectionFdescWentAway => f.write_str("the descriptor was closed while the reactor watched it"),
            Error::Panicked(who, message) => write!(f, "{who} panicked: {message}"),
            Error::Released => f.write_str("the program has released the socket, and uses it itself"),
            Error::FileDescriptorOverrun => {
                f.write_str("a descriptor was not sent: write at least one byte after `send_file_descriptor`")
            }
            Error::FileDescriptorsLost => f.write_str(
                "descriptors from the peer were lost: this process has too many open descriptors, see RLIMIT_NOFILE",
            ),
            Error::TimedOut => f.write_str("connection was idle for too long"),
            Error::ConnectionRefused(address, _) => write!(f, "connection to {address} was refused"),
            Error::ConnectTimedOut(_) => f.write_str("connecting took longer than its timeout"),
            Error::ConnectBind(cause) => write!(f, "cannot bind the local address of the connection: {cause}"),
            Error::NoRoute(address, _) => write!(f, "no route to {address}"),
            Error::DnsLookup(name, why) => write!(f, "cannot resolve the name {}: {why}", name.escape_debug()),
            Error::UserAborted => f.write_str("connecting was stopped"),
            Error::ConnectingCancelled(destination) => write!(f, "connecting to {destination} was cancelled"),
            Error::NoProtocol => f.write_str("the factory built no protocol for the connection"),
            Error::BadFile(address) => {
                write!(f, "no server is running at {address}: its lock file is missing or stale")
            }
            Error::Connect(address, cause) => write!(f, "cannot connect to {address}: {cause}"),
            Error::NoneOfSeveral(attempts) => write_attempts(f, attempts),
            Error::Spawn(cause) => cause.fmt(f),
            Error::ProcessExitedAlready => f.write_str("the process has already ended"),
            Error::CannotListen(address, cause) => write!(f, "cannot listen on {address}: {cause}"),
            Error::UnsupportedAddressFamily(cause) => write!(f, "cannot adopt the socket: {cause}"),
            Error::InvalidAddress(text, expected) => {
                write!(f, "{} is not an address: expected {expected}", Quoted(text))
            }
            Error::InvalidDescription(error) => error.fmt(f),
            Error::WrongFamily(address, expected) => {
                write!(f, "{address} is of another family than the port: expected {expected}")
            }
            Error::MessageLength(length, cause) => write!(f, "cannot send a datagram of {length} bytes: {cause}"),
            Error::SendBufferFull => f.write_str("the system takes no more datagrams now"),
            Error::MulticastJoin(group, cause) => write!(f, "cannot join or leave the group {group}: {cause}"),
            Error::AlreadyConnected => f.write_str("the datagram port is already connected"),
            Error::AlreadyCalled => f.write_str("already called"),
            Error::AlreadyCancelled => f.write_str("already cancelled"),
            Error::ReactorAlreadyRunning => f.write_str("the reactor is already running"),
            Error::ReactorNotRunning => f.write_str("the reactor is not running, or is already stopping"),
            Error::NotConnecting => f.write_str("no connection attempt is in progress"),
            Error::ConnectInProgress => f.write_str("the connector is already connecting or connected"),
            Error::AlreadyListening => f.write_str("the port is already listening"),
            Error::ProducerRegistered => f.write_str("a producer is already registered: unregister it first"),
            Error::NoSuchTrigger => f.write_str("no such trigger: it has fired or been removed"),
            Error::ServiceNameTaken(name) => write!(f, "another service is already called '{name}'"),
            Error::ServiceHasParent(name) => write!(f, "the service '{name}' already has a parent: disown it first"),
            Error::Closed => f.write_str("already closed"),
            Error::Waiting => f.write_str("the reactor is waiting for events in another thread"),
            Error::Hosted => f.write_str("the reactor is a guest of another loop: run that loop"),
            Error::Forked => f.write_str(
                "the process was forked while this reactor ran: fork before `run`, or make a new reactor in the child",
            ),
            Error::NoSuchReactor(name, known) => write!(f, "no reactor is called '{name}': choose one of {known}"),
            Error::Unsupported { interface, provider } => {
                write!(f, "the reactor '{provider}' does not offer the interface {interface}")
            }
            Error::Failed(message) => f.write_str(message),
            Error::Io(doing, cause) => write!(f, "{doing}: {cause}"),
        }
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if f.alternate() {
            write!(f, "{}: ", self.name())?;
        }
        write!(f, "{self}")
    }
}

/// Writes all attempts. The address precedes a reason that does not contain it.
fn write_attempts(f: &mut std::fmt::Formatter<'_>, attempts: &[(Address, Error)]) -> std::fmt::Result {
    write!(f, "none of {} addresses could be connected to", attempts.len())?;
    for (index, (address, error)) in attempts.iter().enumerate() {
        f.write_str(if index == 0 { ": " } else { "; " })?;
        match error {
            Error::ConnectionRefused(..) | Error::NoRoute(..) | Error::Connect(..) => write!(f, "{error}")?,
            other => write!(f, "{address}: {other}")?,
        }
    }
    Ok(())
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::ConnectionLost(Some(cause))
            | Error::ConnectTimedOut(Some(cause))
            | Error::ConnectionRefused(_, cause)
            | Error::NoRoute(_, cause)
            | Error::ConnectBind(cause)
            | Error::Connect(_, cause)
            | Error::CannotListen(_, cause)
            | Error::UnsupportedAddressFamily(cause)
            | Error::MessageLength(_, cause)
            | Error::MulticastJoin(_, cause)
            | Error::Io(_, cause) => Some(&**cause),
            Error::Spawn(cause) => Some(&**cause),
            _ => None,
        }
    }
}

/// Returns the failure's error if it is an [`Error`] or an [`io::Error`]. For another error, returns [`Error::Failed`]
/// with its message.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let failure = match failure.trap::<Error>() {
            Ok(error) => return error,
            Err(failure) => failure,
        };
        let other = |failure: Failure| Error::Failed(failure.to_string().into());
        failure.trap::<io::Error>().map_or_else(other, Error::from)
    }
}

/// Returns [`Error::Io`] with `error`, so that `?` works on the results of `std::io`. An [`Error`] inside `error` is
/// returned itself.
///
/// ```
/// use std::io::ErrorKind;
/// use ropewalk::Error;
///
/// fn greeting() -> ropewalk::Result<String> {
///     Ok(std::fs::read_to_string("/no/such/file")?)
/// }
///
/// let Err(Error::Io(_, cause)) = greeting() else { unreachable!("there is no such file") };
/// assert_eq!(cause.kind(), ErrorKind::NotFound);
/// ```
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Error::Io("input or output failed", Arc::new(error)),
        }
    }
}

/// Converts the error of an awaited Deferred as its [`Failure`], so that `deferred.await?` compiles.
impl From<DeferredError> for Error {
    fn from(error: DeferredError) -> Error {
        error.into_failure().into()
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Error {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_the_message_by_default() {
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let error = Error::CannotListen(Address::Unnamed, Arc::new(taken));
        assert_eq!(format!("{error:?}"), error.to_string());
        assert_eq!(format!("{error:#?}"), format!("CannotListen: {error}"));
        let returned: Box<dyn std::error::Error> = error.into();
        assert!(format!("{returned:?}").starts_with("cannot listen on "));
        let unsupported = Error::Unsupported { interface: "pipes", provider: "memory" };
        assert_eq!(unsupported.name(), "Unsupported");
    }

    #[test]
    fn an_error_inside_an_io_error_is_found_again() {
        assert!(matches!(Error::from(io::Error::other(Error::Closed)), Error::Closed));
        let error = Error::from(io::Error::from(io::ErrorKind::AddrInUse));
        assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == io::ErrorKind::AddrInUse));
        assert!(error.to_string().starts_with("input or output failed: "), "{error}");
    }
}
