//! The reactor beside other sources of a main loop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use gio_0_22::glib::{self, ControlFlow, MainContext, MainLoop, Priority};
use ropewalk::prelude::*;
use ropewalk::{PanicPolicy, Phase, RunOptions};
use ropewalk_glib::GlibHost;

/// GTK draws at this priority (`GDK_PRIORITY_REDRAW`).
const REDRAW: i32 = 120;

/// Returns a reactor for each provider of this system, in a context of this thread.
fn on_each_provider(test: impl Fn(&Reactor, &GlibHost, &MainContext)) {
    for name in ["epoll", "uring", "poll", "select"] {
        let context = MainContext::new();
        let run = || {
            let reactor = Reactor::with(name).unwrap();
            reactor.set_panic_policy(PanicPolicy::Stop);
            let host = ropewalk_glib::install(&reactor).unwrap();
            test(&reactor, &host, &context);
        };
        context.with_thread_default(run).unwrap();
    }
}

fn run(reactor: &Reactor) {
    reactor.run_with(RunOptions::default().without_signal_handlers()).unwrap();
}

fn stop(reactor: &Reactor) {
    reactor.stop().unwrap();
}

/// Sends everything back, for ever.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// The other end of an echo, which begins with `data`. Counts the rounds.
struct Player {
    rounds: Rc<Cell<u32>>,
    data: Vec<u8>,
}

impl Protocol for Player {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(&self.data);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.rounds.set(self.rounds.get() + 1);
        transport.write(data);
    }
}

/// Makes `count` connections, each of which has always `size` bytes on the way.
fn play(reactor: &Reactor, count: usize, size: usize) -> Rc<Cell<u32>> {
    let rounds = Rc::new(Cell::new(0));
    let port = reactor.listen_tcp("127.0.0.1:0", || Echo).unwrap();
    for _ in 0..count {
        let rounds = rounds.clone();
        let player = move || Player { rounds: rounds.clone(), data: vec![b'x'; size] };
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), player).unwrap();
    }
    rounds
}

/// Attaches a source that is always ready.
fn storm(context: &MainContext, priority: Priority, event: impl Fn() + 'static) -> glib::Source {
    let source = glib::idle_source_new(None, priority, {
        let event = glib::thread_guard::ThreadGuard::new(event);
        move || {
            (event.get_ref())();
            ControlFlow::Continue
        }
    });
    source.attach(Some(context));
    source
}

/// Runs the loop for a time, and returns the number of its passes.
fn passes_within(context: &MainContext, time: Duration) -> u32 {
    let is_over = Rc::new(Cell::new(false));
    let over = glib::thread_guard::ThreadGuard::new(is_over.clone());
    let alarm = glib::timeout_source_new(time, None, Priority::DEFAULT, move || {
        over.get_ref().set(true);
        ControlFlow::Break
    });
    alarm.attach(Some(context));
    let mut passes = 0;
    while !is_over.get() {
        context.iteration(true);
        passes += 1;
    }
    passes
}

#[test]
fn a_window_is_drawn_while_connections_are_busy() {
    // A loop dispatches only the ready sources of the highest priority, and connections that are always ready have a
    // higher one than drawing.
    on_each_provider(|reactor, _host, context| {
        let rounds = play(reactor, 8, 64 * 1024);
        let (draws, ends, played) = (Cell::new(0), reactor.clone(), rounds.clone());
        let source = storm(context, Priority::from(REDRAW), move || {
            // The connections are busy by now.
            if played.get() >= 100 {
                draws.set(draws.get() + 1);
            }
            if draws.get() == 20 {
                stop(&ends);
            }
        });
        run(reactor);
        source.destroy();
    });
}

