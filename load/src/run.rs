//! The program: runs the scenarios of the command line on each reactor, one after the other.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use ropewalk_bench::Machine;
use rustix::process::{Resource, Rlimit, getrlimit, set_child_subreaper, setrlimit};
use serde::Serialize;

use crate::arguments::{Arguments, Part, RunArguments};
use crate::figure::Figure;
use crate::scenarios::{Plan, SCENARIOS};
use crate::subject;

/// All figures of a run.
#[derive(Serialize)]
struct Results {
    machine: Machine,
    /// The date of the run, as HTTP writes it.
    date: String,
    quick: bool,
    figures: Vec<Figure>,
    /// The scenarios that failed, with their errors.
    failures: Vec<String>,
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.part {
        Some(Part::Subject(subject)) => subject::run(&subject).map(|()| true),
        None => measure(&arguments.run),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("ropewalk-load: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios, and returns whether every figure that decides has met its bar.
fn measure(arguments: &RunArguments) -> io::Result<bool> {
    if cfg!(debug_assertions) {
        say("a debug build: the figures mean nothing; use cargo xtask load");
    }
    prepare_process()?;
    let scenarios: Vec<_> = SCENARIOS.iter().filter(|(name, _)| is_asked(&arguments.only, name)).collect();
    let reactors = reactors(&arguments.reactors)?;
    if scenarios.is_empty() {
        return Err(io::Error::other("no scenario has such a name: see --help"));
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    let (mut figures, mut failures) = (Vec::new(), Vec::new());
    for reactor in &reactors {
        for (name, run) in &scenarios {
            match run(&Plan { reactor, quick: arguments.quick }) {
                Ok(measured) => {
                    measured.iter().for_each(print);
                    figures.extend(measured);
                }
                Err(error) => {
                    let failure = format!("{name} on {reactor}: {error}");
                    say(&failure);
                    failures.push(failure);
                }
            }
        }
    }
    let decides = |figure: &&Figure| !(figure.is_timed && arguments.quick);
    let passed = failures.is_empty() && figures.iter().filter(decides).all(Figure::is_met);
    publish(&Results { machine: Machine::here(), date, quick: arguments.quick, figures, failures }, &arguments.json)?;
    Ok(passed)
}

/// Prepares for tens of thousands of descriptors. Becomes the parent of daemons, so that none is overlooked.
fn prepare_process() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    // Any process id other than none stands for "on".
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

fn is_asked(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
}

fn reactors(asked: &[String]) -> io::Result<Vec<&'static str>> {
    let known = ropewalk::reactors().into_iter().filter(|reactor| reactor.unavailable.is_none());
    let known: Vec<&str> = known.map(|reactor| reactor.name).collect();
    if let Some(unknown) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(io::Error::other(format!("no reactor {unknown}: expected one of {}", known.join(", "))));
    }
    Ok(known.into_iter().filter(|name| asked.is_empty() || asked.iter().any(|other| other == name)).collect())
}

fn publish(results: &Results, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, serde_json::to_string_pretty(results)? + "\n")?;
    let missed = results.figures.iter().filter(|figure| !figure.is_met()).count();
    say(&format!(
        "{} figures, {missed} bars missed, {} scenarios failed: {}",
        results.figures.len(),
        results.failures.len(),
        path.display()
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the program talks to its terminal")]
fn print(figure: &Figure) {
    println!("{figure}");
}

/// Prints one line on standard error, where it does not mix with the figures.
#[expect(clippy::print_stderr, reason = "the program talks to its terminal")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
