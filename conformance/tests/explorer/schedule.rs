//! One schedule from its beginning to one of three ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::testing::{Faults, MemoryReactor, Random};
use ropewalk::{Phase, Reactor, RunOptions};

use crate::actions::{abort, act, lose, resume};
use crate::datagrams::OutsideSocket;
use crate::outside_peers::OutsidePeers;
use crate::producers::unregister;
use crate::world::{Report, World};
use crate::{children, clients, datagrams, passing, servers};

/// The way in which a schedule ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish {
    /// All ends receive everything, then close.
    Close,
    /// The reactor is stopped in the middle.
    Stop,
    /// The reactor is dropped in the middle.
    Drop,
}

/// Runs the schedule of `seed`, and returns its events. Fails if a promise was broken.
pub(crate) fn explore(seed: u64, finish: Finish) -> Result<Report, Report> {
    let mut random = Random::new(seed ^ 0xfa17_5000_0000_0000);
    let world = Rc::new(World::new(seed, 20 + random.below(100)));
    let faults = faults_of_children(faults_of_datagrams(faults(&mut random), &world, &mut random), &mut random);
    let net = MemoryReactor::seeded(seed).with_faults(faults);
    // The walk panics in callbacks on purpose.
    net.set_panic_policy(ropewalk::PanicPolicy::Log);
    let mut peers = OutsidePeers::new(&world, &net);
    for _ in 0..2 + world.below(3) {
        servers::listen(&world, &net);
    }
    for _ in 0..2 + world.below(4) {
        clients::connect(&world, &net);
    }
    let socket = OutsideSocket::new(&world, &net);
    (0..world.below(3)).for_each(|_| datagrams::open(&world, &net));
    children::install(&world, &net);
    (0..world.below(3)).for_each(|_| children::spawn(&world, &net));
    (0..world.below(6)).for_each(|_| socket.act());
    match finish {
        Finish::Close => {
            act_at_random(&world, &net, &mut peers);
            close_in_order(&world, &net, &mut peers);
            check_nothing_left(&world, &net);
            drop(net);
        }
        Finish::Stop => {
            peers = run_until_stopped(&world, &net, peers);
            check_nothing_left(&world, &net);
            drop(net);
        }
        Finish::Drop => {
            act_at_random(&world, &net, &mut peers);
            drop_reactor(&world, net);
        }
    }
    peers.check();
    socket.check();
    drop((peers, socket));
    passing::check_closed(&world);
    let report = world.report();
    world.release();
    report
}

/// Chooses the faults of the network.
fn faults(random: &mut Random) -> Faults {
    let mut faults = Faults::none();
    let kinds: [fn(Faults) -> Faults; 5] =
        [Faults::short_reads, Faults::short_writes, Faults::lent_reads, Faults::shuffled, Faults::spurious_events];
    for kind in kinds {
        if random.chance(0.4) {
            faults = kind(faults);
        }
    }
    if random.chance(0.3) {
        faults = faults.resets(0.02);
    }
    if random.chance(0.3) {
        faults = faults.refused(0.2);
    }
    if random.chance(0.6) {
        faults =
            faults.latency(random.duration(Duration::from_millis(5))).jitter(random.duration(Duration::from_millis(5)));
    }
    if random.chance(0.2) {
        faults = faults.descriptors(4 + random.below(8));
    }
    let buffers = [64 * 1024, 20_000, 3000, 500];
    faults.buffer(buffers[random.below(buffers.len())])
}

/// Adds the faults of datagrams.
fn faults_of_datagrams(mut faults: Faults, world: &World, random: &mut Random) -> Faults {
    if random.chance(0.3) {
        faults = faults.lost(0.2);
    }
    if random.chance(0.2) {
        faults = faults.mtu(1500);
    }
    faults.doubled(if world.doubles { 0.3 } else { 0.0 }).overtaken(if world.overtakes { 0.5 } else { 0.0 })
}

/// Adds the faults of child processes.
fn faults_of_children(mut faults: Faults, random: &mut Random) -> Faults {
    if random.chance(0.2) {
        faults = faults.spawn_failures(0.2);
    }
    if random.chance(0.4) {
        faults = faults.exit_jitter(random.duration(Duration::from_millis(50)));
    }
    if random.chance(0.3) {
        faults = faults.deaths(0.3, Duration::from_millis(50));
    }
    faults
}

/// Takes random actions while time passes.
fn act_at_random(world: &Rc<World>, net: &MemoryReactor, peers: &mut OutsidePeers) {
    for _ in 0..30 {
        peers.act(net);
        if world.chance(0.5) && world.spend() {
            act(world, net, None);
        }
        net.advance(Duration::from_micros(world.below(10_000) as u64));
    }
}

