//! The bytes that the system writes for its records: `inotify_event` of inotify(7).
//!
//! ```text
//!   | number of the directory | mask | cookie | length | name, filled with zeros up to the length |
//!     4 bytes, each in the order of the machine
//! ```
//!
//! The list stops at a record that is cut off. The system never writes such a record.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::inotify::ReadFlags;

use super::{FileRecord, Happened};

const HEADER: usize = 16;

/// The flags of the system, and their names here.
pub(super) const RENAMED: [(ReadFlags, Happened); 13] = [
    (ReadFlags::MODIFY, Happened::WRITTEN),
    (ReadFlags::ATTRIB, Happened::ATTRIBUTES),
    (ReadFlags::CLOSE_WRITE, Happened::CLOSED),
    (ReadFlags::MOVED_FROM, Happened::MOVED_FROM),
    (ReadFlags::MOVED_TO, Happened::MOVED_TO),
    (ReadFlags::CREATE, Happened::CREATED),
    (ReadFlags::DELETE, Happened::REMOVED),
    (ReadFlags::DELETE_SELF, Happened::SELF_REMOVED),
    (ReadFlags::MOVE_SELF, Happened::SELF_MOVED),
    (ReadFlags::UNMOUNT, Happened::UNMOUNTED),
    (ReadFlags::QUEUE_OVERFLOW, Happened::LOST),
    (ReadFlags::IGNORED, Happened::ENDED),
    (ReadFlags::ISDIR, Happened::OF_DIRECTORY),
];

/// Returns the records in `bytes`.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = FileRecord<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let length = u32::from_ne_bytes(word(12)) as usize;
        let end = HEADER.checked_add(length)?;
        let name = bytes.get(HEADER..end)?;
        bytes = &bytes[end..];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(FileRecord {
            directory: i32::from_ne_bytes(word(0)),
            happened: happened(u32::from_ne_bytes(word(4))),
            cookie: u32::from_ne_bytes(word(8)),
            name: OsStr::from_bytes(name),
        })
    })
}

fn happened(mask: u32) -> Happened {
    let mask = ReadFlags::from_bits_retain(mask);
    RENAMED.iter().filter(|(flag, _)| mask.contains(*flag)).map(|(_, happened)| *happened).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: i32, mask: ReadFlags, cookie: u32, name: &[u8]) -> Vec<u8> {
        let length = u32::try_from(name.len()).unwrap();
        let numbers = [directory.to_ne_bytes(), mask.bits().to_ne_bytes(), cookie.to_ne_bytes(), length.to_ne_bytes()];
        [&numbers.concat(), name].concat()
    }

    #[test]
    fn each_record_of_a_read_is_returned() {
        // inotify(7): `name` is filled with null bytes, and `len` counts all of them.
        let bytes = [
            written(3, ReadFlags::CREATE | ReadFlags::ISDIR, 0, b"sub\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            written(-1, ReadFlags::QUEUE_OVERFLOW, 0, b""),
            written(4, ReadFlags::MOVED_TO, 77, b"a name of 16 by\0"),
        ]
        .concat();
        let name = |text| OsStr::new(text);
        let expected = [
            FileRecord {
                directory: 3,
                happened: Happened::CREATED | Happened::OF_DIRECTORY,
                cookie: 0,
                name: name("sub"),
            },
            FileRecord { directory: -1, happened: Happened::LOST, cookie: 0, name: name("") },
            FileRecord { directory: 4, happened: Happened::MOVED_TO, cookie: 77, name: name("a name of 16 by") },
        ];
        assert_eq!(Vec::from_iter(records(&bytes)), expected);
    }

    #[test]
    fn a_record_that_is_cut_off_is_dropped() {
        let whole = written(1, ReadFlags::CLOSE_WRITE, 0, b"file\0\0\0\0");
        for length in 0..whole.len() {
            assert_eq!(records(&whole[..length]).count(), 0, "{length}");
            assert_eq!(records(&[&whole[..], &whole[..length]].concat()).count(), 1, "{length}");
        }
        let endless = written(1, ReadFlags::CLOSE_WRITE, 0, b"");
        assert_eq!(records(&[&endless[..12], &[0xff; 4]].concat()).count(), 0);
    }

    #[test]
    fn unknown_flags_are_dropped() {
        let bytes = written(1, ReadFlags::OPEN | ReadFlags::DELETE, 0, b"x\0");
        let happened = Vec::from_iter(records(&bytes).map(|record| record.happened));
        assert_eq!(happened, [Happened::REMOVED]);
    }
}
