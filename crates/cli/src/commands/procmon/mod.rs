//! Keeps programs running: the service `ProcessMonitor` of the library.

mod output;
#[cfg(unix)]
#[path = "stdout/unix.rs"]
mod stdout;
#[cfg(not(unix))]
#[path = "stdout/other.rs"]
mod stdout;

use std::cell::Cell;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::application::{BackOff, MonitoredProcess, OutputLine, ProcessMonitor, ProcessReport, Service};
use ropewalk::endpoints::Endpoints;
use ropewalk::processes::{Command, Identity};
use ropewalk::proto::Cancelled;
use ropewalk::sys::signals::STOP_SIGNALS;
use ropewalk::{Deferred, Reactor, SignalWatch};
use ropewalk_runner::{BoxedError, LIFECYCLE, fail};

use super::Begun;
use crate::process_options::Procmon;
use output::StandardOutput;

/// Prepares the monitor. The programs start as the user that the process switches to.
pub(super) fn begin(reactor: &Reactor, options: Procmon) -> Result<Begun, BoxedError> {
    let programs = options.programs();
    let names = Vec::from_iter(programs.iter().map(|(name, _)| name.clone()));
    let (monitor, output) = monitor(reactor, &options, &names)?;
    for (name, command) in programs {
        monitor.add_process(name, monitored(&options, command)?)?;
    }
    let start_line = format!("procmon on {}, running {}", reactor.name(), names.join(", "));
    let watches = kill_at_second_signal(reactor, &monitor)?;
    let starting = monitor.clone();
    let work = move |reactor: &Reactor| start(reactor, &starting);
    let reactor = reactor.clone();
    let close = move || {
        let stopped = Service::stop(&monitor, &reactor);
        stopped.then(move |outcome| {
            drop((output, watches));
            outcome
        })
    };
    Ok(Begun { start_line, work: Some(Box::new(work)), close: Some(Box::new(close)), ..Begun::default() })
}

/// Kills the programs when a second signal arrives, because this program then exits without waiting for them.
fn kill_at_second_signal(reactor: &Reactor, monitor: &ProcessMonitor) -> ropewalk::Result<Vec<SignalWatch>> {
    let is_second = Rc::new(Cell::new(false));
    let watch = |signal: &i32| {
        let (is_second, monitor) = (is_second.clone(), monitor.clone());
        reactor.on_signal(*signal, move |_| {
            if is_second.replace(true) {
                monitor.kill_all();
            }
        })
    };
    STOP_SIGNALS.iter().map(watch).collect()
}

/// Returns a monitor whose output goes to the place that the options name.
fn monitor(
    reactor: &Reactor,
    options: &Procmon,
    names: &[String],
) -> Result<(ProcessMonitor, Option<StandardOutput>), BoxedError> {
    if options.log_output {
        return Ok((ProcessMonitor::new().on_output(log), None));
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let output = StandardOutput::open(reactor)?;
    let (writer, has_prefix) = (output.writer(), !options.no_prefix);
    let monitor = ProcessMonitor::new().on_output(move |line| {
        let prefix = if has_prefix { format!("{:width$} | ", line.process) } else { String::new() };
        writer.write_line(&prefix, line.text);
    });
    output.pace(&monitor);
    Ok((monitor, Some(output)))
}

fn log(line: &OutputLine<'_>) {
    tracing::info!(target: LIFECYCLE, process = line.process, line = %String::from_utf8_lossy(line.text), "output");
}

fn monitored(options: &Procmon, command: Vec<OsString>) -> Result<MonitoredProcess, BoxedError> {
    let delays = BackOff::new().initial_delay(options.min_restart_delay / 2).factor(2.0);
    let delays = delays.max_delay(options.max_restart_delay).jitter(Duration::ZERO);
    let process = MonitoredProcess::new(command_of(options, command)?)
        .restart(options.restart.into())
        .threshold(options.threshold)
        .retry_policy(delays)
        .kill_time(options.kill_time);
    let process = match options.ready_timeout {
        Some(limit) if !limit.is_zero() => process.ready_timeout(limit),
        _ => process,
    };
    Ok(match (&options.ready_line, &options.ready_port) {
        // The command line refuses this before.
        (Some(_), Some(_)) => return Err("`ready-line` and `ready-port` cannot be used together: remove one".into()),
        (Some(text), None) => process.ready_line(text.as_str()),
        (None, Some(endpoint)) => process.ready_port(Endpoints::new().client(endpoint)?),
        (None, None) if options.ready_timeout.is_some() => {
            return Err("`ready-timeout` needs `ready-line` or `ready-port`: add one".into());
        }
        (None, None) => process,
    })
}

fn command_of(options: &Procmon, words: Vec<OsString>) -> Result<Command, BoxedError> {
    let mut words = words.into_iter();
    let program = words.next().filter(|program| !program.is_empty());
    let program = program.ok_or("the program has no name: expected a command such as 'python3 app.py'")?;
    let mut command = Command::new(program).args(words);
    for (name, value) in &options.env {
        command = command.env(name, value);
    }
    if let Some(directory) = &options.directory {
        command = command.directory(directory);
    }
    match &options.user {
        Some(user) => Ok(command.user(Identity::of_user(user).map_err(|error| format!("--user: {error}"))?)?),
        None => Ok(command),
    }
}

/// Starts the programs. The program ends when all of them have finished.
fn start(reactor: &Reactor, monitor: &ProcessMonitor) -> Deferred<()> {
    let ready = Service::start(monitor, reactor);
    let (reactor, finished) = (reactor.clone(), monitor.clone());
    // It fails when the monitor is stopped first.
    monitor.when_finished().add_callbacks(
        move |()| match failures(&finished.processes()) {
            failures if failures.is_empty() => drop(reactor.stop()),
            failures => fail(&reactor, failures.join(", ")),
        },
        |_| (),
    );
    // A stop while a program is not ready yet is an order, and no failure to start.
    ready.then(|outcome| match outcome {
        Err(failure) if failure.downcast_ref::<Cancelled>().is_some() => Ok(()),
        outcome => outcome,
    })
}

/// Returns how each program that did not succeed has ended.
fn failures(processes: &[ProcessReport]) -> Vec<String> {
    let failed = processes.iter().filter(|process| !process.has_succeeded());
    let describe = |process: &ProcessReport| match (&process.error, process.status) {
        (Some(error), _) => format!("'{}': {error}", process.name),
        (None, Some(status)) => format!("'{}' {status}", process.name),
        (None, None) => format!("'{}' did not run", process.name),
    };
    failed.map(describe).collect()
}
