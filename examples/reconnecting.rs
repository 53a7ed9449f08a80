//! A client that reconnects.
//!
//! Run `cargo run -p ropewalk-examples --bin reconnecting`, then start and stop `nc -l 127.0.0.1 8005` in another
//! terminal. The client prints the lines of the server, and whether it is connected.
//!
//! Attempts follow after 1, 2, 4 ... up to 30 seconds. The delays are jittered, so that the clients of a restarted
//! server do not all connect at once. A connection does not reset the delay, but the first line from the server does.
//! So a server that accepts and closes at once is tried less and less often.

use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::{BackOff, ReconnectingClientFactory};

/// Receives each line, and each change of the connection.
type Print = Rc<dyn Fn(&str)>;
type Reconnecting = ReconnectingClientFactory<ListenerFactory>;

struct Listener {
    print: Print,
    /// The factory. Each received line resets its delay.
    factory: Weak<Reconnecting>,
}

impl LineProtocol for Listener {
    fn connection_made(&mut self, lines: &LineTransport) {
        (self.print)(&format!("* connected to {}", lines.peer()));
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        if let Some(factory) = self.factory.upgrade() {
            factory.reset_delay();
        }
        (self.print)(&String::from_utf8_lossy(line));
    }

    fn connection_lost(&mut self, _lines: &LineTransport, reason: &Error) {
        (self.print)(&format!("* {reason}"));
    }
}

/// Builds a listener for each connection.
struct ListenerFactory {
    print: Print,
    /// The factory that contains this one: a strong reference would be a cycle.
    factory: Weak<Reconnecting>,
}

impl Factory for ListenerFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let listener = Listener { print: self.print.clone(), factory: self.factory.clone() };
        Some(Box::new(LineReceiver::new(listener).delimiter("\n")))
    }
}

/// Connects to `address` again and again, until `stop_trying` is called.
fn listen_to(reactor: &Reactor, address: &str, print: Print) -> ropewalk::Result<Rc<Reconnecting>> {
    let initial = Duration::from_millis(500); // grows once before the first wait
    let policy = BackOff::reconnecting().initial_delay(initial).factor(2.0).max_delay(Duration::from_secs(30));
    let factory = Rc::new_cyclic(|factory| {
        ReconnectingClientFactory::new(ListenerFactory { print, factory: factory.clone() }).retry_policy(policy)
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
        printed: Rc<RefCell<Vec<String>>>,
    }

    impl World {
        fn new() -> World {
            let net = MemoryReactor::new();
            let printed = Rc::new(RefCell::new(Vec::new()));
            let lines = printed.clone();
            let print = Rc::new(move |line: &str| lines.borrow_mut().push(line.to_owned()));
            let factory = listen_to(&net, SERVER, print).unwrap();
            World { net, factory, printed }
        }

        /// Advances the clock, and returns the number of attempts in that time.
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
            panic!("the client does not connect");
        }
    }

    #[test]
    fn attempts_slow_down_while_the_server_is_absent() {
        let world = World::new();
        let first_minute = world.attempts_in(60);
        assert!(
            (5..=8).contains(&first_minute),
            "expected attempts after about 1, 3, 7, 15, 31 seconds: {first_minute}"
        );
        world.attempts_in(3600);
        let an_hour_later = world.attempts_in(600);
        assert!((15..=26).contains(&an_hour_later), "expected one attempt in about 30 seconds: {an_hour_later}");
    }

    #[test]
    fn the_client_reconnects_to_a_restarted_server() {
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
        let lines = |word| ["* connected to 10.0.0.1:80", word, "* connection was closed cleanly"];
        assert_eq!(*world.printed.borrow(), [lines("one"), lines("two")].concat());
    }

    #[test]
    fn a_received_line_resets_the_delay() {
        let world = World::new();
        let listener = world.net.listen_stream(SERVER).unwrap();
        for _ in 0..8 {
            world.accept(&listener).close();
        }
        assert!(world.attempts_in(10) <= 1, "a connection alone must not reset the delay");
        let server = world.accept(&listener);
        server.write(b"sorry\n");
        server.close();
        world.net.settle();
        assert_eq!(world.attempts_in(2), 1);
    }

    #[test]
    fn stop_trying_cancels_the_next_attempt() {
        let world = World::new();
        world.net.advance(Duration::from_secs(5));
        world.factory.stop_trying();
        assert_eq!(world.attempts_in(3600), 0);
        assert!(world.net.get_delayed_calls().is_empty());
    }
}
