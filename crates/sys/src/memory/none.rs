//! Systems without malloc_trim(3).

pub(super) fn release_free() {}
