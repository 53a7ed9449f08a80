//! The addresses in an answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The longest time for which an address is kept, whatever its server says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time for which it is kept that there is no address: RFC 2308, section 5, recommends one to three hours.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(60 * 60);

/// The content of an answer about a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// The name at the end of the aliases in the answer. Without aliases it is the name itself.
    pub(super) end: Name,
    /// The time for which the answer may be kept.
    pub(super) lifetime: Duration,
    /// Whether there is nothing more to ask. Otherwise the answer ends with an alias, whose addresses are not known.
    pub(super) is_final: bool,
}

/// Reads the addresses of `name`, and the aliases that lead to them: RFC 1034, section 3.6.2.
pub(super) fn read(message: &Message, name: &Name, record_type: RecordType) -> Found {
    let (mut end, mut lifetime) = (name, LONGEST);
    let mut aliases = aliases(message);
    // Each alias is followed once, so that a circle has an end.
    while let Some((ttl, target)) = aliases.remove(end) {
        lifetime = lifetime.min(seconds(ttl));
        end = target;
    }
    let is_wanted = |record: &&Record| record.record_type() == record_type && record.name() == end;
    let records = || message.answers().iter().filter(is_wanted);
    let addresses: Vec<_> = records().filter_map(|record| address(record.data())).collect();
    let shortest = records().map(|record| seconds(record.ttl())).min();
    let negative = negative_lifetime(message);
    // A server that knows the alias and the absence of its addresses shows the zone in which they are absent.
    let is_final = shortest.or(negative).is_some() || end == name || message.response_code() == ResponseCode::NXDomain;
    lifetime = match shortest.or(negative) {
        Some(limit) => lifetime.min(limit),
        None if is_final => Duration::ZERO,
        None => lifetime,
    };
    Found { addresses, end: end.clone(), lifetime, is_final }
}

/// Returns the first alias of each name, with its lifetime. The order of the records is the server's choice: a search
/// for each alias would hold the loop for seconds if a message had thousands in the wrong order.
fn aliases(message: &Message) -> HashMap<&Name, (u32, &Name)> {
    let mut aliases = HashMap::new();
    for record in message.answers() {
        if let Some(target) = record.data().as_cname() {
            aliases.entry(record.name()).or_insert((record.ttl(), &target.0));
        }
    }
    aliases
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// Returns the time for which it may be kept that there is no such record, if there is an SOA record: RFC 2308, section
/// 5. Without it nothing is kept.
fn negative_lifetime(message: &Message) -> Option<Duration> {
    let soa = message.name_servers().iter().find_map(|record| Some((record.ttl(), record.data().as_soa()?)));
    soa.map(|(ttl, soa)| seconds(ttl.min(soa.minimum())).min(LONGEST_NEGATIVE))
}

/// A time of more than 31 bits counts as zero: RFC 2181, section 8.
fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(i32::try_from(ttl).map_or(0, i32::unsigned_abs).into())
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn record(owner: &str, ttl: u32, data: RData) -> Record {
        Record::from_rdata(name(owner), ttl, data)
    }

    fn alias(owner: &str, ttl: u32, target: &str) -> Record {
        record(owner, ttl, RData::CNAME(CNAME(name(target))))
    }

    fn v4(owner: &str, ttl: u32, last: u8) -> Record {
        record(owner, ttl, RData::A(A::new(10, 0, 0, last)))
    }

    fn found(answers: Vec<Record>) -> Found {
        let mut message = Message::new();
        read(message.add_answers(answers), &name("host.example."), RecordType::A)
    }

    fn ips(found: &Found) -> Vec<String> {
        found.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shortest_lifetime_of_the_chain_counts() {
        let chain = vec![
            v4("end.example.", 300, 1),
            alias("host.example.", 200, "middle.example."),
            alias("middle.example.", 400, "END.example."),
            v4("end.example.", 500, 2),
        ];
        let found = found(chain);
        assert_eq!(
            (ips(&found), found.lifetime),
            (vec!["10.0.0.1".into(), "10.0.0.2".into()], Duration::from_secs(200))
        );
    }

    #[test]
    fn records_of_other_names_or_types_are_ignored() {
        let v6 = record("host.example.", 300, RData::AAAA(AAAA::new(1, 0, 0, 0, 0, 0, 0, 1)));
        let found = found(vec![v4("other.example.", 300, 1), v6, v4("HOST.example.", 300, 2)]);
        assert_eq!(ips(&found), ["10.0.0.2"]);
    }

    #[test]
    fn the_first_alias_of_a_name_counts() {
        let found = found(vec![
            alias("host.example.", 60, "one.example."),
            alias("host.example.", 60, "two.example."),
            v4("two.example.", 300, 2),
            v4("one.example.", 300, 1),
        ]);
        assert_eq!(ips(&found), ["10.0.0.1"]);
    }

    #[test]
    fn thousands_of_aliases_are_followed_in_any_order() {
        let name = |number: usize| match number {
            0 => "host.example.".to_owned(),
            _ => format!("alias{number}.example."),
        };
        let chain = (0..4000).rev().map(|number| alias(&name(number), 60, &name(number + 1)));
        let found = found(chain.chain([v4(&name(4000), 60, 1)]).collect());
        assert_eq!((ips(&found), found.end.to_string()), (vec!["10.0.0.1".into()], name(4000)));
    }

    #[test]
    fn a_circle_of_aliases_has_an_end() {
        let found =
            found(vec![alias("host.example.", 9, "other.example."), alias("other.example.", 9, "host.example.")]);
        assert!(found.addresses.is_empty());
    }

    #[test]
    fn a_negative_answer_lives_as_long_as_its_soa_says() {
        let soa = |minimum| RData::SOA(SOA::new(name("ns.example."), name("root.example."), 1, 1, 1, 1, minimum));
        let lifetime = |records: Vec<Record>| {
            let mut message = Message::new();
            read(message.add_name_servers(records), &name("host.example."), RecordType::A).lifetime.as_secs()
        };
        assert_eq!(lifetime(vec![]), 0);
        assert_eq!(lifetime(vec![record("example.", 60, soa(300))]), 60);
        assert_eq!(lifetime(vec![record("example.", 600, soa(300))]), 300);
        assert_eq!(lifetime(vec![record("example.", 99999, soa(99999))]), 3600);
    }

    #[test]
    fn an_alias_alone_asks_for_more() {
        let found = found(vec![alias("host.example.", 60, "end.example.")]);
        assert_eq!((found.is_final, found.end, found.lifetime), (false, name("end.example."), Duration::from_secs(60)));
    }

    #[test]
    fn lifetimes_of_more_than_31_bits_are_zero() {
        assert_eq!(found(vec![v4("host.example.", 1 << 31, 1)]).lifetime, Duration::ZERO);
        assert_eq!(found(vec![v4("host.example.", (1 << 31) - 1, 1)]).lifetime, LONGEST);
    }
}
