//! IReactorProcess: child processes with pipes, their signals and their end.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk::endpoints::client_from_string;
use ropewalk::processes::{
    ChildDescriptor, Command, ExitStatus, Identity, PipeEnd, Process, Resource, Signal, SpawnStep,
};
use ropewalk::{Address, Error, Factory, Protocol, Reactor};

use crate::child::{Child, run_child, shell};
use crate::scenario::Performance;
use crate::script::{Log, Script, stop};
use crate::waiting::{run_until, when};
use crate::{run, specifications};

/// A folder of its own, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(subject: &crate::Subject) -> Folder {
        let path = subject.unix_path().with_extension("folder");
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// Writes a file with these mode bits.
    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds no protocol.
struct Refusing;

impl Factory for Refusing {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        None
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Whether the process exists, and is not a zombie.
fn lives(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

fn exists(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

fn spawn_error(reactor: &Reactor, command: &Command) -> (SpawnStep, String) {
    let child = Child::new();
    let error = reactor.spawn_process(command, child.clone()).expect_err("the program cannot start");
    child.log().expect(&[]);
    let Error::Spawn(error) = error else { panic!("unexpected error: {error}") };
    (error.step(), error.to_string())
}

/// Returns the lines that begin with one of the words.
fn lines<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    text.lines().filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
}

specifications! {
    processes;

    fn a_status_is_that_of_the_program(subject: &Subject) {
        let reactor = subject.reactor();
        assert!(run_child(&reactor, &shell("exit 3")).log().contains("ended 3"));
        assert!(run_child(&reactor, &shell("kill -9 $$")).log().contains("ended -9"));
    }

    fn a_process_runs_before_the_reactor_does(subject: &Subject) {
        // The child may have ended when the loop begins.
        let reactor = subject.reactor();
        let child = Child::stopping();
        let process = reactor.spawn_process(&shell("exit 3"), child.clone()).unwrap();
        while lives(process.pid()) {
            thread::sleep(Duration::from_millis(1));
        }
        run(&reactor);
        assert!(child.log().contains("ended 3"));
        assert!(!exists(process.pid()));
    }

    fn an_orphan_delays_only_the_end(subject: &Subject) {
        // P2: processExited at once, processEnded when the orphan's copy of the pipe is closed.
        let reactor = subject.reactor();
        let child = Child::stopping().on_exited(|process| {
            let process = process.clone();
            process.reactor().call_later(Duration::from_millis(50), move |_| process.signal_group(Signal::KILL).unwrap());
        });
        reactor.spawn_process(&shell("sleep 60 & echo hi; exit 3").own_group(), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.text(1), "hi\n");
        let entries = child.log().entries();
        let place = |event: &str| entries.iter().position(|entry| entry == event).unwrap();
        assert!(place("exited 3") < place("1 lost"), "{entries:?}");
        assert_eq!(entries.last().unwrap(), "ended 3");
    }

    fn a_script_that_was_just_written_starts(subject: &Subject) {
        // P3: a child that another thread is starting may have the script open for writing.
        let (reactor, folder) = (subject.reactor(), Folder::new(subject));
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spawning: Vec<_> = (0..4).map(|_| {
            let done = done.clone();
            thread::spawn(move || while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::process::Command::new("true").status().unwrap();
            })
        }).collect();
        for round in 0..50 {
            let script = folder.write(&format!("script{round}"), "#!/bin/sh\nexit 7\n", 0o755);
            match reactor.spawn_process(&Command::new(script), Child::stopping()) {
                Ok(process) => {
                    run(&reactor);
                    assert_eq!(process.status(), Some(ExitStatus::Exited(7)));
                }
                Err(error) => assert!(error.to_string().contains("ETXTBSY"), "{error}"),
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        spawning.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn a_missing_program_leaves_nothing_behind(subject: &Subject) {
        // P4: the same error each time, and no descriptor or zombie.
        let reactor = subject.reactor();
        let missing = Command::new("/no/such/program");
        let expected = (SpawnStep::Execute, "cannot run the program '/no/such/program': there is no such file".into());
        assert_eq!(spawn_error(&reactor, &missing), expected);
        let before = open_descriptors();
        for _ in 0..200 {
            assert_eq!(spawn_error(&reactor, &missing), expected);
        }
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        assert!(open_descriptors() <= before);
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_error_names_the_step_with_its_path(subject: &Subject) {
        // P5: four faults that the system reports by two numbers.
        let (reactor, folder) = (subject.reactor(), Folder::new(subject));
        let missing = folder.0.join("missing");
        let (step, text) = spawn_error(&reactor, &Command::new("true").directory(&missing));
        assert_eq!(step, SpawnStep::Directory);
        assert!(text.contains("cannot enter the directory") && text.contains("/missing'"), "{text}");
        let orphan = folder.write("orphan", "#!/no/such/interpreter\n", 0o755);
        let (step, text) = spawn_error(&reactor, &Command::new(orphan));
        assert_eq!(step, SpawnStep::Execute);
        assert!(text.contains("its interpreter '/no/such/interpreter' does not exist"), "{text}");
        let (_, text) = spawn_error(&reactor, &Command::new(&folder.0));
        assert!(text.contains("it is a directory"), "{text}");
        let plain = folder.write("plain", "#!/bin/sh\n", 0o644);
        let (_, text) = spawn_error(&reactor, &Command::new(plain));
        assert!(text.contains("is not executable"), "{text}");
        let (_, text) = spawn_error(&reactor, &Command::new("no-such-program-anywhere"));
        assert!(text.contains("no folder in PATH has a program of this name"), "{text}");
        let (_, text) = spawn_error(&reactor, &Command::new("no-such-program-anywhere").env("PATH", "/bin"));
        assert!(text.contains("no folder in PATH has a program of this name"), "{text}");
        let (_, text) = spawn_error(&reactor, &Command::new("orphan").env("PATH", &folder.0));
        assert!(text.contains("its interpreter '/no/such/interpreter' does not exist"), "{text}");
        let data = folder.write("data", "neither\n", 0o755);
        let (_, text) = spawn_error(&reactor, &Command::new(data));
        assert!(text.contains("neither a program for this system nor a script"), "{text}");
        let (step, text) = spawn_error(&reactor, &Command::new("true").arg("a\0b"));
        assert_eq!(step, SpawnStep::Arguments);
        assert!(text.contains("has a zero byte in it"), "{text}");
    }

    fn a_child_begins_with_default_signals(subject: &Subject) {
        // P6: Rust ignores SIGPIPE in this process. A program such as yes(1) relies on it.
        let reactor = subject.reactor();
        let child = run_child(&reactor, &Command::new("cat").arg("/proc/self/status"));
        let zero = "0000000000000000";
        let expected = [format!("SigBlk:\t{zero}"), format!("SigIgn:\t{zero}")];
        assert_eq!(lines(&child.text(1), &["SigBlk", "SigIgn"]), expected);
        let kept = run_child(&reactor, &Command::new("cat").arg("/proc/self/status").keep_ignored_signals());
        let ignored = lines(&kept.text(1), &["SigIgn"]).concat();
        let bits = u64::from_str_radix(ignored.split_whitespace().last().unwrap(), 16).unwrap();
        assert_ne!(bits & 1 << (Signal::PIPE.number() - 1), 0, "{ignored}");
    }

    fn descriptors_have_the_numbers_of_the_map(subject: &Subject) {
        // P7: holes, many to one, and a source that is the target of another.
        let reactor = subject.reactor();
        let mut source = tempfile("from the file");
        let command = shell("echo out; echo err >&2; cat <&9; echo three >&3; ls /proc/self/fd | tr '\\n' ' ' >&7")
            .stderr(ChildDescriptor::Same(1))
            .descriptor(3, ChildDescriptor::Pipe(PipeEnd::Reader))
            .descriptor(7, ChildDescriptor::Pipe(PipeEnd::Reader))
            .descriptor(9, ChildDescriptor::from(OwnedFd::from(source.try_clone().unwrap())));
        let child = run_child(&reactor, &command);
        assert_eq!(child.text(1), "out\nerr\nfrom the file");
        assert_eq!(child.text(3), "three\n");
        // The number 4 is that of the folder which ls(1) reads.
        assert_eq!(child.text(7).split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "7", "9"]);
        // A shell uses the numbers from 10 itself when it redirects.
        let swapped = shell("cat /dev/fd/$A /dev/fd/$B");
        let other = tempfile("second");
        let [a, b] = [source.as_raw_fd() as u32, other.as_raw_fd() as u32];
        source.rewind().unwrap();
        let swapped = swapped.env("A", a.to_string()).env("B", b.to_string());
        let swapped = swapped.descriptor(a, ChildDescriptor::Inherited(b)).descriptor(b, ChildDescriptor::Inherited(a));
        assert_eq!(run_child(&reactor, &swapped).text(1), "secondfrom the file");
    }

    fn a_closed_descriptor_cannot_be_inherited(subject: &Subject) {
        let reactor = subject.reactor();
        let (step, text) = spawn_error(&reactor, &Command::new("true").descriptor(5, ChildDescriptor::Inherited(999)));
        assert_eq!(step, SpawnStep::Descriptors);
        assert!(text.contains("descriptor 999 is not open in this process"), "{text}");
    }

    fn a_killed_child_leaves_no_zombie(subject: &Subject) {
        // P9: no handle is left, and nothing else is spawned.
        let reactor = subject.reactor();
        let process = reactor.spawn_process(&Command::new("sleep").arg("60"), Child::new()).unwrap();
        let pid = process.pid();
        process.signal(Signal::KILL).unwrap();
        drop(process);
        run_until(&reactor, move || !exists(pid));
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_ignored_sigchld_does_not_hide_the_end(subject: &Subject) {
        // P10: the system waits for the child itself. Linux 6.15 and later remember its status.
        let mut play = Performance::begin_ignoring(subject, "CHLD", "child status");
        let line = play.line().unwrap();
        assert!(["ended 5", "ended ?"].contains(&&*line), "{line}");
        play.ends();
    }

    fn a_child_may_close_its_pipes_long_before(subject: &Subject) {
        // P11: three ends of file, once each. The loop sleeps until the exit.
        let reactor = subject.reactor();
        let child = Child::stopping();
        reactor.spawn_process(&shell("exec <&- >&- 2>&-; sleep 0.2; exit 4"), child.clone()).unwrap();
        let turns = crate::count_turns(&reactor);
        assert!(turns < 30, "{turns} turns");
        for event in ["0 lost", "1 lost", "2 lost", "exited 4"] {
            assert_eq!(child.log().count(event), 1, "{event}");
        }
        assert_eq!(child.log().entries().last().unwrap(), "ended 4");
    }

    fn a_time_limit_reaches_the_whole_group(subject: &Subject) {
        // P12: TERM first, KILL later.
        let reactor = subject.reactor();
        let stubborn = shell("trap '' TERM; sleep 60 | cat & echo $$; wait").own_group();
        let child = Child::new().on_data(|process, _, _| {
            let stopping = process.reactor();
            process.end_group(Duration::from_millis(50)).add_both(move |_| stop(&stopping));
        });
        let process = reactor.spawn_process(&stubborn, child.clone()).unwrap();
        run(&reactor);
        assert!(process.status().is_some());
        run_until(&reactor, { let process = process.clone(); move || process.signal_group(Signal::KILL).is_err() });
        assert!(matches!(process.signal_group(Signal::KILL), Err(Error::ProcessExitedAlready)));
        assert!(process.end_group(Duration::ZERO).try_result().is_ok_and(|ended| ended.is_ok()));
    }

    fn the_rest_of_a_group_ends_without_the_whole_grace(subject: &Subject) {
        // The program that the leader has left behind ends by TERM, and then nothing is left to wait for.
        let reactor = subject.reactor();
        let child = Child::new().on_exited(|process| {
            let stopping = process.reactor();
            process.end_group(Duration::from_secs(3600)).add_both(move |_| stop(&stopping));
        });
        reactor.spawn_process(&shell("sleep 60 & exit 3").own_group(), child.clone()).unwrap();
        run(&reactor);
        assert!(child.log().contains("exited 3"));
    }

    fn a_group_without_pipes_gets_kill_after_its_leader(subject: &Subject) {
        // No pipe delays process_ended, and the rest of the group ignores TERM.
        let reactor = subject.reactor();
        let child = Child::new().on_exited(|process| {
            let stopping = process.reactor();
            process.end_group(Duration::from_millis(50)).add_both(move |_| stop(&stopping));
        });
        let script = "trap '' TERM; sleep 60 </dev/null >/dev/null 2>&1 & echo $!";
        reactor.spawn_process(&shell(script).own_group(), child.clone()).unwrap();
        run(&reactor);
        assert!(child.log().contains("ended 0"));
        let left = child.text(1).trim().parse().unwrap();
        run_until(&reactor, move || !lives(left));
        assert_eq!(reactor.source_count(), 0);
    }

    fn another_user_has_only_its_groups(subject: &Subject) {
        // P13: groups, group, user, in this order.
        let reactor = subject.reactor();
        let nobody = Identity::new(Some(65534), Some(65534));
        let command = Command::new("id").user(nobody).unwrap();
        if !rustix::process::geteuid().is_root() {
            let (step, _) = spawn_error(&reactor, &command);
            assert_eq!(step, SpawnStep::Identity);
            return;
        }
        let ids = |command: Command, flag: &str| run_child(&reactor, &command.arg(flag)).text(1);
        assert_eq!(ids(command.clone(), "-u"), "65534\n");
        assert_eq!(ids(command.clone(), "-G"), "65534\n");
        assert_eq!(ids(command.groups([7, 65534]), "-G"), "65534 7\n");
        assert!(rustix::process::geteuid().is_root());
    }

    fn no_pipe_is_inherited_by_another_child(subject: &Subject) {
        // P14: two reactors spawn at the same moment. The first child sees its end of file while the second lives.
        let subject = *subject;
        let threads = [0, 1].map(|_| thread::spawn(move || {
            let reactor = subject.reactor();
            for _ in 0..20 {
                let second: Rc<RefCell<Option<Process>>> = Rc::default();
                let kill = second.clone();
                let first = Child::stopping()
                    .on_made(Process::close_stdin)
                    .on_exited(move |_| drop(kill.take().unwrap().signal(Signal::KILL)));
                reactor.spawn_process(&Command::new("cat"), first.clone()).unwrap();
                second.replace(Some(reactor.spawn_process(&Command::new("cat"), Child::new()).unwrap()));
                run(&reactor);
                assert!(first.log().contains("ended 0"));
            }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn the_environment_is_that_of_the_command(subject: &Subject) {
        let reactor = subject.reactor();
        let command = Command::new("/usr/bin/env").env_clear().env("ONE", "1").env("TWO", "2").env_remove("ONE");
        assert_eq!(run_child(&reactor, &command).text(1), "TWO=2\n");
        assert!(run_child(&reactor, &Command::new("env")).text(1).contains("PATH="));
    }

    fn a_child_begins_in_its_directory(subject: &Subject) {
        let (reactor, folder) = (subject.reactor(), Folder::new(subject));
        folder.write("here.sh", "#!/bin/sh\npwd\n", 0o755);
        let child = run_child(&reactor, &Command::new("./here.sh").directory(&folder.0));
        assert_eq!(child.text(1).trim_end(), fs::canonicalize(&folder.0).unwrap().to_str().unwrap());
    }

    fn resources_are_limited(subject: &Subject) {
        let reactor = subject.reactor();
        let limited = shell("ulimit -n; ulimit -Hn; umask").limit(Resource::OpenFiles, 17).umask(0o27);
        assert_eq!(run_child(&reactor, &limited).text(1), "17\n17\n0027\n");
    }

    fn a_group_or_session_is_the_childs_own(subject: &Subject) {
        let reactor = subject.reactor();
        let ids = "set -- $(cut -d' ' -f5,6 /proc/$$/stat); echo $(($1 == $$)) $(($2 == $$))";
        assert_eq!(run_child(&reactor, &shell(ids)).text(1), "0 0\n");
        assert_eq!(run_child(&reactor, &shell(ids).own_group()).text(1), "1 0\n");
        assert_eq!(run_child(&reactor, &shell(ids).own_session()).text(1), "1 1\n");
    }

    fn a_paused_pipe_is_not_read(subject: &Subject) {
        let reactor = subject.reactor();
        let child = Child::stopping().on_made(Process::pause_producing);
        let process = reactor.spawn_process(&shell("echo late; exit 3"), child.clone()).unwrap();
        let seen = child.clone();
        when(&reactor, { let process = process.clone(); move || process.status().is_some() }, move |_| {
            assert_eq!(seen.text(1), "");
            process.resume_producing();
        });
        run(&reactor);
        assert_eq!(child.text(1), "late\n");
        assert_eq!(child.log().entries().last().unwrap(), "ended 3");
    }

    fn events_wait_while_a_callback_turns_the_loop(subject: &Subject) {
        // The protocol is never called within its own callback, and nothing is lost or reordered.
        let reactor = subject.reactor();
        let child = Child::stopping().on_data(|process, fd, _| {
            if fd == 2 {
                for _ in 0..30 {
                    process.reactor().iterate(Some(Duration::from_millis(5))).unwrap();
                }
            }
        });
        reactor.spawn_process(&shell("echo first >&2; sleep 0.03; echo second; exit 3"), child.clone()).unwrap();
        run(&reactor);
        assert_eq!((child.text(2), child.text(1)), ("first\n".into(), "second\n".into()));
        assert_eq!(child.log().entries().last().unwrap(), "ended 3");
        assert_eq!(child.log().count("exited 3"), 1);
    }

    fn a_panic_in_a_callback_leaves_the_others(subject: &Subject) {
        let reactor = subject.plain_reactor();
        let child = Child::stopping().on_data(|_, _, _| panic!("a bug in the protocol"));
        reactor.spawn_process(&shell("echo hi; sleep 0.05; exit 3"), child.clone()).unwrap();
        run(&reactor);
        assert_eq!(child.log().count("1 lost"), 1);
        assert!(child.log().contains("ended 3"));
    }

    fn a_stopped_reactor_leaves_its_children(subject: &Subject) {
        // The protocol is notified, once, and the process continues to run.
        let reactor = subject.reactor();
        let child = Child::new();
        let process = reactor.spawn_process(&Command::new("sleep").arg("60"), child.clone()).unwrap();
        let waiting = process.when_exited();
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert_eq!(child.log().entries().last().unwrap(), "ended abandoned");
        assert!(waiting.try_result().unwrap().is_err());
        assert!(lives(process.pid()));
        let killed = std::process::Command::new("kill").args(["-9", &process.pid().to_string()]).status();
        assert!(killed.unwrap().success());
        // The next start waits for it.
        while lives(process.pid()) {
            thread::sleep(Duration::from_millis(1));
        }
        run_child(&reactor, &Command::new("true"));
        assert!(!exists(process.pid()));
    }

    fn a_child_ends_with_its_parent(subject: &Subject) {
        // prctl(2): PR_SET_PDEATHSIG. No part of the parent is left that could stop the child.
        let mut parent = Performance::begin(subject, "a child before a death");
        parent.expect(&["ready"]);
        parent.signal(rustix::process::Signal::KILL);
        parent.outlive();
        parent.is_killed_by(rustix::process::Signal::KILL);
    }

    fn the_parent_of_a_child_is_a_thread(subject: &Subject) {
        // prctl(2): the signal comes after the last instruction of the thread that has started the child, although the
        // process lives.
        let ((input, to_input), (from_output, output)) = (rustix::pipe::pipe().unwrap(), rustix::pipe::pipe().unwrap());
        let starts = *subject;
        let starter = thread::spawn(move || {
            let command = shell("read line; echo survived").stdin(input).stdout(output).stderr(ChildDescriptor::Null);
            let command = command.parent_death_signal(Signal::TERM);
            starts.reactor().spawn_process(&command, Child::new()).unwrap();
            fs::read_link("/proc/thread-self").unwrap()
        });
        let starter = PathBuf::from("/proc").join(starter.join().unwrap());
        // The system lets a thread be joined before the thread has ended.
        while starter.exists() {
            thread::yield_now();
        }
        drop(to_input);
        assert_eq!(io::read_to_string(File::from(from_output)).unwrap(), "");
    }

    fn a_program_is_one_connection(subject: &Subject) {
        // ProcessEndpoint: written bytes are its input, received bytes its output.
        let reactor = subject.reactor();
        let (log, child) = (Log::new(), Child::stopping());
        let script = Script::logged(&log, "conversation").on_made(|transport| {
            transport.write(b"hello");
            transport.lose_write_connection();
        });
        let command = shell("cat; echo aside >&2; exit 3");
        let process = reactor.connect_process(&command, &script.factory(), child.clone()).unwrap();
        assert_eq!(process.pipe(0), process.pipe(1));
        run(&reactor);
        log.expect(&[
            "conversation made", "conversation write lost", "conversation data hello", "conversation read lost",
            "conversation lost ConnectionDone",
        ]);
        assert_eq!(child.text(2), "aside\n");
        assert_eq!(child.log().count("1 lost"), 1);
        assert_eq!(child.log().entries().last().unwrap(), "ended 3");
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_silent_connection_ends_with_its_program(subject: &Subject) {
        // A forwarder keeps its side open after the end of the output. No write finds that the program is gone.
        let reactor = subject.reactor();
        let (log, child) = (Log::new(), Child::stopping());
        let script = Script::logged(&log, "conversation").on_read_lost(|_| ());
        reactor.connect_process(&shell("echo last"), &script.factory(), child.clone()).unwrap();
        run(&reactor);
        log.expect(&["conversation made", "conversation data last\\n", "conversation lost ConnectionDone"]);
        assert_eq!(child.log().entries().last().unwrap(), "ended 0");
    }

    fn a_program_that_reads_no_input_continues_to_write(subject: &Subject) {
        let reactor = subject.reactor();
        let (log, child) = (Log::new(), Child::stopping());
        let script = Script::logged(&log, "conversation").on_read_lost(|_| ());
        reactor.connect_process(&shell("exec 0<&-; sleep 0.1; echo late"), &script.factory(), child.clone()).unwrap();
        run(&reactor);
        log.expect(&["conversation made", "conversation data late\\n", "conversation lost ConnectionDone"]);
        assert_eq!(child.log().entries().last().unwrap(), "ended 0");
    }

    fn a_connection_lost_at_once_is_reported_in_order(subject: &Subject) {
        // The conversation ends in its own `connection_made`, before the process has begun.
        let reactor = subject.reactor();
        let child = Child::stopping();
        let script = Script::new().on_made(ropewalk::Transport::abort_connection);
        reactor.connect_process(&Command::new("true").stderr(ChildDescriptor::Null), &script.factory(), child.clone()).unwrap();
        run(&reactor);
        child.log().expect(&["made", "1 lost", "exited 0", "ended 0"]);
    }

    fn a_refused_protocol_starts_no_program(subject: &Subject) {
        let reactor = subject.reactor();
        let refused = reactor.connect_process(&Command::new("cat"), &Refusing, Child::new());
        assert!(matches!(refused, Err(Error::Closed)));
        let deaf = Command::new("cat").stdin(ChildDescriptor::Null);
        let error = reactor.connect_process(&deaf, &Script::new().factory(), Child::new()).unwrap_err();
        assert!(error.to_string().contains("needs pipes"), "{error}");
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_endpoint_starts_a_program(subject: &Subject) {
        // process:PROGRAM:ARGUMENT...
        let reactor = subject.reactor();
        let endpoint = client_from_string(&reactor, r"process:sh:-c:tr a-z A-Z; echo A\=B:directory=/").unwrap();
        let (log, stopping) = (Log::new(), reactor.clone());
        let script = Script::logged(&log, "shell").on_lost(move |_, _| stop(&stopping)).on_made(|transport| {
            transport.write(b"x");
            transport.lose_write_connection();
        });
        let connected = endpoint.connect(&reactor, Rc::new(script.factory()));
        assert!(connected.try_result().unwrap().is_ok());
        run(&reactor);
        assert_eq!(script.received(), b"XA=B\n");
        let missing = client_from_string(&reactor, "process:/no/such").unwrap();
        let failed = missing.connect(&reactor, Rc::new(Script::new().factory())).try_result().unwrap().unwrap_err();
        assert!(failed.to_string().contains("there is no such file"), "{failed}");
        for wrong in ["process:", "process:cat:colour=red"] {
            assert!(client_from_string(&reactor, wrong).is_err(), "{wrong}");
        }
    }

    fn other_children_keep_their_status(subject: &Subject) {
        // Never waitpid(-1): a library of this process waits for its own children.
        let reactor = subject.reactor();
        let beside = thread::spawn(|| for code in 0..40 {
            let status = std::process::Command::new("sh").args(["-c", &format!("exit {code}")]).status().unwrap();
            assert_eq!(status.code(), Some(code));
        });
        for code in 0..40 {
            let child = run_child(&reactor, &shell(&format!("exit {code}")));
            assert!(child.log().contains(&format!("ended {code}")), "{:?}", child.log().entries());
        }
        beside.join().unwrap();
    }
}

/// Returns an open file with `text`, which has no name any more.
fn tempfile(text: &str) -> File {
    let path = crate::Subject::simulated().unix_path();
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}
