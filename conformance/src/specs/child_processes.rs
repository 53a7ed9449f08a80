//! IReactorProcess, with programs that every subject has: cat, echo, sleep, true and false. The simulated network has
//! them as closures.

use std::rc::Rc;
use std::time::Duration;

use ropewalk::processes::{ChildDescriptor, Command, ExitStatus, PipeEnd, Signal, SpawnStep, WindowSize};
use ropewalk::{Error, Reactor};

use crate::child::{Child, run_child};
use crate::links::{assert_same_bytes, noise};
use crate::script::stop;
use crate::waiting::when;
use crate::{run, specifications};

fn spawn_error(reactor: &Reactor, command: &Command) -> (SpawnStep, String) {
    let child = Child::new();
    let error = reactor.spawn_process(command, child.clone()).expect_err("the program cannot start");
    child.log().expect(&[]);
    let Error::Spawn(error) = error else { panic!("unexpected error: {error}") };
    (error.step(), error.to_string())
}

specifications! {
    child_processes;

    fn a_child_reads_its_input_until_the_end(subject: &Subject) {
        // spawnProcess(proto, 'cat', childFDs={0: 'w', 1: 'r', 2: 'r'})
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| {
            process.write(b"hello");
            process.close_stdin();
        });
        let process = reactor.spawn_process(&Command::new("cat"), child.clone()).unwrap();
        assert_eq!(process.status(), None);
        run(&reactor);
        assert_eq!(child.text(1), "hello");
        let entries = child.log().entries();
        assert_eq!((&*entries[0], &**entries.last().unwrap()), ("made", "ended 0"));
        for event in ["0 lost", "1 lost", "2 lost", "exited 0"] {
            assert_eq!(child.log().count(event), 1, "{event} of {entries:?}");
        }
        assert_eq!(process.status(), Some(ExitStatus::Exited(0)));
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_child_may_leave_its_input_unread(subject: &Subject) {
        // P1: no SIGPIPE, and the loss of the pipe is reported once.
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| process.write(&vec![b'x'; 1 << 20]));
        let process = reactor.spawn_process(&Command::new("true"), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.log().count("0 lost"), 1);
        assert!(child.log().contains("ended 0"));
        // A pipe takes 64 KiB.
        assert!(process.unsent(0) >= 900_000, "{} bytes", process.unsent(0));
    }

    fn signals_reach_the_process(subject: &Subject) {
        // signalProcess('TERM'), and ProcessExitedAlready afterwards.
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| process.signal("TERM".parse::<Signal>().unwrap()).unwrap());
        let process = reactor.spawn_process(&Command::new("sleep").arg("60"), child.clone()).unwrap();
        run(&reactor);
        assert!(child.log().contains("ended -15"));
        assert!(matches!(process.signal(Signal::TERM), Err(Error::ProcessExitedAlready)));
    }

    fn a_socket_carries_both_directions(subject: &Subject) {
        // PipeEnd::Both: one descriptor of the child for reading and writing.
        let reactor = subject.reactor();
        let both = Command::new("cat").stdin(ChildDescriptor::Pipe(PipeEnd::Both)).stdout(ChildDescriptor::Same(0));
        let child = Child::stopping().on_made(|process| {
            process.write_to_child(0, b"there and back").unwrap();
            process.pipe(0).unwrap().lose_write_connection();
        });
        reactor.spawn_process(&both, child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.text(0), "there and back");
        assert!(child.log().contains("ended 0"));
    }

    fn a_group_is_signalled_only_by_its_leader(subject: &Subject) {
        // Otherwise the signal would reach this process as well.
        let reactor = subject.reactor();
        let process = reactor.spawn_process(&Command::new("sleep").arg("60"), Child::stopping()).unwrap();
        assert!(process.signal_group(Signal::TERM).unwrap_err().to_string().contains("leads no group"));
        process.signal(Signal::KILL).unwrap();
        run(&reactor);
    }

    fn a_large_answer_arrives_whole(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| {
            process.write(&noise(3_000_000, 7));
            process.close_stdin();
        });
        reactor.spawn_process(&Command::new("cat"), child.clone()).unwrap();
        run(&reactor);
        assert_same_bytes(&child.received(1), &noise(3_000_000, 7));
    }

    fn a_dropped_reactor_drops_its_protocols(subject: &Subject) {
        let reactor = subject.reactor();
        let dropped = Rc::new(());
        let kept = dropped.clone();
        let child = Child::new().on_made(move |_| drop(kept.clone()));
        let process = reactor.spawn_process(&Command::new("sleep").arg("60"), child).unwrap();
        process.signal(Signal::KILL).unwrap();
        drop(reactor);
        assert_eq!(Rc::strong_count(&dropped), 1);
        assert!(matches!(process.signal(Signal::TERM), Err(Error::Closed)));
    }

    fn a_status_is_success_or_failure(subject: &Subject) {
        let reactor = subject.reactor();
        assert!(run_child(&reactor, &Command::new("true")).log().contains("ended 0"));
        assert!(run_child(&reactor, &Command::new("false")).log().contains("ended 1"));
    }

    fn arguments_reach_the_program(subject: &Subject) {
        let child = run_child(&subject.reactor(), &Command::new("echo").arg("one").args(["two", "three"]));
        assert_eq!(child.text(1), "one two three\n");
        assert_eq!(child.log().count("1 lost"), 1);
    }

    fn one_pipe_may_have_two_numbers(subject: &Subject) {
        // 2>&1
        let command = Command::new("cat").stderr(ChildDescriptor::Same(1)).stdin(ChildDescriptor::Null);
        let child = run_child(&subject.reactor(), &command);
        assert_eq!((child.log().count("1 lost"), child.log().count("2 lost")), (1, 0));
        assert_eq!(child.log().entries().last().unwrap(), "ended 0");
    }

    fn an_unknown_program_has_an_error_of_its_own(subject: &Subject) {
        let reactor = subject.reactor();
        let (step, text) = spawn_error(&reactor, &Command::new("no-such-program-anywhere"));
        let expected = "cannot run the program 'no-such-program-anywhere': no folder in PATH has a program of this name";
        assert_eq!((step, &*text), (SpawnStep::Execute, expected));
        let (step, text) = spawn_error(&reactor, &Command::new("/no/such/program"));
        let expected = "cannot run the program '/no/such/program': there is no such file";
        assert_eq!((step, &*text), (SpawnStep::Execute, expected));
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_impossible_plan_is_refused(subject: &Subject) {
        let reactor = subject.reactor();
        let (step, text) = spawn_error(&reactor, &Command::new("true").arg("a\0b"));
        assert_eq!(step, SpawnStep::Arguments);
        assert!(text.contains("has a zero byte in it"), "{text}");
        let (step, text) = spawn_error(&reactor, &Command::new("true").descriptor(3, ChildDescriptor::Terminal));
        assert_eq!(step, SpawnStep::Descriptors);
        assert!(text.contains("the child has no terminal"), "{text}");
        let (step, text) = spawn_error(&reactor, &Command::new("true").descriptor(3, ChildDescriptor::Same(9)));
        assert_eq!(step, SpawnStep::Descriptors);
        assert!(text.contains("which has none of its own"), "{text}");
        let (step, text) = spawn_error(&reactor, &Command::new("true").parent_death_signal(0));
        assert_eq!(step, SpawnStep::ParentDeath);
        assert!(text.contains("0 is not the number of a signal"), "{text}");
    }

    fn a_write_without_a_reader_kills_the_program(subject: &Subject) {
        // SIGPIPE
        let child = Child::stopping().on_made(|process| {
            process.close_stdout();
            process.write(b"for nothing");
        });
        let reactor = subject.reactor();
        reactor.spawn_process(&Command::new("cat"), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.log().entries().last().unwrap(), &format!("ended -{}", Signal::PIPE.number()));
    }

    fn a_paused_output_waits_in_the_pipe(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| {
            process.pause_producing();
            process.write(b"late");
            process.close_stdin();
        });
        let process = reactor.spawn_process(&Command::new("cat"), child.clone()).unwrap();
        let seen = child.clone();
        when(&reactor, { let process = process.clone(); move || process.status().is_some() }, move |_| {
            assert_eq!(seen.text(1), "");
            process.resume_producing();
        });
        run(&reactor);
        assert_eq!(child.text(1), "late");
        assert_eq!(child.log().entries().last().unwrap(), "ended 0");
    }

    fn a_paused_output_blocks_the_program(subject: &Subject) {
        // A program that cannot write does not read either.
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| {
            process.pause_producing();
            process.write(&noise(1_000_000, 5));
            process.close_stdin();
        });
        let process = reactor.spawn_process(&Command::new("cat"), child.clone()).unwrap();
        when(&reactor, || true, move |_| {
            assert!(process.pipe(0).unwrap().buffered() > 500_000);
            assert_eq!(process.status(), None);
            process.resume_producing();
        });
        run(&reactor);
        assert_same_bytes(&child.received(1), &noise(1_000_000, 5));
    }

    fn a_group_is_closed_in_order(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::new().on_made(|process| {
            let stopping = process.reactor();
            process.end_group(Duration::from_secs(60)).add_both(move |_| stop(&stopping));
        });
        let process = reactor.spawn_process(&Command::new("sleep").arg("60").own_group(), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(process.status().and_then(ExitStatus::signal), Some(Signal::TERM.number()));
        assert!(matches!(process.signal_group(Signal::KILL), Err(Error::ProcessExitedAlready)));
    }

    fn a_closed_terminal_hangs_its_program_up(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(|process| {
            process.resize(WindowSize::new(50, 132)).unwrap();
            process.pipe(0).unwrap().abort_connection();
        });
        let command = Command::new("sleep").arg("60").terminal(WindowSize::default());
        let process = reactor.spawn_process(&command, child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.log().entries().last().unwrap(), &format!("ended -{}", Signal::HUP.number()));
        assert!(matches!(process.resize(WindowSize::default()), Err(Error::Closed)));
    }

    fn a_stopped_reactor_abandons_its_children(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::new();
        let process = reactor.spawn_process(&Command::new("sleep").arg("1"), child.clone()).unwrap();
        let waiting = process.when_exited();
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert_eq!(child.log().entries().last().unwrap(), "ended abandoned");
        assert!(waiting.try_result().unwrap().is_err());
        assert_eq!(reactor.source_count(), 0);
    }
}
