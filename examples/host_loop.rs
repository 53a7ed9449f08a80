//! The reactor as a guest in somebody else's loop: here a poll(2) loop that draws a frame every 20 ms.
//!
//! A toolkit's loop does the same with its own means: watch one descriptor, sleep no longer than the deadline, and never
//! wake for nothing. `cargo run -p ropewalk-examples --bin host_loop` ends by itself.

#[cfg(unix)]
mod host {
    use std::os::fd::BorrowedFd;
    use std::time::{Duration, Instant};

    use ropewalk::{Reactor, RunOptions};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const FRAME: Duration = Duration::from_millis(20);

    /// Draws `frames` frames while the reactor serves, and returns how many were drawn when it stopped or they ran out.
    pub(crate) fn run(reactor: &Reactor, guest: BorrowedFd<'_>, frames: u32) -> ropewalk::Result<u32> {
        reactor.start_running(RunOptions::default().without_signal_handlers())?;
        let mut drawn = 0;
        let mut next_frame = Instant::now() + FRAME;
        while reactor.is_started() && drawn < frames {
            let limit = reactor.prepare()?;
            let until_frame = next_frame.saturating_duration_since(Instant::now());
            let sleep = limit.map_or(until_frame, |limit| limit.min(until_frame));
            let mut descriptors = [PollFd::from_borrowed_fd(guest, PollFlags::IN)];
            let timeout = Timespec { tv_sec: sleep.as_secs() as i64, tv_nsec: sleep.subsec_nanos().into() };
            let ready = poll(&mut descriptors, Some(&timeout)).unwrap_or(0);
            if ready > 0 {
                reactor.wait(Some(Duration::ZERO))?;
                reactor.dispatch();
            }
            if Instant::now() >= next_frame {
                drawn += 1;
                next_frame += FRAME;
            }
        }
        reactor.crash();
        Ok(drawn)
    }
}

#[cfg(unix)]
fn main() -> ropewalk::Result<()> {
    use std::os::fd::BorrowedFd;
    use std::time::Duration;

    let reactor = ropewalk::Reactor::new()?;
    let Some(guest) = reactor.foreign() else {
        println!("the reactor '{}' has no descriptor to watch: try ROPEWALK_REACTOR=epoll", reactor.name());
        return Ok(());
    };
    // SAFETY: the descriptor is the reactor's, which lives to the end of this function.
    let guest = unsafe { BorrowedFd::borrow_raw(guest) };
    reactor.call_later(Duration::from_millis(100), |_| println!("a delayed call of the guest"));
    let drawn = host::run(&reactor, guest, 10)?;
    println!("{drawn} frames drawn by the host");
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this example watches a descriptor with poll(2)");
}
