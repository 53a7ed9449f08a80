//! Everything that the child's steps use, in the form in which the system takes it.

use std::env;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;

use rustix::process::{Gid, Pid, Uid, getpid};

use super::descriptors::Descriptors;
use super::numbers::Numbers;
use crate::seam::{ProcessGroup, Resource, SpawnError, SpawnPlan, SpawnStep};

/// The search path of an environment that has none, as in execvp(3).
const USUAL_PATH: &[u8] = b"/bin:/usr/bin";

pub(super) struct Image {
    /// The files to execute. The first one that exists is the program.
    pub(super) candidates: Vec<CString>,
    pub(super) argv: Pointers,
    pub(super) envp: Pointers,
    pub(super) directory: Option<CString>,
    pub(super) numbers: Numbers,
    /// The child's side of its terminal, as a number of this process.
    pub(super) terminal: Option<RawFd>,
    pub(super) group: ProcessGroup,
    pub(super) groups: Option<Vec<Gid>>,
    pub(super) gid: Option<Gid>,
    pub(super) uid: Option<Uid>,
    pub(super) limits: Vec<(i64, u64)>,
    pub(super) umask: Option<u32>,
    pub(super) keeps_ignored: bool,
    pub(super) parent_death: Option<ParentDeath>,
}

/// The signal at the death of the parent.
#[derive(Clone, Copy)]
pub(super) struct ParentDeath {
    pub(super) signal: i32,
    /// The number of the parent, which is this process.
    pub(super) parent: Pid,
}

impl Image {
    pub(super) fn new(plan: &SpawnPlan, descriptors: &Descriptors) -> Result<Image, SpawnError> {
        let cannot = |error| SpawnError::new(SpawnStep::Arguments, &plan.program, error);
        Ok(Image {
            candidates: candidates(&plan.program, || search_path(plan)).map_err(cannot)?,
            argv: arguments(plan),
            envp: environment(plan),
            directory: plan
                .directory
                .as_deref()
                .map(|path| c_string(path.as_os_str().to_owned()))
                .transpose()
                .map_err(cannot)?,
            numbers: Numbers::new(descriptors.numbers()),
            terminal: descriptors.terminal(),
            group: plan.effective_group(),
            groups: plan.groups.as_ref().map(|groups| groups.iter().map(|gid| Gid::from_raw(*gid)).collect()),
            gid: plan.identity.gid.map(Gid::from_raw),
            uid: plan.identity.uid.map(Uid::from_raw),
            limits: plan.limits.iter().map(|(resource, limit)| (number_of(*resource), *limit)).collect(),
            umask: plan.umask,
            keeps_ignored: plan.keeps_ignored_signals,
            parent_death: plan.parent_death_signal.map(|signal| ParentDeath { signal, parent: getpid() }),
        })
    }
}

/// A list of strings, as exec(2) takes it: pointers, and a null pointer behind them.
pub(super) struct Pointers {
    pointers: Vec<*const c_char>,
    /// The strings that the pointers point to.
    _strings: Vec<u8>,
}

impl Pointers {
    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Strings one behind the other, because each allocation costs more right after a child has used the caches.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Strings {
    /// Appends the string that consists of `parts`. The check of a plan has refused zero bytes in them.
    fn push(&mut self, parts: &[&OsStr]) {
        self.starts.push(self.bytes.len());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part.as_bytes()));
        self.bytes.push(0);
    }

    fn point(self) -> Pointers {
        let string = |start: &usize| self.bytes.as_ptr().wrapping_add(*start).cast();
        let pointers = self.starts.iter().map(string).chain([ptr::null()]).collect();
        Pointers { pointers, _strings: self.bytes }
    }
}

fn arguments(plan: &SpawnPlan) -> Pointers {
    let mut strings = Strings::default();
    plan.arguments.iter().for_each(|argument| strings.push(&[argument]));
    strings.point()
}

fn environment(plan: &SpawnPlan) -> Pointers {
    let mut strings = Strings::default();
    let mut push = |name: &OsStr, value: &OsStr| strings.push(&[name, OsStr::new("="), value]);
    match &plan.environment {
        Some(environment) => environment.iter().for_each(|(name, value)| push(name, value)),
        None => env::vars_os().for_each(|(name, value)| push(&name, &value)),
    }
    strings.point()
}

/// Returns PATH of the child's environment.
fn search_path(plan: &SpawnPlan) -> Option<OsString> {
    match &plan.environment {
        Some(environment) => environment.get(OsStr::new("PATH")).cloned(),
        None => env::var_os("PATH"),
    }
}

/// Whether the program is looked for in PATH. A name with a slash is a path.
pub(super) fn is_searched_for(program: &OsStr) -> bool {
    !program.is_empty() && !program.as_bytes().contains(&b'/')
}

/// Returns the paths at which the program may be. A name with a slash is the only one.
fn candidates(program: &OsStr, path: impl FnOnce() -> Option<OsString>) -> io::Result<Vec<CString>> {
    if !is_searched_for(program) {
        return Ok(vec![c_string(program.to_owned())?]);
    }
    let path = path().map_or_else(|| USUAL_PATH.to_vec(), OsString::into_vec);
    let folders = path.split(|byte| *byte == b':').map(OsStr::from_bytes);
    folders.map(|folder| c_string(Path::new(folder).join(program).into_os_string())).collect()
}

fn c_string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

fn number_of(resource: Resource) -> i64 {
    let number = match resource {
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::CoreFile => libc::RLIMIT_CORE,
        Resource::CpuSeconds => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    i64::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(program: &str, path: Option<&str>) -> Vec<String> {
        let found = candidates(OsStr::new(program), || path.map(OsString::from)).unwrap();
        found.into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_without_a_slash_is_searched_for() {
        assert_eq!(paths("sh", Some("/opt/bin:/bin")), ["/opt/bin/sh", "/bin/sh"]);
        assert_eq!(paths("sh", None), ["/bin/sh", "/usr/bin/sh"]);
        // An empty part is the working directory, as in a shell.
        assert_eq!(paths("sh", Some(":/bin")), ["sh", "/bin/sh"]);
        assert_eq!(paths("./sh", Some("/bin")), ["./sh"]);
    }
}
