//! A key-value server that speaks netstrings: `cargo run -p ropewalk-examples --bin key_value`, then
//! `printf '9:set a one,5:get a,' | nc -N 127.0.0.1 8004`.
//!
//! | request | answer |
//! |---|---|
//! | `set KEY VALUE` | `stored` |
//! | `get KEY` | `value VALUE` or `none` |
//! | `delete KEY` | `deleted` or `none` |
//! | anything else | `error: ` and what was wrong |
//!
//! A key has no spaces; a value is any bytes. Whatever a stranger can make large has a bound: a request by the netstring
//! receiver, the store by its capacity, and the answers that nobody reads by one line in `connection_made`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{NetstringReceiver, StringProtocol, StringTransport};

/// The longest request.
const REQUEST_BYTES: usize = 64 * 1024;
/// How much the store holds, keys and values together.
const STORE_BYTES: usize = 64 * 1024 * 1024;
/// What an entry costs beside its bytes, roughly: else a million empty values would be free.
const ENTRY_BYTES: usize = 64;

#[derive(Debug, PartialEq)]
enum Request<'a> {
    Set(&'a [u8], &'a [u8]),
    Get(&'a [u8]),
    Delete(&'a [u8]),
}

/// The first word, and what follows the space behind it.
fn split_word(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&byte| byte == b' ') {
        Some(space) => (&bytes[..space], Some(&bytes[space + 1..])),
        None => (bytes, None),
    }
}

fn parse(request: &[u8]) -> Result<Request<'_>, String> {
    let (verb, rest) = split_word(request);
    let (key, value) = split_word(rest.unwrap_or_default());
    match (verb, key, value) {
        (b"set" | b"get" | b"delete", b"", _) => Err("expected a key after the verb".into()),
        (b"set", key, Some(value)) => Ok(Request::Set(key, value)),
        (b"set", _, None) => Err("expected 'set KEY VALUE', found no value".into()),
        (b"get", key, None) => Ok(Request::Get(key)),
        (b"delete", key, None) => Ok(Request::Delete(key)),
        (b"get" | b"delete", ..) => Err("a key has no spaces, and no value follows it here".into()),
        _ => Err(format!("'{}' is not a verb: use set, get or delete", String::from_utf8_lossy(verb))),
    }
}

/// What all connections share.
struct Store {
    entries: HashMap<Box<[u8]>, Box<[u8]>>,
    used: usize,
    capacity: usize,
}

impl Store {
    fn new(capacity: usize) -> Store {
        Store { entries: HashMap::new(), used: 0, capacity }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let old = self.entries.get(key).map_or(0, |value| cost(key, value));
        let used = self.used - old + cost(key, value);
        if used > self.capacity {
            return Err(format!("the store is full: it holds {} bytes", self.capacity));
        }
        self.used = used;
        self.entries.insert(key.into(), value.into());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let old = self.entries.remove(key);
        self.used -= old.as_ref().map_or(0, |value| cost(key, value));
        old.is_some()
    }

    fn answer(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        Ok(match parse(request)? {
            Request::Set(key, value) => self.set(key, value).map(|()| b"stored".to_vec())?,
            Request::Get(key) => {
                self.entries.get(key).map_or(b"none".to_vec(), |value| [b"value ".as_slice(), value].concat())
            }
            Request::Delete(key) if self.delete(key) => b"deleted".to_vec(),
            Request::Delete(_) => b"none".to_vec(),
        })
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}

struct Session(Rc<RefCell<Store>>);

impl StringProtocol for Session {
    fn connection_made(&mut self, strings: &StringTransport) {
        // It produces for itself: who asks and does not read the answers is not asked for more.
        let _ = strings.register_producer(strings.transport().clone());
    }

    fn string_received(&mut self, strings: &StringTransport, request: &[u8]) {
        let answer = self.0.borrow_mut().answer(request);
        let answer = answer.unwrap_or_else(|error| format!("error: {error}").into_bytes());
        strings.send_string(&answer).expect("netstrings have any length");
    }

