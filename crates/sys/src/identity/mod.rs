//! The user and group of the process: drops root's rights once they are not needed any more.

use std::io;

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

/// The user and group that a process becomes.
///
/// The default is no change.
///
/// ```
/// use ropewalk_sys::Identity;
///
/// let unchanged = Identity::default();
/// unchanged.assume()?; // needs no rights
/// # #[cfg(unix)] {
/// let root = Identity::of_user("root")?;
/// assert_eq!(root, Identity::new(Some(0), Some(Identity::group("0")?)));
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// The user's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
}

impl Identity {
    /// Creates an identity of this user and group. `None` leaves the user or the group unchanged.
    pub fn new(uid: Option<u32>, gid: Option<u32>) -> Identity {
        Identity { uid, gid }
    }

    /// Returns the identity of `user`, which is a name or a number. A number without an entry has no group.
    ///
    /// # Errors
    /// `NotFound` when no user has that name.
    pub fn of_user(user: &str) -> io::Result<Identity> {
        system::user(user)
    }

    /// Returns the group ID of `group`, which is a name or a number.
    ///
    /// # Errors
    /// `NotFound` when no group has that name.
    pub fn group(group: &str) -> io::Result<u32> {
        system::group(group)
    }

    /// Returns the groups of a process that becomes this user and group: those of the user, if there is such a user, and
    /// the group.
    ///
    /// ```
    /// use ropewalk_sys::Identity;
    ///
    /// # #[cfg(unix)]
    /// assert_eq!(Identity::new(Some(3_999_999_999), Some(7)).supplementary_groups()?, [7]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of the user database.
    pub fn supplementary_groups(&self) -> io::Result<Vec<u32>> {
        system::supplementary_groups(*self)
    }

    /// Changes the user and group of the whole process for good. The supplementary groups become those of the user.
    /// Without a user only the group remains. An identity that the process already has changes nothing.
    ///
    /// # Errors
    /// The errors of setgroups(2), setgid(2) and setuid(2): only root may change its identity. After an error the
    /// process may have the new group and the old user, and should exit.
    pub fn assume(&self) -> io::Result<()> {
        system::assume(*self)
    }
}

/// Returns the effective user and group of the process.
pub(crate) fn effective() -> io::Result<(u32, u32)> {
    system::effective()
}
