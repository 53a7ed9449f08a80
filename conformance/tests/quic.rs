//! QUIC on the simulated network: every byte arrives, and a seed replays every datagram.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "the figures of a transfer, for the book")]

use std::time::{Duration, Instant};

use ropewalk::testing::{Faults, Simulated};
use ropewalk::{Moment, PanicPolicy, Reactor};
use ropewalk_conformance::run;
use ropewalk_conformance::tap::{Noted, tapped};
use ropewalk_conformance::transfer::{Outcome, Transfers};

const MEGABYTE: usize = 1_000_000;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A path of 5 ms that loses a twentieth of the datagrams.
fn lossy() -> Faults {
    Faults::none().lost(0.05).doubled(0.01).latency(5 * MILLISECOND).jitter(MILLISECOND).mtu(1472)
}

/// A transfer that is over.
struct Finished {
    outcome: Outcome,
    noted: Vec<Noted>,
    lasted: Duration,
}

/// Sends `bytes` bytes, every one of which the server compares.
fn transfer(seed: u64, faults: Faults, bytes: usize) -> Finished {
    let (provider, tap) = tapped(Box::new(Simulated::new(seed, faults)));
    let reactor = Reactor::with_provider(Box::new(provider));
    reactor.set_panic_policy(PanicPolicy::Stop);
    let transfers = Transfers::open(&reactor, "10.0.0.1:4433", "10.0.0.2:0", seed);
    transfers.begin(transfers.server_address(), bytes);
    run(&reactor);
    let outcome = transfers.outcomes().remove(0);
    Finished { outcome, noted: tap.noted(), lasted: reactor.now() - Moment::ZERO }
}

#[test]
fn a_hundred_megabytes_survive_losses() {
    let began = Instant::now();
    let Finished { outcome, noted, lasted } = transfer(7, lossy(), 100 * MEGABYTE);
    assert!(outcome.is_whole);
    let path = outcome.client.path;
    assert_eq!(path.current_mtu, 1452);
    assert!(path.lost_packets > 1000, "{path:?}");
    let received = noted.iter().filter(|datagram| !datagram.is_sent).count();
    println!("100 MB: {lasted:?} of virtual time, {:?} of real time", began.elapsed());
    println!("{received} datagrams received, {} packets of the client found lost", path.lost_packets);
}

#[test]
fn a_seed_replays_every_datagram() {
    // The time, the side and the length of each. The contents differ, because keys come from the system's randomness.
    let run = |seed| transfer(seed, lossy().overtaken(0.01), 100 * MEGABYTE).noted;
    let (first, again, other) = (run(7), run(7), run(3));
    let difference = first.iter().zip(&again).find(|(one, two)| one != two);
    assert_eq!((difference, first.len()), (None, again.len()));
    assert_ne!(first.iter().zip(&other).find(|(one, two)| one != two), None);
}

#[test]
fn every_schedule_of_faults_delivers_every_byte() {
    for seed in 0..50 {
        let share = seed as f64 / 49.0;
        let faults =
            Faults::none().lost(0.2 * share).doubled(0.1 * share).overtaken(0.05).mtu(1200 + 10 * seed as usize);
        let delays = faults.latency(seed as u32 % 7 * 5 * MILLISECOND).jitter(seed as u32 % 3 * MILLISECOND);
        let Finished { outcome, lasted, .. } = transfer(seed, delays, MEGABYTE);
        assert!(outcome.is_whole, "seed {seed} after {lasted:?}");
        let mtu = outcome.client.path.current_mtu;
        assert!((1200..=1452.min(1200 + 10 * seed as u16)).contains(&mtu), "seed {seed}: {mtu}");
    }
}
