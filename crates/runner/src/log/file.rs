//! A log file that rotates: `twisted.python.logfile.LogFile`.
//!
//! ```text
//!   name  --full-->  name.1  -->  name.2  -->  ...  -->  name.COUNT  -->  gone
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ropewalk::application::Identity;

use super::lost::Lost;
use crate::announce;
use crate::options::LogFormat;
use crate::system::{give_to, open_without_waiting};

/// When a file is full, and how many full ones are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// In bytes; 0 is never.
    pub(crate) size: u64,
    pub(crate) count: u32,
}

/// A log file. May be written from any thread; each write is a line, and stays whole.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    format: LogFormat,
    /// Whose complaint it is that lines are lost.
    program: &'static str,
    /// Who will write it when the process has changed its user.
    owner: Identity,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// A device or a pipe is written to and never renamed.
    is_regular: bool,
    /// The last line ends in the middle.
    is_torn: bool,
    lost: Option<Lost>,
}

impl LogFile {
    /// Opens the file, and goes on at its end.
    pub(crate) fn open(
        path: &Path,
        rotation: Rotation,
        format: LogFormat,
        program: &'static str,
        owner: Identity,
    ) -> io::Result<LogFile> {
        // The directory may change, but not whose file this is.
        let path = std::path::absolute(path)?;
        let open = Mutex::new(open(&path, owner)?);
        Ok(LogFile { path, rotation, format, program, owner, open })
    }

