//! The reactor in the event loop of winit 0.30.
//!
//! The provider waits in a thread, which sends a user event for each turn. The application makes the turn in
//! `about_to_wait`:
//!
//! ```no_run
//! use ropewalk::{Reactor, RunOptions};
//! use ropewalk_frame::winit::{Wake, WinitHost};
//! use winit::application::ApplicationHandler;
//! use winit::event::WindowEvent;
//! use winit::event_loop::{ActiveEventLoop, EventLoop};
//! use winit::window::WindowId;
//!
//! struct App {
//!     reactor: Reactor,
//!     winit: WinitHost,
//! }
//!
//! impl ApplicationHandler<Wake> for App {
//!     fn resumed(&mut self, _event_loop: &ActiveEventLoop) {} // opens the window
//!
//!     fn window_event(&mut self, _event_loop: &ActiveEventLoop, _window: WindowId, event: WindowEvent) {
//!         if event == WindowEvent::CloseRequested {
//!             let _ = self.reactor.stop(); // the event loop exits when the reactor has ended
//!         }
//!     }
//!
//!     fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
//!         self.winit.about_to_wait(event_loop);
//!     }
//! }
//!
//! let event_loop = EventLoop::<Wake>::with_user_event().build().expect("a display");
//! let reactor = Reactor::new()?;
//! let winit = ropewalk_frame::winit::install(&reactor, &event_loop)?;
//! reactor.start_running(RunOptions::default())?;
//! let mut app = App { reactor, winit };
//! event_loop.run_app(&mut app).expect("the display stays");
//! app.winit.guest().finish()?;
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! Under X11, Wayland, Windows and macOS, `reactor.run()` can run the event loop: [`WinitHost::set_app`].
//!
//! winit's loop cannot run inside one of its callbacks. A callback that runs it, by `reactor.iterate()`, has turns of
//! the reactor there, and no events of windows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor, Result};
use winit::application::ApplicationHandler;
use winit::event::{DeviceEvent, DeviceId, StartCause, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::platform::pump_events::{EventLoopExtPumpEvents, PumpStatus};
use winit::platform::run_on_demand::EventLoopExtRunOnDemand;
use winit::window::WindowId;

use crate::bell::Bell;
use crate::{BUDGET, Frame};

/// The user event that announces a turn. An application with events of its own implements `From<Wake>` for their type,
/// and ignores this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake;

/// Makes `reactor` a guest of `event_loop`.
///
/// # Errors
/// The errors of [`Guest::new`] and [`Guest::wait_in_thread`].
pub fn install<T: From<Wake> + Send + 'static>(reactor: &Reactor, event_loop: &EventLoop<T>) -> Result<WinitHost> {
    let frame = crate::install(reactor)?;
    // Not every system's proxy may be used by two threads at once.
    let proxy = Mutex::new(event_loop.create_proxy());
    frame.sleeps_with(move || {
        let proxy = proxy.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that the event loop is gone, and nothing makes the turn.
        let _ = proxy.send_event(Wake.into());
    })?;
    let turns = Rc::new(Turns { bell: frame.bell.clone(), has_ended: Cell::default() });
    let ended = turns.clone();
    frame.guest.on_end(move || ended.has_ended.set(true));
    Ok(WinitHost { frame, turns })
}

/// A reactor in an event loop of winit. The reactor is free again when this is dropped.
///
/// All methods may be called from any callback.
#[must_use = "the reactor leaves the event loop when this is dropped"]
pub struct WinitHost {
    frame: Frame,
    turns: Rc<Turns>,
}

impl WinitHost {
    /// Returns the guest: its outcome when the program runs the event loop itself, and hooks at the end of a run.
    pub fn guest(&self) -> &Guest {
        self.frame.guest()
    }

    /// Returns the frame, for an application that makes a turn in each.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Makes the turn that is due, and exits the event loop when the run of the reactor has ended.
    ///
    /// The application calls this in its own `about_to_wait`. A turn in `user_event` would hold up the windows: winit
    /// handles all user events before it draws, and a turn may send the next one.
    pub fn about_to_wait(&self, event_loop: &ActiveEventLoop) {
        self.turns.make(self.guest(), event_loop);
    }

