use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::Key;
use rustix::process::Pid;

use super::descriptors::Descriptors;
use super::image::Image;
use super::stack::Stack;
use super::start::start;
use crate::providers;
use crate::seam::{ChildDescriptor, EventProvider, ExitStatus, PipeEnd, Received, SpawnError, SpawnPlan, SpawnStep};

fn shell(script: &str) -> SpawnPlan {
    let mut plan = SpawnPlan::new("sh");
    plan.arguments.extend(["-c".into(), script.into()]);
    plan
}

fn each_provider(mut test: impl FnMut(&mut dyn EventProvider)) {
    for known in providers() {
        test(&mut *(known.open)().expect(known.name));
    }
}

/// Waits until `done` returns a value. The owner of the provider asks it after each wait.
fn until<T>(provider: &mut dyn EventProvider, mut done: impl FnMut(&mut dyn EventProvider) -> Option<T>) -> T {
    let (end, mut events) = (Instant::now() + Duration::from_secs(20), Vec::new());
    while Instant::now() < end {
        if let Some(value) = done(provider) {
            return value;
        }
        provider.wait(Some(Duration::from_millis(20)), &mut events).unwrap();
    }
    panic!("{}: nothing came in 20 seconds", provider.name());
}

fn status(provider: &mut dyn EventProvider, process: Key) -> ExitStatus {
    until(provider, |provider| provider.processes().unwrap().exit_status(process).unwrap())
}

fn read_all(provider: &mut dyn EventProvider, key: Key) -> String {
    let (mut all, mut scratch) = (Vec::new(), [0; 4096]);
    provider.streams().unwrap().set_reading(key, true).unwrap();
    until(provider, |provider| match provider.streams().unwrap().receive(key, &mut scratch).unwrap() {
        Received::Filled(count) | Received::Drained(count) => {
            all.extend_from_slice(&scratch[..count]);
            None
        }
        Received::Eof => Some(()),
        _ => None,
    });
    provider.streams().unwrap().close(key);
    String::from_utf8(all).unwrap()
}

/// Returns what the child writes to its standard output, and its status.
fn output(provider: &mut dyn EventProvider, mut plan: SpawnPlan) -> Result<(String, ExitStatus), SpawnError> {
    plan.descriptors.insert(1, ChildDescriptor::Pipe(PipeEnd::Reader));
    let spawned = provider.processes().unwrap().spawn(&plan)?;
    let text = read_all(provider, spawned.pipes[0].key);
    let status = status(provider, spawned.process);
    provider.processes().unwrap().release_process(spawned.process);
    Ok((text, status))
}

#[test]
fn a_child_writes_to_its_pipe() {
    each_provider(|provider| {
        let written = output(provider, shell("echo hello; exit 3")).unwrap();
        assert_eq!(written, ("hello\n".into(), ExitStatus::Exited(3)), "{}", provider.name());
    });
}

/// Returns a file with `text`, as a descriptor that is not close-on-exec's exception.
fn text(text: &str) -> io::Result<Arc<OwnedFd>> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    File::from(writer).write_all(text.as_bytes())?;
    Ok(Arc::new(reader))
}

#[test]
fn descriptors_may_exchange_their_numbers() {
    // P7: the number of a source is a target of another one.
    each_provider(|provider| {
        let (one, two) = (text("one").unwrap(), text("two").unwrap());
        let mut plan = shell("cat <&$ONE; cat <&$TWO; cat <&0");
        let environment = [("ONE", two.as_raw_fd()), ("TWO", one.as_raw_fd())];
        let environment = environment.map(|(name, number)| (name.into(), number.to_string().into()));
        plan.environment = Some(environment.into_iter().chain([("PATH".into(), "/bin:/usr/bin".into())]).collect());
        plan.descriptors.insert(two.as_raw_fd() as u32, ChildDescriptor::Inherited(one.as_raw_fd() as u32));
        plan.descriptors.insert(one.as_raw_fd() as u32, ChildDescriptor::Inherited(two.as_raw_fd() as u32));
        plan.descriptors.insert(0, ChildDescriptor::Null);
        assert_eq!(output(provider, plan).unwrap().0, "onetwo", "{}", provider.name());
    });
}

#[test]
fn a_child_has_no_other_descriptor() {
    each_provider(|provider| {
        let mut plan = SpawnPlan::new("ls");
        plan.arguments.push("/proc/self/fd".into());
        plan.descriptors.insert(0, ChildDescriptor::Null);
        plan.descriptors.insert(7, ChildDescriptor::Copy(text("").unwrap()));
        // The last one is that of ls(1) itself.
        assert_eq!(output(provider, plan).unwrap().0, "0\n1\n2\n7\n", "{}", provider.name());
    });
}

/// A standard stream that is closed until this is dropped.
struct ClosedStream(RawFd, OwnedFd);

