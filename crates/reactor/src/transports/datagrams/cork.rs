//! Datagrams that a callback has written, until it returns.

use std::net::IpAddr;
use std::ops::Range;

use ropewalk_proto::Address;
use ropewalk_sys::Outgoing;

/// The number of datagrams, and of bytes, after which a callback's datagrams leave before it returns.
const DATAGRAMS_MOST: usize = 64;
const BYTES_MOST: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Cork {
    bytes: Vec<u8>,
    datagrams: Vec<Corked>,
}

struct Corked {
    bytes: Range<usize>,
    to: Option<Address>,
    from: Option<IpAddr>,
    interface: u32,
    ecn: u8,
}

impl Cork {
    /// Copies a datagram.
    pub(super) fn push(&mut self, datagram: &Outgoing<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram.bytes);
        self.datagrams.push(Corked {
            bytes: start..self.bytes.len(),
            to: datagram.to.cloned(),
            from: datagram.from,
            interface: datagram.interface,
            ecn: datagram.ecn,
        });
    }

    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() >= DATAGRAMS_MOST || self.bytes.len() >= BYTES_MOST
    }

    /// Calls `send` with all datagrams.
    pub(super) fn lend(&self, send: impl FnOnce(&[Outgoing<'_>])) {
        match &self.datagrams[..] {
            [] => {}
            [only] => send(&[self.outgoing(only)]),
            all => send(&all.iter().map(|corked| self.outgoing(corked)).collect::<Vec<_>>()),
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }

    fn outgoing<'a>(&'a self, corked: &'a Corked) -> Outgoing<'a> {
        Outgoing {
            bytes: &self.bytes[corked.bytes.clone()],
            to: corked.to.as_ref(),
            from: corked.from,
            interface: corked.interface,
            ecn: corked.ecn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cork_keeps_the_order_of_its_datagrams() {
        let peer = Address::Unix(std::path::Path::new("/peer").into());
        let mut cork = Cork::default();
        for number in 0..DATAGRAMS_MOST {
            assert!(!cork.is_full());
            cork.push(&Outgoing { ecn: 1, ..Outgoing::to(&[number as u8; 3], &peer) });
        }
        assert!(cork.is_full());
        cork.lend(|batch| {
            let sent: Vec<_> = batch.iter().map(|datagram| datagram.bytes[2]).collect();
            assert_eq!(sent, (0..DATAGRAMS_MOST as u8).collect::<Vec<_>>());
            assert!(batch.iter().all(|datagram| datagram.to == Some(&peer) && datagram.ecn == 1));
        });
        cork.clear();
        cork.push(&Outgoing::to_peer(&[0; BYTES_MOST]));
        assert!(cork.is_full());
    }
}
