//! `cargo xtask races`: the code that threads share under ThreadSanitizer.
//!
//! ThreadSanitizer must see the locks and channels of the standard library. Otherwise it reports false races. rustup
//! may have no sources of that library, and Debian's compiler has no runtime of the sanitizer. So Debian's compiler
//! builds the library, and the programs are linked with rustup's runtime.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo_tool::NEXTEST;
use crate::debian_rust::{DebianRust, rustup_libraries};
use crate::sanitize::{Sanitized, sanitized};
use crate::step;
use crate::workspace::Workspace;

/// Run the tests of the waker, the thread pool and detached waits under ThreadSanitizer
///
/// Builds the standard library and the packages once more, below the target folder. First, a program with a race must
/// be reported. Needs rustup, and Debian 12 on x86-64 or aarch64. As root, missing packages are installed by apt-get.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

/// The packages, with their tests in which threads share something.
const TESTS: [(&str, &[&str]); 2] = [
    ("ropewalk-sys", &["--lib", "--test=seam", "-E", "test(/wak/)"]),
    ("ropewalk-conformance", &["--test=providers", "-E", "test(/::(threads|host)::/)"]),
];

/// The exit status of a program in which the sanitizer has found a race.
const RACE: i32 = 66;

const CANARY: &str = "//! Two threads add to a number without a lock.
use std::thread;

fn main() {
    static mut SUM: u64 = 0;
    let add = || (0..1000).for_each(|_| unsafe { SUM += 1 });
    let other = thread::spawn(add);
    add();
    other.join().unwrap();
}
";

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    NEXTEST.ensure()?;
    let (compiler, runtime) = (DebianRust::find(&[])?, runtime()?);
    must_fail(workspace, &mut instrumented(workspace, &compiler, &runtime).program(&canary(workspace)?))?;
    for (package, tests) in TESTS {
        let mut command = instrumented(workspace, &compiler, &runtime).tests(package);
        step::run(command.args(tests).args(&options.filters))?;
    }
    Ok(())
}

/// Returns Debian's cargo, with the sanitizer in everything that it builds, the standard library included.
fn instrumented(workspace: &Workspace, compiler: &DebianRust, runtime: &str) -> Sanitized {
    let mut cargo = compiler.cargo();
    // A backtrace takes many seconds under the sanitizer, and some tests have a limit.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "1").env("RUST_BACKTRACE", "0");
    // The runtime replaces functions of the C library, so it must precede that library.
    let link = format!("-Zpre-link-arg=-Wl,--whole-archive,{runtime},--no-whole-archive");
    sanitized(cargo, workspace, &format!("-Zsanitizer=thread -Zexternal-clangrt {link}"), "races")
}

/// Returns the path of the sanitizer's runtime.
fn runtime() -> Result<String> {
    let folder = rustup_libraries()?;
    let mut files = fs::read_dir(&folder)?.filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok());
    let found = files.find(|file| file.ends_with("_rt.tsan.a"));
    found.with_context(|| format!("no runtime of ThreadSanitizer in {}: use a compiler of rustup", folder.display()))
}

/// Writes the canary, and returns the path of its manifest.
fn canary(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("races/canary");
    fs::create_dir_all(folder.join("src"))?;
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, "[package]\nname = \"canary\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n")?;
    fs::write(folder.join("src/main.rs"), CANARY)?;
    Ok(manifest)
}

/// Fails unless the sanitizer finds the race of the canary.
fn must_fail(workspace: &Workspace, canary: &mut Command) -> Result<()> {
    step::say(&format!("a race must be found first; building below {}", workspace.target.join("races").display()));
    let status = canary.status().context("cannot start the canary")?;
    if status.code() == Some(RACE) {
        return Ok(());
    }
    bail!("ThreadSanitizer does not find the race of the canary: {status}")
}
