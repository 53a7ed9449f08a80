//! The costs that a hostile peer can cause over TLS: memory, processor time and log lines.
//!
//! The server runs on the thread of the test, and its peers on another one, with sockets of the system. Allocations are
//! counted for each thread, so the memory is the server's alone, without that of the kernel. Each attack has a bound of
//! memory for one of its connections. Processor time is printed and not asserted:
//!
//! ```text
//! cargo test -p ropewalk-conformance --test abuse -- --nocapture
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "the figures of a run, for the book")]

mod attacks;
mod cost;

use std::time::Duration;

use attacks::Target;
use cost::{Cost, suffer, visit};
use ropewalk::tls::ServerOptions;
use ropewalk_conformance::certificates::Authority;

/// A limit of handshakes that tests can wait for.
const LIMIT: Duration = Duration::from_secs(1);

fn limited() -> ServerOptions {
    ServerOptions::new().handshake_timeout(LIMIT)
}

/// Runs an attack. Each of its connections may take `kib_most` KiB of memory. Returns the cost.
#[track_caller]
fn bounded(what: &str, kib_most: u64, options: ServerOptions, attack: fn(&Target)) -> Cost {
    let cost = suffer(options, move |target| attack(&target));
    println!("| {what} | {cost} |");
    let each = cost.bytes_each();
    assert!(each <= kib_most * 1024, "{each} bytes a connection, {cost:?}");
    // The reactor keeps some spare buffers.
    assert!(cost.bytes_left < 1024 * 1024, "{cost:?}");
    assert!(cost.lines.is_empty(), "{:?}", cost.lines);
    cost
}

#[test]
fn silent_clients_cost_little_memory() {
    let cost = bounded("says nothing until the limit", 4, limited(), attacks::say_nothing);
    assert_eq!(cost.ends_as("ConnectionLost"), 300, "{cost:?}");
}

#[test]
fn clients_that_send_byte_by_byte_end_at_the_limit() {
    let cost = bounded("sends a byte of its hello at a time", 6, limited(), attacks::dribble);
    assert_eq!(cost.ends_as("ConnectionLost"), 300, "{cost:?}");
}

#[test]
fn an_unfinished_record_is_held_until_the_limit() {
    // A record has at most 16 KiB.
    bounded("sends 16 KiB of an unfinished record", 40, limited(), attacks::send_half_a_record);
}

#[test]
fn a_hello_in_records_of_a_byte_is_bounded() {
    // A handshake message has at most 64 KiB, and each of its bytes takes six with its record.
    bounded("sends 60,000 bytes of a hello, a byte a record", 1600, limited(), attacks::send_a_hello_in_bytes);
}

#[test]
fn garbage_closes_the_connection() {
    let cost = bounded("sends a megabyte of garbage", 400, limited(), attacks::send_garbage);
    assert_eq!(cost.ends_as("NotTls"), 100, "{cost:?}");
}

#[test]
fn clients_that_leave_behind_their_handshake_leave_nothing() {
    bounded("completes a handshake and resets", 10, limited(), attacks::shake_hands_and_leave);
}

#[test]
fn half_a_record_behind_the_handshake_is_held() {
    // TLS has no limit for this. A protocol limits the silence of its peers.
    bounded("sends half a record behind its handshake", 40, limited(), attacks::send_half_a_record_later);
}

#[test]
fn a_flood_of_key_updates_closes_the_connection() {
    let cost = bounded("updates its keys 10,000 times", 600, limited(), attacks::update_keys);
    assert_eq!(cost.ends_as("protocol PeerMisbehaved(TooManyKeyUpdateRequests)"), 20, "{cost:?}");
}

#[test]
fn key_updates_between_bytes_of_data_are_bounded() {
    let cost = bounded("updates its keys for each of 10,000 bytes", 600, limited(), attacks::update_keys_between_bytes);
    assert_eq!(cost.ends_as("ConnectionDone"), 20, "{cost:?}");
}

#[test]
fn a_flood_of_warning_alerts_closes_the_connection() {
    let what = "sends 10,000 warning alerts in its handshake";
    let cost = bounded(what, 600, limited(), attacks::warn_in_the_handshake);
    assert_eq!(cost.ends_as("protocol PeerMisbehaved(TooManyWarningAlertsReceived)"), 20, "{cost:?}");
}

#[test]
fn a_long_chain_of_a_client_is_refused() {
    let (authority, _) = Authority::replayed(&["localhost"]);
    let options = limited().ask_for_client_certificates(authority.trusted());
    let cost = bounded("presents 100 certificates", 400, options, attacks::present_many_certificates);
    assert_eq!(cost.ends_as("Certificate"), 20, "{cost:?}");
}

#[test]
fn a_peer_that_never_reads_is_bounded() {
    // The protocol is paced, so what it echoes waits at the peer's side.
    bounded("sends 16 MB to a paced echo, and never reads", 1024, limited(), attacks::never_read);
}

#[test]
fn a_long_chain_of_a_server_is_refused() {
    let cost = visit(1, attacks::serve_many_certificates);
    println!("| a server that presents 100 certificates | {cost} |");
    assert!(cost.bytes_each() <= 400 * 1024, "{cost:?}");
    assert_eq!((cost.ends_as("Certificate"), cost.lines.len()), (1, 0), "{cost:?}");
}
