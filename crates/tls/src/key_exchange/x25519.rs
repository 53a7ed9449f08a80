//! X25519 with a key from the seed of the present surroundings.
//!
//! ring makes keys from the system's random bytes alone. Outside seeded surroundings its key exchange is used.
//!
//! Source: RFC 7748, section 6.1; RFC 8446, section 7.4.2.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

use crate::surroundings::fill_seeded;

/// Puts the seeded key exchange in place of X25519, which is preferred over the other groups.
pub(crate) fn follow_seeds(crypto: &mut CryptoProvider) {
    for group in &mut crypto.kx_groups {
        if group.name() == NamedGroup::X25519 {
            // Once for each process: a provider must live as long as the process.
            *group = Box::leak(Box::new(X25519(*group)));
        }
    }
}

/// X25519 of seeded surroundings, and the group for all others.
#[derive(Debug)]
struct X25519(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        if !fill_seeded(&mut secret) {
            return self.0.start();
        }
        let public = MontgomeryPoint::mul_base_clamped(secret).to_bytes();
        Ok(Box::new(SeededKey { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }

    fn ffdhe_group(&self) -> Option<rustls::ffdhe_groups::FfdheGroup<'static>> {
        None
    }
}

struct SeededKey {
    secret: [u8; 32],
    public: [u8; 32],
}

impl ActiveKeyExchange for SeededKey {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        let peer = <[u8; 32]>::try_from(peer_pub_key).map_err(|_| invalid())?;
        let shared = MontgomeryPoint(peer).mul_clamped(self.secret).to_bytes();
        // A point of small order gives zero, which no honest peer sends.
        if shared == [0; 32] { Err(invalid()) } else { Ok(SharedSecret::from(&shared[..])) }
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x25519() -> X25519 {
        X25519(rustls::crypto::ring::kx_group::X25519)
    }

    #[test]
    fn a_seeded_key_agrees_with_a_key_of_ring() {
        let seeded = crate::surroundings::within(Some(&surroundings(1)), || x25519().start().unwrap());
        let system = x25519().start().unwrap();
        let (public, peer) = (seeded.pub_key().to_vec(), system.pub_key().to_vec());
        let secrets = (seeded.complete(&peer).unwrap(), system.complete(&public).unwrap());
        assert_eq!(secrets.0.secret_bytes(), secrets.1.secret_bytes());
    }

    #[test]
    fn a_point_of_small_order_is_refused() {
        let seeded = crate::surroundings::within(Some(&surroundings(1)), || x25519().start().unwrap());
        assert!(seeded.complete(&[0; 32]).is_err());
    }

    fn surroundings(seed: u64) -> crate::Surroundings {
        crate::Surroundings::seeded(seed, std::rc::Rc::new(|| std::time::Duration::ZERO))
    }
}
