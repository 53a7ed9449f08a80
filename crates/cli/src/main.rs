//! `ropewalk`: small network services on any reactor, and a place to try the reactors out.

mod announce;
mod arguments;
mod commands;
mod descriptors;
mod idle;
mod listen;
mod log;
mod reactors;
mod seats;

use std::error::Error;
use std::process::ExitCode;

use ropewalk::Reactor;

use arguments::Invocation;

fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    log::start(arguments.verbosity);
    match run(arguments.invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            announce::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: Invocation) -> Result<(), Box<dyn Error>> {
    let (reactor, command, quiet) = match invocation {
        Invocation::ListReactors => {
            announce::say(&reactors::table(&ropewalk::reactors()));
            return Ok(());
        }
        Invocation::Serve { reactor, command, quiet } => (reactor, command, quiet),
    };
    let reactor = match reactor {
        Some(name) => Reactor::with(&name)?,
        None => Reactor::new()?,
    };
    let started = commands::start(&reactor, command)?;
    // Once the loop runs, a signal stops it in order: who waits for this line may send one.
    reactor.call_when_running(move |_| {
        if !quiet {
            announce::say(&started);
        }
    });
    Ok(reactor.run()?)
}
