//! The samples of the book, compiled and run as documentation tests. A tidy test sees that no chapter is forgotten.

#[doc = include_str!("../../../docs/src/applications.md")]
pub struct Applications;

#[doc = include_str!("../../../docs/src/async.md")]
pub struct Async;

#[doc = include_str!("../../../docs/src/deferreds.md")]
pub struct Deferreds;

#[doc = include_str!("../../../docs/src/endpoints.md")]
pub struct Endpoints;

#[doc = include_str!("../../../docs/src/how-it-works.md")]
pub struct HowItWorks;

#[doc = include_str!("../../../docs/src/scheduling.md")]
pub struct Scheduling;

#[doc = include_str!("../../../docs/src/testing.md")]
pub struct Testing;
