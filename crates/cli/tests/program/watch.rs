//! `watch` with real programs, most of them scripts of sh(1).

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::running::{Running, eventually, outcome, program};
use crate::scratch::Scratch;

/// A watched directory, and another one for the notes of the program.
struct Place {
    watched: Scratch,
    notes: Scratch,
}

impl Place {
    fn new() -> Place {
        Place { watched: Scratch::new(), notes: Scratch::new() }
    }

    /// Returns the command that watches the directory, and runs a script of sh.
    fn watch(&self, options: &[&str], script: &str) -> Command {
        let path = self.watched.path().to_str().unwrap();
        program(&[&["-v", "watch", "--settle", "0.02"], options, &[path, "--", "sh", "-c", script]].concat())
    }

    /// Returns a script that notes its number, and waits.
    fn waiting(&self) -> String {
        format!("echo $$ >> {}; exec sleep 300", self.notes.join("notes"))
    }

    fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.notes.path().join("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn until_notes(&self, count: usize) {
        eventually("the program runs again", || self.notes().len() >= count);
    }
}

/// Whether a process runs, which a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Runs `watch` until it fails, and returns its status and its errors.
fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = outcome(&[&["watch"], arguments].concat());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_change_starts_the_program_again() {
    let place = Place::new();
    let mut watch = Running::start_command(place.watch(&[], &place.waiting()));
    assert!(watch.start_line.contains("restarting sh when "), "{}", watch.start_line);
    place.until_notes(1);
    place.watched.write("a", "text");
    place.until_notes(2);
    place.watched.write("new/deep/b", "text"); // in directories that are new
    place.until_notes(3);
    let pids = place.notes();
    assert!(!runs(&pids[0]) && !runs(&pids[1]), "a program runs beside the next one");
    assert_eq!(watch.terminate().0.code(), Some(0));
    assert!(place.notes().iter().all(|pid| !runs(pid)));
}

#[test]
fn a_replaced_file_starts_the_program_again() {
    let place = Place::new();
    place.watched.write("app.py", "old");
    let path = place.watched.join("app.py");
    let arguments = ["watch", "--settle", "0.02", &path, "--", "sh", "-c", &place.waiting()];
    let mut watch = Running::start_command(program(&arguments));
    place.until_notes(1);
    for count in 2..4 {
        place.watched.write("app.tmp", "new");
        fs::rename(place.watched.join("app.tmp"), &path).unwrap();
        place.until_notes(count);
    }
    assert_eq!(watch.terminate().0.code(), Some(0));
}

#[test]
fn a_program_that_has_ended_waits_for_a_change() {
    let place = Place::new();
    let script = format!("echo x >> {}; exit 3", place.notes.join("notes"));
    let mut watch = Running::start_command(place.watch(&[], &script));
    let log = watch.log_until("waiting for a change");
    assert!(log.contains("sh exited with status 3"), "{log}");
    assert_eq!(place.notes().len(), 1);
    place.watched.write("a", "text");
    place.until_notes(2);
    watch.log_until("waiting for a change");
    assert_eq!(place.notes().len(), 2);
    assert_eq!(watch.terminate().0.code(), Some(0));
}

#[test]
fn run_lets_the_program_finish() {
    let place = Place::new();
    let (notes, go) = (place.notes.join("notes"), place.notes.join("go"));
    let script = format!("echo begin >> {notes}; until test -e {go}; do sleep 0.01; done; echo end >> {notes}");
    let mut watch = Running::start_command(place.watch(&["--run"], &script));
    place.until_notes(1);
    for name in ["a", "b"] {
        place.watched.write(name, "text");
        watch.log_until("a change");
    }
    assert_eq!(place.notes(), ["begin"]);
    place.notes.write("go", "");
    place.until_notes(4);
    // Two changes while it ran are one further run.
    watch.log_until("waiting for a change");
    watch.log_until("waiting for a change");
    assert_eq!(place.notes(), ["begin", "end", "begin", "end"]);
    assert_eq!(watch.terminate().0.code(), Some(0));
}

#[test]
fn skipped_names_are_no_changes() {
    let place = Place::new();
    ["target/debug", ".git/objects"]
        .into_iter()
        .for_each(|name| fs::create_dir_all(place.watched.path().join(name)).unwrap());
    let mut watch = Running::start_command(place.watch(&["--ignore", "target"], &place.waiting()));
    place.until_notes(1);
    [".hidden", ".git/index", "target/debug/app", "seen"]
        .into_iter()
        .for_each(|name| place.watched.write(name, "text"));
    let log = watch.log_until("a change");
    let log = log + &watch.log_until("\n");
    assert!(log.contains("/seen was created"), "{log}");
    place.until_notes(2);
    watch.terminate();

    let mut watch = Running::start_command(place.watch(&["--hidden"], &place.waiting()));
    place.until_notes(3);
    place.watched.write(".hidden", "more");
    place.until_notes(4);
    watch.terminate();
}

