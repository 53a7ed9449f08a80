//! The randomness and the time of a handshake.
//!
//! rustls asks a configuration for both, and a configuration may serve several reactors. A layer on a simulated network
//! therefore sets them for the thread while it calls rustls. All other layers use the system's.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::Random;
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The randomness and the time of the layers of one simulated network.
///
/// Two runs with the same seed then exchange the same bytes, if the certificates have Ed25519 keys. Signatures of
/// other keys contain random bytes of the system. Use this for tests alone: the numbers are not secret.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk_tls::Surroundings;
///
/// let surroundings = Surroundings::seeded(7, Rc::new(|| Duration::from_secs(1_800_000_000)));
/// assert_eq!(format!("{surroundings:?}"), "Surroundings { now: 1800000000s }");
/// ```
#[derive(Clone)]
pub struct Surroundings {
    random: Rc<RefCell<Random>>,
    now: Rc<dyn Fn() -> Duration>,
}

impl Surroundings {
    /// Creates surroundings whose random bytes follow from `seed`. `now` returns the time since 1970 in UTC.
    pub fn seeded(seed: u64, now: Rc<dyn Fn() -> Duration>) -> Surroundings {
        Surroundings { random: Rc::new(RefCell::new(Random::new(seed))), now }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("now", &(self.now)()).finish()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Surroundings>> = const { RefCell::new(None) };
}

/// Calls `call` within `surroundings`.
pub(crate) fn within<R>(surroundings: Option<&Surroundings>, call: impl FnOnce() -> R) -> R {
    /// Restores the system's surroundings also if `call` panics.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    let Some(surroundings) = surroundings else { return call() };
    CURRENT.set(Some(surroundings.clone()));
    let _restore = Restore;
    call()
}

/// Fills `bytes` from the seed of the present surroundings. Returns whether they have one.
pub(crate) fn fill_seeded(bytes: &mut [u8]) -> bool {
    CURRENT.with_borrow(|current| {
        let Some(surroundings) = current else { return false };
        let mut random = surroundings.random.borrow_mut();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.bits().to_le_bytes()[..chunk.len()]);
        }
        true
    })
}

/// The time of the present surroundings, or the system's.
#[derive(Debug)]
pub(crate) struct SurroundingTime;

impl TimeProvider for SurroundingTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seeded = CURRENT.with_borrow(|current| current.as_ref().map(|current| (current.now)()));
        Some(seeded.map_or_else(UnixTime::now, UnixTime::since_unix_epoch))
    }
}

/// Random bytes of the present surroundings, or the system's.
#[derive(Debug)]
struct SurroundingRandom(&'static dyn SecureRandom);

impl SecureRandom for SurroundingRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        if fill_seeded(bytes) { Ok(()) } else { self.0.fill(bytes) }
    }
}

/// Returns the cryptography of all configurations of this crate.
pub(crate) fn crypto() -> Arc<CryptoProvider> {
    static CRYPTO: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    CRYPTO.get_or_init(|| Arc::new(in_surroundings(rustls::crypto::ring::default_provider()))).clone()
}

fn in_surroundings(mut crypto: CryptoProvider) -> CryptoProvider {
    // Once for each process: a provider must live as long as the process.
    crypto.secure_random = Box::leak(Box::new(SurroundingRandom(crypto.secure_random)));
    crate::key_exchange::follow_seeds(&mut crypto);
    crypto
}
