//! Whom the process runs as: giving up root's rights after what needs them is done.

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
/// unchanged.assume()?; // whoever may do nothing may do that
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
    /// This user and group; `None` leaves either as it is.
    pub fn new(uid: Option<u32>, gid: Option<u32>) -> Identity {
        Identity { uid, gid }
    }

    /// The identity of a user by name or number, with that user's own group if there is such a user.
    ///
    /// # Errors
    /// `NotFound` when no user has that name.
    pub fn of_user(user: &str) -> io::Result<Identity> {
        system::user(user)
    }

    /// The number of a group by name or number.
    ///
    /// # Errors
    /// `NotFound` when no group has that name.
    pub fn group(group: &str) -> io::Result<u32> {
        system::group(group)
    }

    /// Has the whole process become this user and group, for good: supplementary groups become those of the user, or
    /// the group alone. What it is already is no change.
    ///
    /// # Errors
    /// What setgroups(2), setgid(2) and setuid(2) answer: only root may change. Then the process may have its new group
    /// and its old user, and should end.
    pub fn assume(&self) -> io::Result<()> {
        system::assume(*self)
    }
}
