//! The site: finds the file that a request path names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::request_path::{RequestPath, is_hidden};
use super::root::{FileKind, Metadata, Root};

const INDEX: &str = "index.html";

/// A served directory. Its methods block, so they run in the thread pool.
pub(super) struct Site {
    root: Root,
    directory: PathBuf,
    hidden: bool,
}

/// The result of a lookup.
pub(super) enum Found {
    /// A file, with its path below the directory.
    File(File, Metadata, PathBuf),
    /// A directory to be listed, by its path below the directory.
    Directory(PathBuf),
    /// A directory whose request path lacks the slash at its end.
    DirectoryWithoutSlash,
}

impl Site {
    /// Opens `directory`. If `hidden` is set, names that start with a dot are served too.
    ///
    /// # Errors
    /// Errors of open(2).
    pub(super) fn open(directory: &Path, hidden: bool) -> io::Result<Site> {
        Ok(Site { root: Root::open(directory)?, directory: directory.canonicalize()?, hidden })
    }

    /// Checks that this process may still access the directory, after it has switched to another user.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(super) fn check(&self) -> io::Result<()> {
        self.root.check_search_permission()
    }

    /// Returns the path of the directory without links.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Finds and opens the file that `path` names.
    ///
    /// # Errors
    /// `NotFound` for a missing or hidden file. `PermissionDenied` also for a link that leads out of the directory, and
    /// for a file that is not regular.
    pub(super) fn find(&self, path: &RequestPath) -> io::Result<Found> {
        if !self.hidden && path.is_hidden() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let relative = path.relative();
        match self.find_below(&relative, path.ends_in_slash) {
            // An absolute link leads out of the directory, but may lead back in.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match self.without_links(&relative) {
                Some(resolved) => self.find_below(&resolved, path.ends_in_slash),
                None => Err(error),
            },
            outcome => outcome,
        }
    }

    /// Returns the visible names in a directory, with their metadata. Entries that cannot be accessed are left out.
    ///
    /// # Errors
    /// Errors of opendir(3).
    pub(super) fn entries(
        &self,
        directory: PathBuf,
    ) -> io::Result<impl Iterator<Item = (PathBuf, Metadata)> + use<'_>> {
        let names = self.root.names(&directory)?.filter(|name| self.hidden || !is_hidden(name));
        Ok(names.filter_map(move |name| {
            let metadata = self.root.metadata(&directory.join(&name)).ok()?;
            Some((PathBuf::from(name), metadata))
        }))
    }

    fn find_below(&self, relative: &Path, ends_in_slash: bool) -> io::Result<Found> {
        let is_directory = self.root.metadata(relative)?.kind == FileKind::Directory;
        match (is_directory, ends_in_slash) {
            (false, false) => self.open_file(relative),
            // A file has nothing below it.
            (false, true) => Err(io::ErrorKind::NotFound.into()),
            (true, false) => Ok(Found::DirectoryWithoutSlash),
            (true, true) => self.find_index(relative),
        }
    }

    fn find_index(&self, directory: &Path) -> io::Result<Found> {
        let index = directory.join(INDEX);
        match self.root.metadata(&index) {
            Ok(Metadata { kind: FileKind::Regular, .. }) => self.open_file(&index),
            _ => Ok(Found::Directory(directory.to_owned())),
        }
    }

    fn open_file(&self, relative: &Path) -> io::Result<Found> {
        let (file, metadata) = self.root.open_file(relative)?;
        Ok(Found::File(file, metadata, relative.to_owned()))
    }

    /// Returns another path of the same file below the directory, if there is one.
    fn without_links(&self, relative: &Path) -> Option<PathBuf> {
        let resolved = self.directory.join(relative).canonicalize().ok()?;
        let resolved = resolved.strip_prefix(&self.directory).ok()?;
        (resolved != relative && !resolved.as_os_str().is_empty()).then(|| resolved.to_owned())
    }
}
