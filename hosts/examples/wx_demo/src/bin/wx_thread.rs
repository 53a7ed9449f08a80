//! A chat between a window of wxWidgets and guests over TCP, in two threads: the portable way.
//!
//! The window has the main thread, and the reactor runs in another one. Each side calls the other one by its own means:
//!
//! ```text
//!   the window:  a line was typed      --- ThreadHandle::call_from_thread ---> the reactor sends it
//!   the reactor: a line was received   --- wxEvtHandler::CallAfter ----------> the window shows it
//! ```
//!
//! Run `cargo run -p wx_demo --bin wx_thread` in the folder `hosts`, then `nc 127.0.0.1 8001`.

use std::cell::RefCell;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::{RunOptions, ThreadHandle};
use wx_demo::Window;

thread_local! {
    /// The guests, in the reactor's thread.
    static GUESTS: RefCell<Vec<LineTransport>> = const { RefCell::new(Vec::new()) };
}

struct Guest;

impl LineProtocol for Guest {
    fn connection_made(&mut self, lines: &LineTransport) {
        GUESTS.with_borrow_mut(|guests| guests.push(lines.clone()));
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        let line = String::from_utf8_lossy(line).into_owned();
        Window::call_after(move || Window::append(&line));
    }

    fn connection_lost(&mut self, lines: &LineTransport, _reason: &Error) {
        GUESTS.with_borrow_mut(|guests| guests.retain(|guest| guest != lines));
    }
}

/// Runs a reactor in this thread, and sends its handle to the other one.
fn run(address: &str, started: &Sender<ThreadHandle>) -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    reactor.listen_tcp(address, || LineReceiver::new(Guest).delimiter("\n"))?;
    started.send(reactor.thread_handle()).expect("the main thread waits");
    // The main thread gets the signals.
    reactor.run_with(RunOptions::default().without_signal_handlers())
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    let (started, reactor) = channel();
    let thread = thread::spawn(move || run(&address, &started));
    if let Ok(reactor) = reactor.recv() {
        let typed = reactor.clone();
        let window = Window::open("Chat", move |line| {
            Window::append(line);
            let line = line.to_owned();
            typed.call_from_thread(move |_| {
                GUESTS.with_borrow(|guests| guests.iter().for_each(|guest| guest.send_line(&line)));
            });
        });
        window.main_loop();
        reactor.call_from_thread(|reactor| reactor.stop().expect("it runs"));
        // The application lives until the reactor makes no calls any more.
        let outcome = thread.join().expect("no panic");
        drop(window);
        return outcome;
    }
    thread.join().expect("no panic")
}