#[test]
fn connections_continue_in_a_storm_of_events() {
    // A window that is always busy: its events have the priority of the reactor.
    on_each_provider(|reactor, _host, context| {
        let rounds = play(reactor, 1, 64);
        let (watched, ends) = (rounds.clone(), reactor.clone());
        reactor.call_later(Duration::from_millis(20), move |_| {
            let rounds = watched.get();
            ends.call_later(Duration::from_millis(20), move |reactor| {
                assert!(watched.get() > rounds);
                stop(reactor);
            });
        });
        let source = storm(context, Priority::DEFAULT, || {
            let end = Instant::now() + Duration::from_micros(100);
            while Instant::now() < end {}
        });
        run(reactor);
        source.destroy();
        assert!(rounds.get() > 0);
    });
}

#[test]
fn a_rest_ends_in_a_storm_of_events() {
    // The source after which a rest is over is never dispatched here.
    on_each_provider(|reactor, _host, context| {
        let rounds = play(reactor, 8, 64 * 1024);
        let source = storm(context, Priority::DEFAULT, || {});
        reactor.call_later(Duration::from_millis(50), stop);
        run(reactor);
        source.destroy();
        assert!(rounds.get() > 0);
    });
}

#[test]
fn an_inner_main_loop_makes_turns() {
    // A modal dialog in a delayed call, which a later delayed call closes.
    on_each_provider(|reactor, _host, context| {
        let context = context.clone();
        reactor.call_later(Duration::from_millis(1), move |reactor| {
            let dialog = MainLoop::new(Some(&context), false);
            let closes = dialog.clone();
            reactor.call_later(Duration::from_millis(5), move |_| closes.quit());
            dialog.run();
            stop(reactor);
        });
        run(reactor);
    });
}

#[test]
fn an_idle_reactor_sleeps() {
    // Twisted's reactor for GLib woke ten times a second (twisted#4376).
    on_each_provider(|reactor, host, context| {
        let port = reactor.listen_tcp("127.0.0.1:0", || Echo).unwrap();
        reactor.call_later(Duration::from_secs(3600), |_| {});
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        while context.iteration(false) {}
        let passes = passes_within(context, Duration::from_millis(300));
        // One for the alarm, and one more for a wake-up of the context's own.
        assert!(passes <= 2, "{passes} passes");
        drop(port);
        stop(reactor);
        host.guest().finish().unwrap();
    });
}

#[test]
fn a_call_of_the_window_shortens_the_sleep() {
    // A button that schedules a call, while the loop would sleep for an hour.
    on_each_provider(|reactor, _host, context| {
        reactor.call_later(Duration::from_secs(3600), |_| {});
        let pressed = glib::thread_guard::ThreadGuard::new(reactor.clone());
        let button = glib::timeout_source_new(Duration::from_millis(20), None, Priority::DEFAULT, move || {
            pressed.get_ref().call_later(Duration::from_millis(1), stop);
            ControlFlow::Break
        });
        button.attach(Some(context));
        run(reactor);
    });
}

#[test]
fn ten_thousand_calls_from_a_thread_run_in_order() {
    // The loop sleeps when the first of them comes.
    on_each_provider(|reactor, _host, _context| {
        let handle = reactor.thread_handle();
        let last = Rc::new(Cell::new(0));
        let (sent, received) = channel();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            for number in 1..=10_000 {
                let sent = sent.clone();
                handle.call_from_thread(move |reactor| {
                    sent.send(number).unwrap();
                    if number == 10_000 {
                        stop(reactor);
                    }
                });
            }
        });
        run(reactor);
        thread.join().unwrap();
        for number in received.try_iter() {
            assert_eq!(number, last.get() + 1);
            last.set(number);
        }
        assert_eq!(last.get(), 10_000);
    });
}

