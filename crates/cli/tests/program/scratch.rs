//! A temporary directory for one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is removed after the test. Its path is short enough for a UNIX socket.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ropewalk-cli-{}-{number}", std::process::id()));
        // Process ids are reused: an interrupted run may have left a directory of this name.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a new directory");
        Scratch(path.canonicalize().expect("the directory exists"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of an entry as a string.
    pub(crate) fn join(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("a path in UTF-8")
    }

    /// Creates a file and its parent directories.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a path with a parent")).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Creates a sparse file of `length` bytes. Each mark is written as 8 bytes at its own offset.
    pub(crate) fn write_sparse(&self, name: &str, length: u64, marks: impl IntoIterator<Item = u64>) {
        use std::os::unix::fs::FileExt;
        let file = File::create(self.0.join(name)).unwrap();
        file.set_len(length).unwrap();
        for mark in marks {
            file.write_all_at(&mark.to_be_bytes(), mark).unwrap();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
