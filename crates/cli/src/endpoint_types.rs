//! The endpoint types of the program: those of the library, and its own.

use ropewalk::endpoints::Endpoints;

/// Returns a registry with all types, for checking descriptions.
pub(crate) fn endpoints() -> Endpoints {
    let endpoints = Endpoints::new();
    register(&endpoints);
    endpoints
}

/// Registers the program's own types.
pub(crate) fn register(endpoints: &Endpoints) {
    crate::self_signed::register(endpoints);
}
