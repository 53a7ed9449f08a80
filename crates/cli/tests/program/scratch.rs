//! A directory for one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the test. Its path is short enough for a UNIX socket.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ropewalk-cli-{}-{number}", std::process::id()));
        // Process numbers come again: a run that was ended may have left a directory with ours.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a new directory");
        Scratch(path.canonicalize().expect("it is there"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it, as text.
    pub(crate) fn join(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("a path that is text")
    }

    /// Makes a file, and the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("it lies in the directory")).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a file of `length` bytes that takes no room, with `marks` written into it.
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
