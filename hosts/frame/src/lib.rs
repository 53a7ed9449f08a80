//! The reactor in a loop of frames: a game, a toolkit that draws each frame, winit, SDL 2.
//!
//! Such a loop cannot watch descriptors. [`install`] makes the reactor its guest, and each frame makes a turn:
//!
//! ```
//! use std::time::Duration;
//! use ropewalk::{Budget, Reactor, RunOptions};
//!
//! let reactor = Reactor::new()?;
//! let frame = ropewalk_frame::install(&reactor)?;
//! reactor.start_running(RunOptions::default().without_signal_handlers())?;
//! reactor.call_later(Duration::from_millis(5), |reactor| reactor.stop().expect("it runs"));
//! while frame.tick(Budget::of(Duration::from_millis(4)))? {
//!     // ... handle the events of the window, draw, wait for the next frame ...
//!     std::thread::sleep(Duration::from_millis(1));
//! }
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! | the loop | how the reactor has its turns |
//! |---|---|
//! | draws each frame (macroquad, pygame, raylib) | [`Frame::tick`] in each frame |
//! | is a function that draws one frame (PyUI) | [`Frame::draws_every`], and `reactor.run()` |
//! | sleeps until an event | [`Frame::sleeps_with`]: a thread waits, and posts an event for each turn |
//! | winit | `winit::install`, feature `winit` |
//! | SDL 2 | `sdl2::install`, feature `sdl2` |
//!
//! A game of macroquad makes the turn between its drawing and `next_frame`:
//!
//! ```text
//! while frame.tick(Budget::of(Duration::from_millis(4)))? {
//!     draw();
//!     next_frame().await;
//! }
//! ```
//!
//! In a loop like that of pygame, the turn follows the events of the frame: `event.get()`, `tick`, draw,
//! `display.flip()`, `clock.tick(60)`. A call is then late by a frame at most. A budget of 4 ms leaves most of the frame
//! to the game.
//!
//! # The end
//!
//! `tick` returns `false` when the run of the reactor has ended, and the error that ended it. When the window is closed,
//! call `reactor.stop()` and draw until then: connections may still be closing. A loop that cannot continue returns, and
//! `frame.guest().finish()` makes the turns of the shutdown.
//!
//! # Traps
//!
//! - Close dialogs in a `before shutdown` trigger. After the reactor has stopped, nothing makes its calls any more, so
//!   a dialog that waits for one of them never closes.
//! - A protocol may outlive the window that it draws in. Let it hold the window by a weak reference.
//! - An event of a thread must be answered by a turn. The thread waits again, or posts the next event, only after a turn.
//! - A toolkit that drops events when its queue is full, or by a filter, must not drop that event.
//! - io_uring in the thread may keep the address of a closed port for a moment, because the thread holds the last request.
//!   Choose epoll for a program that listens on the same address again.
//! - SDL polls each millisecond while it has no window, with its dummy driver, and while it watches joysticks. It sleeps
//!   under X11 and Wayland.
//!
//! Source: `_threadedselect` and PyUI's `install` of Twisted.

#![warn(missing_docs)]

mod bell;
mod frames;
#[cfg(feature = "sdl2")]
pub mod sdl2;
#[cfg(feature = "winit")]
pub mod winit;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor, Result};

use bell::Bell;
use frames::FrameLoop;

/// The time of a turn in the loops of this crate. A frame has 16 ms at 60 Hz.
const BUDGET: Duration = Duration::from_millis(4);

/// Makes `reactor` a guest of a loop of frames.
///
/// # Errors
/// The errors of [`Guest::new`].
///
/// Source: `pyuisupport.install`.
pub fn install(reactor: &Reactor) -> Result<Frame> {
    Ok(Frame { guest: Guest::new(reactor)?, bell: Arc::default(), drawing: OnceCell::new() })
}

/// A reactor in a loop of frames. The reactor is free again when this is dropped.
///
/// All methods may be called from any callback.
///
/// ```
/// use ropewalk::{Error, Reactor};
///
/// let reactor = Reactor::new()?;
/// let frame = ropewalk_frame::install(&reactor)?;
/// assert!(matches!(ropewalk_frame::install(&reactor), Err(Error::Hosted)));
/// drop(frame);
/// let _frame = ropewalk_frame::install(&reactor)?;
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the reactor leaves the loop when this is dropped"]
pub struct Frame {
    guest: Guest,
    /// Rings when a turn is due, if the provider waits in a thread.
    bell: Arc<Bell>,
    drawing: OnceCell<Rc<FrameLoop>>,
}

