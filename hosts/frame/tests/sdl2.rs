//! The reactor in SDL's event queue: without a display, and with a window.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk::hosting::HostLoop;
use ropewalk::proto::Deferred;
use ropewalk::{Budget, Error, PanicPolicy, Phase, Reactor, RunOptions};
use ropewalk_desktop::{Program, own_test, run_own_test};
use ropewalk_frame::sdl2::{Event, SdlHost};

const MS: Duration = Duration::from_millis(1);
const VIDEO: u32 = 0x20;
const QUIT: u32 = 0x100;

#[allow(non_snake_case)] // SDL's names
unsafe extern "C" {
    fn SDL_SetHint(name: *const c_char, value: *const c_char) -> c_int;
    fn SDL_Init(flags: u32) -> c_int;
    fn SDL_Quit();
    fn SDL_PushEvent(event: *mut [u32; 14]) -> c_int;
    fn SDL_WaitEvent(event: *mut [u32; 14]) -> c_int;
    fn SDL_CreateWindow(
        title: *const c_char,
        x: c_int,
        y: c_int,
        width: c_int,
        height: c_int,
        flags: u32,
    ) -> *mut std::ffi::c_void;
}

fn quiet() -> RunOptions {
    RunOptions::default().without_signal_handlers()
}

fn stop(reactor: &Reactor) {
    reactor.stop().unwrap();
}

fn init() {
    // SAFETY: a test's thread is the only one that uses SDL.
    assert_eq!(unsafe { SDL_Init(VIDEO) }, 0);
}

/// Starts SDL with the driver that has no display.
fn init_dummy() {
    let (name, value): (&CStr, &CStr) = (c"SDL_VIDEODRIVER", c"dummy");
    // SAFETY: SDL copies both strings.
    unsafe { SDL_SetHint(name.as_ptr(), value.as_ptr()) };
    init();
}

fn install(reactor: &Reactor) -> Result<SdlHost, Error> {
    // SAFETY: the test's thread is the only one that handles events, and drops the host before it quits SDL.
    unsafe { ropewalk_frame::sdl2::install(reactor) }
}

/// Pushes an event of the program.
fn push(event_type: u32) {
    let mut event = [0; 14];
    event[0] = event_type;
    // SAFETY: the events are started, and the event has the size of the union.
    assert_eq!(unsafe { SDL_PushEvent(&mut event) }, 1);
}

/// Waits for an event, and returns its type.
fn wait() -> u32 {
    let mut event = [0; 14];
    // SAFETY: the events are started, and the event has the size of the union.
    assert_eq!(unsafe { SDL_WaitEvent(&mut event) }, 1);
    event[0]
}

#[test]
fn a_reactor_runs_in_the_queue_several_times() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let _sdl = install(&reactor).unwrap();
    for _ in 0..3 {
        reactor.call_later(5 * MS, stop);
        reactor.run_with(quiet()).unwrap();
    }
}

#[test]
fn any_provider_waits_in_the_thread() {
    init_dummy();
    for provider in ["select", "poll", "epoll"] {
        let reactor = Reactor::with(provider).unwrap();
        let _sdl = install(&reactor).unwrap();
        let handle = reactor.thread_handle();
        let thread = thread::spawn(move || handle.call_from_thread(stop));
        reactor.run_with(quiet()).unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn events_of_the_program_are_passed_to_its_hook() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = install(&reactor).unwrap();
    let seen = Rc::new(Cell::new(0));
    let counts = seen.clone();
    let own = sdl.event_type() + 1;
    let ends = reactor.clone();
    sdl.on_event(move |event: &Event| {
        if event.event_type() == own {
            counts.set(counts.get() + 1);
            if counts.get() == 3 {
                stop(&ends);
            }
        }
    });
    for _ in 0..3 {
        push(own);
    }
    reactor.run_with(quiet()).unwrap();
    assert_eq!(seen.get(), 3);
}

#[test]
fn the_quit_event_stops_the_reactor() {
    // R4. A `before` trigger is pending.
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let _sdl = install(&reactor).unwrap();
    let ended = Rc::new(Cell::new(false));
    reactor.add_system_event_trigger(Phase::Before, "shutdown", |reactor| {
        let (deferred, resolver) = Deferred::<()>::new();
        reactor.call_later(2 * MS, move |_| resolver.callback(()).unwrap());
        deferred
    });
    let ends = ended.clone();
    reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| ends.set(true));
    reactor.call_later(MS, |_| push(QUIT));
    reactor.run_with(quiet()).unwrap();
    assert!(ended.get());
}

#[test]
fn a_program_runs_the_loop_itself() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = install(&reactor).unwrap();
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(5 * MS, |_| push(QUIT));
    loop {
        let event_type = wait();
        if !sdl.handles(event_type) && event_type == QUIT {
            break;
        }
    }
    sdl.guest().finish().unwrap();
    assert!(!reactor.is_started());
}

#[test]
fn a_game_ticks_in_each_frame() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = install(&reactor).unwrap();
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(5 * MS, stop);
    while sdl.frame().tick(Budget::of(4 * MS)).unwrap() {
        thread::sleep(MS);
    }
}

#[test]
fn a_panic_is_the_outcome_of_the_run() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    reactor.set_panic_policy(PanicPolicy::Stop);
    let _sdl = install(&reactor).unwrap();
    reactor.call_later(MS, |_| panic!("a bug"));
    let error = reactor.run_with(quiet()).unwrap_err();
    assert!(error.to_string().ends_with("panicked: a bug"), "{error}");
}

