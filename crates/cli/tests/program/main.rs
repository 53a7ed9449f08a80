//! Runs the program itself on real sockets.

#![cfg(unix)]

#[cfg(target_os = "linux")]
mod activation;
mod arguments;
mod connect;
mod daemons;
mod datagrams;
mod endpoints;
mod flood;
#[cfg(feature = "tls")]
mod frames;
mod http;
#[cfg(feature = "tls")]
mod http2;
#[cfg(feature = "tls")]
mod https;
mod portforward;
#[cfg(target_os = "linux")]
mod procmon;
#[cfg(feature = "tls")]
mod proxy_headers;
#[cfg(feature = "tls")]
mod reload;
mod restart;
mod running;
#[cfg(target_os = "linux")]
mod sandbox;
mod scratch;
mod serve;
mod services;
mod shutdown;
#[cfg(feature = "tls")]
mod tls;
#[cfg(target_os = "linux")]
mod watch;
mod wire;
