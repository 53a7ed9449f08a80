//! The watched paths of one watcher, and the directories that the system watches for them.
//!
//! ```text
//!   root         a path of the user: a file, a directory or a tree
//!   directory    a number of the system, with its interests: a root's entries, or a name that a root depends on
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ropewalk_proto::Moment;
use ropewalk_sys::{FileEvents, FileIdentity, FileRecord, Happened, explained_error, look_at};

use super::event::{FileEvent, WatchEnd};
use super::moves::{Departure, Moves, moved};
use super::names::{Followed, follow};
use super::options::WatchOptions;
use super::pending::Pending;
use super::scan::Scan;

/// The number of times that a path is followed while it changes. After that, it is followed in the next turn.
const MAX_FOLLOWED: u32 = 8;

/// The end of a directory itself.
const ENDS: [(Happened, WatchEnd); 4] = [
    (Happened::UNMOUNTED, WatchEnd::Unmounted),
    (Happened::SELF_MOVED, WatchEnd::Moved),
    (Happened::SELF_REMOVED, WatchEnd::Removed),
    (Happened::ENDED, WatchEnd::Removed),
];

/// The kinds of watched paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The name of a file.
    File,
    /// The entries of a directory.
    Directory,
    /// The entries of a directory, and of all directories below it.
    Tree,
}

/// A path that the user watches.
pub(super) struct Root {
    pub(super) kind: Kind,
    /// The path as the user gave it.
    pub(super) path: PathBuf,
    /// The path from the root of the file system, because the working directory may change.
    pub(super) absolute: PathBuf,
    /// The end of the path of a file.
    identity: Option<FileIdentity>,
    /// The directories whose names the path of a file depends on.
    anchors: Vec<i32>,
}

/// The reason why a directory is watched.
pub(super) enum Interest {
    /// The entries are reported below the path of a root.
    Entries {
        root: u64,
        /// The path of the directory below the root.
        relative: PathBuf,
        /// The number of losses before the directory was last found.
        found: u64,
    },
    /// The path of a root depends on a name.
    Name { root: u64, name: OsString, is_last: bool },
}

/// A change that concerns a root.
enum Seen {
    Entry { root: u64, relative: PathBuf },
    Name { root: u64, is_last: bool },
    Itself { root: u64, relative: PathBuf },
    Way { root: u64 },
}

pub(super) struct Watched {
    pub(super) files: Rc<FileEvents>,
    pub(super) options: WatchOptions,
    pub(super) roots: BTreeMap<u64, Root>,
    next_root: u64,
    pub(super) directories: HashMap<i32, Vec<Interest>>,
    pub(super) scans: VecDeque<Scan>,
    pub(super) moves: Moves,
    pub(super) pending: Pending,
    /// Files whose path changed too often to be followed at once.
    unsettled: Vec<u64>,
    /// The number of times that events were lost.
    pub(super) losses: u64,
    /// Whether directories are searched for that were not found since the last loss.
    pub(super) is_purging: bool,
}

impl Watched {
    pub(super) fn new(files: FileEvents, options: WatchOptions) -> Watched {
        Watched {
            files: Rc::new(files),
            pending: Pending::new(options.settle),
            options,
            roots: BTreeMap::new(),
            next_root: 0,
            directories: HashMap::new(),
            scans: VecDeque::new(),
            moves: Moves::default(),
            unsettled: Vec::new(),
            losses: 0,
            is_purging: false,
        }
    }

    /// Begins to watch a path.
    pub(super) fn add(&mut self, path: &Path, kind: Kind, now: Moment) -> io::Result<()> {
        if self.roots.values().any(|root| root.path == path && root.kind == kind) {
            return Ok(());
        }
        let absolute = std::path::absolute(path).map_err(|error| about(path, error))?;
        let number = self.next_root;
        self.next_root += 1;
        let root = Root { kind, path: path.to_owned(), absolute, identity: None, anchors: Vec::new() };
        self.roots.insert(number, root);
        let added = match kind {
            Kind::File => self.follow(number).map(drop),
            Kind::Directory | Kind::Tree => self.scan_at_once(number, now),
        };
        added.map_err(|error| {
            self.remove_root(number);
            about(path, error)
        })
    }