impl Frame {
    /// Returns the guest: its outcome when the program leaves its loop first, and hooks at the end of a run.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let frame = ropewalk_frame::install(&reactor)?;
    /// frame.guest().on_end(|| println!("the loop may end"));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Makes a turn, and returns whether the run continues.
    ///
    /// A reactor that is not started returns `false`. If nothing is due, this costs a look at the provider, or less if the
    /// provider waits in a [thread](Frame::sleeps_with).
    ///
    /// ```
    /// use ropewalk::{Budget, Reactor, RunOptions};
    ///
    /// let reactor = Reactor::new()?;
    /// let frame = ropewalk_frame::install(&reactor)?;
    /// reactor.start_running(RunOptions::default().without_signal_handlers())?;
    /// assert!(frame.tick(Budget::default())?);
    /// reactor.stop()?; // the window was closed
    /// while frame.tick(Budget::default())? {}
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Reactor::run`](ropewalk::Reactor::run), once, when the run has ended.
    /// [`Error::Closed`](ropewalk::Error::Closed) when the reactor has been dropped.
    ///
    /// # Panics
    /// With a panic of a callback, under [`PanicPolicy::Resume`](ropewalk::PanicPolicy::Resume).
    pub fn tick(&self, budget: Budget) -> Result<bool> {
        self.guest.turn(budget);
        if self.guest.is_started() {
            return Ok(true);
        }
        self.guest.finish().map(|()| false)
    }

    /// Lets the provider wait in a thread, so that an idle loop may sleep until an event.
    ///
    /// `wake` posts an event to the loop, at most one for each turn, and the loop answers it by [`tick`](Frame::tick).
    /// The thread also posts one when a delayed call is due. See [`Guest::wait_in_thread`].
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    /// use ropewalk::{Budget, Reactor, RunOptions};
    ///
    /// let reactor = Reactor::new()?;
    /// let frame = ropewalk_frame::install(&reactor)?;
    /// let (queue, events) = channel();
    /// frame.sleeps_with(move || drop(queue.send("a turn is due")))?;
    /// reactor.start_running(RunOptions::default().without_signal_handlers())?;
    /// reactor.call_later(Duration::from_millis(5), |reactor| reactor.stop().expect("it runs"));
    /// for _event in events {
    ///     if !frame.tick(Budget::of(Duration::from_millis(4)))? {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Guest::wait_in_thread`].
    pub fn sleeps_with(&self, wake: impl Fn() + Send + Sync + 'static) -> Result<()> {
        let bell = self.bell.clone();
        self.guest.wait_in_thread(move || {
            bell.ring();
            wake();
        })
    }

    /// Lets [`Reactor::run`](ropewalk::Reactor::run) call `draw` at each `interval`, and make turns between the frames.
    ///
    /// `draw` handles the events of the window and draws it. The reactor stops when `draw` returns `false`: the window
    /// was closed. Turns are made when they are due, without waiting for the next frame.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let frame = ropewalk_frame::install(&reactor)?;
    /// let mut frames = 0;
    /// frame.draws_every(Duration::from_millis(2), move |_reactor| {
    ///     frames += 1;
    ///     frames < 3 // the user closes the window
    /// })?;
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Guest::wait_in_thread`].
    ///
    /// Source: `pyuisupport._guiUpdate`.
    pub fn draws_every(&self, interval: Duration, draw: impl FnMut(&Reactor) -> bool + 'static) -> Result<()> {
        self.sleeps_with(|| ())?;
        let drawing = FrameLoop::new(self.bell.clone(), interval, Box::new(draw));
        self.guest.set_host(self.drawing.get_or_init(|| Rc::new(drawing)).clone());
        Ok(())
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("guest", &self.guest).finish_non_exhaustive()
    }
}

/// Passes of the loop that [draws](Frame::draws_every), for callbacks that wait inside. Without that loop, a pass is a
/// turn.
impl HostLoop for Frame {
    fn run(&self, guest: &Guest) {
        while guest.is_started() {
            self.iterate(guest, None);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        match self.drawing.get() {
            Some(drawing) => drawing.iterate(guest, delay),
            None => guest.turn(Budget::of(BUDGET)),
        }
    }
}
