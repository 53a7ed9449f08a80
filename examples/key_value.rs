//! A key-value server with a netstring protocol.
//!
//! Run `cargo run -p ropewalk-examples --bin key_value`, then `printf '9:set a one,5:get a,' | nc -N 127.0.0.1 8004`.
//!
//! | request | answer |
//! |---|---|
//! | `set KEY VALUE` | `stored` |
//! | `get KEY` | `value VALUE` or `none` |
//! | `delete KEY` | `deleted` or `none` |
//! | any other | `error: ` and the reason |
//!
//! A key has no spaces, and a value may have any bytes. All memory that a client can use is limited: requests by the
//! netstring receiver, the store by its capacity, and unread answers by back-pressure, in `connection_made`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{NetstringReceiver, StringProtocol, StringTransport};

/// The maximum number of bytes in a request.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// The capacity of the store, for keys and values.
const STORE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The approximate overhead of an entry. Without it, a million empty values would count as nothing.
const ENTRY_BYTES: usize = 64;

#[derive(Debug, PartialEq)]
enum Request<'a> {
    Set(&'a [u8], &'a [u8]),
    Get(&'a [u8]),
    Delete(&'a [u8]),
}

/// Splits off the first word. The rest is `None` if no space follows.
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
        (b"set" | b"get" | b"delete", b"", _) => Err("missing key: expected a key after the verb".into()),
        (b"set", key, Some(value)) => Ok(Request::Set(key, value)),
        (b"set", _, None) => Err("missing value: expected 'set KEY VALUE'".into()),
        (b"get", key, None) => Ok(Request::Get(key)),
        (b"delete", key, None) => Ok(Request::Delete(key)),
        (b"get" | b"delete", ..) => Err("unexpected word after the key: a key has no spaces".into()),
        _ => Err(format!("unknown verb '{}': expected set, get or delete", String::from_utf8_lossy(verb))),
    }
}

/// The entries, which all connections share.
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
            return Err(format!("the store is full: its capacity is {} bytes", self.capacity));
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
    fn string_received(&mut self, strings: &StringTransport, request: &[u8]) {
        let answer = self.0.borrow_mut().answer(request);
        let answer = answer.unwrap_or_else(|error| format!("error: {error}").into_bytes());
        strings.send_string(&answer).expect("a netstring has no length limit");
    }
}

/// Builds a session for each connection. The factory is paced, so a client that does not read its answers is not read
/// either.
fn sessions(store: Store) -> impl Factory {
    let store = Rc::new(RefCell::new(store));
    paced(move || NetstringReceiver::new(Session(store.clone())).max_length(REQUEST_BYTES_MAX))
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8004", sessions(Store::new(STORE_BYTES_MAX)))?;
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
    fn values_are_kept_until_they_are_deleted() {
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
    fn an_error_does_not_end_the_conversation() {
        check(
            1000,
            &[
                (b"put a b", b"error: unknown verb 'put': expected set, get or delete"),
                (b"set a", b"error: missing value: expected 'set KEY VALUE'"),
                (b"get", b"error: missing key: expected a key after the verb"),
                (b"get a b", b"error: unexpected word after the key: a key has no spaces"),
                (b"get a", b"none"),
            ],
        );
    }

    #[test]
    fn a_full_store_rejects_new_values() {
        check(
            2 * (ENTRY_BYTES + 2),
            &[
                (b"set a 1", b"stored"),
                (b"set b 2", b"stored"),
                (b"set b 3", b"stored"),
                (b"set c 4", b"error: the store is full: its capacity is 132 bytes"),
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
    fn requests_wait_until_answers_are_read() {
        let (net, slow) = serve(100_000, Faults::none());
        let long = "x".repeat(40_000);
        slow.write(&netstring(format!("set a {long}").as_bytes()));
        net.settle();
        slow.take_received();
        slow.pause_reading();
        (0..1000).for_each(|_| slow.write(&netstring(b"get a")));
        net.settle();
        let other = net.connect_stream("10.0.0.1:80");
        other.write(&netstring(b"set a new"));
        net.settle();
        slow.resume_reading();
        net.settle();
        // 64 KiB are in flight, and at most 64 KiB plus one answer are queued.
        let received = slow.received();
        let (old, new) = (netstring(format!("value {long}").as_bytes()), netstring(b"value new"));
        let old_answers = received.chunks(old.len()).take_while(|&answer| answer == old).count();
        assert!((1..=5).contains(&old_answers), "{old_answers} answers were made before one was read");
        assert_eq!(received[old_answers * old.len()..], new.repeat(1000 - old_answers));
    }

    #[test]
    fn invalid_netstrings_close_the_connection() {
        let (net, client) = serve(1000, Faults::none());
        client.write(b"get a\n");
        net.settle();
        assert!(client.is_eof() || client.is_reset());
    }
}
