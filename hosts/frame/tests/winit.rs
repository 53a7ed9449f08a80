//! The reactor in winit's event loop, with a real window. A process has one event loop, and so each test its own process.

use ropewalk_desktop::run_own_test;

#[test]
fn a_reactor_runs_the_event_loop_several_times() {
    run_own_test("inside::a_reactor_runs_the_event_loop_several_times");
}

#[test]
fn a_program_runs_the_event_loop_itself() {
    run_own_test("inside::a_program_runs_the_event_loop_itself");
}

#[test]
fn an_application_that_exits_first_gets_a_complete_shutdown() {
    run_own_test("inside::an_application_that_exits_first_gets_a_complete_shutdown");
}

#[test]
fn a_panic_is_the_outcome_of_the_run() {
    run_own_test("inside::a_panic_is_the_outcome_of_the_run");
}

#[test]
fn a_callback_of_the_event_loop_iterates_the_reactor() {
    run_own_test("inside::a_callback_of_the_event_loop_iterates_the_reactor");
}

#[test]
fn an_idle_window_has_no_turns() {
    run_own_test("inside::an_idle_window_has_no_turns");
}

#[test]
fn a_busy_reactor_leaves_time_to_draw() {
    run_own_test("inside::a_busy_reactor_leaves_time_to_draw");
}

/// The tests that run in processes of their own.
mod inside {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::thread;
    use std::time::Duration;

    use ropewalk::hosting::Guest;
    use ropewalk::proto::Deferred;
    use ropewalk::{Error, PanicPolicy, Phase, Protocol, Reactor, RunOptions, Transport};
    use ropewalk_frame::winit::{Wake, WinitHost, install};
    use winit::application::ApplicationHandler;
    use winit::event::WindowEvent;
    use winit::event_loop::{ActiveEventLoop, EventLoop};
    use winit::platform::x11::EventLoopBuilderExtX11;
    use winit::window::{Window, WindowId};

    const MS: Duration = Duration::from_millis(1);

    fn quiet() -> RunOptions {
        RunOptions::default().without_signal_handlers()
    }

    fn stop(reactor: &Reactor) {
        reactor.stop().unwrap();
    }

    fn event_loop() -> EventLoop<Wake> {
        // The thread of a test is not the main one.
        EventLoop::with_user_event().with_any_thread(true).build().unwrap()
    }

    /// Opens a window, and counts its pictures.
    #[derive(Default)]
    struct App {
        window: Option<Window>,
        resumed: Rc<Cell<u32>>,
        drawn: Rc<Cell<u32>>,
        /// Whether each picture asks for the next one.
        animates: bool,
        /// The host, of an application that runs the event loop itself.
        winit: Option<WinitHost>,
        /// Called when the window has been drawn.
        on_drawn: Option<OnDrawn>,
    }

    type OnDrawn = Box<dyn FnMut(&ActiveEventLoop)>;

    impl ApplicationHandler<Wake> for App {
        fn resumed(&mut self, event_loop: &ActiveEventLoop) {
            self.resumed.set(self.resumed.get() + 1);
            let window = event_loop.create_window(Window::default_attributes()).unwrap();
            window.request_redraw();
            self.window = Some(window);
        }

        fn window_event(&mut self, event_loop: &ActiveEventLoop, _window: WindowId, event: WindowEvent) {
            if event != WindowEvent::RedrawRequested {
                return;
            }
            self.drawn.set(self.drawn.get() + 1);
            if let Some(on_drawn) = &mut self.on_drawn {
                on_drawn(event_loop);
            }
            if let (true, Some(window)) = (self.animates, &self.window) {
                window.request_redraw();
            }
        }

        fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
            if let Some(winit) = &self.winit {
                winit.about_to_wait(event_loop);
            }
        }

