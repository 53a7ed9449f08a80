//! Says what was wrong with a program that could not be executed. The system has one number for many reasons.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::image::{Image, is_searched_for};
use super::steps::Failure;
use crate::seam::{SpawnError, SpawnPlan, SpawnStep};

/// The longest first line of a script that the system reads.
const FIRST_LINE_BYTES: u64 = 256;

pub(super) fn explain(plan: &SpawnPlan, image: &Image, failure: &Failure) -> SpawnError {
    let error = io::Error::from_raw_os_error(failure.errno);
    match failure.step {
        SpawnStep::Directory => SpawnError::new(failure.step, plan.directory.clone().unwrap_or_default(), error),
        SpawnStep::Execute => explain_program(plan, image, failure, error),
        SpawnStep::Numbers if failure.errno == libc::ENOSYS || failure.errno == libc::EINVAL => {
            SpawnError::new(failure.step, &plan.program, error)
                .with_reason("a number is above the limit on open files, or the system is older than Linux 5.11")
        }
        step => SpawnError::new(step, &plan.program, error),
    }
}

fn explain_program(plan: &SpawnPlan, image: &Image, failure: &Failure, error: io::Error) -> SpawnError {
    let path = image.candidates.get(failure.candidate).map(path_of).unwrap_or_default();
    let is_search = is_searched_for(&plan.program);
    // The child has looked in its own directory.
    let in_directory = |path: &PathBuf| plan.directory.as_ref().map_or_else(|| path.clone(), |own| own.join(path));
    let place = in_directory(&path);
    let found = || image.candidates.iter().map(|path| in_directory(&path_of(path))).find(|path| path.is_file());
    let reason = match failure.errno {
        libc::ENOENT if is_search => match found() {
            // The file is there, but not the interpreter that it names.
            Some(place) => reason_for_missing(&place),
            None => Some("no folder in PATH has a program of this name".into()),
        },
        libc::ENOENT | libc::ENOTDIR => reason_for_missing(&place),
        libc::EACCES => reason_for_refusal(&place, is_search.then_some(&path)),
        libc::ENOEXEC => Some("it is neither a program for this system nor a script that begins with '#!'".into()),
        libc::ETXTBSY => Some("another process has it open for writing (ETXTBSY)".into()),
        libc::E2BIG => Some("its arguments and environment are too long".into()),
        _ => None,
    };
    let error = SpawnError::new(SpawnStep::Execute, &plan.program, error);
    match reason {
        Some(reason) => error.with_reason(reason),
        None => error,
    }
}

fn path_of(path: &CString) -> PathBuf {
    OsStr::from_bytes(path.as_bytes()).into()
}

fn reason_for_missing(place: &Path) -> Option<String> {
    if place.as_os_str().is_empty() {
        return Some("its name is empty".into());
    }
    match fs::metadata(place) {
        // A program whose loader is missing, or a script whose interpreter is missing.
        Ok(_) => Some(match interpreter(place) {
            Some(interpreter) => format!("its interpreter '{}' does not exist", interpreter.escape_debug()),
            None => "the loader that it names does not exist: it may be built for another system".into(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("there is no such file".into()),
        Err(_) => None,
    }
}

/// `found` is the path that a search has found.
fn reason_for_refusal(place: &Path, found: Option<&PathBuf>) -> Option<String> {
    let is_executable = |file: &Metadata| file.permissions().mode() & 0o111 != 0;
    let what = found.map_or_else(|| "it".into(), |path| format!("'{}'", path.to_string_lossy().escape_debug()));
    match fs::metadata(place) {
        Ok(file) if file.is_dir() => Some(format!("{what} is a directory")),
        Ok(file) if !is_executable(&file) => Some(format!("{what} is not executable: see chmod(1)")),
        _ => None,
    }
}

/// Returns the interpreter that the first line of a script names.
fn interpreter(place: &Path) -> Option<String> {
    let mut line = Vec::new();
    BufReader::new(File::open(place).ok()?.take(FIRST_LINE_BYTES)).read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8_lossy(line.strip_prefix(b"#!")?).into_owned();
    line.split_whitespace().next().map(str::to_owned)
}
