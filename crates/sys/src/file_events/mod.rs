//! Changes in directories, as the system reports them: inotify(7).
//!
//! ```text
//!   open  ->  watch directories, each has a number  ->  the handle is readable  ->  read: records, each of a directory
//! ```
//!
//! A record says what happened to a name in a directory. The caller joins the two halves of a move, follows new
//! directories, and asks what a name leads to now.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use bitflags::bitflags;

use crate::io_handle::RawWaitable;

#[cfg(linux_like)]
mod records;
#[cfg_attr(linux_like, path = "linux.rs")]
#[cfg_attr(not(linux_like), path = "none.rs")]
mod system;

/// The size of a buffer that takes any record.
///
/// ```
/// assert!(ropewalk_sys::FILE_RECORD_BYTES > 255); // the longest name of a file
/// ```
pub const FILE_RECORD_BYTES: usize = 4096;

/// The system's queue of records about watched directories.
///
/// Dropping it closes the queue. The methods do not block, except for the time that a file system takes to find a path.
/// They may be called from any thread.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk_sys::{FILE_RECORD_BYTES, FileEvents, Happened, Interest, providers};
///
/// let directory = std::env::temp_dir().join(format!("ropewalk-records-{}", std::process::id()));
/// std::fs::create_dir(&directory)?;
/// let files = FileEvents::open()?;
/// let number = files.watch(&directory, Happened::CREATED | Happened::REMOVED)?;
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let key = provider.watches().unwrap().watch(files.handle(), Interest::READ)?;
/// std::fs::create_dir(directory.join("sub"))?;
/// provider.wait(None, &mut Vec::new())?;
/// let mut seen = Vec::new();
/// files.read(&mut [0; FILE_RECORD_BYTES], &mut |record| {
///     assert_eq!((record.directory, record.cookie), (number, 0));
///     seen.push((record.name.to_owned(), record.happened));
/// })?;
/// assert_eq!(seen, [("sub".into(), Happened::CREATED | Happened::OF_DIRECTORY)]);
/// provider.watches().unwrap().unwatch(key);
/// files.unwatch(number);
/// # std::fs::remove_dir_all(directory)?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FileEvents(system::Queue);

impl FileEvents {
    /// Returns whether this system has such a queue.
    ///
    /// ```
    /// use ropewalk_sys::FileEvents;
    ///
    /// assert_eq!(FileEvents::is_supported(), cfg!(any(target_os = "linux", target_os = "android")));
    /// ```
    pub const fn is_supported() -> bool {
        system::IS_SUPPORTED
    }

    /// Opens a queue.
    ///
    /// # Errors
    /// `Unsupported` on systems without it. When the user has too many queues or the process too many descriptors, the
    /// message names the limit and the remedy.
    pub fn open() -> io::Result<FileEvents> {
        system::Queue::open().map(FileEvents)
    }

    /// Returns the handle that is readable while the queue has records.
    pub fn handle(&self) -> RawWaitable {
        self.0.handle()
    }

    /// Begins to report what happens in `directory`, and returns its number. A directory that is watched already keeps
    /// its number, and `reported` replaces what was reported before.
    ///
    /// A symbolic link as the last part of the path is not followed.
    ///
    /// # Errors
    /// The errors of inotify_add_watch(2): `NotFound`, `NotADirectory`, `PermissionDenied`. When the system allows no
    /// more watches, the kind is `QuotaExceeded` or `StorageFull`, and the message names the limit and the remedy.
    pub fn watch(&self, directory: &Path, reported: Happened) -> io::Result<i32> {
        self.0.watch(directory, reported)
    }

    /// Stops the records of a directory. The last record of its number is [`Happened::ENDED`].
    pub fn unwatch(&self, number: i32) {
        self.0.unwatch(number);
    }

    /// Reads the records that fit into `buffer`, calls `each` for every record, and returns whether there were any.
    ///
    /// # Errors
    /// The errors of read(2). `InvalidInput` for a buffer that is smaller than [`FILE_RECORD_BYTES`].
    pub fn read(&self, buffer: &mut [u8], each: &mut dyn FnMut(FileRecord<'_>)) -> io::Result<bool> {
        if buffer.len() < FILE_RECORD_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer is smaller than FILE_RECORD_BYTES"));
        }
        self.0.read(buffer, each)
    }
}

