//! The BSDs and macOS. No selector uses kqueue(2) yet.

use super::Provider;
use crate::readiness::{Poll, Readiness, Select};

pub(super) const PROVIDERS: &[Provider] = &[Readiness::<Poll>::PROVIDER, Readiness::<Select>::PROVIDER];
