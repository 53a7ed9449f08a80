//! The reactor inside calloop, the event loop of winit and of Smithay.
//!
//! Run `cargo run -p ropewalk-guests --example calloop_guest`. An echo server and its client talk in the reactor. A timer
//! of calloop schedules a delayed call, which stops the reactor. Then the program exits.
//!
//! ```text
//!   Generic: the handle is readable ------+
//!   Timer: the next delayed call is due --+--> turn --+
//!   Ping: code outside a turn added work -------------+--> the timer is set again
//! ```

#![allow(clippy::print_stdout)] // the output of the program

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::ping::make_ping;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use ropewalk::hosting::Guest;
use ropewalk::{Budget, Error, Protocol, Reactor, Result, RunOptions, Transport};

const BUDGET: Duration = Duration::from_millis(4);

/// The data of the loop.
struct Program {
    sources: LoopHandle<'static, Program>,
    guest: Guest,
    timer: Option<RegistrationToken>,
}

impl Program {
    fn turn(&mut self) {
        self.guest.turn(Budget::of(BUDGET));
        self.set_timer();
    }

    /// Sets the timer for the next turn.
    fn set_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.sources.remove(timer);
        }
        let Some(timeout) = self.guest.timeout() else { return };
        let timer = self.sources.insert_source(Timer::from_duration(timeout), |_, (), program| {
            // The source is removed when this returns.
            program.timer = None;
            program.turn();
            TimeoutAction::Drop
        });
        self.timer = timer.ok();
    }
}

fn failed(error: impl Display) -> Error {
    Error::Failed(error.to_string().into())
}

/// Adds the sources of the guest to the loop.
fn insert(guest: &Guest, sources: &LoopHandle<'static, Program>) -> Result<()> {
    let handle = guest.handle().ok_or_else(|| failed("the provider has no descriptor"))?;
    // SAFETY: the reactor keeps the descriptor open.
    let handle = unsafe { BorrowedFd::borrow_raw(handle) };
    let events = Generic::new(handle, Interest::READ, Mode::Level);
    let inserted = sources.insert_source(events, |_, _, program| {
        program.turn();
        Ok(PostAction::Continue)
    });
    inserted.map_err(failed)?;

    let (ping, pinged) = make_ping().map_err(failed)?;
    let inserted = sources.insert_source(pinged, |(), (), program| program.set_timer());
    inserted.map_err(failed)?;
    guest.on_sooner(move || ping.ping());
    Ok(())
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

struct Ask;

impl Protocol for Ask {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"hello from the reactor");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        println!("echo: {}", String::from_utf8_lossy(data));
        transport.lose_connection();
    }
}

/// A timer of calloop, which uses the reactor between two turns.
fn stop_later(reactor: Reactor) -> impl FnMut(Instant, &mut (), &mut Program) -> TimeoutAction {
    move |_, (), _| {
        reactor.call_later(Duration::from_millis(5), |reactor| {
            println!("a delayed call, which a timer of calloop scheduled");
            reactor.stop().expect("it runs");
        });
        TimeoutAction::Drop
    }
}

fn main() -> Result<()> {
    let reactor = Reactor::new()?;
    let guest = Guest::new(&reactor)?;
    let port = reactor.listen_tcp("127.0.0.1:0", || Echo)?;
    reactor.connect_tcp(port.host()?.to_string().as_str(), || Ask)?;

    let mut event_loop = EventLoop::<Program>::try_new().map_err(failed)?;
    insert(&guest, &event_loop.handle())?;
    let (signal, sources) = (event_loop.get_signal(), event_loop.handle());
    guest.on_end(move || signal.stop());
    let timer = Timer::from_duration(Duration::from_millis(50));
    sources.insert_source(timer, stop_later(reactor.clone())).map_err(failed)?;
    reactor.start_running(RunOptions::default())?;
    event_loop.run(None, &mut Program { sources, guest: guest.clone(), timer: None }, |_| ()).map_err(failed)?;
    guest.finish()?;
    println!("the reactor has ended");
    Ok(())
}
