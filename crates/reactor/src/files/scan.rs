//! New directories of a tree, each watched first and listed then.
//!
//! Another process may create entries before a new directory is watched. So the entries that are found in a new
//! directory are reported. An entry that is created meanwhile may be reported twice.

use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

use ropewalk_proto::Moment;

use super::event::{FileEvent, WatchEnd};
use super::watched::{Interest, Kind, Watched, is_gone, is_limit, joined, too_many};

/// A directory that is to be watched and listed.
pub(super) struct Scan {
    pub(super) root: u64,
    /// The path of the directory below the root.
    pub(super) relative: PathBuf,
    listing: Option<ReadDir>,
    /// Whether new directories and their entries are reported.
    reports: bool,
    /// Whether this directory was not watched before.
    is_new: bool,
}

impl Scan {
    /// Returns a scan of a directory that may be new, whose entries are reported then.
    pub(super) fn new(root: u64, relative: PathBuf) -> Scan {
        Scan { root, relative, listing: None, reports: true, is_new: false }
    }
}

impl Watched {
    /// Watches a root and all directories below it, which are not reported.
    pub(super) fn scan_at_once(&mut self, root: u64, now: Moment) -> io::Result<()> {
        let others = std::mem::take(&mut self.scans);
        self.scans.push_back(Scan { reports: false, ..Scan::new(root, PathBuf::new()) });
        let outcome = self.scan_all(now);
        self.scans = others;
        outcome
    }

    fn scan_all(&mut self, now: Moment) -> io::Result<()> {
        while let Some(mut scan) = self.scans.pop_front() {
            let mut budget = usize::MAX;
            match self.step(&mut scan, &mut budget, now) {
                Err(error) if scan.relative.as_os_str().is_empty() || is_limit(&error) => return Err(error),
                Err(error) => self.cannot_watch(&scan, &error, now),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Takes up to `budget` steps, each of which watches a directory or looks at an entry.
    pub(super) fn scan_some(&mut self, mut budget: usize, now: Moment) {
        while budget > 0 {
            let Some(mut scan) = self.scans.pop_front() else { return self.purge() };
            budget -= 1;
            match self.step(&mut scan, &mut budget, now) {
                Ok(true) => self.scans.push_front(scan),
                Ok(false) => {}
                Err(error) => self.cannot_watch(&scan, &error, now),
            }
        }
    }

    /// Continues a scan. Returns whether entries are left.
    fn step(&mut self, scan: &mut Scan, budget: &mut usize, now: Moment) -> io::Result<bool> {
        let Some(root) = self.roots.get(&scan.root) else { return Ok(false) };
        let (is_tree, path) = (root.kind == Kind::Tree, root.path.clone());
        if scan.listing.is_none() {
            let directory = joined(&root.absolute, &scan.relative);
            if !self.begin(scan, &directory)? || !is_tree {
                return Ok(false);
            }
            scan.listing = match fs::read_dir(directory) {
                Ok(listing) => Some(listing),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
        }
        let Some(listing) = &mut scan.listing else { return Ok(false) };
        while *budget > 0 {
            let Some(Ok(entry)) = listing.next() else { return Ok(false) };
            *budget -= 1;
            let name = entry.file_name();
            if self.options.skips(&name) {
                continue;
            }
            let relative = joined(&scan.relative, Path::new(&name));
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if scan.reports && scan.is_new {
                let found = joined(&path, &relative);
                self.pending.push(FileEvent::Created(found.clone()), now);
                if !is_directory {
                    // Its writer may have closed it before the directory was watched.
                    self.pending.push(FileEvent::Changed(found), now);
                }
            }
            if is_directory {
                let limit = self.options.max_directories;
                if self.scans.len() >= limit {
                    return Err(too_many(limit));
                }
                self.scans.push_back(Scan { reports: scan.reports, ..Scan::new(scan.root, relative) });
            }
        }
        Ok(true)
    }

    /// Watches the directory of a scan. Returns `false` if it has vanished.
    fn begin(&mut self, scan: &mut Scan, directory: &Path) -> io::Result<bool> {
        let is_root = scan.relative.as_os_str().is_empty();
        // The link that a root may be is followed. Links below it are not.
        let watched = if is_root { self.watch(&directory.join(".")) } else { self.watch(directory) };
        let number = match watched {
            Ok(number) => number,
            Err(error) if is_gone(&error) && !is_root => return Ok(false),
            Err(error) => return Err(error),
        };
        // It may be among the directories of an entry that had left and has come back.
        self.moves.found(number, scan.root);
        let losses = self.losses;
        let interests = self.directories.entry(number).or_default();
        let known = interests.iter_mut().find_map(|interest| match interest {
            Interest::Entries { root, relative, found } if *root == scan.root => Some((relative, found)),
            _ => None,
        });
        if let Some((relative, found)) = known {
            relative.clone_from(&scan.relative);
            *found = losses;
            return Ok(true);
        }
        scan.is_new = true;
        interests.push(Interest::Entries { root: scan.root, relative: scan.relative.clone(), found: losses });
        Ok(true)
    }

    /// Reports that a directory of a tree is not watched.
    fn cannot_watch(&mut self, scan: &Scan, error: &io::Error, now: Moment) {
        let is_root = scan.relative.as_os_str().is_empty();
        let end = WatchEnd::Failed(error.to_string().into());
        if is_root {
            let end = if is_gone(error) { WatchEnd::Removed } else { end };
            return self.end(scan.root, end, now);
        }
        let Some(root) = self.roots.get(&scan.root) else { return };
        let path = joined(&root.path, &scan.relative);
        self.pending.push(FileEvent::Ended(path, end), now);
    }

    /// Drops the directories that were not found again after a loss.
    fn purge(&mut self) {
        if !std::mem::take(&mut self.is_purging) {
            return;
        }
        let losses = self.losses;
        for directory in Vec::from_iter(self.directories.keys().copied()) {
            let is_old = |interest: &Interest| matches!(interest, Interest::Entries { found, .. } if *found < losses);
            self.drop_interests(directory, is_old);
        }
    }
}
