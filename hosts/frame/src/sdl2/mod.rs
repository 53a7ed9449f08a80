//! The reactor in the event queue of SDL 2.
//!
//! The provider waits in a thread, which pushes a user event for each turn. A program that runs its own loop calls
//! [`SdlHost::handles`] for each event:
//!
//! ```no_run
//! # fn next_event() -> u32 { 0 } // SDL_WaitEvent
//! use ropewalk::{Reactor, RunOptions};
//!
//! let reactor = Reactor::new()?;
//! // SAFETY: this thread has started SDL's video, and quits SDL after `sdl` is dropped.
//! let sdl = unsafe { ropewalk_frame::sdl2::install(&reactor)? };
//! reactor.start_running(RunOptions::default())?;
//! while sdl.guest().is_started() {
//!     let event_type = next_event();
//!     if !sdl.handles(event_type) {
//!         // ... an event of the window ...
//!     }
//! }
//! sdl.guest().finish()?;
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! A game that draws each frame polls the queue, and calls `sdl.frame().tick(budget)`. A program that only handles events
//! lets `reactor.run()` wait for them: [`SdlHost::on_event`].
//!
//! SDL has one queue in a process, and one thread handles its events. Several reactors of that thread share the queue, and
//! each of them has its turns whichever of them waits. A reactor of another thread is refused.
//!
//! `SDL_Init` handles SIGINT and SIGTERM, unless they have handlers: it pushes `SDL_QUIT`. The reactor's own handlers
//! replace these while it runs. SDL calls an event filter or watch in the thread, which must let the event pass.

mod ffi;
mod queue;

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor, Result};

pub use queue::Event;

use crate::bell::Bell;
use crate::{BUDGET, Frame};
use queue::{Queue, Wakes};

thread_local! {
    /// The reactors of this thread, which share its queue.
    static REACTORS: RefCell<Vec<Weak<Sharer>>> = RefCell::default();
}

/// Makes `reactor` a guest of SDL's event queue.
///
/// # Errors
/// The errors of [`Guest::new`] and [`Guest::wait_in_thread`]. [`Error::Failed`](ropewalk::Error::Failed) when a reactor
/// of another thread is installed, or SDL has an error.
///
/// # Safety
/// This thread is the one that handles the events of SDL. `SDL_Quit` is called only after the result has been dropped,
/// or never.
pub unsafe fn install(reactor: &Reactor) -> Result<SdlHost> {
    let queue = RefCell::new(Some(Rc::new(Queue::of_this_thread()?)));
    let event_type = queue::wake_type()?;
    let frame = crate::install(reactor)?;
    let wakes = Arc::new(Wakes::new(event_type));
    let posts = wakes.clone();
    frame.sleeps_with(move || posts.post())?;
    let sharer = Rc::new(Sharer { guest: frame.guest.clone(), bell: frame.bell.clone() });
    REACTORS.with_borrow_mut(|reactors| reactors.push(Rc::downgrade(&sharer)));
    let event_loop = Rc::new(EventLoop { queue, event_type, bell: frame.bell.clone(), handlers: RefCell::default() });
    frame.guest.set_host(event_loop.clone());
    Ok(SdlHost { frame, sharer, event_loop, wakes })
}

/// A reactor in SDL's event queue. The reactor is free again when this is dropped.
///
/// All methods may be called from any callback.
#[must_use = "the reactor leaves the queue when this is dropped"]
pub struct SdlHost {
    frame: Frame,
    sharer: Rc<Sharer>,
    event_loop: Rc<EventLoop>,
    wakes: Arc<Wakes>,
}

impl SdlHost {
    /// Returns the guest: its outcome when the program runs the loop itself, and hooks at the end of a run.
    pub fn guest(&self) -> &Guest {
        self.frame.guest()
    }

    /// Returns the frame, for a game that makes a turn in each.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Returns the type of the event that the thread pushes when a turn is due.
    pub fn event_type(&self) -> u32 {
        self.event_loop.event_type
    }

    /// Makes the turns that are due, and returns whether `event_type` is that of the event which asks for them.
    ///
    /// A program that runs its own loop calls this for each event, of any type, because a full queue drops events.
    pub fn handles(&self, event_type: u32) -> bool {
        make_turns();
        event_type == self.event_type()
    }

    /// Adds a hook that [`Reactor::run`](ropewalk::Reactor::run) calls for each event of the program.
    ///
    /// `SDL_QUIT`, which follows the end of the last window, also stops the reactor.
    ///
    /// ```no_run
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// // SAFETY: this thread has started SDL's video, and quits SDL after `sdl` is dropped.
    /// let sdl = unsafe { ropewalk_frame::sdl2::install(&reactor)? };
    /// sdl.on_event(|event| println!("event {:#x}", event.event_type()));
    /// reactor.run()?; // waits for events of SDL
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn on_event(&self, hook: impl Fn(&Event) + 'static) {
        self.event_loop.handlers.borrow_mut().push(Rc::new(hook));
    }
}

impl Drop for SdlHost {
    fn drop(&mut self) {
        // Clones of the guest may keep the thread and the loop.
        self.wakes.close();
        self.event_loop.queue.take();
        let own = Rc::downgrade(&self.sharer);
        // The list is gone when the thread ends.
        let _ = REACTORS.try_with(|reactors| reactors.borrow_mut().retain(|other| !other.ptr_eq(&own)));
    }
}

impl std::fmt::Debug for SdlHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SdlHost").field("frame", &self.frame).finish_non_exhaustive()
    }
}

/// Passes of the loop, for callbacks that wait inside.
impl HostLoop for SdlHost {
    fn run(&self, guest: &Guest) {
        self.event_loop.run(guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        self.event_loop.iterate(guest, delay);
    }
}

/// One of the reactors that share the queue.
struct Sharer {
    guest: Guest,
    bell: Arc<Bell>,
}

/// Makes the turns that are due, of all reactors of this thread.
fn make_turns() {
    let reactors = REACTORS.with_borrow(Clone::clone);
    for sharer in reactors.iter().filter_map(Weak::upgrade) {
        if sharer.bell.take() {
            sharer.guest.turn(Budget::of(BUDGET));
        }
    }
}

/// The loop that waits for events.
struct EventLoop {
    /// `None` when the host has been dropped, after which SDL may quit.
    queue: RefCell<Option<Rc<Queue>>>,
    event_type: u32,
    bell: Arc<Bell>,
    handlers: RefCell<Vec<Handler>>,
}

type Handler = Rc<dyn Fn(&Event)>;

impl EventLoop {
    fn handle(&self, guest: &Guest, event: &Event) {
        for index in 0.. {
            let Some(handler) = self.handlers.borrow().get(index).cloned() else { break };
            handler(event);
        }
        if event.event_type() == ffi::QUIT {
            if let Some(reactor) = guest.reactor() {
                // An error means that the reactor is stopping.
                let _ = reactor.stop();
            }
        }
    }
}

impl HostLoop for EventLoop {
    fn run(&self, guest: &Guest) {
        while guest.is_started() {
            self.iterate(guest, None);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        let Some(queue) = self.queue.borrow().clone() else {
            if self.bell.wait(delay) {
                guest.turn(Budget::of(BUDGET));
            }
            return;
        };
        // An outer loop may have taken the event that announces the turn.
        let delay = if self.bell.is_rung() { Some(Duration::ZERO) } else { delay };
        if let Some(event) = queue.wait(delay).filter(|event| event.event_type() != self.event_type) {
            self.handle(guest, &event);
        }
        make_turns();
    }
}
