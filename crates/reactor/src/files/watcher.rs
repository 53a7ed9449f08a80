//! The handle of a watcher, and the source that reads the system's queue.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::{Rc, Weak};

use ropewalk_proto::{Key, Moment};
use ropewalk_sys::{FILE_RECORD_BYTES, FileEvents, Interest, Ready};

use super::event::FileEvent;
use super::options::WatchOptions;
use super::watched::{Kind, Watched};
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Reactor, Source, WeakReactor, drop_logged};

/// The number of bytes that are read in a turn: some hundred events at most.
const BYTES_A_TURN: usize = 2 * FILE_RECORD_BYTES;

/// The number of entries of new directories that are looked at in a turn.
const ENTRIES_A_TURN: usize = 512;

/// The name of the callback in the log.
const NAME: &str = "watch_files";

type Action = Box<dyn FnMut(&Reactor, &[FileEvent])>;

/// A watcher of files and directories, from [`Reactor::watch_files`]. Dropping it stops the calls.
///
/// A *file* is watched by its name, so the watcher follows every way to replace its content: a write, a temporary file
/// that is moved over it, a removal and a new file, and the change of a symbolic link on the way. The file and its
/// directory may be missing. Renaming a directory above that of the file is not noticed.
///
/// A *directory* is watched for its entries, and a *tree* for the entries of all directories below it as well. Symbolic
/// links below it are not followed.
///
/// All methods may be called from any callback on the reactor's thread, also from the watcher's own.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use std::time::Duration;
/// use ropewalk::Reactor;
/// use ropewalk::files::WatchOptions;
///
/// # let directory = std::env::temp_dir().join(format!("ropewalk-watcher-{}", std::process::id()));
/// # std::fs::create_dir(&directory).unwrap();
/// # let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
/// let reactor = Reactor::new()?;
/// let options = WatchOptions::new().settle(Duration::from_millis(5));
/// let watcher = reactor.watch_files(options, |reactor, events| {
///     assert_eq!(events.len(), 2); // one call for both files
///     reactor.stop().unwrap();
/// })?;
/// watcher.add_file(&certificate)?;
/// watcher.add_file(&key)?;
///
/// std::fs::write(&certificate, "new").unwrap();
/// std::fs::write(&key, "new").unwrap();
/// reactor.run()?;
/// # std::fs::remove_dir_all(directory).unwrap();
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct FileWatcher {
    shared: Rc<Shared>,
    reactor: WeakReactor,
}

/// The part of a watcher that the reactor keeps as a source.
struct Shared {
    itself: Weak<Shared>,
    key: Cell<Option<Key>>,
    /// `None` when the watcher has stopped.
    watched: RefCell<Option<Watched>>,
    /// `None` while the action runs, and when the watcher has stopped.
    action: Cell<Option<Action>>,
    /// The call that continues the work, and its time.
    wake_up: RefCell<Option<(Moment, DelayedCall)>>,
}

impl FileWatcher {
    pub(crate) fn new(
        reactor: &Reactor,
        options: WatchOptions,
        action: impl FnMut(&Reactor, &[FileEvent]) + 'static,
    ) -> Result<FileWatcher> {
        let cannot = || Error::io("cannot watch files");
        let files = FileEvents::open().map_err(cannot())?;
        let key = reactor.0.watches(|watches| watches.watch(files.handle(), Interest::READ))?.map_err(cannot())?;
        let shared = Rc::new_cyclic(|itself| Shared {
            itself: itself.clone(),
            key: Cell::new(Some(key)),
            watched: RefCell::new(Some(Watched::new(files, options))),
            action: Cell::new(Some(Box::new(action))),
            wake_up: RefCell::default(),
        });
        reactor.0.add_source(key, shared.clone());
        Ok(FileWatcher { shared, reactor: reactor.downgrade() })
    }

