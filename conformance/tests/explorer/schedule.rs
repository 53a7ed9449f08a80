//! One schedule from its beginning to one of three ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::testing::{Faults, MemoryReactor, Random};
use ropewalk::{Phase, Reactor, RunOptions};

use crate::actions::{abort, act, lose, resume};
use crate::guests::Guests;
use crate::producers::unregister;
use crate::world::{Report, World};
use crate::{clients, servers};

/// How a schedule ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish {
    /// Everybody hears everything out and leaves.
    Peace,
    /// The reactor is stopped in the midst of it.
    Stop,
    /// The reactor is dropped in the midst of it.
    Drop,
}

/// Runs the schedule of `seed`: what happened, and whether all promises were kept.
pub(crate) fn explore(seed: u64, finish: Finish) -> Result<Report, Report> {
    let mut random = Random::new(seed ^ 0xfa17_5000_0000_0000);
    let world = Rc::new(World::new(seed, 20 + random.below(100)));
    let net = MemoryReactor::seeded(seed).with_faults(faults(&mut random));
    let mut guests = Guests::new(&world, &net);
    for _ in 0..2 + world.below(3) {
        servers::listen(&world, &net);
    }
    for _ in 0..2 + world.below(4) {
        clients::connect(&world, &net);
    }
    match finish {
        Finish::Peace => {
            go_wild(&world, &net, &mut guests);
            leave_in_peace(&world, &net, &mut guests);
            check_nothing_left(&world, &net);
        }
        Finish::Stop => {
            guests = run_until_stopped(&world, &net, guests);
            check_nothing_left(&world, &net);
        }
        Finish::Drop => {
            go_wild(&world, &net, &mut guests);
            drop_reactor(&world, net);
        }
    }
    guests.check();
    let report = world.report();
    // The ledger and the transports in it refer to each other.
    world.ends.take();
    world.clients.take();
    report
}

/// A network of its own unkindness for each seed: each fault is there or not.
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

/// Time passes, and everybody does anything.
fn go_wild(world: &Rc<World>, net: &MemoryReactor, guests: &mut Guests) {
    for _ in 0..30 {
        guests.act(net);
        if world.chance(0.5) && world.spend() {
            act(world, net, None);
        }
        net.advance(Duration::from_micros(world.below(10_000) as u64));
    }
}

/// Everybody hears everything out, then leaves; whatever was written has arrived.
fn leave_in_peace(world: &Rc<World>, net: &MemoryReactor, guests: &mut Guests) {
    world.calm_down();
    guests.leave();
    // Delayed calls resume who paused, and let springs run dry: none waits as long as this. The timeouts of connectors
    // do, if they are left over.
    net.advance(Duration::from_secs(2));
    for end in world.living() {
        if let Some(transport) = end.transport.borrow().clone() {
            unregister(&end, &transport);
            resume(world, &end, &transport);
        }
    }
    net.settle();
    check_nothing_stuck(world);
    for port in world.ports.take() {
        drop(port.stop_listening());
    }
    clients::give_up(world);
    for end in world.living() {
        if let Some(transport) = end.transport.borrow().clone() {
            lose(world, &end, &transport);
        }
    }
    net.settle();
    part_who_wait_for_each_other(world);
    net.settle();
}

/// Two ends that lose their connection at the same time read no more, and with full buffers neither gets rid of what it
/// has to send. Nothing else may keep an end alive.
fn part_who_wait_for_each_other(world: &Rc<World>) {
    for end in world.living() {
        let Some(transport) = end.transport.borrow().clone() else { continue };
        let peer = end.peer().and_then(|number| world.end(number));
        let both = transport.buffered() > 0 && peer.is_none_or(|peer| peer.lives() && peer.losing.get());
        world.expect(both, || format!("end {} does not leave", end.number));
        abort(world, &end, &transport);
    }
}

/// Between two ends that live and listen, nothing is under way when the network is at rest.
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
        let told = end.write_lost.get() || !end.losing_write.get() || !sent;
        world.expect(told, || format!("end {} was not told that it can send no more", end.number));
    }
}

/// The reactor runs by itself, and is stopped in the midst of it. Somebody asks it to wait a little before it goes.
fn run_until_stopped(world: &Rc<World>, net: &MemoryReactor, guests: Guests) -> Guests {
    let guests = Rc::new(RefCell::new(guests));
    for _ in 0..60 {
        let (world, net_again, guests) = (world.clone(), net.clone(), guests.clone());
        net.call_later(Duration::from_micros(world.below(100_000) as u64), move |reactor| {
            // A guest whose act runs the loop is not asked again meanwhile.
            if let Ok(mut guests) = guests.try_borrow_mut() {
                guests.act(&net_again);
            }
            act(&world, reactor, None);
        });
    }
    let waiting = world.clone();
    net.add_system_event_trigger(Phase::Before, "shutdown", move |reactor: &Reactor| waiting.wait_a_little(reactor));
    net.call_later(Duration::from_millis(100), |reactor| reactor.stop().expect("nobody else stops it"));
    let outcome = net.run_with(RunOptions::default().without_signal_handlers());
    world.expect(outcome.is_ok(), || format!("run: {outcome:?}"));
    // Who has not begun his first attempt is not ended with the run: he may begin it in the last turn, or the next run.
    let (sources, connecting) = (net.source_count(), clients::connecting(world).len());
    world.expect(sources <= connecting, || format!("{sources} sources outlive the run, {connecting} connect"));
    world.calm_down();
    world.ports.take();
    clients::give_up(world);
    // Delayed calls outlive a run; they are made in the next one, or here.
    net.advance(Duration::from_secs(2));
    Rc::into_inner(guests).expect("all calls have been made").into_inner()
}

/// Nobody is told, and nobody is kept alive by the handles that are still held.
fn drop_reactor(world: &Rc<World>, net: MemoryReactor) {
    world.calm_down();
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
    ];
    for (what, count) in left {
        world.expect(count == 0, || format!("{count} {what} are left over"));
    }
    let calls = net.get_delayed_calls();
    world.expect(calls.is_empty(), || format!("left over at {:?}: {calls:?}", net.now()));
    for client in world.clients.borrow().iter() {
        client.check_over();
    }
}
