//! The client's side of TLS: a certificate for the server, and connections that speak TLS in lock-step.

mod certificate;
mod client;

pub(crate) use certificate::Certificate;
pub(crate) use client::SecureClient;
