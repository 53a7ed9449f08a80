//! A chat between a window of wxWidgets and guests over TCP, in one thread.
//!
//! Run `cargo run -p wx_demo` in the folder `hosts`, then `nc 127.0.0.1 8001`. A line that ends with a question mark or
//! an exclamation mark opens a modal dialog in the middle of `line_received`. The program exits when the window is closed.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use wx_demo::Window;

type Guests = Rc<RefCell<Vec<LineTransport>>>;

struct Guest(Guests);

impl LineProtocol for Guest {
    fn connection_made(&mut self, lines: &LineTransport) {
        self.0.borrow_mut().push(lines.clone());
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        Window::append(&line);
        if line.ends_with('?') {
            lines.send_line(if Window::ask(&line) { "yes" } else { "no" });
        } else if line.ends_with('!') {
            Window::show(&line);
        }
    }

    fn connection_lost(&mut self, lines: &LineTransport, _reason: &Error) {
        self.0.borrow_mut().retain(|guest| guest != lines);
    }
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    let reactor = Reactor::new()?;
    let wx = ropewalk_wx::install(&reactor)?;
    let guests = Guests::default();
    let joined = guests.clone();
    reactor.listen_tcp(&*address, move || LineReceiver::new(Guest(joined.clone())).delimiter("\n"))?;
    let window = Window::open("Chat", move |line| {
        Window::append(line);
        guests.borrow().iter().for_each(|guest| guest.send_line(line));
    });
    // SAFETY: the window lives longer than the run.
    unsafe { wx.register_wx_app(window.app()) }?;
    reactor.run()
}
