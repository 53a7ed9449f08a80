//! `ropewalk`: small network services on any reactor, and a place to try the reactors out.

mod arguments;
mod commands;
mod described;
mod descriptors;
mod idle;
mod listen;
mod seats;

use std::process::ExitCode;

use ropewalk_runner::Runner;

use arguments::{Command, PROGRAM};
use commands::Listening;

fn main() -> ExitCode {
    let line = match arguments::parse() {
        Ok(line) => line,
        Err(status) => return status,
    };
    let quiet = line.runner.quiet;
    let needs_foreground = line.command.as_ref().and_then(Command::needs_foreground);
    let runner = Runner::new(PROGRAM, line.runner).kinds(commands::kinds(quiet)).needs_foreground(needs_foreground);
    runner.run(move |_reactor, services| {
        if let Some(command) = line.command {
            services.add(Listening::new(command, quiet));
        }
        Ok(())
    })
}
