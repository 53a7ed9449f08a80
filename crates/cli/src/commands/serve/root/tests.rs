//! Each way of resolving paths gives the same results.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::*;

type Open = fn(std::os::fd::BorrowedFd<'_>, &Path, OFlags) -> io::Result<OwnedFd>;

const WAYS: [(&str, Open); 2] = [("beneath", beneath::open), ("walk", walk::open)];

/// A temporary directory with a served directory `root` and a file outside of it.
struct Tree(PathBuf);

impl Tree {
    fn new(test: &str) -> Tree {
        let path = std::env::temp_dir().join(format!("ropewalk-root-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root/sub/deep")).unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        fs::write(path.join("root/file"), "file").unwrap();
        fs::write(path.join("root/sub/inner"), "inner").unwrap();
        Tree(path)
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.0.join("root").join(name)).unwrap();
    }

    fn root(&self) -> Root {
        Root::open(&self.0.join("root")).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(open: Open, root: &Root, path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::from(open(root.0.as_fd(), Path::new(path), READ)?).read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn paths_inside_the_directory_are_opened() {
    let tree = Tree::new("inside");
    tree.link("sub", "directory");
    tree.link("../file", "sub/up");
    tree.link("sub/up", "chain");
    tree.link("../../sub/../file", "sub/deep/winding");
    tree.link("./sub//inner", "dotted");
    for (path, expected) in [
        ("file", "file"),
        ("./file", "file"),
        ("sub/inner", "inner"),
        ("sub/../file", "file"),
        ("sub/deep/../../file", "file"),
        ("directory/inner", "inner"),
        ("directory/../file", "file"),
        ("sub/up", "file"),
        ("chain", "file"),
        ("sub/deep/winding", "file"),
        ("dotted", "inner"),
    ] {
        for (way, open) in WAYS {
            assert_eq!(read(open, &tree.root(), path).expect(path), expected, "{way}: {path}");
        }
    }
}

#[test]
fn paths_out_of_the_directory_are_denied() {
    let tree = Tree::new("outside");
    tree.link("../secret", "relative");
    tree.link(tree.0.join("secret").to_str().unwrap(), "absolute");
    tree.link(tree.0.join("root/file").to_str().unwrap(), "absolute-inside");
    tree.link("..", "up");
    tree.link("/", "everything");
    tree.link("../..", "sub/far");
    tree.link("up/secret", "chain");
    tree.link("../root/file", "out-then-in");
    for path in [
        "..",
        "../secret",
        "/etc/passwd",
        "sub/../../secret",
        "relative",
        "absolute",
        "absolute-inside",
        "up",
        "up/secret",
        "everything/etc/passwd",
        "sub/far/secret",
        "chain",
        "out-then-in",
    ] {
        for (way, open) in WAYS {
            let error = read(open, &tree.root(), path).expect_err(path);
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{way}: {path}: {error}");
        }
    }
}

#[test]
fn a_path_through_a_file_is_an_error() {
    let tree = Tree::new("files");
    tree.link("file/", "slash");
    tree.link("file/.", "dot");
    tree.link("file/..", "parent");
    for (path, expected) in [
        ("file/x", ErrorKind::NotADirectory),
        ("slash", ErrorKind::NotADirectory),
        ("dot", ErrorKind::NotADirectory),
        ("parent", ErrorKind::NotADirectory),
        ("missing", ErrorKind::NotFound),
        ("missing/../file", ErrorKind::NotFound),
    ] {
        for (way, open) in WAYS {
            assert_eq!(read(open, &tree.root(), path).expect_err(path).kind(), expected, "{way}: {path}");
        }
    }
}

#[test]
fn link_loops_are_detected() {
    let tree = Tree::new("loops");
    tree.link("loop", "loop");
    tree.link("pong", "ping");
    tree.link("ping/x", "pong");
    tree.link("file", "link-0");
    (1..=40).for_each(|number| tree.link(&format!("link-{}", number - 1), &format!("link-{number}")));
    for (way, open) in WAYS {
        for path in ["loop", "loop/x", "ping", "link-40"] {
            assert!(is_link_loop(&read(open, &tree.root(), path).expect_err(path)), "{way}: {path}");
        }
        assert_eq!(read(open, &tree.root(), "link-39").unwrap(), "file", "{way}");
    }
}

#[test]
fn special_files_are_denied_without_blocking() {
    let tree = Tree::new("special");
    assert!(Command::new("mkfifo").arg(tree.0.join("root/pipe")).status().unwrap().success());
    for path in ["pipe", "sub"] {
        let error = tree.root().open_file(Path::new(path)).expect_err(path);
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::PermissionDenied, "not a regular file"));
    }
    assert_eq!(tree.root().metadata(Path::new("pipe")).unwrap().kind, FileKind::Special);
}

#[test]
fn metadata_follows_links_inside_the_directory() {
    let tree = Tree::new("metadata");
    tree.link("sub/inner", "link");
    tree.link("../secret", "out");
    let metadata = |path| tree.root().metadata(Path::new(path));
    let link = metadata("link").unwrap();
    assert_eq!((link.kind, link.length), (FileKind::Regular, 5));
    assert_eq!(link.modified, fs::metadata(tree.0.join("root/sub/inner")).unwrap().modified().ok());
    assert_eq!(metadata("sub").unwrap().kind, FileKind::Directory);
    assert_eq!(metadata("out").unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn names_of_a_directory_include_links() {
    let tree = Tree::new("names");
    tree.link("../secret", "out");
    let mut names = Vec::from_iter(tree.root().names(Path::new(".")).unwrap());
    names.sort();
    assert_eq!(names, ["file", "out", "sub"]);
    assert_eq!(tree.root().names(Path::new("file")).err().unwrap().kind(), ErrorKind::NotADirectory);
}

#[test]
fn times_before_1970_are_expressed() {
    assert_eq!(system_time(-1_i64, 500_000_000_u64), UNIX_EPOCH.checked_sub(Duration::from_millis(500)));
    assert_eq!(system_time(1_i64, 0_u64), UNIX_EPOCH.checked_add(Duration::from_secs(1)));
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_replaced_by_a_link_never_leads_out() {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    let tree = Tree::new("race");
    fs::create_dir(tree.0.join("root/swapped")).unwrap();
    fs::write(tree.0.join("root/swapped/secret"), "inside").unwrap();
    tree.link("..", "link");
    let (directory, link) = (tree.0.join("root/swapped"), tree.0.join("root/link"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let root = tree.root();
        let outcomes =
            Vec::from_iter((0..3000).flat_map(|_| WAYS.map(|(_, open)| read(open, &root, "swapped/secret"))));
        done.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            assert!(outcome.as_ref().map_or(true, |text| text == "inside"), "{outcome:?}");
        }
    });
}
