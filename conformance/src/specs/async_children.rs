//! AsyncChild: the pipes of a child process as halves of streams, with programs that every subject has: see
//! `child_processes`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::processes::{ChildDescriptor, Command, ExitStatus, PipeEnd, Signal, SpawnStep, WindowSize};
use ropewalk::task::{AddTimeout, AsyncChild, AsyncStream, ReadHalf, copy_bidirectional};
use ropewalk::{Error, Reactor};

use crate::links::{assert_same_bytes, noise};
use crate::script::stop;
use crate::waiting::{iterate_until, run_until};
use crate::{run, specifications};

/// Runs a task to its end, and returns its output.
fn finish<T: 'static>(reactor: &Reactor, task: impl Future<Output = T> + 'static) -> T {
    let ends = reactor.clone();
    let output = reactor.spawn(async move {
        let output = task.await;
        stop(&ends);
        output
    });
    run(reactor);
    output.try_result().expect("the task has ended").expect("it does not panic")
}

fn spawn(reactor: &Reactor, command: &Command) -> AsyncChild {
    AsyncChild::spawn(reactor, command).expect("the program starts")
}

fn sleeper() -> Command {
    Command::new("sleep").arg("60")
}

async fn read_all(from: &mut ReadHalf) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match from.read(&mut buffer).await.expect("the pipe ends in order") {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

specifications! {
    async_children;

    fn a_dropped_input_is_the_end_for_the_child(subject: &Subject) {
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let (text, status) = finish(&reactor, async move {
            let mut input = cat.stdin.take().unwrap();
            input.write_all(b"hello").await.unwrap();
            drop(input);
            (read_all(cat.stdout.as_mut().unwrap()).await, cat.wait().await.unwrap())
        });
        assert_eq!((&*text, status), (&b"hello"[..], ExitStatus::Exited(0)));
        iterate_until(&reactor, || reactor.source_count() == 0);
    }

    fn a_shut_down_input_is_the_end_for_the_child(subject: &Subject) {
        // A pipe has no sending direction that could be closed alone.
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let text = finish(&reactor, async move {
            let input = cat.stdin.as_mut().unwrap();
            input.write_all(b"hello").await.unwrap();
            input.shut_down_write();
            read_all(cat.stdout.as_mut().unwrap()).await
        });
        assert_eq!(text, b"hello");
    }

    fn a_wait_closes_the_input(subject: &Subject) {
        // Otherwise a program that reads its input to the end would never end.
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let status = finish(&reactor, async move { cat.wait().await.unwrap() });
        assert_eq!(status, ExitStatus::Exited(0));
    }

    fn a_wait_may_be_repeated(subject: &Subject) {
        // A wait that a time limit has dropped changes nothing.
        let reactor = subject.reactor();
        let mut sleep = spawn(&reactor, &sleeper());
        let waiting = reactor.clone();
        finish(&reactor, async move {
            let limited = sleep.wait().add_timeout(Duration::from_millis(5), &waiting).await;
            assert!(limited.is_err() && sleep.process().status().is_none());
            sleep.process().signal(Signal::KILL).unwrap();
            for _ in 0..2 {
                assert_eq!(sleep.wait().await.unwrap().signal(), Some(Signal::KILL.number()));
            }
        });
    }

    fn a_large_answer_passes_while_both_ends_work(subject: &Subject) {
        // Back-pressure in both directions: neither the pipes nor the reactor hold three million bytes.
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let mut input = cat.stdin.take().unwrap();
        let most = Rc::new(Cell::new(0));
        let highest = most.clone();
        drop(reactor.spawn(async move {
            for piece in noise(3_000_000, 7).chunks(10_000) {
                input.write_all(piece).await.unwrap();
                highest.set(highest.get().max(input.transport().buffered()));
            }
        }));
        let answer = finish(&reactor, async move { read_all(cat.stdout.as_mut().unwrap()).await });
        assert_same_bytes(&answer, &noise(3_000_000, 7));
        assert!(most.get() < 200_000, "{} bytes were queued", most.get());
    }

    fn an_unread_output_blocks_the_program(subject: &Subject) {
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let mut input = cat.stdin.take().unwrap();
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        drop(reactor.spawn(async move {
            while count.get() < 3_000_000 {
                input.write_all(&[7; 10_000]).await.unwrap();
                count.set(count.get() + 10_000);
            }
        }));
        let before = Cell::new(usize::MAX);
        iterate_until(&reactor, || before.replace(written.get()) == written.get() && written.get() > 0);
        assert!(written.get() < 1_000_000, "{} bytes were written", written.get());
        let answer = finish(&reactor, async move { read_all(cat.stdout.as_mut().unwrap()).await });
        assert_eq!(answer.len(), 3_000_000);
    }

    fn a_dropped_output_is_a_broken_pipe_for_the_child(subject: &Subject) {
        // SIGPIPE
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let status = finish(&reactor, async move {
            drop(cat.stdout.take());
            cat.stdin.as_mut().unwrap().write_all(b"for nothing").await.unwrap();
            cat.wait().await.unwrap()
        });
        assert_eq!(status.signal(), Some(Signal::PIPE.number()));
    }

    fn a_paused_output_can_be_dropped(subject: &Subject) {
        // More than 64 KiB are unread, so the reactor has stopped reading.
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        let mut input = cat.stdin.take().unwrap();
        let output = Rc::new(RefCell::new(cat.stdout.take()));
        let dropped = output.clone();
        drop(reactor.spawn(async move {
            while input.write_all(&[7; 10_000]).await.is_ok() {}
        }));
        iterate_until(&reactor, move || output.borrow().as_ref().is_some_and(|output| output.transport().is_paused()));
        dropped.take();
        let status = finish(&reactor, async move { cat.wait().await.unwrap() });
        assert_eq!(status.signal(), Some(Signal::PIPE.number()));
        iterate_until(&reactor, || reactor.source_count() == 0);
    }

    fn a_write_to_an_ended_child_fails(subject: &Subject) {
        let reactor = subject.reactor();
        let mut child = spawn(&reactor, &Command::new("true"));
        let kind = finish(&reactor, async move {
            let mut input = child.stdin.take().unwrap();
            loop {
                if let Err(error) = input.write_all(&[7; 10_000]).await {
                    return error.kind();
                }
            }
        });
        assert_eq!(kind, ErrorKind::BrokenPipe);
    }

    fn a_dropped_child_continues_to_run(subject: &Subject) {
        let reactor = subject.reactor();
        let sleep = spawn(&reactor, &sleeper());
        let process = sleep.process().clone();
        drop(sleep);
        iterate_until(&reactor, || !process.pipe(1).unwrap().is_connected());
        assert_eq!(process.status(), None);
        process.signal(Signal::KILL).unwrap();
        iterate_until(&reactor, || reactor.source_count() == 0);
    }

    fn a_dropped_child_may_end_its_group(subject: &Subject) {
        // AsyncChild::end_on_drop: the task that owns the child is cancelled.
        let reactor = subject.reactor();
        let mut sleep = spawn(&reactor, &sleeper().own_group()).end_on_drop(Duration::from_secs(60));
        let process = sleep.process().clone();
        let task = reactor.spawn(async move { sleep.wait().await });
        iterate_until(&reactor, || true);
        task.cancel_handle().cancel();
        iterate_until(&reactor, || process.status().is_some());
        assert_eq!(process.status().unwrap().signal(), Some(Signal::TERM.number()));
        iterate_until(&reactor, || reactor.source_count() == 0);
    }

    fn a_child_without_pipes_has_no_halves(subject: &Subject) {
        let reactor = subject.reactor();
        let command = Command::new("true").stdin(ChildDescriptor::Null).stdout(ChildDescriptor::Null).closed(2);
        let mut child = spawn(&reactor, &command);
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        assert!(child.take_reader(7).is_none() && child.take_writer(7).is_none());
        assert!(finish(&reactor, async move { child.wait().await.unwrap() }).is_success());
    }

    fn a_socket_is_two_halves(subject: &Subject) {
        // PipeEnd::Both: closing the writing half leaves the other direction open.
        let reactor = subject.reactor();
        let command = Command::new("cat").stdin(ChildDescriptor::Pipe(PipeEnd::Both)).stdout(ChildDescriptor::Same(0));
        let mut cat = spawn(&reactor, &command);
        let text = finish(&reactor, async move {
            let (mut reader, mut writer) = (cat.take_reader(0).unwrap(), cat.take_writer(0).unwrap());
            writer.write_all(b"there and back").await.unwrap();
            drop(writer);
            read_all(&mut reader).await
        });
        assert_eq!(text, b"there and back");
    }

    fn a_terminal_is_two_halves_of_one_connection(subject: &Subject) {
        // Dropping both hangs the program up.
        let reactor = subject.reactor();
        let sleep = spawn(&reactor, &sleeper().terminal(WindowSize::default()));
        assert!(sleep.stdin.is_some() && sleep.stdout.is_some() && sleep.stderr.is_none());
        let process = sleep.process().clone();
        process.resize(WindowSize::new(50, 132)).unwrap();
        drop(sleep);
        iterate_until(&reactor, || process.status().is_some());
        assert_eq!(process.status().unwrap().signal(), Some(Signal::HUP.number()));
    }

    fn joined_halves_copy_in_both_directions(subject: &Subject) {
        // AsyncStream::from_halves: two programs in a circle.
        let reactor = subject.reactor();
        let stream = |child: &mut AsyncChild| {
            AsyncStream::from_halves(child.stdout.take().unwrap(), child.stdin.take().unwrap())
        };
        let (mut echo, mut cat) = (spawn(&reactor, &Command::new("echo").arg("hello")), spawn(&reactor, &Command::new("cat")));
        let (mut a, mut b) = (stream(&mut echo), stream(&mut cat));
        let copied = finish(&reactor, async move { copy_bidirectional(&mut a, &mut b).await });
        // The answer finds no reader, because echo(1) has ended.
        assert!(copied.is_err() || copied.unwrap().0 == 6);
    }

    fn a_program_that_cannot_start_is_an_error(subject: &Subject) {
        let reactor = subject.reactor();
        let error = AsyncChild::spawn(&reactor, &Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(matches!(error, Error::Spawn(error) if error.step() == SpawnStep::Execute));
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_stop_of_the_reactor_is_no_end_of_the_output(subject: &Subject) {
        // Code that polls the halves outside the reactor must not take a part of the output for the whole.
        let reactor = subject.reactor();
        let mut sleep = spawn(&reactor, &sleeper());
        let process = sleep.process().clone();
        let waiting = sleep.wait();
        process.signal(0).unwrap();
        run_until(&reactor, || true);
        assert!(waiting.try_result().unwrap().is_err());
        assert!(!process.pipe(1).unwrap().lost().unwrap().is_done());
    }

    fn a_crash_of_the_reactor_keeps_its_children(subject: &Subject) {
        // IReactorCore.crash: no event is fired, and nothing is closed. The next run continues.
        let reactor = subject.reactor();
        let mut cat = spawn(&reactor, &Command::new("cat"));
        reactor.call_later(Duration::ZERO, Reactor::crash);
        run(&reactor);
        assert!(cat.process().status().is_none() && cat.stdin.as_ref().unwrap().transport().is_connected());
        let text = finish(&reactor, async move {
            cat.stdin.take().unwrap().write_all(b"after").await.unwrap();
            read_all(cat.stdout.as_mut().unwrap()).await
        });
        assert_eq!(text, b"after");
    }
}