    fn read_connection_lost(&mut self, strings: &StringTransport) {
        strings.unregister_producer();
        strings.lose_connection();
    }
}

fn sessions(store: Store) -> impl Fn() -> NetstringReceiver<Session> {
    let store = Rc::new(RefCell::new(store));
    move || NetstringReceiver::new(Session(store.clone())).max_length(REQUEST_BYTES)
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8004", sessions(Store::new(STORE_BYTES)))?;
    println!("keeping values on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{Faults, MemoryReactor, TestStream};

    fn netstring(bytes: &[u8]) -> Vec<u8> {
        [format!("{}:", bytes.len()).as_bytes(), bytes, b","].concat()
    }

    fn serve(capacity: usize, faults: Faults) -> (MemoryReactor, TestStream) {
        let net = MemoryReactor::seeded(3).with_faults(faults);
        net.listen_tcp("10.0.0.1:80", sessions(Store::new(capacity))).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        (net, client)
    }

    #[track_caller]
    fn check(capacity: usize, conversation: &[(&[u8], &[u8])]) {
        let (net, client) = serve(capacity, Faults::none().short_reads().short_writes());
        for (request, answer) in conversation {
            client.write(&netstring(request));
            net.settle();
            let (found, expected) = (client.take_received(), netstring(answer));
            assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
        }
    }

    #[test]
    fn values_are_any_bytes_and_are_kept_until_they_are_deleted() {
        check(
            1000,
            &[
                (b"get a", b"none"),
                (b"set a one, \0two", b"stored"),
                (b"get a", b"value one, \0two"),
                (b"set a ", b"stored"),
                (b"get a", b"value "),
                (b"delete a", b"deleted"),
                (b"delete a", b"none"),
                (b"get a", b"none"),
            ],
        );
    }

    #[test]
    fn a_mistake_is_explained_and_the_conversation_goes_on() {
        check(
            1000,
            &[
                (b"put a b", b"error: 'put' is not a verb: use set, get or delete"),
                (b"set a", b"error: expected 'set KEY VALUE', found no value"),
                (b"get", b"error: expected a key after the verb"),
                (b"get a b", b"error: a key has no spaces, and no value follows it here"),
                (b"get a", b"none"),
            ],
        );
    }

    #[test]
    fn a_full_store_takes_no_more_until_something_is_deleted() {
        check(
            2 * (ENTRY_BYTES + 2),
            &[
                (b"set a 1", b"stored"),
                (b"set b 2", b"stored"),
                (b"set b 3", b"stored"),
                (b"set c 4", b"error: the store is full: it holds 132 bytes"),
                (b"delete a", b"deleted"),
                (b"set c 4", b"stored"),
                (b"get b", b"value 3"),
            ],
        );
    }

    #[test]
    fn connections_share_one_store() {
        let (net, writer) = serve(1000, Faults::none());
        let reader = net.connect_stream("10.0.0.1:80");
        writer.write(&netstring(b"set a one"));
        net.settle();
        reader.write(&netstring(b"get a"));
        net.settle();
        assert_eq!(reader.received(), netstring(b"value one"));
    }

    #[test]
    fn a_request_is_not_answered_before_there_is_room_for_the_answer() {
        let (net, lazy) = serve(100_000, Faults::none());
        let long = "x".repeat(40_000);
        lazy.write(&netstring(format!("set a {long}").as_bytes()));
        net.settle();
        lazy.take_received();
        lazy.pause_reading();
        (0..1000).for_each(|_| lazy.write(&netstring(b"get a")));
        net.settle();
        let other = net.connect_stream("10.0.0.1:80");
        other.write(&netstring(b"set a new"));
        net.settle();
        lazy.resume_reading();
        net.settle();
        // 64 KiB were on the way, and no more than 64 KiB and an answer in the queue.
        let received = lazy.received();
        let (old, new) = (netstring(format!("value {long}").as_bytes()), netstring(b"value new"));
        let old_answers = received.chunks(old.len()).take_while(|&answer| answer == old).count();
        assert!((1..=5).contains(&old_answers), "{old_answers} answers were made before anybody read one");
        assert_eq!(received[old_answers * old.len()..], new.repeat(1000 - old_answers));
    }

    #[test]
    fn what_is_no_netstring_ends_the_connection() {
        let (net, client) = serve(1000, Faults::none());
        client.write(b"get a\n");
        net.settle();
        assert!(client.is_eof() || client.is_reset());
    }
}
