//! Numbers that an outsider has to guess to forge an answer: RFC 5452, section 9.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::kernel::Reactor;

/// Ports of clients begin here: RFC 6056, section 3.2.
const FIRST_PORT: u16 = 1024;

/// A generator of identifiers and ports, which is seeded by the system, or by the test that simulates the network.
pub(super) struct Secrets(StdRng);

impl Secrets {
    pub(super) fn new(reactor: &Reactor) -> Secrets {
        Secrets(match reactor.0.random_seed() {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        })
    }

    pub(super) fn id(&mut self) -> u16 {
        self.0.random()
    }

    pub(super) fn port(&mut self) -> u16 {
        self.0.random_range(FIRST_PORT..=u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryReactor;

    fn drawn(reactor: &Reactor) -> Vec<(u16, u16)> {
        let mut secrets = Secrets::new(reactor);
        (0..100).map(|_| (secrets.id(), secrets.port())).collect()
    }

    #[test]
    fn a_simulated_network_replays_its_secrets() {
        assert_eq!(drawn(&MemoryReactor::seeded(7)), drawn(&MemoryReactor::seeded(7)));
        assert_ne!(drawn(&MemoryReactor::seeded(7)), drawn(&MemoryReactor::seeded(8)));
        let net = MemoryReactor::seeded(7);
        assert_ne!(drawn(&net), drawn(&net), "each resolver has its own");
    }

    #[cfg(unix)]
    #[test]
    fn a_real_reactor_never_repeats_its_secrets() {
        let reactor = Reactor::new().unwrap();
        let (one, other) = (drawn(&reactor), drawn(&reactor));
        assert_ne!(one, other);
        assert!(one.iter().all(|(_, port)| *port >= FIRST_PORT));
    }
}
