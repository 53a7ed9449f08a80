//! Providers that change some methods of another provider and forward the rest.
//!
//! The forwarding methods are written once, here. Clippy's `missing_trait_methods` reports a missing one. So a method
//! that gets a default in a trait of the seam is forwarded as well.

use std::io;
use std::time::{Duration, SystemTime};

use ropewalk_proto::{Address, Key, Outbox};

use super::{
    Adoption, Clock, ConnectSpec, Datagrams, DescriptorPassing, EventProvider, Events, Filesystem, Interest,
    ListenSpec, Names, Pipes, Processes, Received, Sent, Sockets, Streams, Watches,
};
use crate::io_handle::RawWaitable;
use crate::waker::Waker;

/// Defines a trait whose methods forward by default, and implements the decorated trait with its methods.
macro_rules! decorator {
    (
        $(#[$about:meta])*
        pub trait $decorator:ident: $base:ident { $($own:tt)* }
        impl $decorated:ident;
        $(ref by $get:ident: $(fn $asked:ident(&self) -> $answer:ty;)*)?
        mut by $get_mut:ident: $(fn $name:ident(&mut self $(, $argument:ident: $kind:ty)*) $(-> $result:ty)?;)*
    ) => {
        $(#[$about])*
        pub trait $decorator: $base {
            $($own)*
            $($(
                #[doc = concat!("Forwards to [`", stringify!($decorated), "::", stringify!($asked), "`].")]
                fn $asked(&self) -> $answer {
                    self.$get().$asked()
                }
            )*)?
            $(
                #[doc = concat!("Forwards to [`", stringify!($decorated), "::", stringify!($name), "`].")]
                #[allow(clippy::missing_errors_doc)]
                fn $name(&mut self $(, $argument: $kind)*) $(-> $result)? {
                    self.$get_mut().$name($($argument),*)
                }
            )*
        }

        #[deny(clippy::missing_trait_methods)]
        impl<D: $decorator> $decorated for D {
            $($(
                fn $asked(&self) -> $answer {
                    $decorator::$asked(self)
                }
            )*)?
            $(
                #[inline]
                fn $name(&mut self $(, $argument: $kind)*) $(-> $result)? {
                    $decorator::$name(self $(, $argument)*)
                }
            )*
        }
    };
}

decorator! {
    /// A provider that decorates another one. Every type that implements this is an [`EventProvider`].
    ///
    /// Each method forwards unless it is overridden. To change the calls of a kind, such as `streams`, return
    /// `Some(self)` from its method. Then implement the decorator trait of that kind (`StreamsDecorator`), or the
    /// kind's own trait (`Streams`) in full.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk_proto::{Key, Outbox};
    /// use ropewalk_sys::{EventProvider, ProviderDecorator, Sent, Streams, StreamsDecorator, providers};
    ///
    /// /// Counts the calls of `send`.
    /// struct Counting {
    ///     provider: Box<dyn EventProvider>,
    ///     sends: u64,
    /// }
    ///
    /// impl ProviderDecorator for Counting {
    ///     fn decorated(&self) -> &dyn EventProvider {
    ///         &*self.provider
    ///     }
    ///
    ///     fn decorated_mut(&mut self) -> &mut dyn EventProvider {
    ///         &mut *self.provider
    ///     }
    ///
    ///     fn streams(&mut self) -> Option<&mut dyn Streams> {
    ///         self.provider.streams()?; // `None` if the decorated provider has no streams
    ///         Some(self)
    ///     }
    /// }
    ///
    /// impl StreamsDecorator for Counting {
    ///     fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
    ///         self.sends += 1;
    ///         self.decorated_streams().send(key, outbox)
    ///     }
    /// }
    ///
    /// # #[cfg(unix)] {
    /// let provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
    /// let mut counting = Counting { provider, sends: 0 };
    /// let decorator: &mut dyn EventProvider = &mut counting;
    /// decorator.streams().unwrap().send(Key::new(0, 9), &mut Outbox::new()).unwrap_err(); // a stale key
    /// assert_eq!(counting.sends, 1);
    /// # }
    /// ```
    pub trait ProviderDecorator: Send {
        /// Returns the decorated provider.
        fn decorated(&self) -> &dyn EventProvider;

        /// Returns the decorated provider, for calls that change it.
        fn decorated_mut(&mut self) -> &mut dyn EventProvider;
    }
    impl EventProvider;
    ref by decorated:
        fn name(&self) -> &'static str;
        fn clock(&self) -> Clock;
        fn wall_clock(&self) -> SystemTime;
        fn names(&self) -> Option<Names>;
        fn random_seed(&self) -> Option<u64>;
        fn waker(&self) -> Waker;
        fn has_signals(&self) -> bool;
    mut by decorated_mut:
        fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()>;
        fn submit(&mut self) -> io::Result<()>;
        fn host_handle(&mut self) -> Option<RawWaitable>;
        fn release_host_handle(&mut self);
        fn reopen_after_fork(&mut self) -> io::Result<()>;
        fn streams(&mut self) -> Option<&mut dyn Streams>;
        fn sockets(&mut self) -> Option<&mut dyn Sockets>;
        fn adoption(&mut self) -> Option<&mut dyn Adoption>;
        fn pipes(&mut self) -> Option<&mut dyn Pipes>;
        fn descriptor_passing(&mut self) -> Option<&mut dyn DescriptorPassing>;
        fn processes(&mut self) -> Option<&mut dyn Processes>;
        fn datagrams(&mut self) -> Option<&mut dyn Datagrams>;
        fn watches(&mut self) -> Option<&mut dyn Watches>;
        fn filesystem(&mut self) -> Option<&mut dyn Filesystem>;
}

decorator! {
    /// A decorator that changes some calls on streams. Every type that implements this is [`Streams`].
    ///
    /// The example of [`ProviderDecorator`] implements it.
    pub trait StreamsDecorator: ProviderDecorator {
        /// Returns the decorated provider's streams.
        ///
        /// # Panics
        /// If the decorated provider has no streams. [`ProviderDecorator::streams`] returns `None` then, so no caller
        /// gets here.
        fn decorated_streams(&mut self) -> &mut dyn Streams {
            self.decorated_mut().streams().expect("a provider with streams keeps them")
        }
    }
    impl Streams;
    mut by decorated_streams:
        fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)>;
        fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key>;
        fn finish_connect(&mut self, key: Key) -> io::Result<()>;
        fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>>;
        fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()>;
        fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received>;
        fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent>;
        fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize>;
        fn shutdown_write(&mut self, key: Key) -> io::Result<()>;
        fn close(&mut self, key: Key);
        fn abort(&mut self, key: Key);
}

decorator! {
    /// A decorator that changes some calls on watches. Every type that implements this is [`Watches`].
    ///
    /// ```
    /// use std::io;
    /// use ropewalk_sys::{EventProvider, Interest, ProviderDecorator, RawWaitable, Watches, WatchesDecorator};
    /// use ropewalk_proto::Key;
    ///
    /// /// Refuses to watch for writing.
    /// struct ReadersOnly(Box<dyn EventProvider>);
    ///
    /// impl ProviderDecorator for ReadersOnly {
    ///     fn decorated(&self) -> &dyn EventProvider {
    ///         &*self.0
    ///     }
    ///
    ///     fn decorated_mut(&mut self) -> &mut dyn EventProvider {
    ///         &mut *self.0
    ///     }
    ///
    ///     fn watches(&mut self) -> Option<&mut dyn Watches> {
    ///         self.0.watches()?;
    ///         Some(self)
    ///     }
    /// }
    ///
    /// impl WatchesDecorator for ReadersOnly {
    ///     fn watch(&mut self, handle: RawWaitable, interest: Interest) -> io::Result<Key> {
    ///         if interest.contains(Interest::WRITE) {
    ///             return Err(io::ErrorKind::InvalidInput.into());
    ///         }
    ///         self.decorated_watches().watch(handle, interest)
    ///     }
    /// }
    /// ```
    pub trait WatchesDecorator: ProviderDecorator {
        /// Returns the decorated provider's watches.
        ///
        /// # Panics
        /// If the decorated provider has no watches. [`ProviderDecorator::watches`] returns `None` then, so no caller
        /// gets here.
        fn decorated_watches(&mut self) -> &mut dyn Watches {
            self.decorated_mut().watches().expect("a provider with watches keeps them")
        }
    }
    impl Watches;
    mut by decorated_watches:
        fn watch(&mut self, handle: RawWaitable, interest: Interest) -> io::Result<Key>;
        fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()>;
        fn unwatch(&mut self, key: Key);
}