#[test]
fn reactors_of_a_thread_share_the_queue() {
    // The loop of the second takes the events of the first, which is not the one that runs.
    init_dummy();
    let (first, second) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    let first_sdl = install(&first).unwrap();
    let _second_sdl = install(&second).unwrap();
    first.start_running(quiet()).unwrap();
    let ends = second.clone();
    first.call_later(5 * MS, move |_| stop(&ends));
    second.run_with(quiet()).unwrap();
    first.call_later(5 * MS, stop);
    while first.is_started() {
        first_sdl.iterate(first_sdl.guest(), None);
    }
    first_sdl.guest().finish().unwrap();
}

#[test]
fn a_second_thread_is_refused() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = install(&reactor).unwrap();
    let refused = || install(&Reactor::new().unwrap()).err().map(|error| error.to_string());
    let error = thread::spawn(refused).join().unwrap().unwrap();
    assert_eq!(error, "another thread handles the events of SDL: install the reactor on that thread");
    drop(sdl);
    assert_eq!(thread::spawn(refused).join().unwrap(), None);
}

#[test]
fn a_second_adapter_is_refused() {
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = install(&reactor).unwrap();
    assert!(matches!(install(&reactor), Err(Error::Hosted)));
    drop(sdl);
    let _sdl = install(&reactor).unwrap();
}

#[test]
fn a_call_from_a_thread_after_sdl_has_quit_is_quiet() {
    // R1 (e). A clone of the guest keeps the thread.
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = install(&reactor).unwrap();
    let guest = sdl.guest().clone();
    reactor.start_running(quiet()).unwrap();
    drop(sdl);
    // SAFETY: the host is dropped.
    unsafe { SDL_Quit() };
    let handle = reactor.thread_handle();
    thread::spawn(move || handle.call_from_thread(|_| {})).join().unwrap();
    guest.finish().unwrap();
    // The loop waits without SDL.
    reactor.call_later(MS, stop);
    reactor.run_with(quiet()).unwrap();
}

#[test]
fn a_callback_runs_the_queues_loop() {
    // U6. A dialog in a delayed call waits for the next one.
    init_dummy();
    let reactor = Reactor::new().unwrap();
    let sdl = Rc::new(install(&reactor).unwrap());
    let dialog = sdl.clone();
    reactor.call_later(MS, move |reactor| {
        let done = Rc::new(Cell::new(false));
        let ends = done.clone();
        reactor.call_later(3 * MS, move |_| ends.set(true));
        while !done.get() {
            dialog.iterate(dialog.guest(), None);
        }
        stop(reactor);
    });
    reactor.run_with(quiet()).unwrap();
}

#[test]
fn an_interrupt_stops_the_reactor() {
    // SDL's own handler is replaced while the reactor runs.
    let (program, arguments) = own_test("inside::an_interrupt_stops_the_reactor");
    let mut test = Program::start(Command::new(program).args(arguments));
    test.expect("it runs");
    test.signal("INT");
    test.expect("it has ended");
    test.expect_success();
}

#[test]
fn an_idle_window_has_no_turns() {
    run_own_test("inside::an_idle_window_has_no_turns");
}

#[test]
fn a_call_from_a_thread_interrupts_the_sleep_of_a_window() {
    run_own_test("inside::a_call_from_a_thread_interrupts_the_sleep_of_a_window");
}

/// The tests that run in processes of their own.
mod inside {
    use super::*;

    fn open_window() {
        init();
        // SAFETY: the video is started, and SDL copies the title.
        let window = unsafe { SDL_CreateWindow(c"window".as_ptr(), 0, 0, 200, 100, 0) };
        assert!(!window.is_null());
    }

    #[test]
    #[ignore = "run by a test of this name"]
    #[allow(clippy::print_stdout)] // read by that test
    fn an_interrupt_stops_the_reactor() {
        init_dummy();
        let reactor = Reactor::new().unwrap();
        let _sdl = install(&reactor).unwrap();
        reactor.call_when_running(|_| println!("it runs"));
        reactor.run().unwrap();
        println!("it has ended");
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn an_idle_window_has_no_turns() {
        open_window();
        let reactor = Reactor::new().unwrap();
        let sdl = install(&reactor).unwrap();
        let turns = Rc::new(Cell::new(0));
        let counts = turns.clone();
        // The hook is called at the beginning of each turn.
        sdl.guest().on_sooner(move || counts.set(counts.get() + 1));
        reactor.call_later(Duration::from_secs(3600), |_| {});
        reactor.start_running(quiet()).unwrap();
        while sdl.guest().timeout() == Some(Duration::ZERO) {
            sdl.iterate(sdl.guest(), None);
        }
        let before = turns.get();
        let end = std::time::Instant::now() + 200 * MS;
        while std::time::Instant::now() < end {
            sdl.iterate(sdl.guest(), Some(10 * MS));
        }
        // A wake-up that was posted before the last turn has none.
        assert_eq!(turns.get(), before);
        stop(&reactor);
        sdl.guest().finish().unwrap();
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn a_call_from_a_thread_interrupts_the_sleep_of_a_window() {
        // R1 (c). SDL sleeps in the display's connection, and is woken by a message to its window.
        open_window();
        let reactor = Reactor::new().unwrap();
        let _sdl = install(&reactor).unwrap();
        let handle = reactor.thread_handle();
        let thread = thread::spawn(move || {
            for _ in 0..20 {
                thread::sleep(5 * MS);
                handle.call_from_thread(|_| {});
            }
            handle.call_from_thread(stop);
        });
        reactor.run_with(quiet()).unwrap();
        thread.join().unwrap();
    }
}
