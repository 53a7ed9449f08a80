//! A log file with rotation: `twisted.python.logfile.LogFile`.
//!
//! ```text
//!   name  --full-->  name.1  -->  name.2  -->  ...  -->  name.COUNT  -->  deleted
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ropewalk::application::Identity;

use super::lost_lines::LostLines;
use super::own_line::warning;
use crate::console;
use crate::options::LogFormat;
use crate::system::{Access, change_owner, open_file};

/// The size that triggers rotation, and the number of rotated files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// The most bytes in a file. 0 disables rotation.
    pub(crate) size: u64,
    pub(crate) count: u32,
}

/// A log file. It may be written from any thread. Each write is one line, and lines are never interleaved.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    format: LogFormat,
    /// The name of the program, for error messages.
    program: &'static str,
    /// The user and group that write the file after the process has switched to them.
    owner: Identity,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// `false` for a device or pipe, which is never renamed.
    is_regular: bool,
    /// Whether the last line is incomplete.
    is_incomplete: bool,
    lost: Option<LostLines>,
}

impl LogFile {
    /// Opens the file for appending.
    pub(crate) fn open(
        path: &Path,
        rotation: Rotation,
        format: LogFormat,
        program: &'static str,
        owner: Identity,
    ) -> io::Result<LogFile> {
        // The working directory may change later.
        let path = std::path::absolute(path)?;
        let open = Mutex::new(open(&path, owner)?);
        Ok(LogFile { path, rotation, format, program, owner, open })
    }

