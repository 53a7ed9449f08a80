//! The ASCII form of host names, in which name servers and certificates have them.

#[cfg_attr(feature = "idna", path = "converted.rs")]
#[cfg_attr(not(feature = "idna"), path = "refused.rs")]
mod beyond_ascii;

use std::borrow::Cow;
use std::io;

/// Returns the form of `host` in which name servers and certificates have it. A name of ASCII letters is returned as it
/// is.
///
/// With the feature `idna`, labels with other letters are converted: UTS 46, without transitional processing. May be
/// called from any thread.
///
/// ```
/// use ropewalk::interfaces::resolver::ascii_host_name;
///
/// assert_eq!(ascii_host_name("a_b.Example.")?, "a_b.Example.");
/// # #[cfg(feature = "idna")] {
/// assert_eq!(ascii_host_name("Bücher.example")?, "xn--bcher-kva.example");
/// assert!(ascii_host_name("bücher..example").is_err());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput` for a name with other letters that has no ASCII form, and without the feature `idna` for each such
/// name.
pub fn ascii_host_name(host: &str) -> io::Result<Cow<'_, str>> {
    if host.is_ascii() { Ok(Cow::Borrowed(host)) } else { beyond_ascii::ascii_form(host) }
}
