//! A cluster on one thread, in no time, on a bad network: `cargo run -p ropewalk-examples --bin cluster -- 7`.
//!
//! Five nodes count something together, and none of them leads. Each knows how much every node has counted, as far as it
//! has heard. Once a second it tells all that to another node, chosen at random, and hears what that one knows; the
//! larger number is the newer one, so it does not matter in which order, how often, or whether a message arrives. (The
//! literature calls this a grow-only counter, spread by gossip.)
//!
//! The program is its own test bench: the network resets connections, cuts messages into pieces and delays them, and for
//! twenty seconds lets nobody through to anybody. The nodes are ordinary protocols and run as they are on a real reactor.
//! Everything follows from the seed: a seed that goes wrong goes wrong again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{NetstringReceiver, StringProtocol, StringTransport};
use ropewalk::protocols::policies::TimeoutFactory;
use ropewalk::task::LoopingCall;
use ropewalk::testing::{Faults, MemoryReactor};
use ropewalk::{Destination, Result};

const NODES: u8 = 5;
const SECOND: Duration = Duration::from_secs(1);
/// So many seconds after the network is back, nodes that do not agree never will.
const PATIENCE: usize = 100;

/// How much each node has counted.
type Counts = BTreeMap<String, u64>;

/// `a=3 b=5`
fn encode(counts: &Counts) -> String {
    counts.iter().map(|(node, count)| format!("{node}={count}")).collect::<Vec<_>>().join(" ")
}

fn decode(message: &[u8]) -> Option<Counts> {
    let words = std::str::from_utf8(message).ok()?.split_whitespace();
    words.map(|word| word.split_once('=').and_then(|(node, count)| Some((node.into(), count.parse().ok()?)))).collect()
}

/// One node: what its connections and its clock share.
#[derive(Clone)]
struct Node {
    address: Rc<str>,
    counts: Rc<RefCell<Counts>>,
}

impl Node {
    fn new(address: &str) -> Node {
        Node { address: address.into(), counts: Rc::default() }
    }

    fn count(&self) {
        *self.counts.borrow_mut().entry(self.address.to_string()).or_default() += 1;
    }

    /// What all nodes have counted, as far as this one knows.
    fn total(&self) -> u64 {
        self.counts.borrow().values().sum()
    }

    fn learn(&self, heard: Counts) {
        let mut counts = self.counts.borrow_mut();
        for (node, count) in heard {
            let known = counts.entry(node).or_default();
            *known = count.max(*known);
        }
    }

    fn tell(&self, strings: &StringTransport) {
        strings.send_string(encode(&self.counts.borrow()).as_bytes()).expect("netstrings have any length");
    }

    /// Listens for gossip, and goes to `peers` for it every second.
    fn start(&self, reactor: &Reactor, peers: Vec<Rc<str>>, mut random: Random) -> Result<LoopingCall> {
        let node = self.clone();
        let answering = move || NetstringReceiver::new(Gossip { node: node.clone(), asks: false });
        reactor.listen_tcp(&*self.address, TimeoutFactory::new(answering, 5 * SECOND))?;

        let node = self.clone();
        let rounds = LoopingCall::new(reactor, move |rounds| {
            let peer = &peers[random.below(peers.len())];
            let node = node.clone();
            let asking = move || NetstringReceiver::new(Gossip { node: node.clone(), asks: true });
            let to = Destination::try_from(&**peer).expect("peers are addresses").timeout(2 * SECOND);
            // An attempt that fails is the next round's to repair.
            let _ = rounds.reactor().connect_tcp(to, TimeoutFactory::new(asking, 5 * SECOND));
        });
        drop(rounds.start_later(SECOND));
        Ok(rounds)
    }
}

/// One exchange: who asks tells what it knows, and is told what the other one knows then.
struct Gossip {
    node: Node,
    asks: bool,
}

impl StringProtocol for Gossip {
    fn connection_made(&mut self, strings: &StringTransport) {
        if self.asks {
            self.node.tell(strings);
        }
    }

    fn string_received(&mut self, strings: &StringTransport, message: &[u8]) {
        let Some(heard) = decode(message) else { return strings.abort_connection() };
        self.node.learn(heard);
        if !self.asks {
            self.node.tell(strings);
        }
        strings.lose_connection();
    }
}

/// Numbers that follow from a seed: xorshift64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Five nodes, and what was counted truly.
struct Cluster {
    net: MemoryReactor,
    nodes: Vec<Node>,
    rounds: Vec<LoopingCall>,
    truth: Rc<Cell<u64>>,
}

