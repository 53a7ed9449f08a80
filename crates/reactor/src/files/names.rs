//! The names that a path depends on.
//!
//! A program replaces a file by giving its name to another one, or by changing a link on the way. Kubernetes does both:
//!
//! ```text
//!   /tls/cert.pem -> ..data/cert.pem       the names     (/tls, cert.pem)      a link
//!   /tls/..data   -> ..2024_10                           (/tls, ..data)        a link, which is replaced as a whole
//!   /tls/..2024_10/cert.pem                              (/tls/..2024_10, cert.pem)     the file: the last name
//! ```
//!
//! Directories on the way are not among the names, unless they are missing: a path to a missing directory depends on the
//! name of that directory, and on that of the directory above. Source: path_resolution(7).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use ropewalk_sys::{FileEntry, FileIdentity};

/// The number of links that a path may lead through, as on Linux.
const MAX_LINKS: u32 = 40;

/// A path, followed to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// The names in the order in which they are met, each with the directory that has it. At least one.
    pub(super) names: Vec<(PathBuf, OsString)>,
    /// Whether the last name is that of the file. Otherwise it is that of a missing directory.
    pub(super) reaches_file: bool,
    /// `None` if the path leads nowhere.
    pub(super) identity: Option<FileIdentity>,
}

/// Follows an absolute path. `look` returns the object at a path whose directories are no links.
pub(super) fn follow(path: &Path, look: &dyn Fn(&Path) -> io::Result<FileEntry>) -> io::Result<Followed> {
    let (mut directory, mut names, mut links) = (PathBuf::new(), Vec::new(), 0);
    let mut rest = VecDeque::from_iter(components(path));
    while let Some(name) = rest.pop_front() {
        let name = match Path::new(&name).components().next() {
            Some(Component::Normal(_)) => name,
            Some(Component::ParentDir) => {
                directory.pop();
                continue;
            }
            // A root or a prefix replaces the path.
            _ => {
                directory.push(name);
                continue;
            }
        };
        let is_last = rest.is_empty();
        let ends = |names: Vec<_>, identity| Ok(Followed { names, reaches_file: is_last, identity });
        match look(&directory.join(&name)) {
            Ok(FileEntry::Link(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::new(ErrorKind::InvalidInput, "the path leads through too many links"));
                }
                names.push((directory.clone(), name));
                for component in components(&target).into_iter().rev() {
                    rest.push_front(component);
                }
            }
            Ok(FileEntry::Directory(_)) if !is_last => directory.push(name),
            Ok(FileEntry::Directory(identity) | FileEntry::File(identity)) => {
                names.push((directory, name));
                return ends(names, is_last.then_some(identity));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The directory may be removed and created again, and another process may keep it open meanwhile. Then
                // the system does not report its own end.
                if let (Some(above), Some(own)) = (directory.parent(), directory.file_name()) {
                    names.push((above.to_owned(), own.to_owned()));
                }
                names.push((directory, name));
                return ends(names, None);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "the path has no name of a file: watch it as a directory"))
}

fn components(path: &Path) -> Vec<OsString> {
    path.components().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const IDENTITY: FileIdentity = FileIdentity { device: 1, file: 2, changed: (3, 4), length: 5, links: 1 };

    /// Looks at a tree with links, directories, which end with a slash, and files.
    fn tree(entries: &[(&str, &str)]) -> impl Fn(&Path) -> io::Result<FileEntry> {
        let entries = Vec::from_iter(entries.iter().map(|(path, kind)| (PathBuf::from(path), (*kind).to_owned())));
        move |path| {
            let found = entries.iter().find(|(known, _)| known == path);
            match found.map(|(_, kind)| kind.as_str()) {
                None => Err(ErrorKind::NotFound.into()),
                Some("directory") => Ok(FileEntry::Directory(IDENTITY)),
                Some("file") => Ok(FileEntry::File(IDENTITY)),
                Some(target) => Ok(FileEntry::Link(target.into())),
            }
        }
    }

    fn followed(path: &str, entries: &[(&str, &str)]) -> (Vec<String>, bool, bool) {
        let found = follow(Path::new(path), &tree(entries)).unwrap();
        let shown =
            |(directory, name): &(PathBuf, OsString)| format!("{} {}", directory.display(), name.to_string_lossy());
        (found.names.iter().map(shown).collect(), found.reaches_file, found.identity.is_some())
    }

    #[test]
    fn a_path_without_links_depends_on_its_last_name() {
        let tree = [("/etc", "directory"), ("/etc/tls", "directory"), ("/etc/tls/cert.pem", "file")];
        let expected = (vec!["/etc/tls cert.pem".to_owned()], true, true);
        assert_eq!(followed("/etc/tls/cert.pem", &tree), expected);
        assert_eq!(followed("/etc/./tls/../tls/cert.pem", &tree), expected);
    }

    #[test]
    fn every_link_on_the_way_counts() {
        // The volumes of Kubernetes, and a directory of releases.
        let tree = [
            ("/tls", "directory"),
            ("/tls/cert.pem", "..data/cert.pem"),
            ("/tls/..data", "..2024_10"),
            ("/tls/..2024_10", "directory"),
            ("/tls/..2024_10/cert.pem", "file"),
            ("/srv", "/elsewhere/../tls"),
            ("/elsewhere", "directory"),
        ];
        let names = ["/tls cert.pem", "/tls ..data", "/tls/..2024_10 cert.pem"].map(str::to_owned);
        assert_eq!(followed("/tls/cert.pem", &tree), (names.to_vec(), true, true));
        let through = [&["/ srv".to_owned()], &names[..]].concat();
        assert_eq!(followed("/srv/cert.pem", &tree), (through, true, true));
    }

    #[test]
    fn a_missing_directory_is_the_last_name() {
        let tree = [("/a", "directory"), ("/a/file", "file"), ("/a/link", "gone")];
        let names = |names: &[&str]| Vec::from_iter(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(followed("/a/b/c", &tree), (names(&["/ a", "/a b"]), false, false));
        assert_eq!(followed("/a/b", &tree), (names(&["/ a", "/a b"]), true, false));
        assert_eq!(followed("/a/file/c", &tree), (vec!["/a file".to_owned()], false, false));
        assert_eq!(followed("/a/link", &tree), (names(&["/a link", "/ a", "/a gone"]), true, false));
    }

    #[test]
    fn a_path_without_an_end_is_an_error() {
        let failure =
            |path: &str, entries: &[(&str, &str)]| follow(Path::new(path), &tree(entries)).unwrap_err().to_string();
        assert!(failure("/x", &[("/x", "x")]).contains("too many links"));
        assert!(failure("/", &[]).contains("no name of a file"));
    }
}