#[test]
fn a_context_of_another_thread_is_refused() {
    // Its callbacks would run on that thread.
    let context = MainContext::new();
    let (owned, is_owned) = channel();
    let (end, ends) = channel::<()>();
    let owner = context.clone();
    let thread = thread::spawn(move || {
        let _guard = owner.acquire().unwrap();
        owned.send(()).unwrap();
        let _ = ends.recv();
    });
    is_owned.recv().unwrap();
    // GLib itself makes a context the thread's default only for its owner, so the global one is tried instead.
    let global = MainContext::default();
    let (held, is_held) = channel();
    let (release, released) = channel::<()>();
    let holder = thread::spawn(move || {
        let _guard = global.acquire().unwrap();
        held.send(()).unwrap();
        let _ = released.recv();
    });
    is_held.recv().unwrap();
    let error = ropewalk_glib::install(&Reactor::new().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("another thread runs the main context"), "{error}");
    drop((end, release));
    thread.join().unwrap();
    holder.join().unwrap();
    drop(ropewalk_glib::install(&Reactor::new().unwrap()).unwrap());
}

#[test]
fn a_host_that_is_dropped_in_a_callback_leaves_the_loop() {
    // The source is destroyed while it is dispatched.
    let context = MainContext::new();
    let run = || {
        let reactor = Reactor::new().unwrap();
        let host = Rc::new(RefCell::new(Some(ropewalk_glib::install(&reactor).unwrap())));
        let dropped = host.clone();
        reactor.call_later(Duration::from_millis(1), move |_| drop(dropped.take()));
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        while host.borrow().is_some() {
            context.iteration(true);
        }
        reactor.crash();
        // The reactor runs its own loop again.
        reactor.call_later(Duration::from_millis(1), stop);
        reactor.run_with(RunOptions::default().without_signal_handlers()).unwrap();
    };
    context.with_thread_default(run).unwrap();
}

#[test]
fn a_dropped_reactor_leaves_the_loop() {
    // Its descriptor is closed, which poll(2) would report in each pass of a loop that still watches it.
    let context = MainContext::new();
    let run = || {
        let reactor = Reactor::with("epoll").unwrap();
        let _host = ropewalk_glib::install(&reactor).unwrap();
        drop(reactor);
        let passes = passes_within(&context, Duration::from_millis(50));
        assert!(passes <= 4, "{passes} passes");
    };
    context.with_thread_default(run).unwrap();
}

#[test]
fn a_loop_in_a_timed_pass_sleeps_longer_than_the_pass() {
    // Reactor::iterate with a delay, in which a callback opens a dialog. The dialog's loop must not spin.
    on_each_provider(|reactor, host, context| {
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        let (context, passes) = (context.clone(), Rc::new(Cell::new(0)));
        let counts = passes.clone();
        reactor.call_later(Duration::from_millis(1), move |reactor| {
            let is_over = Rc::new(Cell::new(false));
            let over = is_over.clone();
            reactor.call_later(Duration::from_millis(60), move |_| over.set(true));
            while !is_over.get() {
                context.iteration(true);
                counts.set(counts.get() + 1);
            }
        });
        while passes.get() == 0 {
            reactor.iterate(Some(Duration::from_millis(5))).unwrap();
        }
        assert!(passes.get() < 20, "{} passes", passes.get());
        stop(reactor);
        host.guest().finish().unwrap();
    });
}

#[test]
fn a_call_from_a_thread_between_runs_is_quiet() {
    // The call makes the reactor's descriptor readable, and no turn is made before the next run.
    on_each_provider(|reactor, _host, context| {
        let handle = reactor.thread_handle();
        thread::spawn(move || handle.call_from_thread(stop)).join().unwrap();
        let passes = passes_within(context, Duration::from_millis(50));
        assert!(passes <= 4, "{passes} passes");
        run(reactor);
    });
}

#[test]
fn a_run_whose_host_is_dropped_is_shut_down() {
    // Nothing makes turns in the main loop any more, so the reactor makes those of its shutdown itself.
    for name in ["epoll", "uring", "poll", "select"] {
        let reactor = Reactor::with(name).unwrap();
        let host = Rc::new(RefCell::new(Some(ropewalk_glib::install(&reactor).unwrap())));
        let is_shut_down = Rc::new(Cell::new(false));
        let set = is_shut_down.clone();
        reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| set.set(true));
        reactor.call_later(Duration::from_millis(1), move |_| drop(host.take()));
        run(&reactor);
        assert!(is_shut_down.get());
    }
}
