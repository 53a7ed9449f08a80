//! A chat room in a window of GTK 4. Guests come over TCP.
//!
//! Run `cargo run -p gtk4_chat` in the folder `hosts`, then `nc 127.0.0.1 8001` in two terminals. `cargo run -p gtk4_chat
//! 127.0.0.1:9000` listens on another port. A line that is typed in the window reaches all guests. The program exits when the
//! window is closed.

#![allow(clippy::print_stderr, reason = "a program talks to its terminal")]

use std::cell::RefCell;
use std::rc::Rc;

use gtk::glib;
use gtk::prelude::*;
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// The guests, and the text in the window.
#[derive(Clone)]
struct Room {
    guests: Rc<RefCell<Vec<LineTransport>>>,
    text: glib::WeakRef<gtk::TextBuffer>,
}

impl Room {
    /// Shows a line in the window, and sends it to all guests.
    fn say(&self, line: &str) {
        for guest in self.guests.borrow().iter() {
            guest.send_line(line);
        }
        // The window may be closed while connections still end.
        if let Some(text) = self.text.upgrade() {
            text.insert(&mut text.end_iter(), &format!("{line}\n"));
        }
    }
}

struct Guest(Room);

impl LineProtocol for Guest {
    fn connection_made(&mut self, lines: &LineTransport) {
        self.0.guests.borrow_mut().push(lines.clone());
        self.0.say("* a guest joined");
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        self.0.say(&String::from_utf8_lossy(line));
    }

    fn connection_lost(&mut self, lines: &LineTransport, _reason: &Error) {
        self.0.guests.borrow_mut().retain(|guest| guest != lines);
        self.0.say("* a guest left");
    }
}

/// Builds the window of a room that listens on `address`.
fn open(application: &gtk::Application, reactor: &Reactor, address: &str) -> ropewalk::Result<()> {
    let text = gtk::TextView::builder().editable(false).vexpand(true).build();
    let entry = gtk::Entry::builder().placeholder_text("Say something").build();
    let column = gtk::Box::new(gtk::Orientation::Vertical, 6);
    column.append(&gtk::ScrolledWindow::builder().child(&text).vexpand(true).build());
    column.append(&entry);

    let room = Room { guests: Rc::default(), text: text.buffer().downgrade() };
    let guests = room.clone();
    let port = reactor.listen_tcp(address, move || LineReceiver::new(Guest(guests.clone())).delimiter("\n"))?;
    entry.connect_activate(move |entry| {
        room.say(&format!("host: {}", entry.text()));
        entry.set_text("");
    });
    let window = gtk::ApplicationWindow::builder().application(application).child(&column);
    let window = window.title(format!("Chat on {}", port.host()?)).default_width(360).default_height(240).build();
    window.present();
    entry.grab_focus();
    Ok(())
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    let reactor = Reactor::new()?;
    let glib = ropewalk_glib::install(&reactor)?;
    let application = gtk::Application::builder().application_id("net.ropewalk.Chat").build();
    glib.register_gapplication(application.upcast_ref::<gtk::gio::Application>())?;
    let opens = reactor.clone();
    application.connect_activate(move |application| match application.active_window() {
        // Another instance was started.
        Some(window) => window.present(),
        None => {
            if let Err(error) = open(application, &opens, &address) {
                eprintln!("gtk4_chat: {error}");
                application.quit();
            }
        }
    });
    reactor.run()
}
