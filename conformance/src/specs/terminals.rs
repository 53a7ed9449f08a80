//! Child processes in a pseudo-terminal: `usePTY`.

use std::time::Duration;

use ropewalk::Error;
use ropewalk::processes::{Command, Process, ProcessGroup, Signal, WindowSize};

use crate::child::{Child, run_child, shell};
use crate::links::{assert_same_bytes, noise};
use crate::script::stop;
use crate::waiting::when;
use crate::{count_turns, run, specifications};

fn in_terminal(script: &str) -> Command {
    shell(script).terminal(WindowSize::default())
}

specifications! {
    terminals;

    fn the_output_of_a_terminal_has_an_end(subject: &Subject) {
        // T1 and T3: EIO is the end, and comes although this process had the other side open.
        let child = run_child(&subject.reactor(), &in_terminal("echo x"));
        assert_eq!(child.text(1), "x\r\n");
        assert_eq!(child.log().count("1 lost"), 1);
        assert_eq!(child.log().entries().last().unwrap(), "ended 0");
    }

    fn the_last_bytes_precede_the_end(subject: &Subject) {
        // T2: an exit that is noticed first discards nothing.
        let script = "stty -opost; head -c 300000 /dev/zero | tr '\\0' x; exit 7";
        let child = run_child(&subject.reactor(), &in_terminal(script));
        assert_eq!(child.received(1).len(), 300_000);
        assert_eq!(child.log().entries().last().unwrap(), "ended 7");
    }

    fn a_paused_terminal_keeps_its_last_bytes(subject: &Subject) {
        // T2, with a reader that resumes after the exit.
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(Process::pause_producing);
        let process = reactor.spawn_process(&in_terminal("echo late; exit 7"), child.clone()).unwrap();
        when(&reactor, { let process = process.clone(); move || process.status().is_some() }, move |_| {
            process.resume_producing();
        });
        run(&reactor);
        assert_eq!(child.text(1), "late\r\n");
    }

    fn an_interrupt_character_signals_the_child(subject: &Subject) {
        // T4: the terminal controls the session of the child.
        let reactor = subject.reactor();
        let child = Child::stopping().on_data(|process, _, _| process.write(b"\x03"));
        reactor.spawn_process(&in_terminal("echo ready; exec sleep 60"), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.log().entries().last().unwrap(), "ended -2");
    }

    fn the_terminal_of_the_child_is_its_own(subject: &Subject) {
        // T4: /dev/tty is this terminal.
        let child = run_child(&subject.reactor(), &in_terminal("test -t 0 && echo here >/dev/tty; ps -o tty= >/dev/null; tty"));
        let text = child.text(1);
        assert!(text.starts_with("here\r\n/dev/pts/"), "{text}");
    }

    fn the_size_is_in_force_from_the_beginning(subject: &Subject) {
        let command = shell("stty size").terminal(WindowSize::new(37, 111));
        assert_eq!(run_child(&subject.reactor(), &command).text(1), "37 111\r\n");
    }

    fn a_child_notices_a_new_size(subject: &Subject) {
        // T4: SIGWINCH.
        let reactor = subject.reactor();
        let script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done";
        let child = Child::stopping().on_data(|process, _, data| {
            if data.starts_with(b"ready") {
                process.resize(WindowSize::new(50, 132)).unwrap();
            }
        });
        let process = reactor.spawn_process(&in_terminal(script), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.text(1), "ready\r\n50 132\r\n");
        assert!(matches!(process.resize(WindowSize::default()), Err(Error::Closed)));
    }

    fn a_child_that_never_reads_costs_no_turns(subject: &Subject) {
        // T5: the kernel takes about 18 KB, and the rest waits. Closing hangs the terminal up.
        let reactor = subject.reactor();
        let child = Child::stopping().on_data(|process, _, _| {
            if process.pipe(0).unwrap().buffered() > 0 {
                return;
            }
            process.write(&vec![b'x'; 1 << 20]);
            let process = process.clone();
            process.reactor().call_later(Duration::from_millis(200), move |_| {
                assert!(process.pipe(0).unwrap().buffered() > 900_000);
                process.pipe(0).unwrap().abort_connection();
            });
        });
        reactor.spawn_process(&in_terminal("stty raw -echo; echo ready; exec sleep 60"), child.clone()).unwrap();
        let turns = count_turns(&reactor);
        assert!(turns < 60, "{turns} turns");
        assert_eq!(child.log().entries().last().unwrap(), "ended -1");
    }

    fn a_slow_child_gets_every_byte_in_order(subject: &Subject) {
        // T6
        let reactor = subject.reactor();
        let bytes: Vec<u8> = noise(40_000, 3);
        let sent = bytes.clone();
        let script = "stty raw -echo; echo ready; i=0; while [ $i -lt 40 ]; do head -c 1000; sleep 0.002; i=$((i+1)); done";
        let child = Child::stopping().on_data(move |process, _, data| {
            if data.starts_with(b"ready") {
                process.write(&sent);
            }
        });
        reactor.spawn_process(&in_terminal(script), child.clone()).unwrap();
        run(&reactor);
        let received = child.received(1);
        assert_same_bytes(received.strip_prefix(b"ready\n").unwrap(), &bytes);
    }

    fn a_terminal_has_one_transport(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::new();
        let process = reactor.spawn_process(&in_terminal("exec sleep 60"), child.clone()).unwrap();
        assert_eq!(process.pipe(0), process.pipe(2));
        assert!(process.pipe(3).is_none());
        process.write_to_child(0, b"x").unwrap();
        process.signal_group(Signal::KILL).unwrap();
        when(&reactor, { let process = process.clone(); move || process.status().is_some() }, stop);
        run(&reactor);
        assert_eq!(child.log().count("1 lost"), 1);
    }

    fn a_session_needs_no_terminal(subject: &Subject) {
        let command = shell("tty; echo $?").own_session();
        assert_eq!(command.plan().group, ProcessGroup::Session);
        assert!(run_child(&subject.reactor(), &command).text(1).starts_with("not a tty"));
    }
}
