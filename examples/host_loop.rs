//! The reactor inside a host loop: here a poll(2) loop that draws a frame every 20 ms.
//!
//! The adapter of a GUI toolkit does the same with the toolkit's own calls: it watches one descriptor, sleeps at most as
//! long as the guest allows, and makes turns. `cargo run -p ropewalk-examples --bin host_loop` exits by itself.

#[cfg(unix)]
mod window {
    use std::cell::Cell;
    use std::os::fd::BorrowedFd;
    use std::time::{Duration, Instant};

    use ropewalk::Budget;
    use ropewalk::hosting::{Guest, HostLoop};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const FRAME: Duration = Duration::from_millis(20);

    /// A window that is closed after some frames.
    pub(crate) struct Window {
        next_frame: Cell<Instant>,
        drawn: Cell<u32>,
        frames: u32,
    }

    impl Window {
        pub(crate) fn of_frames(frames: u32) -> Window {
            Window { next_frame: Cell::new(Instant::now() + FRAME), drawn: Cell::new(0), frames }
        }

        pub(crate) fn drawn(&self) -> u32 {
            self.drawn.get()
        }
    }

    impl HostLoop for Window {
        fn run(&self, guest: &Guest) {
            while guest.is_started() && self.drawn() < self.frames {
                self.iterate(guest, None);
            }
        }

        fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
            let frame = self.next_frame.get().saturating_duration_since(Instant::now());
            let sleep = guest.timeout_within(delay).map_or(frame, |limit| limit.min(frame));
            let timeout = Timespec { tv_sec: sleep.as_secs() as i64, tv_nsec: sleep.subsec_nanos().into() };
            match guest.handle() {
                // SAFETY: the reactor keeps the handle open.
                Some(handle) => watch(unsafe { BorrowedFd::borrow_raw(handle) }, &timeout),
                // Without a handle the guest is asked once in each frame.
                None => std::thread::sleep(sleep),
            }
            guest.turn(Budget::of(Duration::from_millis(4)));
            if Instant::now() >= self.next_frame.get() {
                self.drawn.set(self.drawn.get() + 1);
                self.next_frame.set(Instant::now() + FRAME);
            }
        }
    }

    /// Sleeps until the handle is readable or the time is over.
    fn watch(handle: BorrowedFd<'_>, timeout: &Timespec) {
        // An interrupted sleep is one that was short.
        let _ = poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(timeout));
    }
}

#[cfg(unix)]
fn main() -> ropewalk::Result<()> {
    use std::rc::Rc;
    use std::time::Duration;

    use ropewalk::hosting::Guest;

    let reactor = ropewalk::Reactor::new()?;
    let guest = Guest::new(&reactor)?;
    let window = Rc::new(window::Window::of_frames(10));
    guest.set_host(window.clone());
    reactor.call_later(Duration::from_millis(100), |_| println!("a delayed call ran on the reactor"));
    reactor.run()?;
    println!("the host loop drew {} frames", window.drawn());
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this example watches a descriptor with poll(2), which needs Unix");
}