    /// Opens the path again, after the file was renamed. On failure, the old file stays in use.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        // Locked first: another thread may be rotating the file of this name.
        let mut open_file = self.lock();
        self.open_again(&mut open_file)
    }

    /// Starts a new file. On failure, the old file stays in use.
    pub(crate) fn rotate(&self) -> io::Result<()> {
        self.rotate_locked(&mut self.lock())
    }

    fn rotate_locked(&self, open_file: &mut Open) -> io::Result<()> {
        // Rotating an empty file would delete the oldest one for nothing.
        if !open_file.is_regular || open_file.file.metadata()?.len() == 0 {
            return Ok(());
        }
        if self.rotation.count == 0 {
            open_file.file.set_len(0)?;
        } else {
            for number in (1..self.rotation.count).rev() {
                rename(&self.numbered(number), &self.numbered(number + 1))?;
            }
            rename(&self.path, &self.numbered(1))?;
        }
        self.open_again(open_file)
    }

    fn open_again(&self, open_file: &mut Open) -> io::Result<()> {
        let again = open(&self.path, self.owner)?;
        *open_file = Open { lost: open_file.lost.take(), ..again };
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Writes a line. If that fails, the line is dropped and counted, and the program continues.
    fn write_line(&self, line: &[u8]) {
        let mut open = self.lock();
        let length = open.length.saturating_add(line.len() as u64);
        if self.rotation.size > 0 && length > self.rotation.size && open.length > 0 && open.is_regular {
            if let Err(error) = self.rotate_locked(&mut open) {
                // Continue with the old file, and retry the rotation after the same number of bytes.
                open.length = 0;
                let message = "cannot rotate the log file: it grows beyond its limit";
                // If this fails, the line below fails as well and is counted.
                let _ = open.append(&warning(self.format, message, error));
            }
        }
        let written = match open.lost.as_ref().map(|lost| lost.report(self.format)) {
            Some(report) => open.append(&report).and_then(|()| {
                open.lost = None;
                open.append(line)
            }),
            None => open.append(line),
        };
        if let Err(error) = written {
            let lost = open.lost.get_or_insert_with(|| {
                // There may be a terminal.
                let path = self.path.display();
                console::print_error(
                    self.program,
                    &format!("cannot write the log file {path}, dropping lines: {error}"),
                );
                LostLines::because(&error)
            });
            lost.count_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Appends a line. If the disk is full, the write may be partial.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_incomplete {
            self.write_all(b"\n")?;
            self.is_incomplete = false;
        }
        let before = self.length;
        let written = self.write_all(line);
        self.is_incomplete = written.is_err() && self.length > before;
        written
    }
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path, owner: Identity) -> io::Result<Open> {
    let file = open_file(path, Access::Append, owner)?;
    let metadata = file.metadata()?;
    let is_regular = metadata.is_file();
    if is_regular {
        // After the switch of users this fails or changes nothing.
        let _ = change_owner(&file, owner);
    }
    let is_incomplete = is_regular && metadata.len() > 0 && !ends_with_newline(path, owner);
    Ok(Open { file, length: metadata.len(), is_regular, is_incomplete, lost: None })
}

/// Whether the last line of a file is complete. A file that cannot be read counts as complete.
fn ends_with_newline(path: &Path, owner: Identity) -> bool {
    let last = || -> io::Result<u8> {
        let (mut file, mut last) = (open_file(path, Access::Read, owner)?, [0]);
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().map_or(true, |last| last == b'\n')
}

/// Renames a file, if it exists.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Each write must be one line.
impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    const NEVER: Rotation = Rotation { size: 0, count: 1 };

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("ropewalk-log-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn log(&self, size: u64, count: u32) -> LogFile {
            let rotation = Rotation { size, count };
            LogFile::open(&self.0.join("log"), rotation, LogFormat::Text, "test", Identity::default()).unwrap()
        }

        #[cfg(unix)]
        fn pipe(&self) -> PathBuf {
            let path = self.0.join("log");
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        }

        fn contents(&self) -> Vec<(String, String)> {
            let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
            let mut contents =
                Vec::from_iter(entries.map(|entry| {
                    (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
                }));
            contents.sort();
            contents
        }

        #[track_caller]
        fn holds(&self, expected: &[(&str, &str)]) {
            let contents = self.contents();
            let contents = Vec::from_iter(contents.iter().map(|(name, text)| (name.as_str(), text.as_str())));
            assert_eq!(contents, expected);
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(mut log: &LogFile, lines: &[&str]) {
        for line in lines {
            log.write_all(line.as_bytes()).unwrap();
        }
    }

    #[test]
    fn rotation_deletes_the_oldest_file() {
        let directory = Directory::new("full");
        let log = directory.log(4, 2);
        write(&log, &["11", "22", "33", "44", "55", "66", "77"]);
        directory.holds(&[("log", "77"), ("log.1", "5566"), ("log.2", "3344")]);
    }

    #[test]
    fn a_line_beyond_the_limit_gets_its_own_file() {
        let directory = Directory::new("long");
        let log = directory.log(4, 3);
        write(&log, &["longest", "2", "3"]);
        directory.holds(&[("log", "23"), ("log.1", "longest")]);
    }

    #[test]
    fn an_existing_file_is_continued() {
        let directory = Directory::new("again");
        write(&directory.log(4, 1), &["12\n"]);
        let log = directory.log(4, 1);
        write(&log, &["4", "5"]);
        directory.holds(&[("log", "5"), ("log.1", "12\n4")]);
    }

    #[test]
    fn an_incomplete_line_of_an_earlier_process_is_closed() {
        let directory = Directory::new("half");
        fs::write(directory.0.join("log"), "whole\nha").unwrap();
        let log = directory.log(0, 1);
        write(&log, &["next\n"]);
        log.reopen().unwrap();
        write(&log, &["last\n"]);
        directory.holds(&[("log", "whole\nha\nnext\nlast\n")]);
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_without_a_reader_is_rejected() {
        let directory = Directory::new("pipe");
        let pipe = directory.pipe();
        let error = LogFile::open(&pipe, NEVER, LogFormat::Text, "test", Identity::default()).unwrap_err();
        assert_eq!(error.to_string(), "the pipe has no reader");
    }

    #[test]
    #[cfg(unix)]
    fn a_full_pipe_does_not_block() {
        let directory = Directory::new("full-pipe");
        let pipe = directory.pipe();
        // This reader never reads.
        let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
        let log = LogFile::open(&pipe, NEVER, LogFormat::Text, "test", Identity::default()).unwrap();
        let line =
            "one line of 100 bytes, which is written 2000 times, so that it exceeds the capacity of any pipe ...\n";
        for _ in 0..2000 {
            write(&log, &[line]);
        }
        assert!(log.lock().lost.is_some());
    }

    #[test]
    fn a_count_of_zero_truncates_the_file() {
        let directory = Directory::new("none");
        let log = directory.log(4, 0);
        write(&log, &["1234", "5"]);
        directory.holds(&[("log", "5")]);
    }

    #[test]
    fn a_size_of_zero_disables_rotation() {
        let directory = Directory::new("never");
        let log = directory.log(0, 1);
        write(&log, &["1234567890", "1234567890"]);
        log.rotate().unwrap();
        // A repeated request must not rotate an empty file.
        log.rotate().unwrap();
        write(&log, &["x"]);
        directory.holds(&[("log", "x"), ("log.1", "12345678901234567890")]);
    }

    #[test]
    fn reopening_follows_the_path() {
        let directory = Directory::new("moved");
        let log = directory.log(0, 1);
        write(&log, &["old"]);
        fs::rename(directory.0.join("log"), directory.0.join("elsewhere")).unwrap();
        write(&log, &["er"]);
        log.reopen().unwrap();
        write(&log, &["new"]);
        directory.holds(&[("elsewhere", "older"), ("log", "new")]);
    }

    #[test]
    fn a_failed_rotation_continues_the_old_file() {
        let directory = Directory::new("stuck");
        let log = directory.log(4, 1);
        // A rename over a directory that is not empty fails.
        fs::create_dir_all(directory.0.join("log.1/occupied")).unwrap();
        write(&log, &["123\n", "567\n"]);
        let text = fs::read_to_string(directory.0.join("log")).unwrap();
        let lines = Vec::from_iter(text.lines());
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "123", "567"), "{text}");
        // Without a word, the file would fill the disk.
        assert!(lines[1].contains("WARN cannot rotate the log file: it grows beyond its limit error="), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_never_renamed() {
        let directory = Directory::new("device");
        std::os::unix::fs::symlink("/dev/null", directory.0.join("log")).unwrap();
        let log = directory.log(4, 2);
        write(&log, &["1234", "5678"]);
        log.rotate().unwrap();
        let names = Vec::from_iter(fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name()));
        assert_eq!(names, ["log"]);
        assert!(fs::symlink_metadata(directory.0.join("log")).unwrap().is_symlink());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn lost_lines_are_counted_in_the_next_line() {
        for (format, expected) in
            [(LogFormat::Text, " WARN 2 log lines lost"), (LogFormat::Json, "\"message\":\"2 log lines lost")]
        {
            let directory = Directory::new("room");
            let path = directory.0.join("log");
            std::os::unix::fs::symlink("/dev/full", &path).unwrap();
            let log = LogFile::open(&path, NEVER, format, "test", Identity::default()).unwrap();
            write(&log, &["1\n", "2\n"]);
            fs::remove_file(&path).unwrap();
            log.reopen().unwrap();
            write(&log, &["3\n", "4\n"]);
            let text = fs::read_to_string(&path).unwrap();
            let lines = Vec::from_iter(text.lines());
            assert_eq!((lines.len(), &lines[1..]), (3, &["3", "4"][..]), "{text}");
            assert!(lines[0].contains(expected) && lines[0].contains("No space left on device"), "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_partial_line_is_closed_before_the_next_one() {
        let directory = Directory::new("torn");
        let log = directory.log(0, 1);
        write(&log, &["whole\n"]);
        {
            let mut open = log.lock();
            open.file.write_all(b"ha").unwrap();
            open.is_incomplete = true;
        }
        write(&log, &["next\n"]);
        directory.holds(&[("log", "whole\nha\nnext\n")]);
    }
}