    /// Stops watching a path. Returns whether it was watched.
    pub(super) fn remove(&mut self, path: &Path) -> bool {
        let found = self.roots.iter().filter(|(_, root)| root.path == path).map(|(number, _)| *number);
        let found = Vec::from_iter(found);
        found.iter().for_each(|number| self.remove_root(*number));
        !found.is_empty()
    }

    /// Takes some records of the system, as many as fit into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Moment) -> io::Result<()> {
        let files = self.files.clone();
        files.read(buffer, &mut |record| self.handle(&record, now)).map(drop)
    }

    /// Does what is due: gives up waiting for the second halves of moves, and follows paths that changed too often.
    pub(super) fn catch_up(&mut self, now: Moment) {
        while let Some(half) = self.moves.expire(now) {
            self.left_for_good(half);
        }
        for number in std::mem::take(&mut self.unsettled) {
            self.way_changed(number, now);
        }
    }

    /// Returns the time of the next work, apart from records of the system.
    pub(super) fn due(&self, now: Moment) -> Option<Moment> {
        let is_busy = !self.scans.is_empty() || !self.unsettled.is_empty();
        [is_busy.then_some(now), self.moves.due()].into_iter().flatten().min()
    }

    /// Stops watching every path, because the queue of the system has failed.
    pub(super) fn fail(&mut self, error: &io::Error, now: Moment) {
        for number in Vec::from_iter(self.roots.keys().copied()) {
            self.end(number, WatchEnd::Failed(error.to_string().into()), now);
        }
    }

    /// Watches a directory, and returns its number.
    pub(super) fn watch(&mut self, directory: &Path) -> io::Result<i32> {
        let number = self.files.watch(directory, self.options.reported)?;
        let limit = self.options.max_directories;
        if self.directories.len() >= limit && !self.directories.contains_key(&number) {
            self.files.unwatch(number);
            return Err(too_many(limit));
        }
        Ok(number)
    }

    fn handle(&mut self, record: &FileRecord<'_>, now: Moment) {
        if record.happened.contains(Happened::LOST) {
            return self.lose(now);
        }
        let is_over = record.happened.contains(Happened::ENDED);
        let Some(interests) = self.directories.get(&record.directory) else { return };
        let seen = Vec::from_iter(interests.iter().filter_map(|interest| self.seen(interest, record)));
        if is_over {
            self.directories.remove(&record.directory);
        }
        for seen in seen {
            match seen {
                Seen::Entry { root, relative } => self.entry_changed(root, relative, record, now),
                Seen::Name { root, is_last } => self.name_changed(root, is_last, record.happened, now),
                Seen::Itself { root, relative } => self.directory_changed(root, &relative, record.happened, now),
                Seen::Way { root } => self.way_changed(root, now),
            }
        }
    }

    /// Returns how a record concerns an interest in its directory.
    fn seen(&self, interest: &Interest, record: &FileRecord<'_>) -> Option<Seen> {
        let is_about_itself = record.name.is_empty();
        match interest {
            Interest::Entries { root, relative, .. } if is_about_itself => {
                Some(Seen::Itself { root: *root, relative: relative.clone() })
            }
            Interest::Entries { root, relative, .. } => {
                let relative = || joined(relative, Path::new(record.name));
                (!self.options.skips(record.name)).then(|| Seen::Entry { root: *root, relative: relative() })
            }
            Interest::Name { root, .. } if is_about_itself => {
                let is_end = ENDS.iter().any(|(end, _)| record.happened.contains(*end));
                is_end.then_some(Seen::Way { root: *root })
            }
            Interest::Name { root, name, is_last } => {
                (**name == *record.name).then_some(Seen::Name { root: *root, is_last: *is_last })
            }
        }
    }

    /// Reports that an entry of a directory has changed.
    fn entry_changed(&mut self, root: u64, relative: PathBuf, record: &FileRecord<'_>, now: Moment) {
        let Some(Root { kind, path, .. }) = self.roots.get(&root) else { return };
        let (path, happened) = (joined(path, &relative), record.happened);
        let is_inner = *kind == Kind::Tree && happened.contains(Happened::OF_DIRECTORY);
        if happened.contains(Happened::MOVED_FROM) {
            return self.leave(root, relative, path, record.cookie, now);
        }
        if happened.contains(Happened::MOVED_TO) {
            self.arrive(root, &relative, path, record.cookie, now);
        } else if happened.contains(Happened::CREATED) {
            self.pending.push(FileEvent::Created(path), now);
        } else if happened.contains(Happened::REMOVED) {
            return self.pending.push(FileEvent::Removed(path), now);
        } else if happened.intersects(Happened::CLOSED | Happened::WRITTEN) {
            return self.pending.push(FileEvent::Changed(path), now);
        } else {
            return self.pending.push(FileEvent::Attributes(path), now);
        }
        if is_inner {
            self.scans.push_back(Scan::new(root, relative));
        }
    }

    /// Remembers an entry that has left its name, with the watched directories in it.
    fn leave(&mut self, root: u64, relative: PathBuf, from: PathBuf, cookie: u32, now: Moment) {
        let below = |interests: &[Interest]| interests.iter().any(|interest| interest.is_below(root, &relative));
        let directories = self.directories.iter().filter(|(_, interests)| below(interests));
        let directories = directories.map(|(number, _)| *number).collect();
        let place = self.pending.open(now);
        if self.options.settle.is_some() {
            self.pending.push(FileEvent::Removed(from.clone()), now);
        }
        let half = Departure { cookie, root, from, directories, relative, since: now, place };
        if let Some(oldest) = self.moves.leave(half) {
            self.left_for_good(oldest);
        }
    }

    /// Joins the halves of a move, or reports an entry from elsewhere.
    fn arrive(&mut self, root: u64, relative: &Path, path: PathBuf, cookie: u32, now: Moment) {
        let Some(half) = self.moves.arrive(cookie, root) else {
            return self.pending.push(FileEvent::Changed(path), now);
        };
        if half.root == root {
            self.relocate(&half, relative);
        } else {
            self.forget(&half);
        }
        match half.place {
            Some(place) => self.pending.fill(place, FileEvent::Moved { from: half.from, to: path }),
            None => self.pending.push(FileEvent::Changed(path), now),
        }
    }

    fn left_for_good(&mut self, half: Departure) {
        self.forget(&half);
        if let Some(place) = half.place {
            self.pending.fill(place, FileEvent::Removed(half.from));
        }
    }

    /// Gives the directories of a moved entry their new paths.
    fn relocate(&mut self, half: &Departure, to: &Path) {
        let interests = half.directories.iter().filter_map(|number| self.directories.get(number).map(|_| *number));
        for number in Vec::from_iter(interests) {
            for interest in self.directories.get_mut(&number).into_iter().flatten() {
                interest.relocate(half.root, &half.relative, to);
            }
        }
        for scan in self.scans.iter_mut().filter(|scan| scan.root == half.root) {
            if let Some(relative) = moved(&scan.relative, &half.relative, to) {
                scan.relative = relative;
            }
        }
    }

    /// Stops watching the directories of an entry that is not below its root any more.
    fn forget(&mut self, half: &Departure) {
        for number in &half.directories {
            self.drop_interests(*number, |interest| interest.is_below(half.root, &half.relative));
        }
    }

    /// Reports a change of a watched directory itself.
    fn directory_changed(&mut self, root: u64, relative: &Path, happened: Happened, now: Moment) {
        let is_root = relative.as_os_str().is_empty();
        let end = ENDS.iter().find(|(end, _)| happened.contains(*end)).map(|(_, end)| end.clone());
        match end {
            Some(end) if is_root => self.end(root, end, now),
            Some(WatchEnd::Unmounted) => {
                let Some(path) = self.roots.get(&root).map(|root| joined(&root.path, relative)) else { return };
                self.pending.push(FileEvent::Ended(path, WatchEnd::Unmounted), now);
            }
            None if is_root && happened.contains(Happened::ATTRIBUTES) => {
                let Some(path) = self.roots.get(&root).map(|root| root.path.clone()) else { return };
                self.pending.push(FileEvent::Attributes(path), now);
            }
            // The directory above reports the same.
            _ => {}
        }
    }

    /// Reports a change of a name that the path of a file depends on.
    fn name_changed(&mut self, number: u64, is_last: bool, happened: Happened, now: Moment) {
        let is_content = happened.intersects(Happened::CLOSED | Happened::WRITTEN);
        if !is_last {
            let is_name = !is_content && !happened.contains(Happened::ATTRIBUTES);
            if is_name {
                self.way_changed(number, now);
            }
            return;
        }
        let Some(root) = self.roots.get(&number) else { return };
        let (path, names_before) = (root.path.clone(), root.anchors.len());
        if is_content {
            return self.pending.push(FileEvent::Changed(path), now);
        }
        if happened.contains(Happened::ATTRIBUTES) {
            return self.pending.push(FileEvent::Attributes(path), now);
        }
        let followed = match self.follow(number) {
            Ok(followed) => followed,
            Err(error) => return self.end(number, WatchEnd::Failed(error.to_string().into()), now),
        };
        if happened.contains(Happened::MOVED_TO) {
            return self.pending.push(FileEvent::Changed(path), now);
        }
        if !happened.contains(Happened::CREATED) {
            return self.pending.push(FileEvent::Removed(path), now);
        }
        self.pending.push(FileEvent::Created(path.clone()), now);
        // A link to a file, or a second name of it, has no writer that closes it.
        let has_content = |identity: FileIdentity| identity.length > 0 || identity.links > 1;
        if followed.names.len() > names_before || followed.identity.is_some_and(has_content) {
            self.pending.push(FileEvent::Changed(path), now);
        }
    }

    /// Follows the path of a file again, and reports if it leads elsewhere now.
    fn way_changed(&mut self, number: u64, now: Moment) {
        let Some(root) = self.roots.get(&number) else { return };
        let (path, before) = (root.path.clone(), root.identity);
        let after = match self.follow(number) {
            Ok(followed) => followed.identity,
            Err(error) => return self.end(number, WatchEnd::Failed(error.to_string().into()), now),
        };
        match (before, after) {
            (Some(_), None) => self.pending.push(FileEvent::Removed(path), now),
            (before, Some(_)) if before != after => self.pending.push(FileEvent::Changed(path), now),
            _ => {}
        }
    }

    /// Follows the path of a file, and watches the names that it depends on.
    ///
    /// The names are watched first and followed again then, so a change in between is not missed.
    fn follow(&mut self, number: u64) -> io::Result<Followed> {
        let mut watched = Vec::new();
        let followed = self.follow_and_watch(number, &mut watched);
        // The path may have led elsewhere at first.
        for directory in watched.iter().filter(|directory| !self.directories.contains_key(directory)) {
            self.files.unwatch(*directory);
        }
        followed
    }

    fn follow_and_watch(&mut self, number: u64, watched: &mut Vec<i32>) -> io::Result<Followed> {
        let Some(root) = self.roots.get(&number) else { return Err(ErrorKind::NotFound.into()) };
        let absolute = root.absolute.clone();
        let mut expected = follow(&absolute, &look_at)?;
        for tries in 1.. {
            let anchors = self.watch_names(&expected.names, watched);
            let found = follow(&absolute, &look_at)?;
            match anchors {
                Ok(anchors) if found.names == expected.names || tries >= MAX_FOLLOWED => {
                    if found.names != expected.names {
                        self.unsettled.push(number);
                    }
                    self.anchor(number, anchors, &expected);
                    if let Some(root) = self.roots.get_mut(&number) {
                        root.identity = found.identity;
                    }
                    return Ok(found);
                }
                // A directory has vanished in between.
                Err(error) if !is_gone(&error) || tries >= MAX_FOLLOWED => return Err(error),
                _ => expected = found,
            }
        }
        Ok(expected)
    }

    /// Watches the directories of `names`. Those that are watched when an error occurs are in `watched` as well.
    fn watch_names(&mut self, names: &[(PathBuf, OsString)], watched: &mut Vec<i32>) -> io::Result<Vec<i32>> {
        let first = watched.len();
        for (directory, _) in names {
            watched.push(self.watch(directory)?);
        }
        Ok(watched[first..].to_vec())
    }

    /// Replaces the names that the path of a file depends on.
    fn anchor(&mut self, number: u64, anchors: Vec<i32>, followed: &Followed) {
        let Some(root) = self.roots.get_mut(&number) else { return };
        let before = std::mem::replace(&mut root.anchors, anchors.clone());
        for directory in &before {
            if let Some(interests) = self.directories.get_mut(directory) {
                interests.retain(|interest| !matches!(interest, Interest::Name { root, .. } if *root == number));
            }
        }
        let last = anchors.len() - 1;
        for (index, (directory, (_, name))) in anchors.into_iter().zip(&followed.names).enumerate() {
            let is_last = index == last && followed.reaches_file;
            let interest = Interest::Name { root: number, name: name.clone(), is_last };
            self.directories.entry(directory).or_default().push(interest);
        }
        for directory in before {
            self.drop_interests(directory, |_| false);
        }
    }

    /// Stops watching a path, and reports that.
    pub(super) fn end(&mut self, number: u64, end: WatchEnd, now: Moment) {
        let Some(path) = self.roots.get(&number).map(|root| root.path.clone()) else { return };
        self.remove_root(number);
        self.pending.push(FileEvent::Ended(path, end), now);
    }

    fn remove_root(&mut self, number: u64) {
        self.roots.remove(&number);
        self.scans.retain(|scan| scan.root != number);
        for directory in Vec::from_iter(self.directories.keys().copied()) {
            self.drop_interests(directory, |interest| interest.root() == number);
        }
    }

    /// Drops the interests in a directory that are `over`. A directory without an interest is not watched any more.
    pub(super) fn drop_interests(&mut self, directory: i32, over: impl Fn(&Interest) -> bool) {
        let Some(interests) = self.directories.get_mut(&directory) else { return };
        interests.retain(|interest| !over(interest));
        if interests.is_empty() {
            self.directories.remove(&directory);
            self.files.unwatch(directory);
        }
    }

    /// Looks at all directories and files again, because records were lost.
    fn lose(&mut self, now: Moment) {
        self.pending.push(FileEvent::Lost, now);
        self.losses += 1;
        for half in self.moves.take() {
            self.forget(&half);
        }
        self.scans.clear();
        for (number, kind) in Vec::from_iter(self.roots.iter().map(|(number, root)| (*number, root.kind))) {
            match kind {
                Kind::Directory | Kind::Tree => self.scans.push_back(Scan::new(number, PathBuf::new())),
                Kind::File => {
                    if let Err(error) = self.follow(number) {
                        self.end(number, WatchEnd::Failed(error.to_string().into()), now);
                    }
                }
            }
        }
        self.is_purging = true;
    }
}

