//! Extensions of ropewalk that use its public API alone. Copy one to begin your own.

pub mod checked;
pub mod fallback;
pub mod loopback;
pub mod pool;
pub mod quota;
