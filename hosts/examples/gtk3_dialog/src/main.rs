//! Questions that come over TCP, in modal dialogs of GTK 3.
//!
//! Run `cargo run -p gtk3_dialog` in the folder `hosts`, then `nc 127.0.0.1 8001`, and type a question. A dialog asks it,
//! in the middle of `line_received`, and the connection gets the answer. Other connections continue meanwhile: another
//! `nc` can ask as well, and the counter in the window runs. The program exits when the window is closed.

#![allow(clippy::print_stderr, reason = "a program talks to its terminal")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use gtk::glib;
use gtk::prelude::*;
use ropewalk::Phase;
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// The dialogs that are open.
type Dialogs = Rc<RefCell<Vec<gtk::MessageDialog>>>;

#[derive(Clone)]
struct Asker {
    window: glib::WeakRef<gtk::ApplicationWindow>,
    dialogs: Dialogs,
}

impl Asker {
    /// Asks in a modal dialog, whose loop makes the turns of the reactor.
    fn ask(&self, question: &str) -> Option<&'static str> {
        // The window may be closed while connections still end.
        let window = self.window.upgrade()?;
        let (flags, kind) = (gtk::DialogFlags::MODAL, gtk::MessageType::Question);
        let dialog = gtk::MessageDialog::new(Some(&window), flags, kind, gtk::ButtonsType::YesNo, question);
        self.dialogs.borrow_mut().push(dialog.clone());
        let answer = dialog.run();
        self.dialogs.borrow_mut().retain(|open| *open != dialog);
        // SAFETY: the dialog is not used after this.
        unsafe { dialog.destroy() };
        match answer {
            gtk::ResponseType::Yes => Some("yes"),
            gtk::ResponseType::No => Some("no"),
            _ => None,
        }
    }
}

impl LineProtocol for Asker {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let answer = self.ask(&String::from_utf8_lossy(line));
        lines.send_line(answer.unwrap_or("no answer"));
    }
}

/// Counts the tenths of a second in the window.
fn count(reactor: &Reactor, label: glib::WeakRef<gtk::Label>, tenths: u32) {
    reactor.call_later(Duration::from_millis(100), move |reactor| {
        let Some(shown) = label.upgrade() else { return };
        shown.set_text(&format!("running for {}.{} s", tenths / 10, tenths % 10));
        count(reactor, label, tenths + 1);
    });
}

/// Builds the window of a program that is asked on `address`.
fn open(application: &gtk::Application, reactor: &Reactor, address: &str) -> ropewalk::Result<()> {
    let label = gtk::Label::new(None);
    let window = gtk::ApplicationWindow::builder().application(application).child(&label);
    let window = window.default_width(360).default_height(120).build();
    let asker = Asker { window: window.downgrade(), dialogs: Dialogs::default() };
    let dialogs = asker.dialogs.clone();
    let port = reactor.listen_tcp(address, move || LineReceiver::new(asker.clone()).delimiter("\n"))?;
    // Nothing makes calls for a dialog after the reactor has stopped.
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| {
        dialogs.take().iter().for_each(|dialog| dialog.response(gtk::ResponseType::Cancel));
    });
    window.set_title(&format!("Questions on {}", port.host()?));
    window.show_all();
    count(reactor, label.downgrade(), 1);
    Ok(())
}

fn main() -> ropewalk::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    let reactor = Reactor::new()?;
    let glib = ropewalk_glib::install(&reactor)?;
    let application = gtk::Application::builder().application_id("net.ropewalk.Questions").build();
    glib.register_gapplication(application.upcast_ref::<gtk::gio::Application>())?;
    let opens = reactor.clone();
    application.connect_activate(move |application| match application.active_window() {
        // Another instance was started.
        Some(window) => window.present(),
        None => {
            if let Err(error) = open(application, &opens, &address) {
                eprintln!("gtk3_dialog: {error}");
                application.quit();
            }
        }
    });
    reactor.run()
}
