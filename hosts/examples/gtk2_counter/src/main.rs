//! A counter of echoes in a window of GTK 2, whose loop is gtk_main(3).
//!
//! Run `cargo run -p gtk2_counter` in the folder `hosts`. An echo server and its client are in the same process: the
//! client sends a number each tenth of a second, and the window shows the number that comes back. The program exits when
//! the window is closed.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr::null_mut;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::RunOptions;
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// A `GtkWidget`.
type Widget = *mut c_void;

unsafe extern "C" {
    fn gtk_init(count: *mut c_int, arguments: *mut *mut *mut c_char);
    fn gtk_main();
    fn gtk_main_quit();
    fn gtk_window_new(kind: c_int) -> Widget;
    fn gtk_window_set_title(window: Widget, title: *const c_char);
    fn gtk_window_set_default_size(window: Widget, width: c_int, height: c_int);
    fn gtk_label_new(text: *const c_char) -> Widget;
    fn gtk_label_set_text(label: Widget, text: *const c_char);
    fn gtk_container_add(container: Widget, widget: Widget);
    fn gtk_widget_show_all(widget: Widget);
    fn g_signal_connect_data(
        object: Widget,
        signal: *const c_char,
        handler: *const c_void,
        data: *mut c_void,
        destroy: *const c_void,
        flags: c_uint,
    ) -> c_ulong;
}

/// A window with a line of text. It is gone when the user has closed it.
struct Window {
    label: Cell<Widget>,
    reactor: Reactor,
}

impl Window {
    fn open(reactor: &Reactor) -> Rc<Window> {
        // SAFETY: without arguments, both pointers may be null.
        unsafe { gtk_init(null_mut(), null_mut()) };
        // SAFETY: GTK has been initialized. 0 is GTK_WINDOW_TOPLEVEL.
        let window = unsafe { gtk_window_new(0) };
        // SAFETY: the window is new.
        unsafe { gtk_window_set_title(window, c"Echoes".as_ptr()) };
        // SAFETY: as above.
        unsafe { gtk_window_set_default_size(window, 240, 80) };
        // SAFETY: the text is copied.
        let label = unsafe { gtk_label_new(c"no echo yet".as_ptr()) };
        // SAFETY: both are new.
        unsafe { gtk_container_add(window, label) };
        let opened = Rc::new(Window { label: Cell::new(label), reactor: reactor.clone() });
        let data = Rc::into_raw(opened.clone()).cast_mut().cast();
        let handler = Window::closed as *const c_void;
        // SAFETY: the handler has the signature of the signal, and its data stays until the process exits.
        unsafe { g_signal_connect_data(window, c"destroy".as_ptr(), handler, data, std::ptr::null(), 0) };
        // SAFETY: the window has all its contents.
        unsafe { gtk_widget_show_all(window) };
        opened
    }

    extern "C" fn closed(_window: Widget, data: *mut c_void) {
        // SAFETY: `open` passed this pointer, and keeps the value.
        let window = unsafe { &*data.cast::<Window>() };
        window.label.set(null_mut());
        // An error means that the reactor stops already.
        let _ = window.reactor.stop();
    }

    fn show(&self, text: &str) {
        let text = CString::new(text).unwrap_or_default();
        // The window may be closed while connections still end.
        if !self.label.get().is_null() {
            // SAFETY: the label is alive, because `closed` has not been called.
            unsafe { gtk_label_set_text(self.label.get(), text.as_ptr()) };
        }
    }
}

struct Echo;

impl LineProtocol for Echo {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        lines.send_line(line);
    }
}

struct Counter {
    window: Rc<Window>,
    sent: u32,
}

impl LineProtocol for Counter {
    fn connection_made(&mut self, lines: &LineTransport) {
        lines.send_line("1");
        self.sent = 1;
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        self.window.show(&format!("{} echoes", String::from_utf8_lossy(line)));
        self.sent += 1;
        let (next, lines) = (self.sent.to_string(), lines.clone());
        lines.clone().transport().reactor().call_later(Duration::from_millis(100), move |_| lines.send_line(&next));
    }
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let glib = ropewalk_glib::install(&reactor)?;
    let window = Window::open(&reactor);
    let port = reactor.listen_tcp("127.0.0.1:0", || LineReceiver::new(Echo))?;
    let client = move || LineReceiver::new(Counter { window: window.clone(), sent: 0 });
    reactor.connect_tcp(port.host()?.inet().expect("an address of TCP"), client)?;
    // SAFETY: `on_end` is called on this thread, in the loop of `gtk_main`.
    glib.guest().on_end(|| unsafe { gtk_main_quit() });
    reactor.start_running(RunOptions::default())?;
    // SAFETY: GTK has been initialized.
    unsafe { gtk_main() };
    glib.guest().finish()
}
