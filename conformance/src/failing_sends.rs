//! A system that refuses some datagrams.

use std::io;

use ropewalk::proto::Key;
use ropewalk::sys::{Datagrams, Outgoing};

use crate::intercepted::Intercept;

/// Does not send datagrams with certain contents. The function returns the error of a datagram with such a content.
pub(crate) struct FailingSends(pub(crate) fn(&[u8]) -> Option<io::Error>);

impl Intercept for FailingSends {
    fn send(&mut self, datagrams: &mut dyn Datagrams, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        let failures = batch.iter().map(|datagram| (self.0)(datagram.bytes));
        let first = failures.enumerate().find_map(|(at, failure)| Some((at, failure?)));
        let Some((good, failure)) = first else { return datagrams.send_datagrams(key, batch) };
        match datagrams.send_datagrams(key, &batch[..good]) {
            (sent, Ok(())) => (sent, Err(failure)),
            outcome => outcome,
        }
    }
}
