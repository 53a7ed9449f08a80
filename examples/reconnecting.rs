//! A client that outlives its server: `cargo run -p ropewalk-examples --bin reconnecting`, then `nc -l 127.0.0.1 8005` in
//! another terminal, now and again. It prints what the server says, and whether there is one.
//!
//! Attempts come after 1, 2, 4 ... up to 30 seconds, spread a little so that a thousand clients of a server that comes
//! back do not all come at once. What shows that the server works is its first line, not the connection: one that
//! accepts and hangs up is left in peace longer and longer.

use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::{BackOff, ReconnectingClientFactory};

/// Where lines go to, and what becomes of the connection.
type Tell = Rc<dyn Fn(&str)>;
type Reconnecting = ReconnectingClientFactory<Listeners>;

struct Listener {
    tell: Tell,
    /// Weak: the factory lives as long as its connector, and this protocol no longer than the connection.
    factory: Weak<Reconnecting>,
}

impl LineProtocol for Listener {
    fn connection_made(&mut self, lines: &LineTransport) {
        (self.tell)(&format!("* connected to {}", lines.peer()));
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        if let Some(factory) = self.factory.upgrade() {
            factory.reset_delay();
        }
        (self.tell)(&String::from_utf8_lossy(line));
    }

    fn connection_lost(&mut self, _lines: &LineTransport, reason: &Error) {
        (self.tell)(&format!("* {reason}"));
    }
}

/// Makes a listener for each connection.
struct Listeners {
    tell: Tell,
    factory: Weak<Reconnecting>,
}

impl Factory for Listeners {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let listener = Listener { tell: self.tell.clone(), factory: self.factory.clone() };
        Some(Box::new(LineReceiver::new(listener).delimiter(&b"\n"[..])))
    }
}

/// Listens to whoever is at `address`, until `stop_trying`.
fn listen_to(reactor: &Reactor, address: &str, tell: Tell) -> ropewalk::Result<Rc<Reconnecting>> {
    let initial = Duration::from_millis(500); // grows once before the first wait
    let policy = BackOff::reconnecting().initial_delay(initial).factor(2.0).max_delay(Duration::from_secs(30));
    let factory = Rc::new_cyclic(|factory| {
        ReconnectingClientFactory::new(Listeners { tell, factory: factory.clone() }).retry_policy(policy)
    });
    reactor.connect_tcp(address, factory.clone())?;
    Ok(factory)
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    listen_to(&reactor, "127.0.0.1:8005", Rc::new(|line| println!("{line}")))?;
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{MemoryReactor, TestListener, TestStream};
    use std::cell::RefCell;

    const SERVER: &str = "10.0.0.1:80";

    struct World {
        net: MemoryReactor,
        factory: Rc<Reconnecting>,
        told: Rc<RefCell<Vec<String>>>,
    }

    impl World {
        fn new() -> World {
            let net = MemoryReactor::new();
            let told = Rc::new(RefCell::new(Vec::new()));
            let note = told.clone();
            let tell = Rc::new(move |line: &str| note.borrow_mut().push(line.to_owned()));
            let factory = listen_to(&net, SERVER, tell).unwrap();
            World { net, factory, told }
        }

        /// How many attempts are made within `seconds`.
        fn attempts_in(&self, seconds: u64) -> usize {
            let before = self.net.tcp_clients().len();
            self.net.advance(Duration::from_secs(seconds));
            self.net.tcp_clients().len() - before
        }

        fn accept(&self, listener: &TestListener) -> TestStream {
            for _ in 0..120 {
                self.net.advance(Duration::from_secs(1));
                if let Some(stream) = listener.accept() {
                    return stream;
                }
            }
            panic!("the client does not come");
        }
    }

    #[test]
    fn an_absent_server_is_tried_less_and_less_often_but_for_ever() {
        let world = World::new();
        let first_minute = world.attempts_in(60);
        assert!((5..=8).contains(&first_minute), "after 1, 3, 7, 15, 31 seconds, about: {first_minute}");
        world.attempts_in(3600);
        let an_hour_later = world.attempts_in(600);
        assert!((15..=26).contains(&an_hour_later), "one each 30 seconds, about: {an_hour_later}");
    }

    #[test]
    fn a_server_that_comes_goes_and_comes_is_heard_each_time() {
        let world = World::new();
        world.net.advance(Duration::from_secs(100));
        let listener = world.net.listen_stream(SERVER).unwrap();
        for word in ["one", "two"] {
            let server = world.accept(&listener);
            server.write(word.as_bytes());
            server.write(b"\n");
            server.close();
            world.net.settle();
        }
        let heard = |word| ["* connected to 10.0.0.1:80", word, "* connection was closed cleanly"];
        assert_eq!(*world.told.borrow(), [heard("one"), heard("two")].concat());
    }

    #[test]
    fn one_line_brings_the_short_delay_back_and_a_mere_connection_does_not() {
        let world = World::new();
        let listener = world.net.listen_stream(SERVER).unwrap();
        for _ in 0..8 {
            world.accept(&listener).close();
        }
        assert!(world.attempts_in(10) <= 1, "it hangs up: the waits have grown to half a minute");
        let server = world.accept(&listener);
        server.write(b"sorry\n");
        server.close();
        world.net.settle();
        assert_eq!(world.attempts_in(2), 1);
    }

    #[test]
    fn who_stops_trying_leaves_nothing_behind() {
        let world = World::new();
        world.net.advance(Duration::from_secs(5));
        world.factory.stop_trying();
        assert_eq!(world.attempts_in(3600), 0);
        assert!(world.net.get_delayed_calls().is_empty());
    }
}
