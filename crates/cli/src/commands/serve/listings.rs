//! Listings of directories. The responses to many clients share one listing.
//!
//! Reading a large directory takes tens of milliseconds, and its listing some megabytes. So a listing is used for a
//! second, unless the directory changes, and all listings together are bounded: cached ones and those that are
//! being sent.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::listing::Rows;
use super::root::Metadata;

/// The age up to which a listing is used again. The sizes in it may change without a change of the directory.
const FRESH: Duration = Duration::from_secs(1);

/// The most listings in the cache.
const CACHED_MAX: usize = 8;

/// The number of bytes of listings from which no further ones are built.
const BYTES_MAX: usize = 64 << 20;

/// The listings of a site.
#[derive(Default)]
pub(super) struct Listings {
    /// The directories by device and inode. The one that was requested last is at the end.
    cached: Mutex<VecDeque<(Key, Arc<Place>)>>,
    /// The number of bytes in all listings that exist.
    bytes: Arc<AtomicUsize>,
}

type Key = (u64, u64);

/// The place of one listing. It is locked while the listing is built, so that other requests for it wait.
type Place = Mutex<Option<Listing>>;

struct Listing {
    rows: Rows,
    /// The time when the listing was complete. Requests that waited for it use it, however long it took.
    built: Instant,
    /// The change time of the directory before the listing was built.
    changed: Option<SystemTime>,
}

impl Listings {
    /// Returns the rows of a directory, which `build` reads. Returns `None` if too many listings are being sent.
    ///
    /// # Errors
    /// The errors of `build`.
    pub(super) fn rows(
        &self,
        directory: &Metadata,
        build: impl FnOnce() -> io::Result<Rows>,
    ) -> io::Result<Option<Rows>> {
        let place = self.place((directory.device, directory.inode));
        let mut listing = lock(&place);
        let is_fresh = |listing: &&Listing| listing.changed == directory.changed && listing.built.elapsed() < FRESH;
        if let Some(listing) = listing.as_ref().filter(is_fresh) {
            return Ok(Some(listing.rows.clone()));
        }
        *listing = None;
        if self.bytes.load(Ordering::Relaxed) >= BYTES_MAX {
            self.clear();
            if self.bytes.load(Ordering::Relaxed) >= BYTES_MAX {
                return Ok(None);
            }
        }
        let rows = self.counted(build()?);
        *listing = Some(Listing { rows: rows.clone(), built: Instant::now(), changed: directory.changed });
        Ok(Some(rows))
    }

    /// Empties the cache. Listings that are being sent remain.
    pub(super) fn clear(&self) {
        let cached = std::mem::take(&mut *lock(&self.cached));
        drop(cached);
    }

    fn place(&self, key: Key) -> Arc<Place> {
        let mut cached = lock(&self.cached);
        let found = cached.iter().position(|(cached, _)| *cached == key).and_then(|index| cached.remove(index));
        let (_, place) = found.unwrap_or_default();
        cached.push_back((key, place.clone()));
        if cached.len() > CACHED_MAX {
            cached.pop_front();
        }
        place
    }

    fn counted(&self, rows: Rows) -> Rows {
        let bytes = Counted { bytes: rows.html, total: self.bytes.clone() };
        self.bytes.fetch_add(bytes.bytes.len(), Ordering::Relaxed);
        Rows { html: Bytes::from_owner(bytes), ..rows }
    }
}

/// Rows that count until the last response has sent them.
struct Counted {
    bytes: Bytes,
    total: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Locks `mutex`. A panic while a listing was built left its place empty.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::serve::root::FileKind;

    fn directory(inode: u64, changed: SystemTime) -> Metadata {
        let (kind, changed) = (FileKind::Directory, Some(changed));
        Metadata { kind, length: 0, is_stored: true, modified: changed, changed, device: 1, inode }
    }

    fn rows(length: usize) -> io::Result<Rows> {
        Ok(Rows { html: vec![b'x'; length].into(), ..Rows::default() })
    }

    #[test]
    fn requests_share_a_listing_until_its_directory_changes() {
        let (listings, now) = (Listings::default(), SystemTime::now());
        let first = listings.rows(&directory(1, now), || rows(10)).unwrap().unwrap();
        let again = listings.rows(&directory(1, now), || panic!("it is cached")).unwrap().unwrap();
        assert_eq!(first.html.as_ptr(), again.html.as_ptr());
        let changed = listings.rows(&directory(1, now + FRESH), || rows(20)).unwrap().unwrap();
        let other = listings.rows(&directory(2, now), || rows(30)).unwrap().unwrap();
        assert_eq!((changed.html.len(), other.html.len()), (20, 30));
    }

    #[test]
    fn a_failed_listing_is_not_cached() {
        let (listings, now) = (Listings::default(), SystemTime::now());
        assert!(listings.rows(&directory(1, now), || Err(io::ErrorKind::PermissionDenied.into())).is_err());
        assert_eq!(listings.rows(&directory(1, now), || rows(1)).unwrap().unwrap().html.len(), 1);
    }

    #[test]
    fn listings_that_are_being_sent_are_bounded() {
        let (listings, now) = (Listings::default(), SystemTime::now());
        let sent = listings.rows(&directory(1, now), || rows(BYTES_MAX)).unwrap();
        assert!(listings.rows(&directory(2, now), || rows(1)).unwrap().is_none());
        drop(sent);
        assert!(listings.rows(&directory(2, now), || rows(1)).unwrap().is_some());
    }

    #[test]
    fn the_cache_forgets_the_oldest_listings() {
        let (listings, now) = (Listings::default(), SystemTime::now());
        for inode in 0..100 {
            listings.rows(&directory(inode, now), || rows(10)).unwrap();
        }
        assert_eq!(listings.bytes.load(Ordering::Relaxed), 10 * CACHED_MAX);
        listings.clear();
        assert_eq!(listings.bytes.load(Ordering::Relaxed), 0);
    }
}