    /// Begins to watch the file that `path` names, which may be missing. Adding a path twice has no further effect.
    ///
    /// The events are [`Created`](FileEvent::Created), [`Changed`](FileEvent::Changed) and
    /// [`Removed`](FileEvent::Removed), all with `path` as it is given here. Files that take the name of another one are
    /// `Changed`. A new file that has content already is `Changed` too, because its writer may have finished. A relative path means the present working directory, also if the process leaves it.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::files::WatchOptions;
    ///
    /// let reactor = Reactor::new()?;
    /// let watcher = reactor.watch_files(WatchOptions::new(), |_, events| println!("{events:?}"))?;
    /// watcher.add_file("/etc/hosts")?;
    /// watcher.add_file("/etc/ropewalk/not-yet-there.toml")?;
    /// assert!(watcher.remove("/etc/hosts") && !watcher.remove("/etc/hosts"));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when a directory on the way cannot be read, or when the system allows no more watches. The message
    /// then names the limit. [`Error::Closed`] when the watcher has stopped.
    pub fn add_file(&self, path: impl AsRef<Path>) -> Result<()> {
        self.add(path.as_ref(), Kind::File)
    }

    /// Begins to watch the entries of the directory `path`. Adding a path twice has no further effect.
    ///
    /// When the directory is removed, moved or unmounted, the watcher reports [`Ended`](FileEvent::Ended), and the path
    /// may be added again.
    ///
    /// # Errors
    /// [`Error::Io`] when `path` is not a directory that can be read, or when the system allows no more watches.
    /// [`Error::Closed`] when the watcher has stopped.
    pub fn add_directory(&self, path: impl AsRef<Path>) -> Result<()> {
        self.add(path.as_ref(), Kind::Directory)
    }

    /// Begins to watch the entries of the directory `path`, and of all directories below it, new ones included. Blocks
    /// until the present directories have been listed.
    ///
    /// A new directory may have entries before it is watched. These are reported as created, and files among them as
    /// changed too. Some entries may be reported twice.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::files::{FileEvent, WatchOptions};
    ///
    /// # let spool = std::env::temp_dir().join(format!("ropewalk-tree-{}", std::process::id()));
    /// # std::fs::create_dir(&spool).unwrap();
    /// let reactor = Reactor::new()?;
    /// let wanted = spool.join("a/b/letter");
    /// let watcher = reactor.watch_files(WatchOptions::new(), move |reactor, events| {
    ///     if events.contains(&FileEvent::Changed(wanted.clone())) {
    ///         reactor.stop().unwrap(); // the letter is complete
    ///     }
    /// })?;
    /// watcher.add_tree(&spool)?;
    /// assert_eq!(watcher.directory_count(), 1);
    ///
    /// std::fs::create_dir_all(spool.join("a/b")).unwrap();
    /// std::fs::write(spool.join("a/b/letter"), "dear reader").unwrap();
    /// reactor.run()?;
    /// # std::fs::remove_dir_all(spool).unwrap();
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`add_directory`](FileWatcher::add_directory). A directory below it that cannot be read is reported
    /// as [`Ended`](FileEvent::Ended) instead. If the tree has more directories than
    /// [`WatchOptions::max_directories`], nothing is watched.
    pub fn add_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        self.add(path.as_ref(), Kind::Tree)
    }

    /// Stops watching `path`, which is given as it was added. Returns whether it was watched. Events that wait are still
    /// reported.
    pub fn remove(&self, path: impl AsRef<Path>) -> bool {
        self.shared.watched.borrow_mut().as_mut().is_some_and(|watched| watched.remove(path.as_ref()))
    }

    /// Stops the watcher. No event is reported from now on, also if it has happened before.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::{Error, Reactor};
    /// use ropewalk::files::WatchOptions;
    ///
    /// let reactor = Reactor::new()?;
    /// let watcher = reactor.watch_files(WatchOptions::new(), |_, _| unreachable!())?;
    /// watcher.add_directory(std::env::temp_dir())?;
    /// watcher.stop();
    /// assert!(matches!(watcher.add_file("/etc/hosts"), Err(Error::Closed)));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn stop(&self) {
        match self.reactor.upgrade() {
            Some(reactor) => self.shared.stop(&reactor),
            None => self.shared.drop_action(),
        }
    }

    /// Returns the number of directories that the system watches for this watcher.
    pub fn directory_count(&self) -> usize {
        self.shared.watched.borrow().as_ref().map_or(0, |watched| watched.directories.len())
    }

    fn add(&self, path: &Path, kind: Kind) -> Result<()> {
        let reactor = self.reactor.upgrade().ok_or(Error::Closed)?;
        let added = match &mut *self.shared.watched.borrow_mut() {
            Some(watched) => watched.add(path, kind, reactor.0.now()),
            None => return Err(Error::Closed),
        };
        // Directories that cannot be read are reported later.
        self.shared.schedule(&reactor);
        added.map_err(Error::io("cannot watch"))
    }
}

