//! Scenarios of child processes.

use std::fs::File;
use std::io::Read;
use std::thread;

use ropewalk::Budget;
use ropewalk::hosting::Guest;
use ropewalk::processes::{ChildDescriptor, Identity, Signal};
use ropewalk::sys::{Detached, detach};
use rustix::process::{WaitOptions, wait};

use super::dialogue::say;
use crate::Subject;
use crate::child::{Child, run_child, shell};

/// Reports the status of a child. The process may ignore SIGCHLD, so that the system waits for its children.
pub(super) fn status(subject: &Subject) {
    let child = run_child(&subject.reactor(), &shell("exit 5"));
    say(child.log().entries().last().expect("it has ended"));
}

/// Goes into the background while a child runs. Parent and daemon both continue with their copy of the reactor.
pub(super) fn before_a_fork(subject: &Subject) {
    let (reactor, child) = (subject.reactor(), Child::stopping());
    let command = shell("read line; echo $line; exit 5");
    let process = reactor.spawn_process(&command, child.clone()).expect("sh is there");
    let last = |child: &Child| child.log().entries().last().cloned().expect("it has ended");
    match detach().expect("this is the only thread") {
        Detached::Daemon(_report) => {
            process.write(b"hello\n");
            crate::run(&reactor);
            say(&format!("daemon: {}, {}", child.text(1).trim_end(), last(&child)));
            say(&format!("daemon: {}", last(&run_child(&reactor, &shell("exit 6")))));
        }
        Detached::Parent(report) => {
            let mut text = String::new();
            File::from(report).read_to_string(&mut text).expect("the daemon closes it");
            crate::run(&reactor);
            say(&format!("parent: {}", last(&child)));
        }
    }
}

/// Goes into the background while the reactor runs as a guest, whose host has stayed in the parent.
pub(super) fn guest_before_a_fork(subject: &Subject) {
    let reactor = subject.reactor();
    let guest = Guest::new(&reactor).expect("a new reactor");
    // A host without a descriptor to watch makes a turn from time to time.
    guest.handle();
    reactor.start_running(crate::quiet()).expect("a new reactor");
    guest.turn(Budget::default());
    let forked = detach().expect("this is the only thread");
    guest.turn(Budget::default());
    let outcome = guest.finish().map_err(|error| error.name());
    match forked {
        Detached::Daemon(_report) => {
            let again = reactor.start_running(crate::quiet()).map_err(|error| error.name());
            say(&format!("daemon: {outcome:?}, again {again:?}"));
        }
        Detached::Parent(report) => {
            let mut text = String::new();
            File::from(report).read_to_string(&mut text).expect("the daemon closes it");
            say(&format!("parent: {outcome:?}"));
        }
    }
}

/// Starts a child that gets KILL at the death of this process, and waits for this death. The child shares standard input
/// and output, and reports that it has survived when its input ends.
pub(super) fn before_a_death(subject: &Subject) {
    let (reactor, inherited) = (subject.reactor(), ChildDescriptor::Inherited);
    let command = shell("read line; echo survived").stdin(inherited(0)).stdout(inherited(1)).stderr(inherited(2));
    let command = command.parent_death_signal(Signal::KILL);
    // A new user would clear the signal if it were set before.
    let command = match rustix::process::geteuid().is_root() {
        true => command.user(Identity::new(Some(65534), Some(65534))).expect("the user database works"),
        false => command,
    };
    reactor.spawn_process(&command, Child::new()).expect("sh is there");
    say("ready");
    crate::run(&reactor);
}

/// Reports the number of right and of unknown statuses, beside a thread that waits for all children of the process.
pub(super) fn beside_a_thief(subject: &Subject) {
    thread::spawn(|| {
        loop {
            // waitpid(-1), which fails while there is no child.
            if wait(WaitOptions::empty()).is_err() {
                thread::yield_now();
            }
        }
    });
    let (reactor, mut right, mut unknown) = (subject.reactor(), 0, 0);
    for code in 0..200 {
        // select(2) would need half a second to notice that an idle pipe is lost.
        let command = shell(&format!("exit {code}")).stdin(ChildDescriptor::Null);
        let child = run_child(&reactor, &command);
        match &*child.log().entries().last().cloned().expect("it has ended") {
            "ended ?" => unknown += 1,
            ended if *ended == format!("ended {code}") => right += 1,
            ended => say(&format!("{ended} instead of {code}")),
        }
    }
    say(&format!("{right} {unknown}"));
}
