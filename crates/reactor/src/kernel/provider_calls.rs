//! Calls of the event provider, each in a guard that knows the name of the call.
//!
//! A panic in a call is logged, and becomes the error of that call. The error is an `io::Error` that holds
//! [`Error::Panicked`]: see [`Error::panic_within`]. `receive` and `send` are called for each message, so they have no
//! guard of their own. A panic in one of them leaves a record of the call, and the guard around the loop's work then
//! closes that connection (`containment`).

use std::any::Any;
use std::io;
use std::net::IpAddr;

use ropewalk_proto::panics::{CaughtPanic, catch};
use ropewalk_proto::{Address, Key, Outbox};
use ropewalk_sys::{
    Adoption, Arrival, ConnectSpec, DatagramOption, DatagramSpec, Datagrams, DescriptorPassing, DescriptorQueue,
    ExitStatus, Filesystem, Interest, KeepAliveTimes, Kind, ListenSpec, Outgoing, OwnedSocket, OwnedWaitable,
    PassedDescriptors, PeerCredentials, PipeEnd, Pipes, Processes, RawSocket, RawWaitable, Received, Recipient,
    Released, Sent, Sharing, SocketOption, Sockets, SpawnError, SpawnPlan, SpawnStep, Spawned, Streams, Watches,
    WindowSize,
};

use super::Kernel;
use super::guard::Blamed;
use super::panic_log::provider_panicked;
use crate::error::Error;

/// The result of a call of the provider, which may have panicked.
pub(crate) trait Answer {
    fn panicked(error: Error) -> Self;
}

impl<T> Answer for io::Result<T> {
    fn panicked(error: Error) -> io::Result<T> {
        Err(io::Error::other(error))
    }
}

impl Answer for Result<Spawned, SpawnError> {
    fn panicked(error: Error) -> Result<Spawned, SpawnError> {
        Err(SpawnError::new(SpawnStep::Process, "", io::Error::other(error)))
    }
}

impl<T> Answer for Option<T> {
    fn panicked(_error: Error) -> Option<T> {
        None
    }
}

/// The outcome of sending, and the number of datagrams that were sent.
impl Answer for (usize, io::Result<()>) {
    fn panicked(error: Error) -> (usize, io::Result<()>) {
        (0, Err(io::Error::other(error)))
    }
}

impl Answer for bool {
    fn panicked(_error: Error) -> bool {
        false
    }
}

impl Answer for () {
    fn panicked(_error: Error) {}
}

/// A part of the provider, such as its streams, whose calls are guarded.
pub(super) struct Guarded<'a, P: ?Sized> {
    pub(super) kernel: &'a Kernel,
    pub(super) part: &'a mut P,
}

/// Implements a trait of the seam with a guard around each call.
macro_rules! guarded {
    ($part:ident: $(fn $name:ident($($argument:ident: $kind:ty),*) $(-> $answer:ty)?;)*) => {
        #[deny(clippy::missing_trait_methods)]
        impl $part for Guarded<'_, dyn $part + '_> {
            $(fn $name(&mut self, $($argument: $kind),*) $(-> $answer)? {
                let Guarded { kernel, part } = self;
                kernel.guard_provider(stringify!($name), || part.$name($($argument),*))
            })*
        }
    };
}

guarded! { Streams:
    fn listen(spec: &ListenSpec) -> io::Result<(Key, Address)>;
    fn connect(spec: &ConnectSpec) -> io::Result<Key>;
    fn finish_connect(key: Key) -> io::Result<()>;
    fn accept(key: Key) -> io::Result<Option<(Key, Address)>>;
    fn set_reading(key: Key, on: bool) -> io::Result<()>;
    fn receive(key: Key, scratch: &mut [u8]) -> io::Result<Received>;
    fn send(key: Key, outbox: &mut Outbox) -> io::Result<Sent>;
    fn send_slice(key: Key, bytes: &[u8]) -> io::Result<usize>;
    fn shutdown_write(key: Key) -> io::Result<()>;
    fn close(key: Key);
    fn abort(key: Key);
}

