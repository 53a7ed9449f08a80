//! The reactor inside a host loop: here a poll(2) loop that draws a frame every 20 ms.
//!
//! The loop of a GUI toolkit does the same with its own calls. Such a loop watches one descriptor, sleeps at most until
//! the reactor's deadline, and never wakes without a reason. `cargo run -p ropewalk-examples --bin host_loop` exits by
//! itself.

#[cfg(unix)]
mod host {
    use std::os::fd::BorrowedFd;
    use std::time::{Duration, Instant};

    use ropewalk::{Reactor, RunOptions};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const FRAME: Duration = Duration::from_millis(20);

    /// Draws up to `frames` frames while the reactor runs. Returns the number of frames drawn until the reactor stopped.
    pub(crate) fn run(reactor: &Reactor, reactor_fd: BorrowedFd<'_>, frames: u32) -> ropewalk::Result<u32> {
        reactor.start_running(RunOptions::default().without_signal_handlers())?;
        let mut drawn = 0;
        let mut next_frame = Instant::now() + FRAME;
        while reactor.is_started() && drawn < frames {
            let limit = reactor.prepare()?;
            let until_frame = next_frame.saturating_duration_since(Instant::now());
            let sleep = limit.map_or(until_frame, |limit| limit.min(until_frame));
            let mut descriptors = [PollFd::from_borrowed_fd(reactor_fd, PollFlags::IN)];
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
    let Some(descriptor) = reactor.host_handle() else {
        println!("the reactor '{}' has no descriptor to watch: try ROPEWALK_REACTOR=epoll", reactor.name());
        return Ok(());
    };
    // SAFETY: the descriptor belongs to the reactor, which lives until the end of this function.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    reactor.call_later(Duration::from_millis(100), |_| println!("a delayed call ran on the reactor"));
    let drawn = host::run(&reactor, descriptor, 10)?;
    println!("the host loop drew {drawn} frames");
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this example watches a descriptor with poll(2), which needs Unix");
}
