//! Asks a name server, and prints its answer: a small dig(1).
//!
//! Run `cargo run -p ropewalk-examples --bin dns_client -- example.org --type MX`. `--help` lists the options. The status
//! is 0 if there are such records, 1 if there are none, and 2 if no server has answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ropewalk::names::hickory_proto::op::Message;
use ropewalk::names::hickory_proto::rr::RecordType;
use ropewalk::names::{DnsConfig, DnsResolver};
use ropewalk::prelude::*;

/// Asks a name server, and prints its answer.
#[derive(Parser)]
struct Options {
    /// The name to look up.
    name: String,
    /// The type of the records, such as A, AAAA, MX, TXT or SRV.
    #[arg(long, short, default_value = "A", value_parser = record_type)]
    r#type: RecordType,
    /// The server and its port, such as 127.0.0.1:53. By default the servers of --resolv-conf are asked.
    #[arg(long, short)]
    server: Option<SocketAddr>,
    /// The file that names the servers.
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Asks over TCP alone.
    #[arg(long)]
    tcp: bool,
    /// The seconds that a server has for its answer.
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

fn record_type(text: &str) -> Result<RecordType, String> {
    text.to_ascii_uppercase().parse().map_err(|_| "expected a type of records, such as AAAA".to_owned())
}

impl Options {
    fn config(&self) -> std::io::Result<DnsConfig> {
        let config = match self.server {
            Some(server) => DnsConfig::new([server]),
            None => DnsConfig::from_resolv_conf(&std::fs::read_to_string(&self.resolv_conf)?),
        };
        let config = config.timeout(Duration::from_secs(self.timeout));
        Ok(if self.tcp { config.tcp_only() } else { config })
    }
}

/// Prints an answer in the form of a zone file, with the rest in comments.
fn show(answer: &Message) -> ExitCode {
    println!("; {}", answer.response_code());
    for record in answer.answers() {
        println!("{record}");
    }
    for record in answer.name_servers() {
        println!("; authority: {record}");
    }
    if answer.answers().is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

fn main() -> ropewalk::Result<ExitCode> {
    let options = Options::parse();
    let config = options.config().map_err(|error| {
        ropewalk::Error::Failed(format!("cannot read {}: {error}", options.resolv_conf.display()).into())
    })?;
    let reactor = Reactor::new()?;
    let asking = DnsResolver::new(config).query(&reactor, &options.name, options.r#type);
    let stopping = reactor.clone();
    let outcome = asking.add_both(move |outcome| {
        // The answer may be there before the loop runs.
        stopping.call_later(Duration::ZERO, |reactor| drop(reactor.stop()));
        outcome
    });
    reactor.run()?;
    // A signal may have ended the run.
    let Ok(Ok(outcome)) = outcome.try_result() else { return Ok(ExitCode::from(2)) };
    Ok(match outcome {
        Ok(answer) => show(&answer),
        Err(failure) => {
            eprintln!("{}: {failure}", options.name);
            ExitCode::from(2)
        }
    })
}
