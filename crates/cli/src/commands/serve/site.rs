//! The site: finds the file that a request path names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::Rows;
use super::listings::Listings;
use super::pieces::Pieces;
use super::request_path::{RequestPath, is_hidden};
use super::root::{FileKind, Metadata, Root};

const INDEX: &str = "index.html";

/// A served directory. Its methods block, so they run in the thread pool.
pub(super) struct Site {
    root: Root,
    directory: PathBuf,
    hidden: bool,
    pieces: Arc<Pieces>,
    listings: Listings,
}

/// The result of a lookup.
pub(super) enum Found {
    /// A file, with the path that the client sees.
    File(File, Metadata, PathBuf),
    /// A directory to be listed, with its path below the served directory.
    Directory(Metadata, PathBuf),
    /// A directory whose request path lacks the slash at its end.
    DirectoryWithoutSlash,
}

impl Site {
    /// Opens `directory`. If `hidden` is set, names that start with a dot are served too.
    ///
    /// # Errors
    /// Errors of open(2).
    pub(super) fn open(directory: &Path, hidden: bool) -> io::Result<Site> {
        let (root, directory) = (Root::open(directory)?, directory.canonicalize()?);
        Ok(Site { root, directory, hidden, pieces: Arc::default(), listings: Listings::default() })
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
        let name = path.relative();
        let (relative, metadata) = self.resolve(&name)?;
        match (metadata.kind == FileKind::Directory, path.ends_in_slash) {
            (false, false) => self.open_file(&relative, name),
            // The path has a slash after the name of a file, and nothing exists below a file.
            (false, true) => Err(io::ErrorKind::NotFound.into()),
            (true, false) => Ok(Found::DirectoryWithoutSlash),
            (true, true) => self.find_index(metadata, relative),
        }
    }

    /// Releases memory that no response uses.
    pub(super) fn release_memory(&self) {
        self.listings.clear();
        ropewalk::sys::release_free_memory();
    }

    /// Returns the pieces of files that the responses hold.
    pub(super) fn pieces(&self) -> &Arc<Pieces> {
        &self.pieces
    }

    /// Returns the listing of a directory, or `None` if too many listings are being sent. Entries that cannot be accessed
    /// are left out.
    ///
    /// # Errors
    /// Errors of opendir(3).
    pub(super) fn listing(&self, metadata: &Metadata, directory: &Path) -> io::Result<Option<Rows>> {
        self.listings.rows(metadata, || Ok(Rows::of(self.entries(directory)?)))
    }

    fn entries(&self, directory: &Path) -> io::Result<impl Iterator<Item = (PathBuf, Metadata)>> {
        let names = self.root.names(directory)?.filter(|name| self.hidden || !is_hidden(name));
        Ok(names.filter_map(move |name| {
            let (_, metadata) = self.resolve(&directory.join(&name)).ok()?;
            Some((PathBuf::from(name), metadata))
        }))
    }

    fn find_index(&self, metadata: Metadata, directory: PathBuf) -> io::Result<Found> {
        let index = directory.join(INDEX);
        match self.resolve(&index) {
            Ok((relative, Metadata { kind: FileKind::Regular, .. })) => self.open_file(&relative, index),
            _ => Ok(Found::Directory(metadata, directory)),
        }
    }

    fn open_file(&self, relative: &Path, name: PathBuf) -> io::Result<Found> {
        let (file, metadata) = self.root.open_file(relative)?;
        Ok(Found::File(file, metadata, name))
    }

    /// Returns a path that names the same file and stays below the directory, with the metadata of the file.
    ///
    /// An absolute link leads out of the directory, but its target may be inside. In this case the returned path has no
    /// links.
    fn resolve(&self, relative: &Path) -> io::Result<(PathBuf, Metadata)> {
        match self.root.metadata(relative) {
            Ok(metadata) => Ok((relative.to_owned(), metadata)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let resolved = self.without_links(relative).ok_or(error)?;
                let metadata = self.root.metadata(&resolved)?;
                Ok((resolved, metadata))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns another path of the same file, if the directory contains one.
    fn without_links(&self, relative: &Path) -> Option<PathBuf> {
        let resolved = self.directory.join(relative).canonicalize().ok()?;
        let resolved = resolved.strip_prefix(&self.directory).ok()?;
        let resolved = if resolved.as_os_str().is_empty() { Path::new(".") } else { resolved };
        (resolved != relative).then(|| resolved.to_owned())
    }
}
