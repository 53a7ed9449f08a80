//! The directory that is served, and nothing else.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata};

use super::request_path::{RequestPath, is_hidden};

const INDEX: &str = "index.html";

/// A directory and what may be seen of it. Its methods block: they are for the thread pool.
pub(super) struct Site {
    /// Opens nothing outside the directory, whatever links say and however they change meanwhile.
    root: Dir,
    directory: PathBuf,
    hidden: bool,
}

/// What a path names.
pub(super) enum Found {
    /// A file and its name below the directory.
    File(File, Metadata, PathBuf),
    /// A directory, to be listed.
    Directory(PathBuf),
    /// A directory whose path lacks the slash at its end.
    DirectoryWithoutSlash,
}

impl Site {
    /// Opens `directory`; with `hidden`, names that begin with a dot are served too.
    ///
    /// # Errors
    /// What open(2) answers.
    pub(super) fn open(directory: &Path, hidden: bool) -> io::Result<Site> {
        let root = Dir::open_ambient_dir(directory, ambient_authority())?;
        Ok(Site { root, directory: directory.canonicalize()?, hidden })
    }

    /// Whether anything in it can be reached, which the user may not be allowed who opened it for another.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.root.symlink_metadata(INDEX) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            // There need not be one.
            _ => Ok(()),
        }
    }

    /// The directory's path without links.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Finds and opens what `path` names.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` also for a link that leads out of the directory and for what is no file.
    pub(super) fn find(&self, path: &RequestPath) -> io::Result<Found> {
        if !self.hidden && path.is_hidden() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let relative = path.relative();
        match self.find_below(&relative, path.ends_in_slash) {
            // A link may also lead out and back in, by the directory's absolute path.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match self.without_links(&relative) {
                Some(straight) => self.find_below(&straight, path.ends_in_slash),
                None => Err(error),
            },
            outcome => outcome,
        }
    }

    /// What is shown of a directory: names and what they are. What cannot be looked at is left out.
    ///
    /// # Errors
    /// What readdir(3) answers.
    pub(super) fn entries(&self, directory: &Path) -> io::Result<impl Iterator<Item = (PathBuf, Metadata)> + use<'_>> {
        let directory = self.root.open_dir(directory)?;
        let names = directory.entries()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        let shown = names.filter(|name| self.hidden || !is_hidden(name));
        Ok(shown.filter_map(move |name| Some((PathBuf::from(&name), directory.metadata(&name).ok()?))))
    }

    fn find_below(&self, relative: &Path, ends_in_slash: bool) -> io::Result<Found> {
        let metadata = self.root.metadata(relative)?;
        if !metadata.is_dir() {
            // A file has nothing below it.
            return if ends_in_slash {
                Err(io::ErrorKind::NotFound.into())
            } else {
                self.open_file(relative, &metadata)
            };
        }
        if !ends_in_slash {
            return Ok(Found::DirectoryWithoutSlash);
        }
        let index = relative.join(INDEX);
        match self.root.metadata(&index) {
            Ok(metadata) if metadata.is_file() => self.open_file(&index, &metadata),
            _ => Ok(Found::Directory(relative.to_owned())),
        }
    }

    fn open_file(&self, relative: &Path, metadata: &Metadata) -> io::Result<Found> {
        // Opening a pipe would wait for a writer, and a device may do anything.
        if !metadata.is_file() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let file = self.root.open(relative)?;
        let metadata = file.metadata()?;
        Ok(Found::File(file, metadata, relative.to_owned()))
    }

    /// The same place by another path, if it is below the directory and there is another.
    fn without_links(&self, relative: &Path) -> Option<PathBuf> {
        let straight = self.directory.join(relative).canonicalize().ok()?;
        let straight = straight.strip_prefix(&self.directory).ok()?;
        (straight != relative && !straight.as_os_str().is_empty()).then(|| straight.to_owned())
    }
}
