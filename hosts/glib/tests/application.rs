//! Applications of Gio, without windows and without a message bus. The examples have tests with windows.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gio_0_22::prelude::*;
use gio_0_22::{Application, ApplicationFlags};
use ropewalk::prelude::*;
use ropewalk::{Deferred, Phase, RunOptions};

fn application() -> Application {
    Application::new(Some("net.ropewalk.Test"), ApplicationFlags::NON_UNIQUE)
}

/// Counts the activations.
fn activations(application: &Application) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counts = count.clone();
    application.connect_activate(move |_| counts.set(counts.get() + 1));
    count
}

fn run(reactor: &Reactor) {
    reactor.run_with(RunOptions::default().without_signal_handlers()).unwrap();
}

#[test]
fn an_application_runs_as_long_as_the_reactor() {
    // It has no windows, so it would quit at once.
    let reactor = Reactor::new().unwrap();
    let host = ropewalk_glib::install(&reactor).unwrap();
    let application = application();
    let activations = activations(&application);
    host.register_gapplication(&application).unwrap();
    reactor.call_later(Duration::from_millis(20), |reactor| reactor.stop().unwrap());
    run(&reactor);
    assert_eq!(activations.get(), 1);
    assert!(!reactor.is_started());
}

#[test]
fn each_run_has_an_application_of_its_own() {
    // GLib runs an application once. A run without one runs the main loop.
    let reactor = Reactor::new().unwrap();
    let host = ropewalk_glib::install(&reactor).unwrap();
    for has_application in [true, false, true] {
        let activations = has_application.then(|| {
            let application = application();
            host.register_gapplication(&application).unwrap();
            activations(&application)
        });
        let calls = Rc::new(Cell::new(0));
        let counts = calls.clone();
        reactor.call_later(Duration::from_millis(5), move |reactor| {
            counts.set(counts.get() + 1);
            reactor.stop().unwrap();
        });
        run(&reactor);
        assert_eq!((activations.map(|count| count.get()), calls.get()), (has_application.then_some(1), 1));
    }
}

#[test]
fn an_application_that_quits_stops_the_reactor() {
    // A menu item calls g_application_quit. The loop runs until the Deferred of the shutdown has fired.
    let reactor = Reactor::new().unwrap();
    let host = ropewalk_glib::install(&reactor).unwrap();
    let application = application();
    host.register_gapplication(&application).unwrap();
    let quits = application.clone();
    reactor.call_later(Duration::from_millis(5), move |_| quits.quit());
    let is_shut_down = Rc::new(Cell::new(false));
    let set = is_shut_down.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
        let (deferred, resolver) = Deferred::<()>::new();
        reactor.call_later(Duration::from_millis(20), move |_| {
            set.set(true);
            resolver.callback(()).unwrap();
        });
        deferred
    });
    run(&reactor);
    assert!(is_shut_down.get());
}

#[test]
fn a_program_runs_the_application_itself() {
    // The reactor starts in `startup`, and its end quits the application.
    let reactor = Reactor::new().unwrap();
    let host = ropewalk_glib::install(&reactor).unwrap();
    let application = application();
    host.register_gapplication(&application).unwrap();
    let starts = reactor.clone();
    let hold = Rc::new(Cell::new(None));
    let holds = hold.clone();
    application.connect_startup(move |application| {
        holds.set(Some(application.hold()));
        starts.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        starts.call_later(Duration::from_millis(5), |reactor| reactor.stop().unwrap());
    });
    application.run_with_args::<&str>(&[]);
    host.guest().finish().unwrap();
    assert!(!reactor.is_started());
}

#[test]
fn a_second_application_is_refused() {
    let reactor = Reactor::new().unwrap();
    let host = ropewalk_glib::install(&reactor).unwrap();
    host.register_gapplication(&application()).unwrap();
    let error = host.register_gapplication(&application()).unwrap_err();
    assert_eq!(error.to_string(), "another application is registered with this reactor");
}