/// A change in a watched directory.
///
/// ```
/// use ropewalk_sys::{FileRecord, Happened};
///
/// fn is_complete(record: &FileRecord<'_>) -> bool {
///     record.happened.intersects(Happened::CLOSED | Happened::MOVED_TO)
/// }
/// # let record = FileRecord { directory: 1, happened: Happened::CLOSED, cookie: 0, name: "a".as_ref() };
/// # assert!(is_complete(&record));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord<'a> {
    /// The number of the directory. A record of [`Happened::LOST`] has none, and -1 here.
    pub directory: i32,
    /// The changes. The system reports them one by one, except for [`Happened::OF_DIRECTORY`].
    pub happened: Happened,
    /// The number that the two halves of a move share.
    pub cookie: u32,
    /// The name in the directory. It is empty if the record is about the directory itself.
    pub name: &'a OsStr,
}

bitflags! {
    /// The changes that a [`FileRecord`] reports.
    ///
    /// ```
    /// use ropewalk_sys::Happened;
    ///
    /// assert!((Happened::CREATED | Happened::OF_DIRECTORY).contains(Happened::CREATED));
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Happened: u32 {
        /// The content of a file was changed: IN_MODIFY.
        const WRITTEN = 1 << 0;
        /// The mode, the owner, the times or the number of links was changed: IN_ATTRIB.
        const ATTRIBUTES = 1 << 1;
        /// A file was closed that was open for writing: IN_CLOSE_WRITE.
        const CLOSED = 1 << 2;
        /// An entry was moved away from this name: IN_MOVED_FROM.
        const MOVED_FROM = 1 << 3;
        /// An entry was moved to this name: IN_MOVED_TO.
        const MOVED_TO = 1 << 4;
        /// An entry was created: IN_CREATE.
        const CREATED = 1 << 5;
        /// An entry was removed: IN_DELETE.
        const REMOVED = 1 << 6;
        /// The directory itself was removed: IN_DELETE_SELF.
        const SELF_REMOVED = 1 << 7;
        /// The directory itself was moved: IN_MOVE_SELF.
        const SELF_MOVED = 1 << 8;
        /// The file system of the directory was unmounted: IN_UNMOUNT.
        const UNMOUNTED = 1 << 9;
        /// Records were lost, because the queue was full: IN_Q_OVERFLOW.
        const LOST = 1 << 10;
        /// The directory is not watched any more: IN_IGNORED.
        const ENDED = 1 << 11;
        /// The entry is a directory: IN_ISDIR.
        const OF_DIRECTORY = 1 << 12;
    }
}

/// The object that a path leads to, without following a link in its last part.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk_sys::{FileEntry, look_at};
///
/// let directory = std::env::temp_dir();
/// assert!(matches!(look_at(&directory.join(".."))?, FileEntry::Directory(_)));
/// let link = directory.join(format!("ropewalk-link-{}", std::process::id()));
/// std::os::unix::fs::symlink("target", &link)?;
/// assert!(matches!(look_at(&link)?, FileEntry::Link(target) if target.ends_with("target")));
/// # std::fs::remove_file(link)?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEntry {
    /// A symbolic link, with its target.
    Link(PathBuf),
    /// A directory.
    Directory(FileIdentity),
    /// Anything else.
    File(FileIdentity),
}

/// The identity of a file, and the time of its last change. Another file under the same name differs, and so does a file
/// that was changed in between.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk_sys::look_at;
///
/// let file = std::env::temp_dir().join(format!("ropewalk-identity-{}", std::process::id()));
/// std::fs::write(&file, "a")?;
/// let before = look_at(&file)?;
/// assert_eq!(before, look_at(&file)?);
/// std::fs::write(&file, "more")?;
/// assert_ne!(before, look_at(&file)?);
/// # std::fs::remove_file(file)?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The number of the file system.
    pub device: u64,
    /// The number of the file in its file system.
    pub file: u64,
    /// The time of the last change of content or attributes, in seconds and nanoseconds.
    pub changed: (i64, i64),
    /// The number of bytes.
    pub length: u64,
    /// The number of names.
    pub links: u64,
}

/// Returns the object that `path` leads to. A link as its last part is not followed.
///
/// # Errors
/// The errors of lstat(2) and readlink(2). `Unsupported` on systems without [`FileEvents`].
pub fn look_at(path: &Path) -> io::Result<FileEntry> {
    system::look_at(path)
}
