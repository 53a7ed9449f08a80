//! The program: runs the scenarios of the command line, one after the other.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::arguments::{Arguments, Part, Probe, ProbeArguments, RunArguments, ServeArguments};
use crate::candidate::Candidate;
use crate::machine::Machine;
use crate::placement;
use crate::probes;
use crate::process::tool;
use crate::report::{Results, Row, Style};
use crate::scenarios::{Plan, Scenario, Tls};
use crate::servers;

/// Runs the program. `live_bytes` returns the allocated memory, in the program that counts it.
pub fn main(live_bytes: Option<fn() -> usize>) -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.part {
        Some(Part::Serve(serve)) => serve_one(&serve, live_bytes),
        Some(Part::Probe(probe)) => probe_one(&probe),
        None => bench(&arguments.run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ropewalk-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve_one(arguments: &ServeArguments, live_bytes: Option<fn() -> usize>) -> io::Result<()> {
    arguments.core.map_or(Ok(()), placement::pin)?;
    if arguments.core.is_some() {
        // Otherwise the server could interrupt the client's round when its first request arrives. The parent process
        // has already reported a refusal.
        let _ = placement::never_preempt_others();
    }
    let (candidate, buffer_bytes) = (arguments.candidate, arguments.buffer);
    servers::obey_parent(live_bytes);
    if arguments.datagrams {
        let socket = servers::datagrams::bind(arguments.port)?;
        servers::say(&socket.local_addr()?.port().to_string());
        return servers::datagrams::serve(candidate, socket, buffer_bytes);
    }
    let tls = arguments.tls.as_deref().map(|file| servers::tls::Options::read(file, arguments.resume)).transpose()?;
    let listener = servers::listen(arguments.port)?;
    servers::say(&listener.local_addr()?.port().to_string());
    match tls {
        Some(options) => servers::tls::serve(candidate, listener, &options, buffer_bytes),
        None => servers::serve(candidate, listener, buffer_bytes),
    }
}

fn probe_one(arguments: &ProbeArguments) -> io::Result<()> {
    arguments.core.map_or(Ok(()), placement::pin)?;
    let figures: Vec<f64> = match arguments.probe {
        Probe::Timers => probes::timers(arguments.candidate)?.into(),
        Probe::Calls => probes::calls(arguments.candidate)?.into(),
        Probe::Spawns => probes::spawns(arguments.candidate)?.into(),
    };
    let words: Vec<String> = figures.iter().map(f64::to_string).collect();
    servers::say(&words.join(" "));
    Ok(())
}

fn bench(arguments: &RunArguments) -> io::Result<()> {
    if cfg!(debug_assertions) {
        say("a debug build: the figures mean nothing; use cargo xtask bench");
    }
    let plan = plan(arguments)?;
    placement::pin(plan.core)?;
    if let Err(error) = placement::never_preempt_others() {
        say(&format!("SCHED_BATCH is refused ({error}): expect more spread"));
    }
    let mut left_out = Vec::new();
    let scenarios = chosen(arguments, &mut left_out)?;
    let candidates = candidates(arguments);
    let mut rows = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        progress(&format!("[{}/{}] {}", index + 1, scenarios.len(), scenario.metrics()[0].name));
        rows.extend(measure(*scenario, &candidates, &plan, &mut left_out));
    }
    progress("");
    let (rounds, window_ms) = (plan.rounds, plan.window.as_millis() as u64);
    let results = Results { machine: Machine::here(), rounds, window_ms, rows, left_out };
    publish(&results, arguments)
}

fn plan(arguments: &RunArguments) -> io::Result<Plan> {
    let (rounds, window) = if arguments.quick { (5, 60) } else { (7, 400) };
    Ok(Plan {
        program: std::env::current_exe()?,
        core: arguments.core.map_or_else(placement::last_core, Ok)?,
        rounds: arguments.rounds.map_or(rounds, usize::from),
        window: Duration::from_millis(arguments.window.unwrap_or(window)),
    })
}

fn candidates(arguments: &RunArguments) -> Vec<Candidate> {
    let asked = |candidate: &Candidate| match arguments.candidates.as_slice() {
        [] if arguments.quick => {
            !matches!(candidate, Candidate::RawUring | Candidate::Ropewalk("uring" | "poll" | "select"))
        }
        [] => true,
        named => named.contains(candidate),
    };
    Candidate::ALL.into_iter().filter(asked).collect()
}

/// Returns the scenarios that were asked for and can be measured here.
fn chosen(arguments: &RunArguments, left_out: &mut Vec<String>) -> io::Result<Vec<Scenario>> {
    let named = |scenario: &Scenario| {
        let names = scenario.metrics();
        arguments.only.iter().any(|part| names.iter().any(|metric| metric.name.contains(part.as_str())))
    };
    let mut scenarios = Scenario::all();
    if arguments.only.is_empty() {
        scenarios.retain(|scenario| scenario.is_quick() || !arguments.quick);
    } else {
        scenarios.retain(named);
    }
    scenarios.retain(|scenario| match scenario_gap(*scenario, arguments) {
        Some(gap) => {
            left_out.push(gap);
            false
        }
        None => true,
    });
    if scenarios.is_empty() {
        let names = left_out.join("; ");
        return Err(io::Error::other(format!("no scenario is left: see --help for their names. {names}")));
    }
    Ok(scenarios)
}

/// Returns why a scenario is not measured: its option was not given, or its tool is not installed.
fn scenario_gap(scenario: Scenario, arguments: &RunArguments) -> Option<String> {
    let (option, wanted) = match scenario {
        Scenario::Instructions | Scenario::Tls(Tls::Instructions(_)) => ("--instructions", arguments.instructions),
        Scenario::SystemCalls => ("--syscalls", arguments.syscalls),
        _ => return None,
    };
    let what = &scenario.metrics()[0].name;
    let needed = scenario.tool()?;
    if !wanted {
        return Some(format!("{what} (add {option})"));
    }
    tool(needed).is_none().then(|| format!("{what}: {needed} is not installed (apt-get install {needed})"))
}

/// Takes samples in rounds: A B C, then C B A. A candidate that fails is left out from then on, with its error.
fn measure(scenario: Scenario, candidates: &[Candidate], plan: &Plan, left_out: &mut Vec<String>) -> Vec<Row> {
    let metrics = scenario.metrics();
    let concerned = candidates.iter().copied().filter(|candidate| scenario.concerns(*candidate));
    let mut samples: Vec<(Candidate, Vec<Vec<f64>>)> = concerned.map(|candidate| (candidate, Vec::new())).collect();
    let rounds = if scenario.is_exact() { 1 } else { plan.rounds };
    for _ in 0..rounds {
        samples.retain_mut(|(candidate, own)| match scenario.sample(*candidate, plan) {
            Ok(sample) => {
                own.push(sample);
                true
            }
            Err(error) => {
                left_out.push(format!("{} of {candidate}: {error}", metrics[0].name));
                false
            }
        });
        samples.reverse();
    }
    samples.sort_by_key(|(candidate, _)| Candidate::ALL.iter().position(|other| other == candidate));
    let columns = metrics.into_iter().enumerate().map(|(column, metric)| {
        let of = |own: &[Vec<f64>]| own.iter().map(|sample| sample[column]).collect();
        let samples: Vec<_> = samples.iter().map(|(candidate, own)| (*candidate, of(own))).collect();
        Row::new(metric, &samples)
    });
    columns.collect()
}

fn publish(results: &Results, arguments: &RunArguments) -> io::Result<()> {
    let style = if arguments.markdown { Style::Markdown } else { Style::Terminal };
    servers::say(&results.render(style));
    if let Some(folder) = arguments.json.parent().filter(|folder| *folder != Path::new("")) {
        fs::create_dir_all(folder)?;
    }
    fs::write(&arguments.json, serde_json::to_string_pretty(results)?)?;
    say(&format!("bars missed: {}; every sample is in {}", results.missed(), arguments.json.display()));
    Ok(())
}

/// Prints one line on standard error, where it does not mix with the tables.
#[expect(clippy::print_stderr, reason = "the program talks to its terminal")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Overwrites the line before. The last call passes an empty line.
#[expect(clippy::print_stderr, reason = "the program talks to its terminal")]
fn progress(line: &str) {
    eprint!("\r\x1b[2K{line}");
}
