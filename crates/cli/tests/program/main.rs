//! The real program on real sockets.

#![cfg(unix)]

#[cfg(target_os = "linux")]
mod activation;
mod arguments;
mod daemons;
mod endings;
mod flood;
mod http;
mod places;
mod portforward;
mod restart;
mod running;
#[cfg(target_os = "linux")]
mod sandbox;
mod scratch;
mod serve;
mod services;
mod wire;
