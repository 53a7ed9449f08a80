//! An event provider that panics in the next calls of a chosen method.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk::Address;
use ropewalk::proto::{Key, Outbox};
use ropewalk::sys::{
    ConnectSpec, EventProvider, Events, ListenSpec, ProviderDecorator, Received, Sent, Streams, StreamsDecorator,
};

/// Lets the provider panic. Clones are the same fuse.
#[derive(Clone, Default)]
pub struct Fuse(Arc<Mutex<(&'static str, u32)>>);

impl Fuse {
    /// Lets the next `times` calls of the method `call` panic.
    pub fn light(&self, call: &'static str, times: u32) {
        *self.0.lock().unwrap() = (call, times);
    }

    /// Returns the number of panics to come.
    pub fn left(&self) -> u32 {
        self.0.lock().unwrap().1
    }

    #[track_caller]
    fn pass(&self, call: &str) {
        let mut lit = self.0.lock().unwrap();
        let burns = lit.0 == call && lit.1 > 0;
        lit.1 -= u32::from(burns);
        drop(lit);
        assert!(!burns, "a bug in {call}");
    }
}

/// A provider with a fuse.
pub struct Fused {
    provider: Box<dyn EventProvider>,
    fuse: Fuse,
}

impl Fused {
    /// Wraps `provider`. Also returns the fuse.
    pub fn new(provider: Box<dyn EventProvider>) -> (Fused, Fuse) {
        let fuse = Fuse::default();
        (Fused { provider, fuse: fuse.clone() }, fuse)
    }
}

impl ProviderDecorator for Fused {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.provider
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.provider
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.fuse.pass("wait");
        self.provider.wait(timeout, events)
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        self.fuse.pass("streams");
        self.provider.streams()?;
        Some(self)
    }
}

impl StreamsDecorator for Fused {
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        self.fuse.pass("listen");
        self.decorated_streams().listen(spec)
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        self.fuse.pass("connect");
        self.decorated_streams().connect(spec)
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        self.fuse.pass("finish_connect");
        self.decorated_streams().finish_connect(key)
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        self.fuse.pass("accept");
        self.decorated_streams().accept(key)
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        self.fuse.pass("set_reading");
        self.decorated_streams().set_reading(key, on)
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.fuse.pass("receive");
        self.decorated_streams().receive(key, scratch)
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        self.fuse.pass("send");
        self.decorated_streams().send(key, outbox)
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.fuse.pass("send_slice");
        self.decorated_streams().send_slice(key, bytes)
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        self.fuse.pass("shutdown_write");
        self.decorated_streams().shutdown_write(key)
    }

    fn close(&mut self, key: Key) {
        // The panic follows the inner call, so that the descriptor is closed.
        self.decorated_streams().close(key);
        self.fuse.pass("close");
    }

    fn abort(&mut self, key: Key) {
        self.decorated_streams().abort(key);
        self.fuse.pass("abort");
    }
}
