//! Changes of files and directories: `twisted.internet.inotify`, inotify(7).
//!
//! Most changes are made before the loop turns, so their records wait in the system's queue and the time between them
//! does not matter.

use std::cell::{Cell, RefCell};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::files::{FileEvent, FileWatcher, WatchEnd, WatchOptions};
use ropewalk::{CallbackKind, Error, Interface, Reactor};

use crate::script::{Log, stop};
use crate::waiting::iterate_until;
use crate::{Subject, quiet, specifications};

/// A directory of its own, which is removed at the end.
struct Ground(PathBuf);

impl Ground {
    fn new(subject: &Subject) -> Ground {
        let path = subject.unix_path().with_extension("files");
        fs::create_dir(&path).unwrap();
        Ground(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
    }

    fn directory(&self, name: &str) {
        fs::create_dir_all(self.at(name)).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.at(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
    }

    /// Returns an event as a short text, with paths below this directory.
    fn text(&self, event: &FileEvent) -> String {
        let short = |path: &Path| path.strip_prefix(&self.0).unwrap().display().to_string();
        let path = event.path().map(short).unwrap_or_default();
        match event {
            FileEvent::Created(_) => format!("created {path}"),
            FileEvent::Changed(_) => format!("changed {path}"),
            FileEvent::Removed(_) => format!("removed {path}"),
            FileEvent::Moved { from, .. } => format!("moved {} {path}", short(from)),
            FileEvent::Attributes(_) => format!("attributes {path}"),
            FileEvent::Lost => "lost".to_owned(),
            FileEvent::Ended(_, WatchEnd::Failed(reason)) => format!("ended {path} {reason}"),
            FileEvent::Ended(_, end) => format!("ended {path} {end:?}"),
            other => unreachable!("{other}"),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A watcher whose events are logged.
struct Watching {
    reactor: Reactor,
    watcher: FileWatcher,
    ground: Rc<Ground>,
    log: Log,
    batches: Rc<Cell<usize>>,
}

impl Watching {
    fn new(subject: &Subject, options: WatchOptions) -> Watching {
        let (reactor, ground, log) = (subject.reactor(), Rc::new(Ground::new(subject)), Log::new());
        let batches = Rc::<Cell<usize>>::default();
        let (on, to, counted) = (ground.clone(), log.clone(), batches.clone());
        let action = move |_: &Reactor, events: &[FileEvent]| {
            assert!(!events.is_empty());
            counted.set(counted.get() + 1);
            events.iter().for_each(|event| to.add(on.text(event)));
        };
        let watcher = reactor.watch_files(options, action).unwrap();
        Watching { reactor, watcher, ground, log, batches }
    }

    fn plain(subject: &Subject) -> Watching {
        Watching::new(subject, WatchOptions::new())
    }

    fn file(self, name: &str) -> Watching {
        self.watcher.add_file(self.ground.at(name)).unwrap();
        self
    }

    fn directory(self) -> Watching {
        self.watcher.add_directory(&self.ground.0).unwrap();
        self
    }

    fn tree(self) -> Watching {
        self.watcher.add_tree(&self.ground.0).unwrap();
        self
    }

    /// Turns the loop until `last` is reported, and some turns more. Forgets nothing.
    #[track_caller]
    fn until(&self, last: &str) {
        iterate_until(&self.reactor, || self.log.contains(last));
    }

    /// Fails unless exactly these events are reported, in this order.
    #[track_caller]
    fn expect(&self, expected: &[&str]) {
        let enough = expected.len();
        let turns = || iterate_until(&self.reactor, || self.log.entries().len() >= enough);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(turns)).is_err() {
            self.log.expect(expected);
        }
        self.log.expect(expected);
    }
}

specifications! {
    file_events;

    fn each_change_of_a_directory_is_reported(subject: &Subject) {
        // IN_CREATE, IN_CLOSE_WRITE, IN_MOVE and IN_DELETE.
        let watching = Watching::plain(subject).directory();
        let ground = &watching.ground;
        ground.write("a", "text");
        ground.rename("a", "b");
        ground.directory("sub");
        ground.write("sub/unseen", "text");
        ground.remove("b");
        watching.expect(&["created a", "changed a", "moved a b", "created sub", "removed b"]);
        assert_eq!(watching.watcher.directory_count(), 1);
    }

    fn a_change_is_reported_when_the_writer_has_closed(subject: &Subject) {
        // IN_CLOSE_WRITE. A reader of a half-written file would find an error in it.
        let watching = Watching::plain(subject).directory();
        let mut file = File::create(watching.ground.at("a")).unwrap();
        file.write_all(b"half").unwrap();
        watching.expect(&["created a"]);
        file.write_all(b" and half").unwrap();
        drop(file);
        watching.expect(&["created a", "changed a"]);
    }

    fn writes_are_reported_on_request(subject: &Subject) {
        // IN_MODIFY. A log file may never be closed.
        let watching = Watching::new(subject, WatchOptions::new().writes()).directory();
        let mut file = File::create(watching.ground.at("a")).unwrap();
        file.write_all(b"a line").unwrap();
        watching.expect(&["created a", "changed a"]);
    }

    fn attributes_are_reported_on_request(subject: &Subject) {
        // IN_ATTRIB.
        let watching = Watching::new(subject, WatchOptions::new().attributes());
        watching.ground.write("a", "text");
        let watching = watching.directory().file("a");
        fs::set_permissions(watching.ground.at("a"), Permissions::from_mode(0o600)).unwrap();
        watching.expect(&["attributes a"]);
        let silent = Watching::plain(subject).directory();
        silent.ground.write("a", "text");
        fs::set_permissions(silent.ground.at("a"), Permissions::from_mode(0o600)).unwrap();
        silent.expect(&["created a", "changed a"]);
    }

    fn a_move_between_watched_directories_is_one_event(subject: &Subject) {
        // The cookie of IN_MOVED_FROM and IN_MOVED_TO.
        let watching = Watching::plain(subject);
        ["x", "y"].into_iter().for_each(|name| watching.ground.directory(name));
        watching.ground.write("x/a", "text");
        watching.watcher.add_directory(watching.ground.at("x")).unwrap();
        watching.watcher.add_directory(watching.ground.at("y")).unwrap();
        watching.ground.rename("x/a", "y/b");
        watching.expect(&["moved x/a y/b"]);
    }

    fn a_move_from_or_to_elsewhere_has_one_path(subject: &Subject) {
        // The other half of the move never comes.
        let watching = Watching::plain(subject);
        ["in", "out"].into_iter().for_each(|name| watching.ground.directory(name));
        ["in/a", "out/b"].into_iter().for_each(|name| watching.ground.write(name, "text"));
        watching.watcher.add_directory(watching.ground.at("in")).unwrap();
        watching.ground.rename("in/a", "out/a");
        watching.ground.rename("out/b", "in/b");
        watching.ground.write("in/a", "text");
        // The order of the events is kept, although the first one waited for the other half.
        watching.expect(&["removed in/a", "changed in/b", "created in/a", "changed in/a"]);
    }

    fn a_relative_path_is_reported_as_given(subject: &Subject) {
        // INotify.watch takes a FilePath, and reports paths below it.
        let reactor = subject.reactor();
        let ground = Ground::new(subject);
        let paths = Rc::<RefCell<Vec<FileEvent>>>::default();
        let seen = paths.clone();
        let watcher = reactor.watch_files(WatchOptions::new(), move |_, events| seen.borrow_mut().extend_from_slice(events));
        let watcher = watcher.unwrap();
        let up = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
        let relative = up.join(ground.0.strip_prefix("/").unwrap());
        watcher.add_tree(&relative).unwrap();
        ground.directory("sub");
        iterate_until(&reactor, || !paths.borrow().is_empty());
        ground.write("sub/a", "text");
        iterate_until(&reactor, || paths.borrow().len() >= 3);
        let at = |name: &str| relative.join(name);
        let expected =
            [FileEvent::Created(at("sub")), FileEvent::Created(at("sub/a")), FileEvent::Changed(at("sub/a"))];
        assert_eq!(*paths.borrow(), expected);
    }

    fn a_file_that_is_replaced_by_a_move_has_changed(subject: &Subject) {
        // The atomic save: a temporary file is moved over the name. A watch on the file itself would see its end.
        let watching = Watching::plain(subject);
        watching.ground.write("cert.pem", "old");
        let watching = watching.file("cert.pem");
        for content in ["new", "newer"] {
            watching.ground.write("cert.tmp", content);
            watching.ground.rename("cert.tmp", "cert.pem");
        }
        // Equal events in a row are one.
        watching.expect(&["changed cert.pem"]);
        watching.ground.write("cert.pem", "written in place");
        watching.expect(&["changed cert.pem", "changed cert.pem"]);
    }

    fn a_file_that_is_removed_then_created_again_has_changed(subject: &Subject) {
        // An editor's other ways to save: remove and create, or move to a backup and create.
        let watching = Watching::plain(subject);
        watching.ground.write("a", "old");
        let watching = watching.file("a");
        watching.ground.remove("a");
        watching.expect(&["removed a"]);
        let mut file = File::create(watching.ground.at("a")).unwrap();
        watching.expect(&["removed a", "created a"]);
        file.write_all(b"new").unwrap();
        drop(file);
        watching.expect(&["removed a", "created a", "changed a"]);
        watching.ground.rename("a", "a~");
        watching.ground.write("a.tmp", "newer");
        watching.ground.rename("a.tmp", "a");
        watching.expect(&["removed a", "created a", "changed a", "removed a", "changed a"]);
    }

    fn a_settled_replacement_of_a_file_is_one_change(subject: &Subject) {
        // An editor that moves the file to a backup, and writes a new one.
        let options = WatchOptions::new().settle(Duration::from_millis(5));
        let watching = Watching::new(subject, options);
        watching.ground.write("a", "old");
        let watching = watching.file("a");
        watching.ground.rename("a", "a~");
        watching.ground.write("a", "new");
        watching.expect(&["changed a"]);
    }

    fn a_link_that_is_replaced_changes_what_it_leads_to(subject: &Subject) {
        // The volumes of Kubernetes: `..data` is a link to a directory, and is moved over the earlier link.
        let watching = Watching::new(subject, WatchOptions::new().settle(Duration::from_millis(5)));
        let ground = &watching.ground;
        ["..1", "..2"].into_iter().for_each(|version| {
            ground.directory(version);
            ["cert.pem", "key.pem"].into_iter().for_each(|name| ground.write(&format!("{version}/{name}"), version));
        });
        ground.link("..1", "..data");
        ["cert.pem", "key.pem"].into_iter().for_each(|name| ground.link(&format!("..data/{name}"), name));
        let watching = watching.file("cert.pem").file("key.pem");
        let ground = &watching.ground;
        ground.link("..2", "..data_tmp");
        ground.rename("..data_tmp", "..data");
        fs::remove_dir_all(ground.at("..1")).unwrap();
        watching.expect(&["changed cert.pem", "changed key.pem"]);
        assert_eq!(watching.batches.get(), 1);
        // The new directory is watched now.
        ground.write("..2/key.pem", "in place");
        watching.expect(&["changed cert.pem", "changed key.pem", "changed key.pem"]);
    }

    fn a_link_to_a_file_that_is_made_again_has_changed(subject: &Subject) {
        // ln -sf: the link is removed, and another one is made. No writer closes it.
        let watching = Watching::new(subject, WatchOptions::new().settle(Duration::from_millis(5)));
        ["one", "two"].into_iter().for_each(|name| watching.ground.write(name, name));
        watching.ground.link("one", "current");
        let watching = watching.file("current");
        watching.ground.remove("current");
        watching.ground.link("two", "current");
        watching.expect(&["changed current"]);
        watching.ground.write("one", "unused now");
        watching.ground.write("two", "used");
        watching.expect(&["changed current", "changed current"]);
    }

    fn a_second_name_of_a_finished_file_is_a_change(subject: &Subject) {
        // link(2) makes a complete file visible at once. No writer closes it.
        let watching = Watching::plain(subject);
        watching.ground.write("tmp", "text");
        let watching = watching.file("a");
        fs::hard_link(watching.ground.at("tmp"), watching.ground.at("a")).unwrap();
        watching.expect(&["created a", "changed a"]);
    }

    fn a_file_in_a_missing_directory_is_waited_for(subject: &Subject) {
        // A configuration that is installed later.
        let watching = Watching::new(subject, WatchOptions::new().settle(Duration::from_millis(5))).file("x/y/a");
        watching.ground.directory("x");
        watching.ground.directory("x/y");
        iterate_until(&watching.reactor, || true);
        watching.ground.write("x/y/a", "text");
        watching.expect(&["created x/y/a"]);
        // The directory is replaced as a whole.
        watching.ground.directory("new/y");
        watching.ground.write("new/y/a", "newer");
        watching.ground.rename("x/y", "old");
        watching.ground.rename("new/y", "x/y");
        watching.expect(&["created x/y/a", "changed x/y/a"]);
        fs::remove_dir_all(watching.ground.at("x")).unwrap();
        watching.expect(&["created x/y/a", "changed x/y/a", "removed x/y/a"]);
        watching.ground.directory("x/y");
        watching.ground.write("x/y/a", "again");
        watching.until("changed x/y/a");
        iterate_until(&watching.reactor, || watching.log.entries().len() >= 4);
    }

    fn a_removed_directory_that_a_process_keeps_open_is_followed(subject: &Subject) {
        // The system reports the end of such a directory only when the last process has closed it.
        let watching = Watching::plain(subject);
        watching.ground.directory("x");
        watching.ground.write("x/a", "old");
        let watching = watching.file("x/a");
        let held = File::open(watching.ground.at("x")).unwrap();
        fs::remove_dir_all(watching.ground.at("x")).unwrap();
        watching.expect(&["removed x/a"]);
        watching.ground.directory("x");
        iterate_until(&watching.reactor, || true);
        watching.ground.write("x/a", "new");
        watching.expect(&["removed x/a", "created x/a", "changed x/a"]);
        drop(held);
    }

    fn several_settled_files_are_one_report(subject: &Subject) {
        // A certificate and its key must be read together.
        let watching = Watching::new(subject, WatchOptions::new().settle(Duration::from_millis(5)));
        let watching = watching.file("cert.pem").file("key.pem");
        ["cert.pem", "key.pem", "cert.pem"].into_iter().for_each(|name| watching.ground.write(name, "text"));
        watching.expect(&["created cert.pem", "created key.pem"]);
        assert_eq!(watching.batches.get(), 1);
    }

    fn new_directories_of_a_tree_are_watched(subject: &Subject) {
        // INotify.watch(autoAdd=True, recursive=True).
        let watching = Watching::plain(subject);
        watching.ground.directory("old/deep");
        let watching = watching.tree();
        assert_eq!(watching.watcher.directory_count(), 3);
        watching.ground.write("old/deep/a", "text");
        watching.ground.directory("new");
        watching.expect(&["created old/deep/a", "changed old/deep/a", "created new"]);
        watching.ground.write("new/b", "text");
        watching.until("changed new/b");
        fs::remove_dir_all(watching.ground.at("old")).unwrap();
        watching.until("removed old");
        iterate_until(&watching.reactor, || watching.watcher.directory_count() == 2);
    }

    fn entries_older_than_the_watch_of_their_directory_are_reported(subject: &Subject) {
        // The race that inotify(7) describes: the directory is filled before it is watched.
        let watching = Watching::plain(subject).tree();
        watching.ground.directory("a/b/c");
        watching.ground.write("a/b/file", "text");
        watching.ground.link("nowhere", "a/link");
        ["created a", "created a/b", "created a/b/c", "created a/b/file", "changed a/b/file", "created a/link"]
            .into_iter().for_each(|event| watching.until(event));
        assert_eq!(watching.watcher.directory_count(), 4);
    }

    fn no_file_of_a_growing_tree_is_missed(subject: &Subject) {
        // Directories and files are created while the loop scans. Each file is reported as complete at least once.
        let watching = Watching::plain(subject).tree();
        let root = watching.ground.0.clone();
        let writer = std::thread::spawn(move || {
            for number in 0..300 {
                let directory = root.join(format!("{}/{}", number % 7, number));
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join("file"), "text").unwrap();
            }
        });
        let names = Vec::from_iter((0..300).map(|number| format!("changed {}/{number}/file", number % 7)));
        iterate_until(&watching.reactor, || {
            let seen = std::collections::BTreeSet::from_iter(watching.log.entries());
            names.iter().all(|name| seen.contains(name))
        });
        writer.join().unwrap();
    }

    fn a_moved_directory_of_a_tree_keeps_its_watches(subject: &Subject) {
        // The watch belongs to the directory, and its path changes.
        let watching = Watching::plain(subject);
        watching.ground.directory("a/deep");
        let watching = watching.tree();
        watching.ground.rename("a", "b");
        watching.expect(&["moved a b"]);
        watching.ground.write("b/deep/file", "text");
        watching.expect(&["moved a b", "created b/deep/file", "changed b/deep/file"]);
        assert_eq!(watching.watcher.directory_count(), 3);
    }

    fn a_directory_that_leaves_a_tree_is_not_watched_any_more(subject: &Subject) {
        // IN_MOVED_FROM without IN_MOVED_TO.
        let watching = Watching::plain(subject);
        ["tree/a/deep", "elsewhere"].into_iter().for_each(|name| watching.ground.directory(name));
        watching.watcher.add_tree(watching.ground.at("tree")).unwrap();
        watching.ground.rename("tree/a", "elsewhere/a");
        watching.expect(&["removed tree/a"]);
        watching.ground.write("elsewhere/a/deep/file", "text");
        watching.expect(&["removed tree/a"]);
        assert_eq!(watching.watcher.directory_count(), 1);
        // It comes back, with the file.
        watching.ground.rename("elsewhere/a", "tree/a");
        watching.until("changed tree/a/deep/file");
        assert_eq!(watching.watcher.directory_count(), 3);
    }

    fn a_directory_that_returns_after_leaving_stays_watched(subject: &Subject) {
        // It returns while the other half of its first move may still come.
        let watching = Watching::plain(subject);
        ["tree/a/deep", "elsewhere"].into_iter().for_each(|name| watching.ground.directory(name));
        watching.watcher.add_tree(watching.ground.at("tree")).unwrap();
        watching.ground.rename("tree/a", "elsewhere/a");
        watching.ground.rename("elsewhere/a", "tree/a");
        watching.expect(&["removed tree/a", "changed tree/a"]);
        watching.ground.write("tree/a/deep/file", "text");
        watching.until("changed tree/a/deep/file");
    }

    fn skipped_names_are_not_reported(subject: &Subject) {
        // A version control system has many files that are of no interest.
        let watching = Watching::new(subject, WatchOptions::new().skip_hidden().skip("target"));
        [".git/objects", "target/debug", "src"].into_iter().for_each(|name| watching.ground.directory(name));
        let watching = watching.tree();
        assert_eq!(watching.watcher.directory_count(), 2);
        [".git/x", ".hidden", "target/debug/x", "src/target", "src/a"].into_iter().for_each(|name| watching.ground.write(name, "text"));
        ["src/.new", "src/target.d"].into_iter().for_each(|name| watching.ground.directory(name));
        watching.ground.rename(".hidden", "src/shown");
        watching.expect(&["created src/a", "changed src/a", "created src/target.d", "changed src/shown"]);
    }

    fn the_end_of_a_watched_directory_is_reported(subject: &Subject) {
        // IN_IGNORED, IN_DELETE_SELF and IN_MOVE_SELF.
        let watching = Watching::plain(subject);
        ["a", "b", "c/deep"].into_iter().for_each(|name| watching.ground.directory(name));
        ["a", "b"].into_iter().for_each(|name| watching.watcher.add_directory(watching.ground.at(name)).unwrap());
        watching.watcher.add_tree(watching.ground.at("c")).unwrap();
        fs::remove_dir(watching.ground.at("a")).unwrap();
        watching.expect(&["ended a Removed"]);
        watching.ground.rename("b", "b2");
        watching.expect(&["ended a Removed", "ended b Moved"]);
        watching.ground.write("b2/file", "text");
        fs::remove_dir_all(watching.ground.at("c")).unwrap();
        watching.expect(&["ended a Removed", "ended b Moved", "removed c/deep", "ended c Removed"]);
        assert_eq!(watching.watcher.directory_count(), 0);
        // The same paths may be watched again.
        watching.ground.directory("a");
        watching.watcher.add_directory(watching.ground.at("a")).unwrap();
        watching.ground.write("a/file", "text");
        watching.until("changed a/file");
    }

    fn lost_events_are_marked(subject: &Subject) {
        // IN_Q_OVERFLOW. The tree and the files are watched as before.
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let watching = Watching::plain(subject);
        watching.ground.directory("gone/deep");
        watching.ground.directory("moved");
        watching.ground.write("file", "old");
        let watching = watching.tree().file("file");
        // Two records in a row must differ, or the system joins them.
        let files = ["x", "y"].map(|name| {
            watching.ground.write(name, "text");
            watching.ground.at(name)
        });
        for number in 0..limit {
            drop(OpenOptions::new().write(true).open(&files[number % 2]).unwrap());
        }
        // None of these has a record any more.
        fs::remove_dir_all(watching.ground.at("gone")).unwrap();
        watching.ground.directory("new");
        watching.ground.write("new/found", "text");
        watching.ground.rename("moved", "new/moved");
        watching.until("lost");
        watching.until("changed new/found");
        assert_eq!(watching.log.entries().iter().filter(|event| *event == "lost").count(), 1);
        assert_eq!(watching.watcher.directory_count(), 3);
        watching.ground.write("new/moved/later", "text");
        watching.ground.write("tmp", "new");
        watching.ground.rename("tmp", "file");
        watching.until("changed new/moved/later");
        watching.until("changed file");
    }

    fn too_many_directories_are_an_error(subject: &Subject) {
        // The limit of the system is shared by all programs of a user.
        let watching = Watching::new(subject, WatchOptions::new().max_directories(3));
        ["a", "b", "c"].into_iter().for_each(|name| watching.ground.directory(name));
        let error = watching.watcher.add_tree(&watching.ground.0).unwrap_err();
        let expected = format!(
            "cannot watch: {}: more than 3 directories would be watched: skip some, or raise \
             WatchOptions::max_directories",
            watching.ground.0.display(),
        );
        assert_eq!((error.to_string(), watching.watcher.directory_count()), (expected, 0));
        // A tree that grows reports the directories that it cannot watch.
        fs::remove_dir(watching.ground.at("c")).unwrap();
        watching.watcher.add_tree(&watching.ground.0).unwrap();
        watching.ground.directory("d");
        let ended = "ended d more than 3 directories would be watched: skip some, or raise \
                     WatchOptions::max_directories";
        watching.expect(&["created d", ended]);
        watching.ground.write("a/file", "text");
        watching.until("changed a/file");
    }

    fn a_path_that_cannot_be_watched_is_named(subject: &Subject) {
        // The error names the path, and nothing is left behind.
        let watching = Watching::plain(subject);
        watching.ground.write("file", "text");
        let error = |name: &str| watching.watcher.add_directory(watching.ground.at(name)).unwrap_err().to_string();
        assert!(error("missing").contains("/missing: No such file or directory"), "{}", error("missing"));
        assert!(error("file").contains("/file: Not a directory"), "{}", error("file"));
        let root = watching.watcher.add_file("/").unwrap_err().to_string();
        assert_eq!(root, "cannot watch: /: the path has no name of a file: watch it as a directory");
        assert_eq!(watching.watcher.directory_count(), 0);
    }

    fn a_removed_path_is_not_reported(subject: &Subject) {
        // INotify.ignore.
        let watching = Watching::plain(subject).directory().file("a");
        assert!(watching.watcher.remove(&watching.ground.0));
        watching.ground.write("b", "text");
        watching.ground.write("a", "text");
        watching.expect(&["created a", "changed a"]);
        assert!(watching.watcher.remove(watching.ground.at("a")));
        assert_eq!(watching.watcher.directory_count(), 0);
    }

    fn a_stopped_watcher_reports_nothing(subject: &Subject) {
        // INotify.connectionLost. Events that wait are dropped.
        for settle in [None, Some(Duration::ZERO)] {
            let options = WatchOptions::new();
            let options = if let Some(quiet) = settle { options.settle(quiet) } else { options };
            let watching = Watching::new(subject, options).directory();
            watching.ground.write("a", "text");
            watching.watcher.stop();
            iterate_until(&watching.reactor, || true);
            watching.log.expect(&[]);
            assert!(matches!(watching.watcher.add_directory("/"), Err(Error::Closed)));
            assert_eq!(watching.reactor.source_count(), 0);
        }
    }

    fn a_dropped_watcher_frees_its_action(subject: &Subject) {
        // The action may own what it would wait for.
        let reactor = subject.reactor();
        let token = Rc::new(());
        let held = token.clone();
        let watcher = reactor.watch_files(WatchOptions::new(), move |_, _| drop(held.clone())).unwrap();
        assert_eq!((Rc::strong_count(&token), reactor.source_count()), (2, 1));
        drop(watcher);
        assert_eq!((Rc::strong_count(&token), reactor.source_count()), (1, 0));
        // A watcher may outlive its reactor.
        let held = token.clone();
        let watcher = reactor.watch_files(WatchOptions::new(), move |_, _| drop(held.clone())).unwrap();
        drop(reactor);
        assert_eq!(Rc::strong_count(&token), 1);
        watcher.stop();
    }

    fn a_watcher_may_be_changed_by_its_action(subject: &Subject) {
        // The action stops its own watcher, after it has added and removed paths.
        let (reactor, ground, log) = (subject.reactor(), Ground::new(subject), Log::new());
        let own = Rc::<RefCell<Option<FileWatcher>>>::default();
        let (itself, noted, directory) = (own.clone(), log.clone(), ground.0.clone());
        let token = Rc::new(());
        let held = token.clone();
        let action = move |_: &Reactor, events: &[FileEvent]| {
            let _held = &held;
            noted.add(events.len().to_string());
            let watcher = itself.borrow();
            let watcher = watcher.as_ref().unwrap();
            watcher.add_file(directory.join("b")).unwrap();
            assert!(watcher.remove(&directory));
            if noted.entries().len() == 2 {
                watcher.stop();
            } else {
                watcher.add_directory(&directory).unwrap();
            }
        };
        own.replace(Some(reactor.watch_files(WatchOptions::new(), action).unwrap()));
        own.borrow().as_ref().unwrap().add_directory(&ground.0).unwrap();
        fs::create_dir(ground.at("a")).unwrap();
        iterate_until(&reactor, || log.entries().len() == 1);
        fs::create_dir(ground.at("c")).unwrap();
        iterate_until(&reactor, || log.entries().len() == 2);
        fs::create_dir(ground.at("b")).unwrap();
        iterate_until(&reactor, || true);
        log.expect(&["1", "1"]);
        assert_eq!(Rc::strong_count(&token), 1);
    }

    fn an_action_may_turn_the_loop(subject: &Subject) {
        // Changes during the action are reported after it.
        let (reactor, ground, log) = (subject.reactor(), Ground::new(subject), Log::new());
        let (noted, new) = (log.clone(), ground.at("b"));
        let action = move |reactor: &Reactor, events: &[FileEvent]| {
            noted.add(format!("begin {}", events.len()));
            if noted.entries().len() == 1 {
                fs::create_dir(&new).unwrap();
                iterate_until(reactor, || true);
            }
            noted.add("end");
        };
        let watcher = reactor.watch_files(WatchOptions::new(), action).unwrap();
        watcher.add_directory(&ground.0).unwrap();
        fs::create_dir(ground.at("a")).unwrap();
        iterate_until(&reactor, || log.entries().len() >= 4);
        log.expect(&["begin 1", "end", "begin 1", "end"]);
    }

    fn a_panic_in_the_action_is_contained(subject: &Subject) {
        // The watcher continues, as every callback does under the default policy.
        let (reactor, ground) = (subject.plain_reactor(), Ground::new(subject));
        let calls = Rc::<Cell<u32>>::default();
        let (counted, handle) = (calls.clone(), reactor.thread_handle());
        let action = move |_: &Reactor, _: &[FileEvent]| {
            counted.set(counted.get() + 1);
            let running = handle.running_callback().unwrap();
            assert_eq!((running.kind, running.name), (CallbackKind::FileWatcher, "watch_files"));
            panic!("a bug");
        };
        let watcher = reactor.watch_files(WatchOptions::new(), action).unwrap();
        watcher.add_directory(&ground.0).unwrap();
        for (number, name) in [(1, "a"), (2, "b")] {
            fs::create_dir(ground.at(name)).unwrap();
            iterate_until(&reactor, || calls.get() == number);
        }
    }

    fn a_run_that_ends_stops_its_watchers(subject: &Subject) {
        // The sources of a reactor end with its run.
        let watching = Watching::plain(subject).directory();
        watching.reactor.call_when_running(stop);
        watching.reactor.run_with(quiet()).unwrap();
        watching.ground.write("a", "text");
        iterate_until(&watching.reactor, || true);
        watching.log.expect(&[]);
        assert!(matches!(watching.watcher.add_file("/etc/hosts"), Err(Error::Closed)));
    }

    fn a_turn_reports_a_bounded_number_of_events(subject: &Subject) {
        // A process that writes without a pause must not starve the connections.
        let watching = Watching::plain(subject).directory();
        for number in 0..5000 {
            fs::create_dir(watching.ground.at(&number.to_string())).unwrap();
        }
        watching.until("created 4999");
        assert_eq!(watching.log.entries().len(), 5000);
        assert!(watching.batches.get() >= 10, "{} batches", watching.batches.get());
    }

    fn other_descriptors_are_not_affected(subject: &Subject) {
        // A watcher is not a reader of the program: IReactorFDSet.removeAll leaves it alone.
        let watching = Watching::plain(subject).directory();
        assert!(watching.reactor.provides(Interface::FileEvents));
        assert!(watching.reactor.get_readers().is_empty() && watching.reactor.remove_all().is_empty());
        watching.ground.directory("a");
        watching.expect(&["created a"]);
    }
}