impl Drop for FileWatcher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for FileWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatcher").field("directories", &self.directory_count()).finish_non_exhaustive()
    }
}

impl Source for Shared {
    fn ready(self: Rc<Shared>, reactor: &Reactor, _key: Key, ready: Ready, scratch: &mut [u8]) {
        let now = reactor.0.now();
        let outcome = match &mut *self.watched.borrow_mut() {
            Some(_) if ready.contains(Ready::GONE) => Err(io::Error::other("its descriptor was closed")),
            Some(watched) => watched.read(&mut scratch[..BYTES_A_TURN], now),
            None => return,
        };
        if let Err(error) = outcome {
            self.release(reactor);
            if let Some(watched) = &mut *self.watched.borrow_mut() {
                watched.fail(&error, now);
            }
        }
        self.advance(reactor);
    }

    fn shut_down(self: Rc<Shared>, reactor: &Reactor) {
        self.stop(reactor);
    }

    fn forget(&self) {
        self.drop_action();
    }
}

impl Shared {
    /// Does what is due, calls the action, and arranges for the rest.
    fn advance(&self, reactor: &Reactor) {
        if let Some(watched) = &mut *self.watched.borrow_mut() {
            let now = reactor.0.now();
            // A directory that has left and come back is found before it is given up.
            watched.scan_some(ENTRIES_A_TURN, now);
            watched.catch_up(now);
        }
        self.report(reactor);
        self.schedule(reactor);
    }

    fn report(&self, reactor: &Reactor) {
        // `None` while the action runs: the action may run turns of the loop.
        let Some(mut action) = self.action.take() else { return };
        let events = match &mut *self.watched.borrow_mut() {
            Some(watched) => watched.pending.take(reactor.0.now()),
            None => Vec::new(),
        };
        if !events.is_empty() {
            let _ = reactor.0.guard(CallbackKind::FileWatcher, NAME, || action(reactor, &events));
        }
        match self.is_stopped() {
            true => drop_logged(NAME, action),
            false => self.action.set(Some(action)),
        }
    }

    /// Arranges for the next work that no record of the system announces.
    fn schedule(&self, reactor: &Reactor) {
        let now = reactor.0.now();
        let action = self.action.take();
        let is_reporting = action.is_none();
        self.action.set(action);
        let due = self.watched.borrow().as_ref().and_then(|watched| {
            let reports = if is_reporting { None } else { watched.pending.due() };
            watched.due(now).into_iter().chain(reports).min()
        });
        let Some(due) = due else { return };
        if self.wake_up.borrow().as_ref().is_some_and(|(planned, call)| *planned <= due && call.active()) {
            return;
        }
        let itself = self.itself.clone();
        let call = reactor.call_later_internally(due.since(now), move |reactor| {
            if let Some(shared) = itself.upgrade() {
                shared.wake_up.take();
                shared.advance(reactor);
            }
        });
        if let Some((_, before)) = self.wake_up.replace(Some((due, call))) {
            let _ = before.cancel();
        }
    }

    fn is_stopped(&self) -> bool {
        self.watched.borrow().is_none()
    }

    fn stop(&self, reactor: &Reactor) {
        self.release(reactor);
        self.drop_action();
    }

    /// Stops reading the system's queue. The queue is closed when the provider does not watch it any more.
    fn release(&self, reactor: &Reactor) {
        let Some(key) = self.key.take() else { return };
        drop(reactor.0.remove_source(key));
        let files = self.watched.borrow().as_ref().map(|watched| watched.files.clone());
        reactor.0.tell_watches(move |watches| {
            watches.unwatch(key);
            drop(files);
        });
    }

    fn drop_action(&self) {
        if let Some((_, call)) = self.wake_up.take() {
            let _ = call.cancel();
        }
        drop(self.watched.take());
        if let Some(action) = self.action.take() {
            drop_logged(NAME, action);
        }
    }
}