impl ClosedStream {
    fn new(number: RawFd) -> ClosedStream {
        // SAFETY: the test has its own process, in which no other code uses the number meanwhile.
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        let kept = rustix::io::fcntl_dupfd_cloexec(open, 100).unwrap();
        // SAFETY: the same.
        unsafe { libc::close(number) };
        ClosedStream(number, kept)
    }
}

impl Drop for ClosedStream {
    fn drop(&mut self) {
        // SAFETY: the number is free, or belongs to a descriptor that the test does not use any more.
        unsafe { libc::dup2(self.1.as_raw_fd(), self.0) };
    }
}

#[test]
fn closed_standard_streams_are_passed_as_null() {
    // P8: pipes work, and no descriptor of this process takes the number of a standard stream in a child.
    each_provider(|provider| {
        let closed = [0, 1, 2].map(ClosedStream::new);
        let mut plan = shell("cat; echo out; exec readlink /proc/self/fd/2");
        plan.descriptors.insert(0, ChildDescriptor::Inherited(0));
        plan.descriptors.insert(2, ChildDescriptor::Inherited(2));
        let inherited = output(provider, plan);
        let mut plan = shell("cat; echo out; echo error >&2; exit 4");
        plan.descriptors.insert(0, ChildDescriptor::Pipe(PipeEnd::Writer));
        plan.descriptors.insert(1, ChildDescriptor::Pipe(PipeEnd::Reader));
        plan.descriptors.insert(2, ChildDescriptor::Pipe(PipeEnd::Reader));
        let spawned = provider.processes().unwrap().spawn(&plan).unwrap();
        let key = |number| spawned.pipes.iter().find(|pipe| pipe.number == number).unwrap().key;
        provider.streams().unwrap().close(key(0));
        let texts = [1, 2].map(|number| read_all(provider, key(number)));
        let ended = status(provider, spawned.process);
        provider.processes().unwrap().release_process(spawned.process);
        drop(closed);
        assert_eq!(inherited.unwrap(), ("out\n/dev/null\n".into(), ExitStatus::Exited(0)), "{}", provider.name());
        assert_eq!((texts, ended), (["out\n".into(), "error\n".into()], ExitStatus::Exited(4)));
    });
}

#[test]
fn a_failed_step_leaves_nothing() {
    // P4: no descriptor, no zombie.
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    each_provider(|provider| {
        let before = count();
        for _ in 0..100 {
            let mut plan = SpawnPlan::new("/no/such/program");
            for number in 0..3 {
                plan.descriptors.insert(number, ChildDescriptor::Pipe(PipeEnd::Both));
            }
            let error = provider.processes().unwrap().spawn(&plan).unwrap_err();
            assert_eq!(error.step(), SpawnStep::Execute);
            assert_eq!(error.io_error().raw_os_error(), Some(libc::ENOENT));
        }
        let mut events = Vec::new();
        provider.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert!(count() <= before, "{}", provider.name());
    });
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert_eq!(children, "");
}

#[test]
fn a_status_that_was_stolen_is_still_known() {
    // Another part of the program waits for all children.
    each_provider(|provider| {
        let spawned = provider.processes().unwrap().spawn(&shell("exit 5")).unwrap();
        // SAFETY: waitpid(2) may be called without a place for the status.
        unsafe { libc::waitpid(spawned.pid as i32, std::ptr::null_mut(), 0) };
        let status = status(provider, spawned.process);
        assert!([ExitStatus::Exited(5), ExitStatus::Unknown].contains(&status));
        provider.processes().unwrap().release_process(spawned.process);
    });
}

#[test]
fn a_terminal_has_its_size_from_the_beginning() {
    each_provider(|provider| {
        let mut plan = shell("stty size");
        plan.terminal = Some(crate::WindowSize::new(37, 111));
        for number in 0..3 {
            plan.descriptors.insert(number, ChildDescriptor::Terminal);
        }
        let spawned = provider.processes().unwrap().spawn(&plan).unwrap();
        let [receive, _send] = spawned.terminal.unwrap();
        assert_eq!(read_all(provider, receive), "37 111\r\n", "{}", provider.name());
        assert_eq!(status(provider, spawned.process), ExitStatus::Exited(0));
        provider.processes().unwrap().release_process(spawned.process);
    });
}

#[test]
fn a_child_whose_parent_has_died_does_not_begin() {
    // prctl(2): no signal comes for a death before the call. Here init, or another process, plays the dead parent.
    let mut plan = shell("exit 0");
    plan.parent_death_signal = Some(libc::SIGKILL);
    let descriptors = Descriptors::open(&plan).unwrap();
    let mut image = Image::new(&plan, &descriptors).unwrap();
    let death = image.parent_death.as_mut().unwrap();
    death.parent = Pid::from_raw(1).filter(|init| *init != death.parent).unwrap_or(Pid::from_raw(2).unwrap());
    let failure = start(&mut image, &mut Stack::new()).err().unwrap();
    assert_eq!((failure.step, failure.errno), (SpawnStep::ParentDeath, libc::ESRCH));
}
