//! Multicast DNS: a responder for one name, and a client that asks for a name. RFC 6762.
//!
//! Run `cargo run -p ropewalk-examples --bin mdns -- serve rope.local 192.0.2.1` on one machine, and
//! `cargo run -p ropewalk-examples --bin mdns -- ask rope.local` on another one in the same network.
//!
//! The responder shares port 5353 with others. The client asks from a port of its own, so that the answers come to it
//! alone (section 6.7). The responder does not check whether another machine has its name, which section 8 requires of
//! a responder for daily use.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ropewalk::names::hickory_proto::op::{Message, MessageType, OpCode, Query};
use ropewalk::names::hickory_proto::rr::rdata::A;
use ropewalk::names::hickory_proto::rr::{Name, RData, Record, RecordType};
use ropewalk::prelude::*;
use ropewalk::transports::NetworkInterface;
use ropewalk::{Datagram, DatagramPort, DatagramProtocol, UdpBinding};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// The lifetime of an address: section 10.
const LIFETIME: u32 = 120;
/// The longest lifetime in an answer to a client that is no responder itself: section 6.7.
const SHORT_LIFETIME: u32 = 10;
/// The number of questions, one a second: section 5.2.
const QUESTIONS: u32 = 3;

/// Answers or asks for a name below .local, over multicast.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    action: Action,
    /// The network interface. By default the system chooses.
    #[arg(long, short, global = true)]
    interface: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Answers questions for the name.
    Serve { name: String, address: Ipv4Addr },
    /// Asks for the name, and prints the first answer.
    Ask { name: String },
}

/// Answers questions for one name.
struct Responder {
    name: Name,
    address: Ipv4Addr,
}

impl Responder {
    /// Returns the answer to a message, and whether it goes to the whole group.
    fn answer(&self, data: &[u8], from: SocketAddr) -> Option<(Message, bool)> {
        let question = Message::from_vec(data).ok()?;
        if question.message_type() != MessageType::Query || question.op_code() != OpCode::Query {
            return None;
        }
        let is_wanted = |query: &&Query| {
            *query.name() == self.name && [RecordType::A, RecordType::ANY].contains(&query.query_type())
        };
        let query = question.queries().iter().find(is_wanted)?;
        let is_for_all = from.port() == PORT;
        let mut answer = Message::new();
        answer.set_message_type(MessageType::Response).set_authoritative(true);
        if !is_for_all {
            // An ordinary client expects an ordinary answer.
            answer.set_id(question.id()).add_query(query.clone());
        }
        let lifetime = if is_for_all { LIFETIME } else { SHORT_LIFETIME };
        answer.add_answer(Record::from_rdata(self.name.clone(), lifetime, RData::A(A(self.address))));
        Some((answer, is_for_all))
    }
}

impl DatagramProtocol for Responder {
    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        let Some(from) = datagram.from.inet() else { return };
        let Some((answer, is_for_all)) = self.answer(datagram.data, from) else { return };
        let to = if is_for_all { SocketAddr::from((GROUP, PORT)) } else { from };
        let Ok(bytes) = answer.to_vec() else { return };
        // A lost answer is asked for again.
        let _ = port.write_to(&bytes, &to.into());
    }
}

/// Asks for one name, and stops the reactor with the first answer.
struct Client {
    name: Name,
    found: Rc<Cell<Option<Ipv4Addr>>>,
}

impl Client {
    fn question(&self) -> Vec<u8> {
        let mut question = Message::new();
        question.set_id(0).add_query(Query::query(self.name.clone(), RecordType::A));
        question.to_vec().expect("a question is short")
    }
}

impl DatagramProtocol for Client {
    fn start_protocol(&mut self, port: &DatagramPort) {
        let question = self.question();
        for number in 0..QUESTIONS {
            let (port, question) = (port.clone(), question.clone());
            port.reactor().call_later(Duration::from_secs(number.into()), move |_| {
                if let Err(error) = port.write_to(&question, &SocketAddr::from((GROUP, PORT)).into()) {
                    eprintln!("cannot ask: {error}");
                }
            });
        }
        port.reactor().call_later(Duration::from_secs(QUESTIONS.into()), |reactor| drop(reactor.stop()));
    }

    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        let Ok(message) = Message::from_vec(datagram.data) else { return };
        let is_answer = |record: &&Record| *record.name() == self.name && record.record_type() == RecordType::A;
        let address = message.answers().iter().find(is_answer).and_then(|record| record.data().as_a());
        if let Some(address) = address {
            self.found.set(Some(address.0));
            let _ = port.reactor().stop();
        }
    }
}

fn parse(name: &str) -> ropewalk::Result<Name> {
    let name = name.strip_suffix('.').unwrap_or(name);
    Name::from_ascii(format!("{name}."))
        .map_err(|error| Error::Failed(format!("'{name}' is not a name: {error}").into()))
}

/// Selects the interface for groups.
fn on_interface(port: &DatagramPort, interface: Option<&str>) -> ropewalk::Result<()> {
    port.set_ttl(255)?;
    interface.map_or(Ok(()), |interface| port.set_outgoing_interface(interface))
}

fn main() -> ropewalk::Result<ExitCode> {
    let options = Options::parse();
    let (reactor, interface) = (Reactor::new()?, options.interface.as_deref());
    match options.action {
        Action::Serve { name, address } => {
            let binding = UdpBinding::new((Ipv4Addr::UNSPECIFIED, PORT).into()).shared();
            let port = reactor.listen_udp(binding, Responder { name: parse(&name)?, address })?;
            on_interface(&port, interface)?;
            match interface {
                Some(interface) => port.join_group(GROUP.into(), interface)?,
                None => port.join_group(GROUP.into(), NetworkInterface::Any)?,
            }
            println!("answering for {name}");
            reactor.run()?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Ask { name } => {
            let client = Client { name: parse(&name)?, found: Rc::default() };
            let found = client.found.clone();
            let port = reactor.listen_udp((Ipv4Addr::UNSPECIFIED, 0), client)?;
            on_interface(&port, interface)?;
            reactor.run()?;
            let Some(address) = found.get() else {
                eprintln!("{name}: no answer");
                return Ok(ExitCode::FAILURE);
            };
            println!("{address}");
            Ok(ExitCode::SUCCESS)
        }
    }
}
