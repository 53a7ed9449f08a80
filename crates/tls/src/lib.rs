//! TLS as a byte layer of ropewalk's connections, without I/O.
//!
//! A [`TlsLayer`] is between the bytes of one connection and its protocol. It is a [`Layer`](ropewalk_proto::Layer)
//! of any stream: TCP, UNIX sockets, pipes and simulated networks. The protocol itself is rustls.
//!
//! ```text
//!   Identity, Authorities --> ServerOptions --> TlsServer --> TlsLayer   one for each connection
//!                        \--> ClientOptions --> TlsClient --> TlsLayer
//! ```
//!
//! rustls supports TLS 1.2 and 1.3, with suites that have forward secrecy and authenticated encryption. TLS 1.1 and
//! older, renegotiation, compression and static RSA keys do not exist in it.
//!
//! Programs use this crate through the feature `tls` of `ropewalk`.

#![forbid(unsafe_code)]

mod authorities;
mod certificate;
mod client;
mod error;
mod first_bytes;
mod hello;
mod identity;
mod key_exchange;
mod key_log;
mod layer;
mod machine;
mod names;
mod notes;
mod server;
mod surroundings;
mod verifying;
mod versions;

pub use authorities::Authorities;
pub use client::{ClientOptions, TlsClient};
pub use error::TlsError;
pub use hello::Hello;
pub use identity::Identity;
pub use key_log::key_log_file;
pub use layer::TlsLayer;
pub use rustls;
pub use rustls::pki_types::CertificateDer;
pub use server::{ServerOptions, TlsServer};
pub use surroundings::Surroundings;
pub use versions::Version;
