//! Host names by way of name servers: `twisted.names.client`. Requires the feature `hickory`.
//!
//! A [`DnsResolver`] is a stub resolver. It asks name servers that look the name up, such as those of
//! `/etc/resolv.conf`, with the UDP and TCP of its reactor. No thread is involved. On a simulated network its timeouts
//! run in virtual time.
//!
//! ```text
//!   resolver   the names to ask for, by the search list        cache   answers, until they expire
//!   follow     aliases, from answer to answer
//!   exchange   one question: each server in turn, some rounds
//!   udp, tcp   one question to one server; TCP if the answer does not fit into a datagram
//!   query      the question, and which message answers it      answer  the addresses in a message
//! ```
//!
//! Messages are encoded and parsed by [`hickory_proto`], and `/etc/resolv.conf` by the crate `resolv-conf`. The source
//! is RFC 1034 and 1035, and RFC 5452 for the protection against forged answers. DNSSEC is not validated.

mod answer;
mod cache;
mod config;
mod error;
mod exchange;
mod follow;
mod query;
mod resolver;
mod secrets;
mod tcp;
mod udp;

pub use config::DnsConfig;
pub use error::{DnsError, ServerFault};
/// The crate of the messages, in the version that [`DnsResolver::query`] uses.
pub use hickory_proto;
pub use resolver::DnsResolver;
