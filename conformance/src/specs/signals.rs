//! Signals that stop the loop. Each specification plays a scenario in a process of its own.

use rustix::process::Signal;

use crate::scenario::Performance;
use crate::specifications;

specifications! {
    signals;

    fn an_interrupt_and_a_request_to_end_stop_the_loop_in_order(subject: &Subject) {
        // ReactorBase.sigInt, sigTerm: through callFromThread, as stop() does.
        for signal in [Signal::INT, Signal::TERM] {
            let mut play = Performance::begin(subject, "serve");
            play.expect(&["ready"]);
            play.signal(signal);
            let ended = format!("ended Ok(()), signal Some({})", signal.as_raw());
            play.expect(&["before", "during", "after", &ended]);
            play.ends();
        }
    }

    fn a_reactor_that_does_not_run_leaves_the_signals_alone(subject: &Subject) {
        // IReactorCore.run(installSignalHandlers=True): run installs them, not the constructor.
        Performance::begin(subject, "made").is_killed_by(Signal::TERM);
    }

    fn a_signal_stops_a_loop_whose_start_is_held_up(subject: &Subject) {
        // LESSONS, bug 23: SIGINT and SIGTERM at any moment. Twisted installs its handlers only after the start.
        let mut play = Performance::begin(subject, "starting");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["ended Ok(()), signal Some(2)"]);
        play.ends();
    }

    fn a_signal_in_a_trigger_of_startup_stops_the_loop_after_the_start(subject: &Subject) {
        // LESSONS, bug 23: SIGINT and SIGTERM at any moment.
        let mut play = Performance::begin(subject, "raised at the start");
        play.expect(&["started", "before", "during", "after", "ended Ok(()), signal Some(2)"]);
        play.ends();
    }

    fn a_signal_stops_the_loop_although_work_in_a_thread_never_ends(subject: &Subject) {
        // LESSONS, bug 23: during thread pool work. The thread waits for a line that never comes.
        for signal in [Signal::INT, Signal::TERM] {
            let mut play = Performance::begin(subject, "blocked thread");
            play.expect(&["ready"]);
            play.signal(signal);
            play.expect(&[&format!("ended Ok(()), signal Some({})", signal.as_raw())]);
            play.ends();
        }
    }

    fn a_signal_during_a_callback_stops_the_loop_when_that_returns(subject: &Subject) {
        // LESSONS, bug 21: a wake between the check and the sleep is not lost; here the wake comes before both.
        let mut play = Performance::begin(subject, "busy callback");
        play.expect(&["ready"]);
        play.signal(Signal::TERM);
        play.tell("go on");
        play.expect(&["callback over", "ended Ok(()), signal Some(15)"]);
        play.ends();
    }

    fn a_second_signal_leaves_a_shutdown_that_does_not_end(subject: &Subject) {
        // ARCHITECTURE: a trigger that never fires must not need SIGKILL.
        let mut play = Performance::begin(subject, "stubborn shutdown");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["shutting down"]);
        play.signal(Signal::TERM);
        play.expect(&["ended Ok(()), signal Some(15)"]);
        play.ends();
    }

    fn several_signals_in_one_turn_are_one_stop(subject: &Subject) {
        // A group that is told twice to end (a terminal and a supervisor) shuts down in order all the same.
        let mut play = Performance::begin(subject, "signals in one turn");
        play.expect(&["before", "during", "after", "ended Ok(())"]);
        play.ends();
    }

    fn a_signal_during_shutdown_does_not_kill_before_the_last_trigger(subject: &Subject) {
        // LESSONS, bug 23: at any moment, and the handlers are restored after the last trigger.
        let mut play = Performance::begin(subject, "raised after shutdown");
        play.expect(&["after"]);
        assert!(play.line().unwrap().starts_with("ended Ok(())"));
        play.is_killed_by(Signal::TERM);
    }

    fn the_dispositions_from_before_are_restored_when_the_loop_ends(subject: &Subject) {
        // LESSONS, bug 23: the previous handlers are restored; Twisted leaves its own (#11761).
        for scenario in ["restored", "crashed"] {
            let mut play = Performance::begin(subject, scenario);
            play.expect(&["ended Ok(()), signal None"]);
            play.is_killed_by(Signal::TERM);
        }
    }

    fn signals_can_be_left_to_the_program(subject: &Subject) {
        // IReactorCore.run(installSignalHandlers=False)
        Performance::begin(subject, "opted out").is_killed_by(Signal::TERM);
    }

    fn a_signal_that_the_process_ignores_stays_ignored(subject: &Subject) {
        // ReactorBase._handleSignals: SIGINT only if it still has the default handler; nohup(1) and shells ignore it.
        let mut play = Performance::begin_ignoring_interrupts(subject, "serve");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.signal(Signal::TERM);
        play.expect(&["before", "during", "after", "ended Ok(()), signal Some(15)"]);
        play.ends();
    }

    fn a_signal_stops_every_reactor_of_the_process(subject: &Subject) {
        // Contract: many per process, one a thread. The last one to end restores the dispositions.
        let mut play = Performance::begin(subject, "several");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["ended Ok(Some(2))"; 3]);
        play.is_killed_by(Signal::TERM);
    }

    fn a_watched_signal_calls_everybody_who_watches_each_time_until_nobody_does(subject: &Subject) {
        // Reactor::on_signal; the disposition from before is restored with the last watch. SIGKILL cannot be watched.
        let mut play = Performance::begin(subject, "watching");
        play.expect(&["refused true", "ready"]);
        for _ in 0..3 {
            play.signal(Signal::USR1);
            play.expect(&["first", "second"]);
        }
        play.signal(Signal::TERM);
        play.expect(&["ended Ok(()), signal Some(15)"]);
        play.is_killed_by(Signal::USR1);
    }

    fn a_reactor_that_runs_again_is_stopped_by_a_signal_again(subject: &Subject) {
        // Contract: restartable. The signal of an earlier run is forgotten.
        let mut play = Performance::begin(subject, "twice");
        for signal in [Signal::INT, Signal::TERM] {
            play.expect(&["ready"]);
            play.signal(signal);
            play.expect(&[&format!("ended Ok(()), signal Some({})", signal.as_raw())]);
        }
        play.expect(&["ended Ok(()), signal None"]);
        play.ends();
    }

    fn a_signal_ends_a_loop_that_a_host_makes_of_pieces(subject: &Subject) {
        // ReactorBase.startRunning and the pieces of a turn.
        let mut play = Performance::begin(subject, "pieces");
        play.expect(&["ready"]);
        play.signal(Signal::TERM);
        play.expect(&["before", "during", "after"]);
        play.is_killed_by(Signal::TERM);
    }

    fn a_signal_ends_a_wait_in_another_thread(subject: &Subject) {
        // Contract 21: a native wait without the interpreter's lock must not make Ctrl-C hang.
        let mut play = Performance::begin(subject, "detached");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["waited Ok(0)", "started false, signal Some(2)"]);
        play.ends();
    }

    fn a_wait_that_is_interrupted_goes_on_and_makes_no_call_early(subject: &Subject) {
        // LESSONS, bug 8: EINTR at every blocking call.
        let mut play = Performance::begin(subject, "interrupted");
        play.expect(&["ready"]);
        let pid = play.pid();
        let ended = std::thread::scope(|scope| {
            let listener = scope.spawn(|| play.line());
            while !listener.is_finished() {
                let _ = rustix::process::kill_process(pid, Signal::USR1);
                std::thread::yield_now();
            }
            listener.join().unwrap()
        });
        assert_eq!(ended.as_deref(), Some("ended Ok(()), signal None"));
        play.expect(&["hour still waits: true"]);
        play.ends();
    }

    #[cfg(target_os = "linux")]
    fn no_thread_starts_before_the_reactor_runs(subject: &Subject) {
        // LESSONS, bug 22: a fork before run works, because there is only one thread to fork.
        let mut play = Performance::begin(subject, "threads");
        play.expect(&["ended Ok(()), signal None", "1 before, 1 worked"]);
        play.ends();
    }

    fn a_signal_ends_react_with_its_status_and_drops_main_before_the_shutdown(subject: &Subject) {
        // task.react; the status is 128 and the number of the signal, as in shells.
        let mut play = Performance::begin(subject, "reacting");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["before", "main dropped", "during", "after", "true"]);
        play.ends();
    }
}
