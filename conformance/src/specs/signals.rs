//! Signals that stop the loop. Each specification plays a scenario in a process of its own.

use rustix::process::Signal;

use crate::scenario::Performance;
use crate::specifications;

specifications! {
    signals;

    fn sigint_or_sigterm_stops_the_loop_in_order(subject: &Subject) {
        // ReactorBase.sigInt, sigTerm: a signal calls stop() through callFromThread.
        for signal in [Signal::INT, Signal::TERM] {
            let mut play = Performance::begin(subject, "serve");
            play.expect(&["ready"]);
            play.signal(signal);
            let ended = format!("ended Ok(()), signal Some({})", signal.as_raw());
            play.expect(&["before", "during", "after", &ended]);
            play.ends();
        }
    }

    fn a_reactor_that_does_not_run_handles_no_signals(subject: &Subject) {
        // IReactorCore.run(installSignalHandlers=True): the handlers are installed by `run`, and not by the
        // constructor.
        Performance::begin(subject, "made").is_killed_by(Signal::TERM);
    }

    fn a_signal_stops_a_loop_whose_start_is_delayed(subject: &Subject) {
        // SIGINT and SIGTERM work at any moment. Twisted installs its handlers only after the start.
        let mut play = Performance::begin(subject, "starting");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["ended Ok(()), signal Some(2)"]);
        play.ends();
    }

    fn a_signal_during_startup_stops_the_loop_after_the_start(subject: &Subject) {
        // SIGINT and SIGTERM work at any moment.
        let mut play = Performance::begin(subject, "raised at the start");
        play.expect(&["started", "before", "during", "after", "ended Ok(()), signal Some(2)"]);
        play.ends();
    }

    fn a_signal_stops_the_loop_despite_a_blocked_thread(subject: &Subject) {
        // A thread of the pool waits for a line that never comes. The loop does not join it.
        for signal in [Signal::INT, Signal::TERM] {
            let mut play = Performance::begin(subject, "blocked thread");
            play.expect(&["ready"]);
            play.signal(signal);
            play.expect(&[&format!("ended Ok(()), signal Some({})", signal.as_raw())]);
            play.ends();
        }
    }

    fn a_signal_during_a_callback_stops_the_loop_afterwards(subject: &Subject) {
        // A wake-up between the loop's check and its sleep is not lost. Here the wake-up comes before both.
        let mut play = Performance::begin(subject, "busy callback");
        play.expect(&["ready"]);
        play.signal(Signal::TERM);
        play.tell("continue");
        play.expect(&["callback over", "ended Ok(()), signal Some(15)"]);
        play.ends();
    }

    fn a_second_signal_aborts_a_shutdown_that_hangs(subject: &Subject) {
        // A trigger that never fires must not need SIGKILL.
        let mut play = Performance::begin(subject, "stubborn shutdown");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["shutting down"]);
        play.signal(Signal::TERM);
        play.expect(&["ended Ok(()), signal Some(15)"]);
        play.ends();
    }

    fn several_signals_in_one_turn_are_one_stop(subject: &Subject) {
        // A terminal and a supervisor may both signal a process group. The process must still shut down in order.
        let mut play = Performance::begin(subject, "signals in one turn");
        play.expect(&["before", "during", "after", "ended Ok(())"]);
        play.ends();
    }

    fn a_signal_during_shutdown_does_not_skip_a_trigger(subject: &Subject) {
        // The previous dispositions are restored after the last trigger.
        let mut play = Performance::begin(subject, "raised after shutdown");
        play.expect(&["after"]);
        assert!(play.line().unwrap().starts_with("ended Ok(())"));
        play.is_killed_by(Signal::TERM);
    }

    fn the_previous_signal_dispositions_are_restored(subject: &Subject) {
        // Twisted leaves its own handlers installed (#11761).
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

    fn an_ignored_signal_stays_ignored(subject: &Subject) {
        // ReactorBase._handleSignals handles SIGINT only if SIGINT has the default handler. nohup(1) makes a program
        // ignore it.
        let mut play = Performance::begin_ignoring(subject, "INT", "serve");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.signal(Signal::TERM);
        play.expect(&["before", "during", "after", "ended Ok(()), signal Some(15)"]);
        play.ends();
    }

    fn a_signal_stops_every_reactor_of_the_process(subject: &Subject) {
        // A process may have many reactors, one in each thread. The last reactor to end restores the dispositions.
        let mut play = Performance::begin(subject, "several");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["ended Ok(Some(2))"; 3]);
        play.is_killed_by(Signal::TERM);
    }

    fn a_watched_signal_calls_every_watcher_each_time(subject: &Subject) {
        // Reactor::on_signal. The last watch restores the disposition. SIGKILL and the signals of faults
        // cannot be watched.
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
        // The signal of an earlier run is forgotten.
        let mut play = Performance::begin(subject, "twice");
        for signal in [Signal::INT, Signal::TERM] {
            play.expect(&["ready"]);
            play.signal(signal);
            play.expect(&[&format!("ended Ok(()), signal Some({})", signal.as_raw())]);
        }
        play.expect(&["ended Ok(()), signal None"]);
        play.ends();
    }

    fn a_signal_stops_a_loop_that_a_host_turns(subject: &Subject) {
        // ReactorBase.startRunning and the pieces of a turn.
        let mut play = Performance::begin(subject, "pieces");
        play.expect(&["ready"]);
        play.signal(Signal::TERM);
        play.expect(&["before", "during", "after"]);
        play.is_killed_by(Signal::TERM);
    }

    fn a_signal_wakes_a_detached_wait(subject: &Subject) {
        // Ctrl-C must not hang while a host waits in native code.
        let mut play = Performance::begin(subject, "detached");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["waited Ok(0)", "started false, signal Some(2)"]);
        play.ends();
    }

    fn an_interrupted_wait_makes_no_call_early(subject: &Subject) {
        // signal(7): every blocking call may return EINTR. The wait continues.
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
        // fork(2) copies only the calling thread, so a fork before run works.
        let mut play = Performance::begin(subject, "threads");
        play.expect(&["ended Ok(()), signal None", "1 before, 1 worked"]);
        play.ends();
    }

    fn a_signal_ends_react_with_its_status(subject: &Subject) {
        // task.react exits with 128 plus the signal's number, as shells do. The main future is dropped before the
        // shutdown.
        let mut play = Performance::begin(subject, "reacting");
        play.expect(&["ready"]);
        play.signal(Signal::INT);
        play.expect(&["before", "main dropped", "during", "after", "true"]);
        play.ends();
    }
}
