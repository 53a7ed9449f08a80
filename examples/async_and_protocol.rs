//! A protocol and async code on one reactor: a server counts down, and an async client reads the numbers.
//!
//! `cargo run -p ropewalk-examples --bin async_and_protocol` exits by itself.

use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::task::{AsyncStream, StreamFactory};

/// Counts down to zero, one number every 100 ms.
struct Countdown(u32);

impl Countdown {
    fn tick(transport: &Transport, left: u32) {
        transport.write(format!("{left}\n").as_bytes());
        if left == 0 {
            return transport.lose_connection();
        }
        let transport = transport.clone();
        transport.reactor().call_later(Duration::from_millis(100), move |_| Countdown::tick(&transport, left - 1));
    }
}

impl Protocol for Countdown {
    fn connection_made(&mut self, transport: &Transport) {
        Countdown::tick(transport, self.0);
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

async fn read_to_end(mut stream: AsyncStream) -> std::io::Result<String> {
    let (mut text, mut buffer) = (String::new(), [0; 64]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(text),
            count => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
}

/// Serves a countdown at `address`, reads it, and passes the text to `done`.
fn run(reactor: &Reactor, address: &str, done: impl Fn(&Reactor, String) + Clone + 'static) -> ropewalk::Result<()> {
    let port = reactor.listen_tcp(address, || Countdown(3))?;
    let client = StreamFactory::new(move |stream, reactor: &Reactor| {
        let done = done.clone();
        let handle = reactor.clone();
        reactor.spawn(async move {
            let text = read_to_end(stream).await.unwrap_or_else(|error| error.to_string());
            done(&handle, text);
        });
    });
    reactor.connect_tcp(&port.host()?.to_string(), client)?;
    Ok(())
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    run(&reactor, "127.0.0.1:0", |reactor, text| {
        print!("{text}");
        let _ = reactor.stop();
    })?;
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::MemoryReactor;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn the_client_reads_the_countdown() {
        let net = MemoryReactor::new();
        let received = Rc::new(RefCell::new(None));
        let result = received.clone();
        run(&net, "10.0.0.1:80", move |_, text| *result.borrow_mut() = Some(text)).unwrap();
        net.advance(Duration::from_millis(299));
        assert_eq!(*received.borrow(), None);
        net.advance(Duration::from_millis(10));
        assert_eq!(received.borrow().as_deref(), Some("3\n2\n1\n0\n"));
    }
}