impl Cluster {
    fn new(seed: u64) -> Result<Cluster> {
        let net = MemoryReactor::seeded(seed).with_faults(bad());
        let nodes: Vec<_> = (1..=NODES).map(|number| Node::new(&format!("10.0.0.{number}:7000"))).collect();
        let mut rounds = Vec::new();
        for (number, node) in (0..).zip(&nodes) {
            let others = nodes.iter().map(|other| other.address.clone()).filter(|address| *address != node.address);
            rounds.push(node.start(&net, others.collect(), Random::new(seed * 1000 + number))?);
        }
        Ok(Cluster { net, nodes, rounds, truth: Rc::default() })
    }

    /// Has one node after the other count something, for `seconds`; `look` sees what they know each second.
    fn run(&self, seconds: usize, mut look: impl FnMut(&Cluster)) {
        for second in 0..seconds {
            self.nodes[second % self.nodes.len()].count();
            self.truth.set(self.truth.get() + 1);
            self.net.advance(SECOND);
            look(self);
        }
    }

    fn totals(&self) -> Vec<u64> {
        self.nodes.iter().map(Node::total).collect()
    }

    fn agrees(&self) -> bool {
        self.totals().iter().all(|&total| total == self.truth.get())
    }
}

/// A bad network on a normal day.
fn bad() -> Faults {
    let faults = Faults::none().short_reads().short_writes().shuffled().spurious_events();
    faults.resets(0.1).refused(0.1).latency(Duration::from_millis(20)).jitter(Duration::from_millis(300))
}

/// The same on the day of the excavator: attempts to connect are never answered.
fn cut_off() -> Faults {
    (1..=NODES).fold(bad(), |faults, number| faults.black_hole(IpAddr::from([10, 0, 0, number])))
}

/// Runs a cluster through its day, and returns how many seconds it took to agree again.
fn day(seed: u64, mut look: impl FnMut(&Cluster)) -> Result<usize> {
    let cluster = Cluster::new(seed)?;
    cluster.run(20, &mut look);
    cluster.net.set_faults(cut_off());
    cluster.run(20, &mut look);
    cluster.net.set_faults(bad());
    let mut seconds = 0;
    while !cluster.agrees() && seconds < PATIENCE {
        cluster.net.advance(SECOND);
        seconds += 1;
        look(&cluster);
    }
    cluster.rounds.iter().for_each(LoopingCall::stop);
    Ok(seconds)
}

fn main() -> Result<()> {
    let seed = std::env::args().nth(1).map_or(Ok(0), |seed| seed.parse());
    let Ok(seed) = seed else {
        eprintln!("usage: cluster [SEED], a number");
        std::process::exit(2);
    };
    println!("second  truth  what the nodes know");
    let seconds = day(seed, |cluster| {
        let totals: String = cluster.totals().iter().map(|total| format!("{total:4}")).collect();
        println!("{:6}  {:5}  {totals}", cluster.net.seconds().round(), cluster.truth.get());
    })?;
    println!("agreed again {seconds} seconds after the network was back");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that are tried; a failure names the one to replay.
    const SEEDS: std::ops::Range<u64> = 0..100;

    #[test]
    fn nobody_ever_knows_of_more_than_was_counted_and_nobody_forgets() {
        for seed in SEEDS {
            let mut before = vec![0; NODES.into()];
            day(seed, |cluster| {
                let totals = cluster.totals();
                assert!(totals.iter().all(|&total| total <= cluster.truth.get()), "seed {seed}: {totals:?}");
                assert!(totals.iter().zip(&before).all(|(now, before)| now >= before), "seed {seed}: {totals:?}");
                before = totals;
            })
            .unwrap();
        }
    }

    #[test]
    fn while_nobody_gets_through_each_counts_alone() {
        let cluster = Cluster::new(1).unwrap();
        cluster.net.set_faults(cut_off());
        cluster.run(20, |_| {});
        assert_eq!(cluster.totals(), [4; NODES as usize]);
    }

    #[test]
    fn they_agree_again_soon_after_the_network_is_back() {
        for seed in SEEDS {
            let seconds = day(seed, |_| {}).unwrap();
            assert!(seconds <= 15, "seed {seed}: {seconds} seconds");
        }
    }

    #[test]
    fn a_seed_replays() {
        let watch = |seed| {
            let mut seen = Vec::new();
            day(seed, |cluster| seen.push(cluster.totals())).unwrap();
            seen
        };
        assert_eq!(watch(7), watch(7));
        assert_ne!(watch(7), watch(8));
    }

    #[test]
    fn what_is_no_gossip_ends_the_conversation_and_teaches_nothing() {
        let cluster = Cluster::new(1).unwrap();
        cluster.net.set_faults(Faults::none());
        for message in ["5:hello,", "3:a=b,", "4:a=-1,", "nonsense"] {
            let stranger = cluster.net.connect_stream("10.0.0.1:7000");
            stranger.write(message.as_bytes());
            cluster.net.advance(SECOND / 10);
            assert!(!stranger.is_connected() || stranger.is_eof(), "{message}");
        }
        assert_eq!(cluster.totals(), [0; NODES as usize]);
    }
}
