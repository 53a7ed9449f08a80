//! The key exchange of seeded surroundings.

#[cfg(not(feature = "seeded"))]
mod system;
#[cfg(feature = "seeded")]
mod x25519;

#[cfg(not(feature = "seeded"))]
pub(crate) use system::follow_seeds;
#[cfg(feature = "seeded")]
pub(crate) use x25519::follow_seeds;
