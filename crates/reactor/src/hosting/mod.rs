//! The reactor as a guest of another loop: of a toolkit, of a game, of another runtime.
//!
//! A *host loop* owns the thread. An adapter lets it make the reactor's turns, and wakes it in time. All adapters are
//! written against [`Guest`]:
//!
//! ```text
//!   the host sleeps, at most for `timeout()`, and watches `handle()` while `makes_turns()`
//!     |-- the handle is readable, or the time is over --> `turn(budget)`, then `timeout()` again
//!     |-- code of the host uses the reactor ------------> `on_sooner`: the host asks for `timeout()` again
//!     +-- the run has ended ----------------------------> `on_end`: the host's loop may end
//! ```
//!
//! A callback may run the host's loop itself, as a modal dialog does. Such an inner loop makes turns of the same reactor.
//!
//! A provider without a handle, such as poll, waits in a thread of its own: [`Guest::wait_in_thread`]. So can any other
//! provider, if the host watches no handles but can be woken from another thread.
//!
//! An adapter that implements [`HostLoop`] also lets a program call [`Reactor::run`](crate::Reactor::run) as usual.
//!
//! This is a complete adapter, for a loop that waits by poll(2):
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use std::os::fd::BorrowedFd;
//! use std::rc::Rc;
//! use std::time::Duration;
//! use ropewalk::hosting::{Guest, HostLoop};
//! use ropewalk::{Budget, Reactor};
//! use rustix::event::{PollFd, PollFlags, Timespec, poll};
//!
//! struct PollLoop;
//!
//! impl HostLoop for PollLoop {
//!     fn run(&self, guest: &Guest) {
//!         while guest.is_started() {
//!             self.iterate(guest, None);
//!         }
//!     }
//!
//!     fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
//!         let timeout = guest.timeout_within(delay).map(|limit| Timespec::try_from(limit).expect("less than an age"));
//!         let handle = guest.handle().expect("epoll and uring have one");
//!         // SAFETY: the reactor keeps the handle open.
//!         let handle = unsafe { BorrowedFd::borrow_raw(handle) };
//!         // An interrupted sleep is one that was short.
//!         let _ = poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], timeout.as_ref());
//!         guest.turn(Budget::default());
//!     }
//! }
//!
//! let reactor = Reactor::with("epoll")?;
//! let guest = Guest::new(&reactor)?;
//! guest.set_host(Rc::new(PollLoop));
//! reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().expect("it runs"));
//! reactor.run()?;
//! # }
//! # Ok::<(), ropewalk::Error>(())
//! ```

mod guest;

mod host_loop;
mod waiting_thread;

pub use guest::{Guest, Next};
pub use host_loop::HostLoop;