/// Lets all ends receive everything, then closes them. All written bytes must have arrived.
fn close_in_order(world: &Rc<World>, net: &MemoryReactor, peers: &mut OutsidePeers) {
    world.stop_acting();
    peers.close_all();
    // Delayed calls resume paused ends and exhaust the producers, all within less time than this. Timeouts of
    // connectors would show here if they were left over.
    net.advance(Duration::from_secs(2));
    for end in world.living() {
        if let Some(transport) = end.transport.borrow().clone() {
            unregister(&end, &transport);
            resume(world, &end, &transport);
        }
    }
    datagrams::resume_all(world);
    children::end_all(world);
    net.settle();
    // A program that was left behind holds pipes for a time, and an exit is revealed after its jitter.
    net.advance(Duration::from_millis(100));
    check_nothing_stuck(world);
    datagrams::stop_all(world);
    for port in world.ports.take() {
        drop(port.stop_listening());
    }
    clients::stop_attempts(world);
    for end in world.living() {
        if let Some(transport) = end.transport.borrow().clone() {
            lose(world, &end, &transport);
        }
    }
    net.settle();
    abort_deadlocked_ends(world);
    net.settle();
}

/// Two ends that lose their connection at the same time stop reading, so with full buffers neither can send the rest.
/// Nothing else may keep an end open.
fn abort_deadlocked_ends(world: &Rc<World>) {
    for end in world.living() {
        let Some(transport) = end.transport.borrow().clone() else { continue };
        let peer = end.peer().and_then(|number| world.end(number));
        let both = transport.buffered() > 0 && peer.is_none_or(|peer| peer.lives() && peer.losing.get());
        world.expect(both, || format!("end {} stays open", end.number));
        abort(world, &end, &transport);
    }
}

/// Checks that no bytes are in flight between two open ends while the network is at rest.
fn check_nothing_stuck(world: &World) {
    for end in world.living() {
        let Some(peer) = end.peer().and_then(|number| world.end(number)) else { continue };
        let transport = end.transport.borrow().clone();
        let listens = transport.is_some_and(|transport| !transport.is_disconnecting() && transport.is_connected());
        if listens && peer.lives() {
            end.check_whole(world, "with the network at rest");
        }
    }
    for end in world.living() {
        let sent = end.transport.borrow().as_ref().is_some_and(|transport| transport.buffered() == 0);
        let notified = end.write_lost.get() || !end.losing_write.get() || !sent;
        world.expect(notified, || format!("end {} got no write_connection_lost", end.number));
    }
}

/// Runs the reactor, and stops it in the middle. A trigger delays the shutdown a little.
fn run_until_stopped(world: &Rc<World>, net: &MemoryReactor, peers: OutsidePeers) -> OutsidePeers {
    let peers = Rc::new(RefCell::new(peers));
    for _ in 0..60 {
        let (world, net_again, peers) = (world.clone(), net.clone(), peers.clone());
        net.call_later(Duration::from_micros(world.below(100_000) as u64), move |reactor| {
            // A peer whose action turns the loop does not act again meanwhile.
            if let Ok(mut peers) = peers.try_borrow_mut() {
                peers.act(&net_again);
            }
            act(&world, reactor, None);
        });
    }
    let waiting = world.clone();
    net.add_system_event_trigger(Phase::Before, "shutdown", move |reactor: &Reactor| waiting.delay_shutdown(reactor));
    net.call_later(Duration::from_millis(100), |reactor| reactor.stop().expect("it runs"));
    let outcome = net.run_with(RunOptions::default().without_signal_handlers());
    world.expect(outcome.is_ok(), || format!("run: {outcome:?}"));
    // A connector that has not begun its first attempt outlives the run: it begins in the last turn, or in the next
    // run.
    let (sources, connecting) = (net.source_count(), clients::connecting(world).len());
    world.expect(sources <= connecting, || format!("{sources} sources outlive the run, {connecting} connect"));
    world.stop_acting();
    world.ports.take();
    clients::stop_attempts(world);
    // Delayed calls outlive a run. The next run makes these calls, or this function does.
    net.advance(Duration::from_secs(2));
    Rc::into_inner(peers).expect("all calls have been made").into_inner()
}

/// Drops the reactor. No protocol is notified, and handles keep none alive.
fn drop_reactor(world: &Rc<World>, net: MemoryReactor) {
    world.stop_acting();
    let network = net.network().clone();
    drop(net);
    let protocols = world.protocols.get();
    world.expect(protocols == 0, || format!("{protocols} protocols outlive their reactor"));
    let sources = network.open_sources();
    world.expect(sources == 0, || format!("{sources} sources outlive their reactor"));
    for end in world.living() {
        end.cut_short.set(true);
    }
}

fn check_nothing_left(world: &World, net: &MemoryReactor) {
    let left = [
        ("living ends", world.living().len()),
        ("sources of the reactor", net.source_count()),
        ("sources of the network", net.open_sources()),
        ("protocols", world.protocols.get()),
        ("started factories", world.started.get().unsigned_abs()),
        ("handshakes", world.sealing.handshakes()),
    ];
    for (what, count) in left {
        world.expect(count == 0, || format!("{count} {what} are left over"));
    }
    let calls = net.get_delayed_calls();
    world.expect(calls.is_empty(), || format!("left over at {:?}: {calls:?}", net.now()));
    for client in world.clients.borrow().iter() {
        client.check_over();
    }
    world.mailboxes.borrow().iter().for_each(|mailbox| mailbox.check_over(world));
    world.children.borrow().iter().for_each(|ledger| ledger.check_over(world));
}
