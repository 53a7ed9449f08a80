//! An echo service in the loop of any toolkit.
//!
//! Run `cargo run -p anywhere -- --help-reactors` in the folder `hosts`, and then `cargo run -p anywhere -- -r glib`, or
//! `-r tk:poll`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ropewalk::application::StreamServerEndpointService;
use ropewalk::endpoints::server_from_string;
use ropewalk::prelude::*;
use ropewalk_runner::{Runner, RunnerOptions};

/// Sends everything back, in the loop of a toolkit.
#[derive(Parser)]
#[command(name = "anywhere")]
struct CommandLine {
    /// Endpoint to listen on
    #[arg(long, default_value = "tcp:8007:interface=127.0.0.1")]
    listen: String,
    #[command(flatten)]
    runner: RunnerOptions,
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn main() -> ExitCode {
    let mut line = match ropewalk_runner::parse::<CommandLine>("anywhere") {
        Ok(line) => line,
        Err(status) => return status,
    };
    line.runner.hosts.add("glib", "main loop of GLib, GTK and wxWidgets", ropewalk_glib::install);
    line.runner.hosts.add("tk", "event loop of Tcl/Tk", ropewalk_tk::install_without_interpreter);
    if let Some(status) = line.runner.answer(CommandLine::command()) {
        return status;
    }
    Runner::new("anywhere", line.runner).run(move |reactor, services| {
        let endpoint = server_from_string(reactor, &line.listen)?;
        services.add_named("echo", StreamServerEndpointService::new(endpoint, || Echo))?;
        Ok(())
    })
}
