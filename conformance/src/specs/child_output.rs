//! getProcessOutput and getProcessValue, with programs that every subject has: see `child_processes`.

use std::time::Duration;

use ropewalk::Error;
use ropewalk::processes::{Capture, ChildDescriptor, Command, ExitStatus, Signal};
use ropewalk::proto::{Cancelled, Failure};

use super::process_output::{output, result};
use crate::links::{assert_same_bytes, noise};
use crate::script::stop;
use crate::{run, specifications};

specifications! {
    child_output;

    fn the_output_is_returned_with_the_status(subject: &Subject) {
        let reactor = subject.reactor();
        let output = output(&reactor, &Command::new("echo").arg("hello"), Capture::new());
        assert_eq!((&*output.out, &*output.err, output.status), (&b"hello\n"[..], &b""[..], ExitStatus::Exited(0)));
        assert!(!output.truncated && !output.pipe_held && !output.timed_out);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_large_input_passes_through_the_program(subject: &Subject) {
        let input = noise(1_000_000, 11);
        let output = output(&subject.reactor(), &Command::new("cat"), Capture::new().input(input.clone()));
        assert_same_bytes(&output.out, &input);
    }

    fn bytes_behind_the_limit_are_dropped(subject: &Subject) {
        let capture = Capture::new().input(noise(300_000, 2)).keep(1000);
        let output = output(&subject.reactor(), &Command::new("cat"), capture);
        assert_eq!((output.out.len(), output.status), (1000, ExitStatus::Exited(0)));
        assert!(output.truncated);
    }

    fn the_value_of_a_failure_is_its_status(subject: &Subject) {
        let reactor = subject.reactor();
        let value = reactor.process_value(&Command::new("false"));
        assert_eq!(result(&reactor, value).unwrap(), ExitStatus::Exited(1));
    }

    fn a_time_limit_stops_the_program(subject: &Subject) {
        let reactor = subject.reactor();
        let limits = Capture::new().limit(Duration::from_millis(50));
        let output = output(&reactor, &Command::new("sleep").arg("60"), limits);
        assert!(output.timed_out);
        assert_eq!(output.status.signal(), Some(Signal::TERM.number()));
    }

    fn a_cancelled_capture_closes_the_program(subject: &Subject) {
        let reactor = subject.reactor();
        let running = reactor.process_output(&Command::new("sleep").arg("60"), Capture::new());
        let cancel = running.cancel_handle();
        reactor.call_later(Duration::from_millis(10), move |_| cancel.cancel());
        assert!(result(&reactor, running).unwrap_err().check::<Cancelled>());
        while reactor.source_count() > 0 {
            reactor.iterate(Some(Duration::from_millis(10))).unwrap();
        }
    }

    fn a_missing_program_fails_the_capture(subject: &Subject) {
        let reactor = subject.reactor();
        let failed = result(&reactor, reactor.process_output(&Command::new("/no/such"), Capture::new())).unwrap_err();
        assert!(matches!(failed.downcast_ref::<Error>(), Some(Error::Spawn(_))), "{failed}");
    }

    fn a_stopped_reactor_fails_the_capture(subject: &Subject) {
        let reactor = subject.reactor();
        let command = Command::new("sleep").arg("0.1").stderr(ChildDescriptor::Null);
        let output = reactor.process_output(&command, Capture::new());
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert!(output.try_result().is_ok_and(|result| result.is_err()));
    }

    fn a_capture_can_be_awaited(subject: &Subject) {
        let reactor = subject.reactor();
        let handle = reactor.clone();
        let task = reactor.spawn(async move {
            let output = handle.process_output(&Command::new("echo").arg("hello"), Capture::new()).await?;
            Ok::<_, Failure>(output.out)
        });
        assert_eq!(result(&reactor, task).unwrap().unwrap(), b"hello\n");
    }
}
