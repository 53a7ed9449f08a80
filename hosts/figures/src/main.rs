//! Measures one figure of the reactor in one host loop: `host-figures HOST PROVIDER FIGURE`.
//!
//! Each figure needs a fresh process, because a host changes its thread for good. The result is one line of numbers.
//! Without arguments the program prints every line of arguments that it accepts. `cargo xtask hosts --figures` runs them
//! all, and writes a page of the book.
//!
//! The figures `idle` and `calls` start the same program as a server, which is all that they measure.

#![allow(clippy::print_stdout, reason = "the figures are the output of this program")]
#![allow(clippy::print_stderr, reason = "a program reports its errors to its terminal")]

mod call;
mod echo;
mod firehose;
mod glib;
mod host;
mod measured;
mod server;
mod switches;
mod syscalls;
mod thread;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use host::{HOSTS, Host};
use measured::Measured;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A figure, for a fresh reactor or for a process of its own.
enum Figure {
    InThisProcess(fn(&Measured) -> Result<Vec<f64>>),
    OfAServer(fn(&server::Arguments) -> Result<Vec<f64>>),
}

/// The figures of every host.
const FIGURES: [(&str, Figure); 5] = [
    ("idle", Figure::OfAServer(switches::idle)),
    ("call", Figure::InThisProcess(call::lateness)),
    ("thread", Figure::InThisProcess(thread::delay)),
    ("echo", Figure::InThisProcess(echo::rounds)),
    ("calls", Figure::OfAServer(syscalls::per_message)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            list();
            Ok(())
        }
        [host, provider, figure] => run(host, provider, figure),
        _ => Err("expected `host-figures HOST PROVIDER FIGURE`, or no arguments for a list of them".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("host-figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for host in HOSTS {
        let figures = FIGURES.iter().map(|(name, _)| *name).chain(host.drawing.iter().map(|(name, _)| *name));
        let figures: Vec<&str> = figures.collect();
        for provider in host.providers {
            for figure in &figures {
                println!("{} {provider} {figure}", host.name);
            }
        }
    }
}

fn run(host: &str, provider: &str, figure: &str) -> Result<()> {
    let host = HOSTS.iter().find(|known| known.name == host && known.providers.contains(&provider));
    let host = host.ok_or("unknown host or provider; `host-figures` without arguments lists them")?;
    if figure == server::NAME {
        return server::run(&Measured::new(host, provider)?);
    }
    let numbers = match find(host, figure).ok_or("unknown figure; `host-figures` without arguments lists them")? {
        Figure::InThisProcess(measure) => measure(&Measured::new(host, provider)?)?,
        Figure::OfAServer(measure) => measure(&server::arguments(host, provider))?,
    };
    let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
    println!("{}", numbers.join(" "));
    Ok(())
}

fn find<'a>(host: &'a Host, name: &str) -> Option<&'a Figure> {
    FIGURES.iter().chain(host.drawing).find_map(|(known, figure)| (*known == name).then_some(figure))
}