    /// Lets [`Reactor::run`](ropewalk::Reactor::run) run the event loop with `app`.
    ///
    /// The turns are made after the application's own `about_to_wait`, so it need not call that of this host. The reactor
    /// stops when the application exits the event loop. When the reactor has ended, the event loop exits. A second run
    /// resumes the application again, but `reactor.iterate()` cannot: winit's loop is then exited.
    ///
    /// ```no_run
    /// # use winit::{application::ApplicationHandler, event::WindowEvent, event_loop::ActiveEventLoop, window::WindowId};
    /// # struct App;
    /// # impl ApplicationHandler<Wake> for App {
    /// #     fn resumed(&mut self, _: &ActiveEventLoop) {}
    /// #     fn window_event(&mut self, _: &ActiveEventLoop, _: WindowId, _: WindowEvent) {}
    /// # }
    /// use ropewalk::Reactor;
    /// use ropewalk_frame::winit::Wake;
    /// use winit::event_loop::EventLoop;
    ///
    /// let event_loop = EventLoop::<Wake>::with_user_event().build().expect("a display");
    /// let reactor = Reactor::new()?;
    /// let winit = ropewalk_frame::winit::install(&reactor, &event_loop)?;
    /// winit.set_app(event_loop, App);
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_app<T: 'static>(&self, event_loop: EventLoop<T>, app: impl ApplicationHandler<T> + 'static) {
        let turns = self.turns.clone();
        let pump = Rc::new(Pump { turns, program: RefCell::new(Program { event_loop, app }) });
        self.guest().set_host(pump);
    }
}

impl std::fmt::Debug for WinitHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WinitHost").field("frame", &self.frame).finish_non_exhaustive()
    }
}

/// Makes the turns in the event loop.
struct Turns {
    bell: Arc<Bell>,
    /// Whether a run has ended since the event loop last exited.
    has_ended: Cell<bool>,
}

impl Turns {
    fn make(&self, guest: &Guest, event_loop: &ActiveEventLoop) {
        if self.bell.take() {
            guest.turn(Budget::of(BUDGET));
        }
        if self.has_ended.take() {
            event_loop.exit();
        }
    }
}

struct Program<T: 'static, A> {
    event_loop: EventLoop<T>,
    app: A,
}

/// The loop that [`WinitHost::set_app`] installs.
struct Pump<T: 'static, A> {
    turns: Rc<Turns>,
    program: RefCell<Program<T, A>>,
}

impl<T: 'static, A: ApplicationHandler<T>> Pump<T, A> {
    /// Makes a pass of the reactor's turns, in a callback of the event loop.
    fn pass_inside(&self, guest: &Guest, limit: Option<Duration>) {
        if self.turns.bell.wait(limit) {
            guest.turn(Budget::of(BUDGET));
        }
    }
}

impl<T: 'static, A: ApplicationHandler<T>> HostLoop for Pump<T, A> {
    fn run(&self, guest: &Guest) {
        // The end of an earlier run, which was driven without the event loop.
        self.turns.has_ended.set(false);
        let Ok(mut program) = self.program.try_borrow_mut() else {
            // A callback of the event loop runs the reactor, as `Reactor::iterate` does.
            while guest.is_started() {
                self.pass_inside(guest, None);
            }
            return;
        };
        let Program { event_loop, app } = &mut *program;
        // An error means that the display is gone. The reactor stops then, as after the end of the last window.
        let _ = event_loop.run_app_on_demand(&mut WithTurns { app, turns: &self.turns, guest });
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        let Ok(mut program) = self.program.try_borrow_mut() else { return self.pass_inside(guest, delay) };
        let Program { event_loop, app } = &mut *program;
        let status = event_loop.pump_app_events(delay, &mut WithTurns { app, turns: &self.turns, guest });
        if let (PumpStatus::Exit(_), Some(reactor)) = (status, guest.reactor()) {
            // An error means that the event loop exits because the reactor has stopped.
            let _ = reactor.stop();
            drop(program);
            // An event loop that has exited does not sleep.
            self.pass_inside(guest, delay);
        }
    }
}

/// An application whose event loop makes turns.
struct WithTurns<'a, A> {
    app: &'a mut A,
    turns: &'a Turns,
    guest: &'a Guest,
}

impl<T: 'static, A: ApplicationHandler<T>> ApplicationHandler<T> for WithTurns<'_, A> {
    fn new_events(&mut self, event_loop: &ActiveEventLoop, cause: StartCause) {
        self.app.new_events(event_loop, cause);
    }

    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        self.app.resumed(event_loop);
    }

    fn user_event(&mut self, event_loop: &ActiveEventLoop, event: T) {
        self.app.user_event(event_loop, event);
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, window: WindowId, event: WindowEvent) {
        self.app.window_event(event_loop, window, event);
    }

    fn device_event(&mut self, event_loop: &ActiveEventLoop, device: DeviceId, event: DeviceEvent) {
        self.app.device_event(event_loop, device, event);
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        self.app.about_to_wait(event_loop);
        self.turns.make(self.guest, event_loop);
    }

    fn suspended(&mut self, event_loop: &ActiveEventLoop) {
        self.app.suspended(event_loop);
    }

    fn exiting(&mut self, event_loop: &ActiveEventLoop) {
        self.app.exiting(event_loop);
    }

    fn memory_warning(&mut self, event_loop: &ActiveEventLoop) {
        self.app.memory_warning(event_loop);
    }
}
