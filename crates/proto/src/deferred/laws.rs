//! Properties of chains: the result does not depend on when the Deferreds fire.

use proptest::prelude::*;

use super::tests::result_of;
use super::{Deferred, Failure, Pause, Resolver, fail, succeed};

/// One change to a chain.
#[derive(Clone, Debug)]
enum Link {
    Add(i64),
    Recover(i64),
    Swap,
    Raise(i64),
    Panic,
    /// A callback that returns a Deferred with this result. The flag says whether it has fired, or fires at the end.
    Return(Result<i64, i64>, bool),
    /// A pause, which is lifted at the end.
    Pause,
}

#[derive(Debug)]
struct Number(i64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Number {}

const PANIC: i64 = -1;

/// Computes the result of the chain without Deferreds.
fn model(input: Result<i64, i64>, links: &[Link]) -> Result<i64, i64> {
    links.iter().fold(input, |result, link| match *link {
        Link::Add(number) => result.map(|value| value.wrapping_add(number)),
        Link::Recover(number) => result.or(Ok(number)),
        Link::Swap => result.map_or_else(Ok, Err),
        Link::Raise(number) => result.and(Err(number)),
        Link::Panic => result.and(Err(PANIC)),
        Link::Return(inner, _) => result.and(inner),
        Link::Pause => result,
    })
}

/// Work that is left until the chain is built.
#[derive(Default)]
struct Late {
    resolvers: Vec<(Resolver<i64>, Result<i64, i64>)>,
    pauses: Vec<Pause>,
}

fn number_of(failure: Failure) -> i64 {
    failure.trap::<Number>().map_or(PANIC, |number| number.0)
}

fn failed(result: Result<i64, i64>) -> Result<i64, Failure> {
    result.map_err(|number| Number(number).into())
}

fn add(mut chain: Deferred<i64>, link: &Link, late: &mut Late) -> Deferred<i64> {
    match *link {
        Link::Add(number) => chain.add_callback(move |value| value.wrapping_add(number)),
        Link::Recover(number) => chain.add_errback(move |_| number),
        Link::Swap => {
            chain.then(|result| result.map_or_else(|failure| Ok(number_of(failure)), |value| Err(Number(value))))
        }
        Link::Raise(number) => chain.and_then(move |_| Err(Number(number))),
        Link::Panic => chain.add_callback(|_| panic!("a link of the chain")),
        Link::Return(result, true) => {
            chain.and_then(move |_| result.map_or_else(|number| fail(Number(number)), succeed))
        }
        Link::Return(result, false) => {
            let (inner, resolver) = Deferred::new();
            late.resolvers.push((resolver, result));
            chain.and_then(move |_| inner)
        }
        Link::Pause => {
            late.pauses.push(chain.pause());
            chain
        }
    }
}

fn results() -> impl Strategy<Value = Result<i64, i64>> {
    prop_oneof![(0..100_i64).prop_map(Ok), (0..100_i64).prop_map(Err)]
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = prop_oneof![
        (0..100_i64).prop_map(Link::Add),
        (0..100_i64).prop_map(Link::Recover),
        Just(Link::Swap),
        (0..100_i64).prop_map(Link::Raise),
        Just(Link::Panic),
        (results(), any::<bool>()).prop_map(|(result, at_once)| Link::Return(result, at_once)),
        Just(Link::Pause),
    ];
    proptest::collection::vec(link, 0..12)
}

/// Fires the resolvers and lifts the pauses in the order that `seed` decides.
fn finish(late: Late, seed: u64) {
    let mut random = seed;
    let mut next = move |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let Late { mut resolvers, mut pauses } = late;
    while !resolvers.is_empty() || !pauses.is_empty() {
        let which = next(resolvers.len() + pauses.len());
        if let Some(place) = which.checked_sub(resolvers.len()) {
            pauses.swap_remove(place).unpause();
        } else {
            let (resolver, result) = resolvers.swap_remove(which);
            resolver.fire(failed(result)).expect("a resolver that has not fired");
        }
    }
}

proptest! {
    // The chain fires before, while or after callbacks are added. The returned Deferreds fire in any order.
    #[test]
    fn the_result_does_not_depend_on_when_a_chain_fires(
        input in results(),
        links in links(),
        fired_at in 0_usize..14,
        seed in any::<u64>(),
    ) {
        let (mut chain, resolver) = Deferred::new();
        let (mut late, mut resolver) = (Late::default(), Some(resolver));
        for (place, link) in links.iter().enumerate() {
            if place == fired_at {
                resolver.take().unwrap().fire(failed(input)).unwrap();
            }
            chain = add(chain, link, &mut late);
        }
        late.resolvers.extend(resolver.map(|resolver| (resolver, input)));
        finish(late, seed);
        prop_assert!(chain.is_done());
        prop_assert_eq!(result_of(chain).map_err(number_of), model(input, &links));
    }

    #[test]
    fn a_cancelled_chain_is_done(input in results(), links in links(), fire in any::<bool>(), seed in any::<u64>()) {
        let (mut chain, resolver) = Deferred::new();
        let mut late = Late::default();
        for link in &links {
            chain = add(chain, link, &mut late);
        }
        if fire {
            resolver.fire(failed(input)).unwrap();
        }
        late.pauses.clear();
        // Each call cancels one awaited Deferred. The callbacks may then wait for the next one.
        for _ in 0..=links.len() {
            chain.cancel();
        }
        prop_assert!(chain.is_done());
        // A firing after the cancellation has no effect.
        for (resolver, result) in late.resolvers.drain(..) {
            let _ = resolver.fire(failed(result));
        }
        finish(late, seed);
        drop(chain.add_errback(|_| 0));
    }
}