#[test]
fn no_recursive_watches_only_the_entries() {
    let place = Place::new();
    fs::create_dir(place.watched.path().join("sub")).unwrap();
    let mut watch = Running::start_command(place.watch(&["--no-recursive"], &place.waiting()));
    place.until_notes(1);
    ["sub/unseen", "seen"].into_iter().for_each(|name| place.watched.write(name, "text"));
    let log = watch.log_until("a change");
    let log = log + &watch.log_until("\n");
    assert!(log.contains("/seen was created"), "{log}");
    watch.terminate();
}

#[test]
fn a_removed_directory_is_waited_for() {
    let place = Place::new();
    place.watched.write("src/a", "text");
    let source = place.watched.join("src");
    let arguments = ["watch", "--settle", "0.02", &source, "--", "sh", "-c", &place.waiting()];
    let mut watch = Running::start_command(program(&arguments));
    place.until_notes(1);
    fs::remove_dir_all(&source).unwrap();
    place.until_notes(2);
    fs::create_dir(&source).unwrap();
    place.until_notes(3);
    place.watched.write("src/b", "text");
    place.until_notes(4);
    assert_eq!(watch.terminate().0.code(), Some(0));
}

#[test]
fn a_program_that_ignores_term_is_killed() {
    let place = Place::new();
    let script = format!("trap '' TERM; sleep 300 & echo $$ $! >> {}; wait; wait", place.notes.join("notes"));
    let mut watch = Running::start_command(place.watch(&["--kill-time", "0.1"], &script));
    place.until_notes(1);
    place.watched.write("a", "text");
    place.until_notes(2);
    let first = place.notes().remove(0);
    eventually("the first group is gone", || first.split(' ').all(|pid| !runs(pid)));
    assert_eq!(watch.terminate().0.code(), Some(0));
    let pids = place.notes().join(" ");
    eventually("the groups are gone", || pids.split(' ').all(|pid| !runs(pid)));
}

#[test]
fn a_signal_stops_the_program() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let ropewalk = place.watch(&[], &format!("sleep 300 & echo $$ $! >> {}; wait", place.notes.join("notes")));
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(ropewalk.get_program()).args(ropewalk.get_args());
        let mut watch = Running::start_command(command);
        place.until_notes(1);
        watch.signal(signal);
        assert_eq!(watch.wait().code(), Some(0));
        assert!(place.notes()[0].split(' ').all(|pid| !runs(pid)));
    }
}

#[test]
fn a_second_signal_kills_the_program() {
    let place = Place::new();
    let script = format!(
        "trap 'echo term >> {0}' TERM; echo $$ >> {0}; while :; do sleep 0.01; done",
        place.notes.join("notes")
    );
    let mut watch = Running::start_command(place.watch(&["--kill-time", "300"], &script));
    place.until_notes(1);
    watch.signal(Signal::TERM);
    place.until_notes(2);
    assert_eq!(watch.terminate().0.code(), Some(143));
    let pid = place.notes().remove(0);
    eventually("the program is gone", || !runs(&pid));
}

#[test]
fn output_passes_unchanged() {
    let place = Place::new();
    let mut watch = Running::start_command(place.watch(&[], "echo hello; cat; echo done >&2"));
    watch.log_until("done\n");
    assert_eq!(watch.rest_of_output(), "hello\n");
}

#[test]
fn errors_of_the_command_line_name_the_remedy() {
    let place = Place::new();
    let (watched, missing) = (place.watched.path().to_str().unwrap(), place.watched.join("missing"));
    let (status, errors) = failure(&[&missing, "--", "true"]);
    let expected = format!("ropewalk: cannot watch '{missing}': there is no such file or directory: create it first\n");
    assert_eq!((status, errors), (Some(1), expected));
    let (status, errors) = failure(&[watched, "--", "/no/such/program"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("cannot run the program '/no/such/program': there is no such file"), "{errors}");
    let (status, errors) = failure(&[watched]);
    assert_eq!(status, Some(2), "{errors}");
    let output = outcome(&["--daemon", "watch", watched, "--", "true"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("which a daemon does not have") && output.status.code() == Some(2), "{errors}");
}