guarded! { Sockets:
    fn local_address(key: Key) -> io::Result<Address>;
    fn peer_address(key: Key) -> io::Result<Address>;
    fn option(key: Key, option: SocketOption) -> io::Result<bool>;
    fn set_option(key: Key, option: SocketOption, on: bool) -> io::Result<()>;
    fn keep_alive_times(key: Key) -> io::Result<KeepAliveTimes>;
    fn set_keep_alive_times(key: Key, times: KeepAliveTimes) -> io::Result<()>;
    fn peer_credentials(key: Key) -> io::Result<PeerCredentials>;
    fn raw_socket(key: Key) -> Option<RawSocket>;
}

guarded! { Adoption:
    fn adopt(socket: OwnedSocket, kind: Kind) -> io::Result<Key>;
    fn connect_socket(socket: OwnedSocket, address: &Address) -> io::Result<Key>;
    fn release(key: Key) -> io::Result<Released>;
}

guarded! { Pipes:
    fn adopt_pipe(handle: OwnedWaitable, end: PipeEnd, sharing: Sharing) -> io::Result<Key>;
}

guarded! { DescriptorPassing:
    fn send_with_descriptors(key: Key, outbox: &mut Outbox, queue: &mut DescriptorQueue) -> io::Result<Sent>;
    fn receive_with_descriptors(
        key: Key,
        scratch: &mut [u8],
        passed: &mut PassedDescriptors
    ) -> io::Result<Received>;
}

guarded! { Processes:
    fn spawn(plan: &SpawnPlan) -> Result<Spawned, SpawnError>;
    fn exit_status(process: Key) -> io::Result<Option<ExitStatus>>;
    fn signal(process: Key, signal: i32, to: Recipient) -> io::Result<()>;
    fn resize_terminal(terminal: Key, size: WindowSize) -> io::Result<()>;
    fn release_process(process: Key);
}

guarded! { Datagrams:
    fn open_datagrams(spec: &DatagramSpec) -> io::Result<(Key, Address)>;
    fn adopt_datagrams(socket: OwnedSocket, spec: &DatagramSpec) -> io::Result<(Key, Address, Option<Address>)>;
    fn connect_datagrams(key: Key, peer: &Address) -> io::Result<Address>;
    fn receive_datagrams(
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>
    ) -> io::Result<bool>;
    fn send_datagrams(key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>);
    fn join_group(key: Key, group: IpAddr, interface: u32) -> io::Result<()>;
    fn leave_group(key: Key, group: IpAddr, interface: u32) -> io::Result<()>;
    fn datagram_option(key: Key, option: DatagramOption) -> io::Result<u32>;
    fn set_datagram_option(key: Key, option: DatagramOption, value: u32) -> io::Result<()>;
    fn segments_max(key: Key) -> io::Result<usize>;
    fn dropped_datagrams(key: Key) -> io::Result<u64>;
}

guarded! { Watches:
    fn watch(handle: RawWaitable, interest: Interest) -> io::Result<Key>;
    fn set_interest(key: Key, interest: Interest) -> io::Result<()>;
    fn unwatch(key: Key);
}

guarded! { Filesystem:
    fn lock_socket(path: &std::path::Path) -> io::Result<Box<dyn Any>>;
    fn is_socket_locked(path: &std::path::Path) -> bool;
}

/// Records a call of the provider if the call panics. A call that returns leaves no record, so that a message costs
/// nothing.
pub(super) struct Blame<'a> {
    kernel: &'a Kernel,
    call: Blamed,
}

impl<'a> Blame<'a> {
    #[inline(always)]
    pub(super) fn new(kernel: &'a Kernel, name: &'static str, key: Key) -> Blame<'a> {
        Blame { kernel, call: (name, key) }
    }

    /// The call has returned.
    #[inline(always)]
    pub(super) fn lift(self) {
        std::mem::forget(self);
    }
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        self.kernel.guard.blamed.set(Some(self.call));
    }
}

impl Kernel {
    /// Makes a call of the provider, whose slot may be borrowed.
    #[inline]
    pub(super) fn guard_provider<R: Answer>(&self, name: &'static str, call: impl FnOnce() -> R) -> R {
        catch(call).unwrap_or_else(|panic| R::panicked(self.provider_panicked(name, panic)))
    }

    /// Logs a panic in the call `name` of the provider, and returns the panic as an error. The policy is applied when
    /// the provider's slot is free again.
    #[cold]
    pub(super) fn provider_panicked(&self, name: &'static str, panic: CaughtPanic) -> Error {
        let error = provider_panicked(self.name, name, &panic);
        self.guard.owed.set(Some(Box::new((error.clone(), panic))));
        error
    }
}
