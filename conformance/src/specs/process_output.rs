//! getProcessOutput, getProcessValue and getProcessOutputAndValue: programs that run to their end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::Reactor;
use ropewalk::processes::{Capture, Command, ExitStatus, Output, WindowSize};
use ropewalk::proto::{Deferred, Failure};

use crate::child::shell;
use crate::script::stop;
use crate::{run, specifications};

/// Runs until the Deferred has fired.
pub(super) fn result<T: 'static>(reactor: &Reactor, deferred: Deferred<T>) -> Result<T, Failure> {
    let fired = Rc::new(RefCell::new(None));
    let (keep, stopping) = (fired.clone(), reactor.clone());
    let _watched = deferred.add_both(move |result| {
        keep.replace(Some(result));
        stopping.call_later(Duration::ZERO, stop);
    });
    run(reactor);
    fired.take().expect("it has fired")
}

pub(super) fn output(reactor: &Reactor, command: &Command, capture: Capture) -> Output {
    result(reactor, reactor.process_output(command, capture)).expect("the program runs")
}

specifications! {
    process_output;

    fn a_program_in_a_terminal_is_captured(subject: &Subject) {
        // The close of the terminal would be SIGHUP, so the input ends with the character for the end of input.
        let command = shell("stty -echo; echo ready; cat; exit 3").terminal(WindowSize::default());
        let output = output(&subject.reactor(), &command, Capture::new());
        assert_eq!(output.status, ExitStatus::Exited(3));
        assert!(String::from_utf8(output.out).unwrap().contains("ready\r\n"));
    }

    fn the_output_of_a_program_is_returned(subject: &Subject) {
        let reactor = subject.reactor();
        let output = output(&reactor, &shell("echo out; echo err >&2; exit 3"), Capture::new());
        assert_eq!((&*output.out, &*output.err, output.status), (&b"out\n"[..], &b"err\n"[..], ExitStatus::Exited(3)));
        assert!(!output.truncated && !output.pipe_held && !output.timed_out);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_program_reads_the_given_input(subject: &Subject) {
        let sorted = output(&subject.reactor(), &Command::new("sort"), Capture::new().input("pear\napple\n"));
        assert_eq!(sorted.out, b"apple\npear\n");
    }

    fn a_value_is_the_status_alone(subject: &Subject) {
        let reactor = subject.reactor();
        let value = reactor.process_value(&shell("yes | head -c 1000000; exit 3"));
        assert_eq!(result(&reactor, value).unwrap(), ExitStatus::Exited(3));
    }

    fn an_orphan_does_not_delay_the_output(subject: &Subject) {
        // P2: the orphan has the pipe for a minute.
        let reactor = subject.reactor();
        let output = output(&reactor, &shell("sleep 60 & echo $!; exit 3"), Capture::new());
        assert!(output.pipe_held);
        assert_eq!(output.status, ExitStatus::Exited(3));
        let orphan = String::from_utf8(output.out).unwrap();
        assert!(std::process::Command::new("kill").arg(orphan.trim()).status().unwrap().success());
    }

    fn more_than_is_kept_is_read_too(subject: &Subject) {
        let reactor = subject.reactor();
        let output = output(&reactor, &shell("head -c 1000000 /dev/zero"), Capture::new().keep(1000));
        assert_eq!((output.out.len(), output.status), (1000, ExitStatus::Exited(0)));
        assert!(output.truncated);
    }

    fn a_time_limit_closes_the_whole_group(subject: &Subject) {
        // P12: both programs of the pipeline.
        let reactor = subject.reactor();
        let limits = Capture::new().limit(Duration::from_millis(50)).grace(Duration::from_millis(50));
        let output = output(&reactor, &shell("trap '' TERM; sleep 60 | cat"), limits);
        assert!(output.timed_out);
        assert_eq!(output.status.signal(), Some(9));
    }

}
