//! Uses setuid(2) and similar functions of the C library, which change every thread. Linux's bare system calls
//! change a single one.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use super::Identity;

/// The largest buffer for an entry of the user database. Entries of groups are the longest, because they list all
/// members.
const ENTRY_BYTES_MAX: usize = 1 << 20;

pub(super) fn user(user: &str) -> io::Result<Identity> {
    if let Some(uid) = number(user) {
        let gid = by_uid(uid, |entry| entry.pw_gid)?;
        return Ok(Identity { uid: Some(uid), gid });
    }
    let name = c_string(user)?;
    let found = find(
        // SAFETY: `name` ends in a zero; the others are valid for writes, and the length is that of the buffer.
        |entry, buffer, found| unsafe {
            libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found)
        },
        |entry: &libc::passwd| Identity { uid: Some(entry.pw_uid), gid: Some(entry.pw_gid) },
    )?;
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no user is called '{user}'")))
}

/// Parses an id. The largest number is not an id: it means "no change" in setreuid(2) and chown(2).
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

pub(super) fn group(group: &str) -> io::Result<u32> {
    if let Some(gid) = number(group) {
        return Ok(gid);
    }
    let name = c_string(group)?;
    let found = find(
        // SAFETY: `name` ends in a zero; the others are valid for writes, and the length is that of the buffer.
        |entry, buffer, found| unsafe {
            libc::getgrnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found)
        },
        |entry: &libc::group| entry.gr_gid,
    )?;
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group is called '{group}'")))
}

pub(super) fn assume(identity: Identity) -> io::Result<()> {
    let (uid, gid) = effective()?;
    // Root may have the right group already, but its supplementary groups must still be replaced.
    if let Some(new) = identity.gid.filter(|&new| new != gid || uid == 0) {
        set_groups(identity.uid, new)?;
        // SAFETY: setgid(2) has no condition.
        check(unsafe { libc::setgid(new) })?;
    }
    if let Some(new) = identity.uid.filter(|&new| new != uid) {
        // SAFETY: setuid(2) has no condition.
        check(unsafe { libc::setuid(new) })?;
    }
    Ok(())
}

/// Sets the supplementary groups: those of the user, if there is such a user, and `gid`.
fn set_groups(uid: Option<u32>, gid: u32) -> io::Result<()> {
    match uid.map(name_of).transpose()?.flatten() {
        // SAFETY: `name` ends in a zero. A group is a signed number on some systems, with the same bits.
        Some(name) => check(unsafe { libc::initgroups(name.as_ptr(), gid as _) }),
        // SAFETY: the pointer points to one group.
        None => check(unsafe { libc::setgroups(1, &gid) }),
    }
}

pub(super) fn supplementary_groups(identity: Identity) -> io::Result<Vec<u32>> {
    let gid = identity.gid.map_or_else(|| effective().map(|(_, gid)| gid), Ok)?;
    match identity.uid.map(name_of).transpose()?.flatten() {
        Some(name) => groups_of(&name, gid),
        None => Ok(vec![gid]),
    }
}

/// Asks getgrouplist(3) with a buffer that is doubled until the list fits.
fn groups_of(name: &CStr, gid: u32) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; 32];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        // SAFETY: `name` ends in a zero, and `groups` has room for `count` groups.
        let fits = unsafe { libc::getgrouplist(name.as_ptr(), gid as _, groups.as_mut_ptr().cast(), &mut count) } >= 0;
        if fits {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return Ok(groups);
        }
        if groups.len() >= ENTRY_BYTES_MAX {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        groups.resize(groups.len() * 2, 0);
    }
}

fn name_of(uid: u32) -> io::Result<Option<CString>> {
    // SAFETY: an entry that was found has a name that ends in a zero.
    by_uid(uid, |entry| unsafe { CStr::from_ptr(entry.pw_name) }.to_owned())
}

/// Looks a user up by number, and returns what `read` takes from the entry.
fn by_uid<R>(uid: u32, read: impl FnOnce(&libc::passwd) -> R) -> io::Result<Option<R>> {
    find(
        // SAFETY: all are valid for writes, and the length is that of the buffer.
        |entry, buffer, found| unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) },
        read,
    )
}

/// Asks the user database with a growing buffer, getpwnam_r(3), and returns what `read` takes from the entry.
fn find<T, R>(
    ask: impl Fn(*mut T, &mut [c_char], *mut *mut T) -> c_int,
    read: impl FnOnce(&T) -> R,
) -> io::Result<Option<R>> {
    let mut buffer = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::uninit();
        let mut found = ptr::null_mut();
        match ask(entry.as_mut_ptr(), &mut buffer, &mut found) {
            // SAFETY: `found` is null, or points to `entry`, which was filled in; its strings are in `buffer`.
            0 => return Ok(unsafe { found.as_ref() }.map(read)),
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            // Some systems return these errors when there is no such entry.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn c_string(name: &str) -> io::Result<CString> {
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidInput, "a name with a zero byte in it");
    CString::new(name).map_err(wrong)
}

fn check(outcome: c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn effective() -> io::Result<(u32, u32)> {
    // SAFETY: geteuid(2) has no condition.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: getegid(2) has no condition.
    let gid = unsafe { libc::getegid() };
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_either_name_or_number() {
        let root = Identity { uid: Some(0), gid: Some(0) };
        assert_eq!(user("root").unwrap(), root);
        assert_eq!(user("0").unwrap(), root);
        assert_eq!(group("0").unwrap(), 0);
    }

    #[test]
    fn a_number_without_an_entry_is_a_user_without_a_group() {
        assert_eq!(user("3999999999").unwrap(), Identity { uid: Some(3_999_999_999), gid: None });
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = user("no such user").unwrap_err();
        assert_eq!((error.kind(), &*error.to_string()), (io::ErrorKind::NotFound, "no user is called 'no such user'"));
        let error = group("no such group").unwrap_err();
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (io::ErrorKind::NotFound, "no group is called 'no such group'")
        );
        assert!(user("a\0b").is_err());
        // chown(2): -1 means "no change".
        assert!(user("4294967295").is_err() && group("4294967295").is_err());
    }

    #[test]
    fn becoming_the_present_user_needs_no_rights() {
        Identity::default().assume().unwrap();
        // SAFETY: geteuid(2) has no condition.
        Identity::new(Some(unsafe { libc::geteuid() }), None).assume().unwrap();
    }
}