impl Interest {
    fn root(&self) -> u64 {
        match self {
            Interest::Entries { root, .. } | Interest::Name { root, .. } => *root,
        }
    }

    /// Returns whether this is an interest of `root` in a directory that is `above`, or below it.
    fn is_below(&self, root: u64, above: &Path) -> bool {
        matches!(self, Interest::Entries { root: its, relative, .. } if *its == root && relative.starts_with(above))
    }

    fn relocate(&mut self, root: u64, from: &Path, to: &Path) {
        if let Interest::Entries { root: its, relative, .. } = self {
            if let Some(path) = moved(relative, from, to).filter(|_| *its == root) {
                *relative = path;
            }
        }
    }
}

/// Joins two paths, without the slash that an empty one would add.
pub(super) fn joined(path: &Path, relative: &Path) -> PathBuf {
    match (path.as_os_str(), relative.as_os_str()) {
        (_, empty) if empty == OsStr::new("") => path.to_owned(),
        (empty, _) if empty == OsStr::new("") => relative.to_owned(),
        _ => path.join(relative),
    }
}

/// Returns whether the system did not find what another process may have removed.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub(super) fn too_many(limit: usize) -> io::Error {
    let message =
        format!("more than {limit} directories would be watched: skip some, or raise WatchOptions::max_directories");
    io::Error::new(ErrorKind::QuotaExceeded, message)
}

/// Returns whether a limit on watches is reached.
pub(super) fn is_limit(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull)
}

/// Returns an error that names the path.
fn about(path: &Path, error: io::Error) -> io::Error {
    let message = format!("{}: {error}", path.display());
    explained_error(error.kind(), error, message)
}
