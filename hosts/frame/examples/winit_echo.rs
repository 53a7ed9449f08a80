//! A window of winit that talks over TCP.
//!
//! Run `cargo run -p ropewalk-frame --features winit --example winit_echo`, and type. Each letter is sent to an echo
//! server, and drawn when it comes back. The server is in the same program, or at an address: `winit_echo 127.0.0.1:7`.
//! The window may be resized, and sleeps while nothing happens. When it is closed, so is the connection, and then the
//! program ends.

#![allow(clippy::print_stdout)] // the output of the program

#[path = "drawing/font.rs"]
mod font;

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::{Rc, Weak};

use ropewalk::{Phase, Protocol, Reactor, Transport};
use ropewalk_frame::winit::Wake;
use softbuffer::{Context, Surface};
use winit::application::ApplicationHandler;
use winit::dpi::LogicalSize;
use winit::event::{ElementState, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::{Window, WindowId};

const BACKGROUND: u32 = 0x0020_2830;
const BAR: u32 = 0x0030_5868;
const TEXT: u32 = 0x00f0_f0e8;
/// The size of a point of a letter, in pixels.
const SCALE: usize = 3;
const MARGIN: usize = 16;

/// The state that the window and the connection share.
#[derive(Default)]
struct Shared {
    text: RefCell<String>,
    sent: Cell<usize>,
    /// Letters that were typed before the connection was made.
    early: RefCell<String>,
    transport: RefCell<Option<Transport>>,
    /// The window, which may be gone before the connection is.
    window: RefCell<Weak<Window>>,
}

impl Shared {
    fn redraw(&self) {
        if let Some(window) = self.window.borrow().upgrade() {
            window.request_redraw();
        }
    }

    fn set_title(&self) {
        if let Some(window) = self.window.borrow().upgrade() {
            window.set_title(&format!("winit_echo: {}", self.text.borrow()));
        }
    }

    fn typed(&self, text: &str) {
        self.sent.set(self.sent.get() + text.len());
        match &*self.transport.borrow() {
            Some(transport) => transport.write(text.as_bytes()),
            None => self.early.borrow_mut().push_str(text),
        }
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

struct Talk(Rc<Shared>);

impl Protocol for Talk {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.0.early.take().as_bytes());
        *self.0.transport.borrow_mut() = Some(transport.clone());
        self.0.redraw();
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.0.text.borrow_mut().push_str(&String::from_utf8_lossy(data));
        self.0.set_title();
        self.0.redraw();
    }
}

/// The window and its pixels.
struct View {
    window: Rc<Window>,
    surface: Surface<Rc<Window>, Rc<Window>>,
}

impl View {
    fn open(event_loop: &ActiveEventLoop) -> View {
        let attributes =
            Window::default_attributes().with_title("winit_echo").with_inner_size(LogicalSize::new(420, 200));
        let window = Rc::new(event_loop.create_window(attributes).expect("a display"));
        let context = Context::new(window.clone()).expect("a display");
        let surface = Surface::new(&context, window.clone()).expect("a window with pixels");
        View { window, surface }
    }

    fn draw(&mut self, shared: &Shared) {
        let size = self.window.inner_size();
        let (Some(width), Some(height)) = (NonZeroU32::new(size.width), NonZeroU32::new(size.height)) else { return };
        self.surface.resize(width, height).expect("memory for the pixels");
        let mut pixels = self.surface.buffer_mut().expect("memory for the pixels");
        pixels.fill(BACKGROUND);
        let mut picture = Picture { width: size.width as usize, pixels: &mut pixels };
        picture.draw(shared);
        pixels.present().expect("a display");
    }
}

struct Picture<'a> {
    width: usize,
    pixels: &'a mut [u32],
}

impl Picture<'_> {
    fn draw(&mut self, shared: &Shared) {
        let text = shared.text.borrow();
        self.fill(0, 0, self.width, font::HEIGHT * SCALE + 2 * MARGIN, BAR);
        let (sent, back) = (shared.sent.get(), text.len());
        let is_connected = shared.transport.borrow().is_some();
        self.write(MARGIN, &if is_connected { format!("{sent} SENT, {back} BACK") } else { "CONNECTING".into() });
        let columns = (self.width.saturating_sub(2 * MARGIN) / (font::ADVANCE * SCALE)).max(1);
        let letters: Vec<char> = format!("{}_", *text).chars().collect();
        for (row, line) in letters.chunks(columns).enumerate() {
            let top = (font::HEIGHT + 3) * SCALE * row + font::HEIGHT * SCALE + 3 * MARGIN;
            self.write(top, &line.iter().collect::<String>());
        }
    }

    fn write(&mut self, top: usize, text: &str) {
        for (column, row) in font::points(text) {
            self.fill(MARGIN + column * SCALE, top + row * SCALE, SCALE, SCALE, TEXT);
        }
    }

    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: u32) {
        let end = (left + width).min(self.width);
        for row in self.pixels.chunks_exact_mut(self.width).skip(top).take(height) {
            if let Some(row) = row.get_mut(left..end) {
                row.fill(colour);
            }
        }
    }
}

struct App {
    reactor: Reactor,
    shared: Rc<Shared>,
    view: Option<View>,
}

impl ApplicationHandler<Wake> for App {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        let view = View::open(event_loop);
        *self.shared.window.borrow_mut() = Rc::downgrade(&view.window);
        self.view = Some(view);
    }

    fn window_event(&mut self, _event_loop: &ActiveEventLoop, _window: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => {
                self.view = None;
                // An error means that the reactor is stopping.
                let _ = self.reactor.stop();
            }
            WindowEvent::KeyboardInput { event, .. } if event.state == ElementState::Pressed => {
                self.shared.typed(event.text.as_deref().unwrap_or_default());
                self.shared.redraw();
            }
            WindowEvent::Resized(_) => self.shared.redraw(),
            WindowEvent::RedrawRequested => {
                if let Some(view) = &mut self.view {
                    view.draw(&self.shared);
                }
            }
            _ => {}
        }
    }
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let shared = Rc::new(Shared::default());
    let server = match std::env::args().nth(1) {
        Some(server) => server,
        None => reactor.listen_tcp("127.0.0.1:0", || Echo)?.host()?.to_string(),
    };
    let talks = shared.clone();
    reactor.connect_tcp(server.as_str(), move || Talk(talks.clone()))?;
    let closes = shared.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| {
        if let Some(transport) = closes.transport.take() {
            transport.lose_connection();
        }
    });

    let event_loop = EventLoop::with_user_event().build();
    let event_loop = event_loop.map_err(|error| ropewalk::Error::Failed(error.to_string().into()))?;
    let winit = ropewalk_frame::winit::install(&reactor, &event_loop)?;
    winit.set_app(event_loop, App { reactor: reactor.clone(), shared: shared.clone(), view: None });
    reactor.run()?;
    println!("{} sent, {} back: {}", shared.sent.get(), shared.text.borrow().len(), shared.text.borrow());
    Ok(())
}