    /// Opens the file by its name again, after somebody else has moved it. If that fails the old one is written on.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        // Locked first: another thread's line may be about to rotate what stands under that name.
        let mut open_file = self.lock();
        self.open_again(&mut open_file)
    }

    /// Begins a new file. If that fails the old one is written on.
    pub(crate) fn rotate(&self) -> io::Result<()> {
        self.rotate_locked(&mut self.lock())
    }

    fn rotate_locked(&self, open_file: &mut Open) -> io::Result<()> {
        // Nothing is won by an empty one, which would cost the oldest.
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

    /// Writes a line. One that cannot be written is lost, and counted: the service goes on.
    fn write_line(&self, line: &[u8]) {
        let mut open = self.lock();
        let length = open.length.saturating_add(line.len() as u64);
        if self.rotation.size > 0
            && length > self.rotation.size
            && open.length > 0
            && open.is_regular
            && self.rotate_locked(&mut open).is_err()
        {
            // The old file is better than none, and the next try comes when as much again was written.
            open.length = 0;
        }
        let written = match open.lost.as_ref().map(|lost| lost.note(self.format)) {
            Some(note) => open.append(&note).and_then(|()| {
                open.lost = None;
                open.append(line)
            }),
            None => open.append(line),
        };
        if let Err(error) = written {
            let lost = open.lost.get_or_insert_with(|| {
                // There may be somebody at the terminal.
                let shown = self.path.display();
                announce::complain(
                    self.program,
                    &format!("cannot write the log file {shown}, whose lines are lost: {error}"),
                );
                Lost::because(&error)
            });
            lost.count_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Writes after what is there. A disk that is full may take a part.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        let before = self.length;
        let written = self.write_all(line);
        self.is_torn = written.is_err() && self.length > before;
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
    let file = open_without_waiting(OpenOptions::new().append(true).create(true), path)?;
    let metadata = file.metadata()?;
    let is_regular = metadata.is_file();
    if is_regular {
        // Whoever changed his user already owns it or may not give it away.
        let _ = give_to(&file, owner);
    }
    let is_torn = is_regular && metadata.len() > 0 && !ends_with_newline(path);
    Ok(Open { file, length: metadata.len(), is_regular, is_torn, lost: None })
}

/// Whether a file's last line is whole, as far as one may read it.
fn ends_with_newline(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let (mut file, mut last) = (File::open(path)?, [0]);
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().map_or(true, |last| last == b'\n')
}

/// Renames, unless there is nothing to rename.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Each write is a line.
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
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let directory = Directory::new("full");
        let log = directory.log(4, 2);
        write(&log, &["11", "22", "33", "44", "55", "66", "77"]);
        directory.holds(&[("log", "77"), ("log.1", "5566"), ("log.2", "3344")]);
    }

    #[test]
    fn a_line_longer_than_the_limit_has_a_file_of_its_own() {
        let directory = Directory::new("long");
        let log = directory.log(4, 3);
        write(&log, &["longest", "2", "3"]);
        directory.holds(&[("log", "23"), ("log.1", "longest")]);
    }

    #[test]
    fn it_goes_on_where_an_earlier_process_ended() {
        let directory = Directory::new("again");
        write(&directory.log(4, 1), &["12\n"]);
        let log = directory.log(4, 1);
        write(&log, &["4", "5"]);
        directory.holds(&[("log", "5"), ("log.1", "12\n4")]);
    }

    #[test]
    fn a_line_that_an_earlier_process_could_not_finish_is_ended() {
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
    fn a_pipe_that_nobody_reads_is_refused_and_a_full_one_stops_nothing() {
        let directory = Directory::new("pipe");
        let (pipe, rotation) = (directory.0.join("log"), Rotation { size: 0, count: 1 });
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let open = || LogFile::open(&pipe, rotation, LogFormat::Text, "test", Identity::default());
        assert_eq!(open().unwrap_err().to_string(), "it is a pipe that nobody reads");
        // A reader who never reads.
        let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let log = open().unwrap();
        for _ in 0..2000 {
            write(
                &log,
                &[
                    "a line of 100 bytes, of which 2000 are more than any pipe holds, nobody reads it, and it goes on ...\n",
                ],
            );
        }
        assert!(log.lock().lost.is_some());
    }

    #[test]
    fn with_none_to_keep_it_begins_anew() {
        let directory = Directory::new("none");
        let log = directory.log(4, 0);
        write(&log, &["1234", "5"]);
        directory.holds(&[("log", "5")]);
    }

    #[test]
    fn without_a_limit_it_never_rotates_by_itself() {
        let directory = Directory::new("never");
        let log = directory.log(0, 1);
        write(&log, &["1234567890", "1234567890"]);
        log.rotate().unwrap();
        // Who asks again and again loses nothing.
        log.rotate().unwrap();
        write(&log, &["x"]);
        directory.holds(&[("log", "x"), ("log.1", "12345678901234567890")]);
    }

    #[test]
    fn opened_anew_it_follows_its_name() {
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
    fn what_cannot_be_rotated_or_opened_is_written_on() {
        let directory = Directory::new("stuck");
        let log = directory.log(4, 1);
        // A directory with something in it cannot be renamed over.
        fs::create_dir_all(directory.0.join("log.1/occupied")).unwrap();
        write(&log, &["1234", "5678"]);
        assert_eq!(fs::read_to_string(directory.0.join("log")).unwrap(), "12345678");
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_written_to_and_never_moved() {
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
    fn lines_that_found_no_room_are_counted_in_the_log_when_there_is_room_again() {
        for (format, expected) in [(LogFormat::Text, " WARN 2 lines"), (LogFormat::Json, "\"message\":\"2 lines")] {
            let directory = Directory::new("room");
            let path = directory.0.join("log");
            std::os::unix::fs::symlink("/dev/full", &path).unwrap();
            let rotation = Rotation { size: 0, count: 1 };
            let log = LogFile::open(&path, rotation, format, "test", Identity::default()).unwrap();
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
    fn a_line_that_was_written_in_part_does_not_run_into_the_next() {
        let directory = Directory::new("torn");
        let log = directory.log(0, 1);
        write(&log, &["whole\n"]);
        {
            let mut open = log.lock();
            open.file.write_all(b"ha").unwrap();
            open.is_torn = true;
        }
        write(&log, &["next\n"]);
        directory.holds(&[("log", "whole\nha\nnext\n")]);
    }
}
