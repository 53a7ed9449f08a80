//! Systems on which providers cannot start children yet.

#[derive(Default)]
pub(crate) struct Children {}
