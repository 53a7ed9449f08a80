//! A chat room with a line protocol.
//!
//! Run `cargo run -p ropewalk-examples --bin chat`, then `nc 127.0.0.1 8001` in two terminals. The first line that you
//! type is your name.
//!
//! All connections are on one thread, so the room needs no lock, only a `RefCell`. A guest that does not read is
//! disconnected, because everything that the others say is queued for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// The most bytes that may be queued for a guest.
const QUEUED_MAX: usize = 64 * 1024;

/// The guests by name.
#[derive(Clone, Default)]
struct Room(Rc<RefCell<BTreeMap<String, LineTransport>>>);

impl Room {
    /// Sends a line to all guests except `sender`.
    fn say(&self, sender: &str, line: &str) {
        for (name, guest) in self.0.borrow().iter() {
            if name != sender {
                guest.send_line(line);
                if guest.buffered() > QUEUED_MAX {
                    guest.abort_connection(); // `connection_lost` of the guest follows this callback
                }
            }
        }
    }
}

struct Guest {
    room: Room,
    name: Option<String>,
}

impl Guest {
    fn introduce(&mut self, lines: &LineTransport, name: String) {
        if name.is_empty() || self.room.0.borrow().contains_key(&name) {
            return lines.send_line("that name is taken, try another:");
        }
        self.room.0.borrow_mut().insert(name.clone(), lines.clone());
        self.room.say(&name, &format!("* {name} joined"));
        lines.send_line(&format!("welcome, {name}"));
        self.name = Some(name);
    }
}

impl LineProtocol for Guest {
    fn connection_made(&mut self, lines: &LineTransport) {
        lines.send_line("your name?");
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim().to_owned();
        match &self.name {
            Some(name) => self.room.say(name, &format!("{name}: {line}")),
            None => self.introduce(lines, line),
        }
    }

    fn connection_lost(&mut self, _lines: &LineTransport, _reason: &Error) {
        if let Some(name) = self.name.take() {
            self.room.0.borrow_mut().remove(&name);
            self.room.say(&name, &format!("* {name} left"));
        }
    }
}

/// Lines end with a newline, as nc and telnet send them.
fn guests(room: Room) -> impl Fn() -> LineReceiver<Guest> {
    move || LineReceiver::new(Guest { room: room.clone(), name: None }).delimiter("\n")
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8001", guests(Room::default()))?;
    println!("chatting on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{MemoryReactor, TestStream};

    /// Connects a guest whose first line is `line`.
    fn enter(net: &MemoryReactor, line: &str) -> TestStream {
        let guest = net.connect_stream("10.0.0.1:80");
        guest.write(line);
        net.settle();
        guest
    }

    #[test]
    fn guests_see_messages_of_other_guests() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", guests(Room::default())).unwrap();
        let [ada, bob] = ["ada\r\n", "bob\r\n"].map(|line| enter(&net, line));
        bob.write(b"good evening\n");
        net.settle();
        bob.close();
        net.settle();
        let received = String::from_utf8(ada.received()).unwrap();
        assert_eq!(received, "your name?\nwelcome, ada\n* bob joined\nbob: good evening\n* bob left\n");
        assert_eq!(String::from_utf8(bob.received()).unwrap(), "your name?\nwelcome, bob\n");
    }

    #[test]
    fn a_guest_that_does_not_read_is_disconnected() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", guests(Room::default())).unwrap();
        let [ada, bob] = ["ada\n", "bob\n"].map(|line| enter(&net, line));
        bob.pause_reading();
        let line = [b"x".repeat(1000), b"\n".to_vec()].concat();
        for _ in 0..1000 {
            ada.write(&line);
            net.settle();
        }
        assert!(ada.is_connected() && !bob.is_connected());
    }

    #[test]
    fn a_taken_name_is_refused() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", guests(Room::default())).unwrap();
        let guests = [(); 2].map(|()| net.connect_stream("10.0.0.1:80"));
        for guest in &guests {
            guest.write(b"ada\n");
            net.settle();
        }
        assert!(guests[1].received().ends_with(b"that name is taken, try another:\n"));
    }
}
