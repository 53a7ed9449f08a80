//! `cargo xtask hosts`: the adapters for the loops of toolkits, a workspace of its own because it links C libraries.

mod figures;

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;

use crate::cargo_tool::NEXTEST;
use crate::workspace::Workspace;
use crate::{debian, matrix, step};

/// The development files of the toolkits.
const TOOLKITS: [&str; 9] = [
    "libgtk-4-dev",
    "libgtk-3-dev",
    "libgtk2.0-dev",
    "libwxgtk3.2-dev",
    "libsdl2-dev",
    "qt6-base-dev",
    "tcl-dev",
    "tk-dev",
    "g++",
];
/// The libraries that winit looks for when it runs.
const OF_WINIT: [&str; 5] = ["libx11-6", "libxcursor1", "libxi6", "libxkbcommon-x11-0", "libx11-xcb1"];
/// A display without a screen, and what uses it as a person does.
const DESKTOP: [&str; 8] =
    ["xvfb", "openbox", "xdotool", "imagemagick", "dbus", "fonts-dejavu-core", "adwaita-icon-theme", "pkg-config"];
/// Counts the system calls of the figures.
const TRACER: &str = "strace";
const FOLDER: &str = "hosts";
const PICTURES: &str = "docs/src/pictures";

/// Build and test the adapters for GTK, Tk, wxWidgets, Qt, SDL and winit
///
/// The adapters need C libraries and a display without a screen. On Debian, the missing packages are named and
/// installed, by apt-get as root. The windows of the examples are used by xdotool, as a person would. On another
/// system, install the toolkits yourself, and use `cargo nextest run` in the folder hosts.
#[derive(Args)]
pub(crate) struct Options {
    /// Install missing packages without a question
    #[arg(long)]
    yes: bool,
    /// Take the pictures of the documentation again; run nothing else
    #[arg(long)]
    pictures: bool,
    /// Run the specifications and write docs/src/toolkit-matrix.md from their results; run nothing else
    #[arg(long, conflicts_with = "pictures")]
    matrix: bool,
    /// Measure every host loop and write docs/src/toolkit-figures.md; run nothing else. A round takes a few minutes, and
    /// needs a quiet machine
    #[arg(long, conflicts_with_all = ["pictures", "matrix"])]
    figures: bool,
    /// How often each figure is measured
    #[arg(long, value_name = "N", default_value_t = 5, requires = "figures",
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let root = &workspace.root;
    install(options)?;
    if options.figures {
        return figures::generate(workspace, options.rounds);
    }
    NEXTEST.ensure()?;
    if options.pictures {
        return take_pictures(root);
    }
    if options.matrix {
        return matrix::generate(root, &matrix::TOOLKITS);
    }
    cargo(root, &["fmt", "--all", "--check"])?;
    let all = ["--workspace", "--all-features", "--locked"];
    cargo(root, &[&["clippy", "--all-targets"], &all[..], &["--", "-D", "warnings"]].concat())?;
    cargo(root, &[&["test", "--doc"], &all[..]].concat())?;
    cargo(root, &[&["nextest", "run", "--no-tests=fail"], &all[..]].concat())?;
    matrix::check(root, &matrix::TOOLKITS)
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    step::run(step::cargo().args(arguments).current_dir(root.join(FOLDER)))
}

/// Runs the tests that use windows. They keep their pictures in the folder that a variable names.
fn take_pictures(root: &Path) -> Result<()> {
    let mut nextest = step::cargo();
    nextest.args(["nextest", "run", "--workspace", "--all-features", "--locked", "-E", "binary(window)"]);
    step::run(nextest.current_dir(root.join(FOLDER)).env("ROPEWALK_PICTURES", root.join(PICTURES)))
}

/// Installs the missing packages, after a question unless `--yes` is given.
fn install(options: &Options) -> Result<()> {
    if !debian::is_here() {
        step::say("this is not Debian: the toolkits, Xvfb, openbox, xdotool and ImageMagick must be installed already");
        return Ok(());
    }
    let mut packages = [&TOOLKITS[..], &OF_WINIT[..], &DESKTOP[..]].concat();
    packages.extend(options.figures.then_some(TRACER));
    let missing = debian::missing(&packages);
    if missing.is_empty() {
        return Ok(());
    }
    step::say(&format!("Debian's packages to install: {}", missing.join(" ")));
    if !options.yes && !agrees()? {
        bail!("nothing was installed; `--yes` installs without a question");
    }
    debian::install(&missing)
}

fn agrees() -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    print!("install them? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
