//! The reactor inside a tokio runtime of one thread.
//!
//! Run `cargo run -p ropewalk-guests --example tokio_guest`. An echo server and its client talk in the reactor. A task of
//! tokio schedules a delayed call, which stops the reactor. Then the program exits.
//!
//! ```text
//!   AsyncFd: the handle is readable ---------+
//!   sleep_until: the next delayed call ------+--> turn, and again
//!   Notify: code outside a turn added work -----> asks again
//! ```

#![allow(clippy::print_stdout)] // the output of the program

use std::fmt::Display;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::hosting::{Guest, Next};
use ropewalk::{Budget, Error, Protocol, Reactor, Result, RunOptions, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};

const BUDGET: Duration = Duration::from_millis(4);

/// The guest's handle. The reactor keeps the descriptor open.
struct Handle(RawFd);

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Handle {
    fn is_readable(&self) -> bool {
        // SAFETY: the reactor keeps the descriptor open.
        let handle = unsafe { BorrowedFd::borrow_raw(self.0) };
        let mut watched = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Makes the turns of a started reactor until its run has ended, and returns the outcome.
async fn run(guest: &Guest) -> Result<()> {
    let handle = guest.handle().ok_or_else(|| failed("the provider has no descriptor"))?;
    // SAFETY: the reactor keeps the descriptor open until the guest is dropped.
    let handle = unsafe { AsyncFd::register_with_interest(Handle(handle), Interest::READABLE) }.map_err(failed)?;
    let sooner = Rc::new(Notify::new());
    let notify = sooner.clone();
    guest.on_sooner(move || notify.notify_one());
    while guest.is_started() {
        tokio::select! {
            ready = handle.readable() => {
                let mut ready = ready.map_err(failed)?;
                guest.turn(Budget::of(BUDGET));
                // tokio reports each readiness once. A turn may leave events, and the handle readable.
                if !handle.get_ref().is_readable() {
                    ready.clear_ready();
                }
            }
            () = due(guest) => guest.turn(Budget::of(BUDGET)),
            // The next turn may be due sooner.
            () = sooner.notified() => {}
        }
        // Other tasks have their turn, too, while this one always has work.
        yield_now().await;
    }
    guest.finish()
}

fn failed(error: impl Display) -> Error {
    Error::Failed(error.to_string().into())
}

/// Waits until the next turn is due.
async fn due(guest: &Guest) {
    match (guest.next(), guest.reactor()) {
        (Next::Now, _) => {}
        (Next::At(deadline), Some(reactor)) => sleep_until(Instant::now() + (deadline - reactor.now())).await,
        _ => std::future::pending().await,
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

struct Ask {
    answered: Rc<Notify>,
}

impl Protocol for Ask {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"hello from the reactor");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        println!("echo: {}", String::from_utf8_lossy(data));
        self.answered.notify_one();
        transport.lose_connection();
    }
}

/// A task of tokio, which uses the reactor between two turns.
async fn stop_later(reactor: Reactor, answered: Rc<Notify>) {
    answered.notified().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    reactor.call_later(Duration::from_millis(5), |reactor| {
        println!("a delayed call, which a task of tokio scheduled");
        reactor.stop().expect("it runs");
    });
}

fn main() -> Result<()> {
    let reactor = Reactor::new()?;
    let guest = Guest::new(&reactor)?;
    let answered = Rc::new(Notify::new());
    let port = reactor.listen_tcp("127.0.0.1:0", || Echo)?;
    let asks = answered.clone();
    reactor.connect_tcp(port.host()?.to_string().as_str(), move || Ask { answered: asks.clone() })?;
    reactor.start_running(RunOptions::default())?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    LocalSet::new().block_on(&runtime, async {
        spawn_local(stop_later(reactor.clone(), answered));
        run(&guest).await
    })?;
    println!("the reactor has ended");
    Ok(())
}
