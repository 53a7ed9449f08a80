//! Answers that are kept until they expire, up to a number.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use ropewalk_proto::Moment;

use super::error::DnsError;

/// The addresses of a name, or the fact that it does not exist.
pub(super) type Outcome = Result<Vec<IpAddr>, DnsError>;

type Key = (Name, RecordType);

/// The answers, and the order in which they expire.
pub(super) struct Cache {
    most: usize,
    answers: HashMap<Key, (Moment, u64, Outcome)>,
    order: BTreeMap<(Moment, u64), Key>,
    next_number: u64,
}

impl Cache {
    /// Returns an empty cache for at most `most` answers.
    pub(super) fn new(most: usize) -> Cache {
        Cache { most, answers: HashMap::new(), order: BTreeMap::new(), next_number: 0 }
    }

    /// Returns the answer for a name, in letters of either case.
    pub(super) fn get(&mut self, name: &Name, record_type: RecordType, now: Moment) -> Option<Outcome> {
        let key = (name.clone(), record_type);
        let (expires, number, outcome) = self.answers.get(&key)?;
        if *expires > now {
            return Some(outcome.clone());
        }
        self.order.remove(&(*expires, *number));
        self.answers.remove(&key);
        None
    }

    /// Keeps an answer for `lifetime`. If the cache is full, the answer is dropped that would expire first.
    pub(super) fn insert(
        &mut self,
        name: Name,
        record_type: RecordType,
        outcome: Outcome,
        now: Moment,
        lifetime: Duration,
    ) {
        if self.most == 0 || lifetime.is_zero() {
            return;
        }
        let (key, expires, number) = ((name, record_type), now + lifetime, self.next_number);
        self.next_number += 1;
        if let Some((expires, number, _)) = self.answers.insert(key.clone(), (expires, number, outcome)) {
            self.order.remove(&(expires, number));
        }
        self.order.insert((expires, number), key);
        while self.answers.len() > self.most {
            let Some((_, first)) = self.order.pop_first() else { return };
            self.answers.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn name(number: usize) -> Name {
        Name::from_ascii(format!("host{number}.example.")).unwrap()
    }

    fn at(seconds: u32) -> Moment {
        Moment::ZERO + seconds * SECOND
    }

    fn is_known(cache: &mut Cache, number: usize, seconds: u32) -> bool {
        cache.get(&name(number), RecordType::A, at(seconds)).is_some()
    }

    fn keep(cache: &mut Cache, number: usize, seconds: u32) {
        cache.insert(name(number), RecordType::A, Ok(Vec::new()), Moment::ZERO, seconds * SECOND);
    }

    #[test]
    fn an_answer_is_known_until_it_expires() {
        let mut cache = Cache::new(10);
        keep(&mut cache, 1, 5);
        assert!(is_known(&mut cache, 1, 4) && !is_known(&mut cache, 2, 4));
        assert!(!is_known(&mut cache, 1, 5));
        assert!(cache.answers.is_empty() && cache.order.is_empty());
        assert!(cache.get(&name(1), RecordType::AAAA, at(0)).is_none());
    }

    #[test]
    fn names_differ_by_letters_in_either_case_never() {
        let mut cache = Cache::new(10);
        keep(&mut cache, 1, 5);
        assert!(cache.get(&Name::from_ascii("HOST1.Example.").unwrap(), RecordType::A, at(0)).is_some());
    }

    #[test]
    fn a_full_cache_drops_the_answer_that_expires_first() {
        let mut cache = Cache::new(2);
        for (number, seconds) in [(1, 50), (2, 5), (3, 20)] {
            keep(&mut cache, number, seconds);
        }
        assert!(is_known(&mut cache, 1, 0) && !is_known(&mut cache, 2, 0) && is_known(&mut cache, 3, 0));
    }

    #[test]
    fn a_renewed_answer_takes_one_place() {
        let mut cache = Cache::new(2);
        for seconds in [5, 6, 7] {
            keep(&mut cache, 1, seconds);
        }
        assert_eq!((cache.answers.len(), cache.order.len()), (1, 1));
        assert!(is_known(&mut cache, 1, 6));
    }

    #[test]
    fn nothing_is_kept_without_time_or_room() {
        let (mut small, mut cache) = (Cache::new(0), Cache::new(2));
        keep(&mut small, 1, 5);
        keep(&mut cache, 1, 0);
        assert!(small.answers.is_empty() && cache.answers.is_empty());
    }
}
