//! proc(5)

use std::fs;
use std::io;

pub(super) fn count() -> io::Result<usize> {
    let tasks = fs::read_dir("/proc/self/task").map_err(|error| {
        io::Error::new(error.kind(), format!("cannot count the threads of this process in /proc: {error}"))
    })?;
    Ok(tasks.count())
}