        fn exiting(&mut self, _event_loop: &ActiveEventLoop) {
            self.window = None;
        }
    }

    struct Echo;

    impl Protocol for Echo {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(data);
        }
    }

    /// Calls the function when an echo has come.
    struct Ask<F>(F);

    impl<F: Fn()> Protocol for Ask<F> {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(b"hello");
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {
            (self.0)();
        }
    }

    /// Lets a client talk to an echo server, and calls the function when the echo has come.
    fn talk(reactor: &Reactor, echoed: impl Fn() + Clone + 'static) {
        let port = reactor.listen_tcp("127.0.0.1:0", || Echo).unwrap();
        let address = port.host().unwrap().to_string();
        reactor.connect_tcp(address.as_str(), move || Ask(echoed.clone())).unwrap();
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn a_reactor_runs_the_event_loop_several_times() {
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        let winit = install(&reactor, &event_loop).unwrap();
        assert!(matches!(install(&reactor, &event_loop), Err(Error::Hosted)));
        let app = App::default();
        let resumed = app.resumed.clone();
        winit.set_app(event_loop, app);
        for count in 1..=3 {
            let ends = reactor.clone();
            talk(&reactor, move || stop(&ends));
            reactor.run_with(quiet()).unwrap();
            assert_eq!(resumed.get(), count);
        }
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn a_program_runs_the_event_loop_itself() {
        // R1. Threads call before the loop runs, while it sleeps, and after its end.
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        let winit = install(&reactor, &event_loop).unwrap();
        let guest = winit.guest().clone();
        reactor.start_running(quiet()).unwrap();
        let handle = reactor.thread_handle();
        let early = thread::spawn(move || handle.call_from_thread(|reactor| drop(reactor.call_later(MS, |_| {}))));
        early.join().unwrap();
        let handle = reactor.thread_handle();
        let late = thread::spawn(move || {
            for _ in 0..20 {
                thread::sleep(5 * MS);
                handle.call_from_thread(|_| {});
            }
            handle.call_from_thread(stop);
        });
        let mut app = App { winit: Some(winit), ..App::default() };
        event_loop.run_app(&mut app).unwrap();
        guest.finish().unwrap();
        late.join().unwrap();
        let handle = reactor.thread_handle();
        thread::spawn(move || handle.call_from_thread(|_| {})).join().unwrap();
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn an_application_that_exits_first_gets_a_complete_shutdown() {
        // R4 and U8. A connection is open, and a `before` trigger is pending.
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        let winit = install(&reactor, &event_loop).unwrap();
        let is_open = Rc::new(Cell::new(false));
        let opens = is_open.clone();
        talk(&reactor, move || opens.set(true));
        reactor.add_system_event_trigger(Phase::Before, "shutdown", |reactor| {
            let (deferred, resolver) = Deferred::<()>::new();
            reactor.call_later(2 * MS, move |_| resolver.callback(()).unwrap());
            deferred
        });
        let ended = Rc::new(Cell::new(false));
        let ends = ended.clone();
        reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| ends.set(true));
        let on_drawn = move |event_loop: &ActiveEventLoop| {
            if is_open.get() {
                event_loop.exit();
            }
        };
        winit.set_app(event_loop, App { animates: true, on_drawn: Some(Box::new(on_drawn)), ..App::default() });
        reactor.run_with(quiet()).unwrap();
        assert!(ended.get());
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn a_panic_is_the_outcome_of_the_run() {
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        reactor.set_panic_policy(PanicPolicy::Stop);
        let winit = install(&reactor, &event_loop).unwrap();
        winit.set_app(event_loop, App::default());
        reactor.call_later(MS, |_| panic!("a bug"));
        let error = reactor.run_with(quiet()).unwrap_err();
        assert!(error.to_string().ends_with("panicked: a bug"), "{error}");
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn a_callback_of_the_event_loop_iterates_the_reactor() {
        // U6. winit's loop cannot run inside itself, but the reactor makes turns.
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        let winit = install(&reactor, &event_loop).unwrap();
        winit.set_app(event_loop, App::default());
        reactor.call_later(MS, |reactor| {
            let done = Rc::new(Cell::new(false));
            let ends = done.clone();
            talk(reactor, move || ends.set(true));
            while !done.get() {
                reactor.iterate(None).unwrap();
            }
            stop(reactor);
        });
        reactor.run_with(quiet()).unwrap();
    }

    /// Counts the turns of a guest: its hook is called at the beginning of each.
    fn counted_turns(guest: &Guest) -> Rc<Cell<u32>> {
        let turns = Rc::new(Cell::new(0));
        let counts = turns.clone();
        guest.on_sooner(move || counts.set(counts.get() + 1));
        turns
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn an_idle_window_has_no_turns() {
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        let winit = install(&reactor, &event_loop).unwrap();
        let turns = counted_turns(winit.guest());
        winit.set_app(event_loop, App::default());
        reactor.call_later(Duration::from_secs(3600), |_| {});
        let seen = turns.clone();
        let (before, counts) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (begin, end) = (before.clone(), counts.clone());
        reactor.call_later(50 * MS, move |reactor| {
            begin.set(seen.get());
            reactor.call_later(200 * MS, move |reactor| {
                end.set(seen.get());
                stop(reactor);
            });
        });
        reactor.run_with(quiet()).unwrap();
        // The turn that is made for the second call, and one whose wake-up came too early.
        assert!(counts.get() - before.get() <= 6, "{} notices", counts.get() - before.get());
    }

    #[test]
    #[ignore = "run by a test of this name"]
    fn a_busy_reactor_leaves_time_to_draw() {
        // Each turn makes the next one due.
        fn busy(reactor: &Reactor) {
            reactor.call_later(Duration::ZERO, busy);
        }
        let (reactor, event_loop) = (Reactor::new().unwrap(), event_loop());
        let winit = install(&reactor, &event_loop).unwrap();
        reactor.call_when_running(busy);
        let drawn = Rc::new(Cell::new(0));
        let (counts, ends) = (drawn.clone(), reactor.clone());
        let on_drawn = move |_: &ActiveEventLoop| {
            counts.set(counts.get() + 1);
            if counts.get() == 20 {
                stop(&ends);
            }
        };
        winit.set_app(event_loop, App { animates: true, on_drawn: Some(Box::new(on_drawn)), ..App::default() });
        reactor.run_with(quiet()).unwrap();
        assert!(drawn.get() >= 20);
    }
}
