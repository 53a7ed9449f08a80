//! A name server that answers from a hosts file, over UDP and TCP.
//!
//! Run `cargo run -p ropewalk-examples --bin dns_server -- /etc/hosts`, and ask it with
//! `dig @127.0.0.1 -p 5353 localhost`. `--help` lists the options.
//!
//! Addresses (A and AAAA) are all that the server knows. An answer that does not fit into a datagram is truncated, and the
//! client asks again over TCP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use ropewalk::names::hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use ropewalk::names::hickory_proto::rr::rdata::{A, AAAA};
use ropewalk::names::hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use ropewalk::prelude::*;
use ropewalk::proto::hosts_file::HostsFile;
use ropewalk::protocols::basic::{Int16StringReceiver, StringProtocol, StringTransport};
use ropewalk::protocols::policies::{LimitTotalConnectionsFactory, TimeoutFactory};
use ropewalk::{Datagram, DatagramPort, DatagramProtocol};

/// The time after which a silent TCP connection is closed: RFC 7766, section 6.2.3.
const IDLE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 100;
/// The longest answer in a datagram: RFC 1035, section 4.2.1.
const LONGEST: usize = 512;
/// The bytes of the header of a message, which begins with the identifier.
const HEADER: usize = 12;

/// Answers questions about the names in a hosts file.
#[derive(Parser)]
struct Options {
    /// The file, in the form of /etc/hosts.
    hosts: PathBuf,
    /// The address, for UDP and TCP. Port 0 chooses a free port.
    #[arg(long, default_value = "127.0.0.1:5353")]
    listen: SocketAddr,
    /// The seconds for which clients may keep an answer.
    #[arg(long, default_value_t = 60)]
    lifetime: u32,
}

/// The names and their addresses.
struct Names {
    hosts: HostsFile,
    lifetime: u32,
}

impl Names {
    /// Returns the answer to a message, or `None` if it gets none.
    fn answer(&self, message: &[u8]) -> Option<Message> {
        let question = match Message::from_vec(message) {
            // Answering answers could make two servers talk for ever.
            Ok(message) if message.message_type() == MessageType::Response => return None,
            Ok(message) => message,
            Err(_) if message.len() < HEADER => return None,
            Err(_) => {
                let id = u16::from_be_bytes([message[0], message[1]]);
                return Some(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
            }
        };
        let mut answer = Message::error_msg(question.id(), question.op_code(), ResponseCode::NoError);
        answer.set_recursion_desired(question.recursion_desired()).set_authoritative(true);
        match question.queries() {
            _ if question.op_code() != OpCode::Query => answer.set_response_code(ResponseCode::NotImp),
            [query] => self.look_up(query, answer.add_query(query.clone())),
            _ => answer.set_response_code(ResponseCode::FormErr),
        };
        Some(answer)
    }

    fn look_up<'a>(&self, query: &Query, answer: &'a mut Message) -> &'a mut Message {
        let addresses = self.hosts.addresses(&query.name().to_ascii());
        if query.query_class() != DNSClass::IN {
            return answer.set_response_code(ResponseCode::Refused);
        }
        if addresses.is_empty() {
            return answer.set_response_code(ResponseCode::NXDomain);
        }
        let wanted = |data: &RData| [RecordType::ANY, data.record_type()].contains(&query.query_type());
        // The zone of an address means something on this machine alone.
        let data = addresses.iter().filter(|address| address.zone.is_none()).map(|address| match address.ip {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        });
        let record = |data| Record::from_rdata(query.name().clone(), self.lifetime, data);
        answer.add_answers(data.filter(wanted).map(record))
    }
}

/// The protocol of both transports.
#[derive(Clone)]
struct Server(Rc<Names>);

impl DatagramProtocol for Server {
    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        let Some(answer) = self.0.answer(datagram.data) else { return };
        let Ok(mut bytes) = answer.to_vec() else { return };
        if bytes.len() > LONGEST {
            let Ok(short) = answer.truncate().to_vec() else { return };
            bytes = short;
        }
        // A lost answer is asked for again.
        let _ = port.write_to(&bytes, datagram.from);
    }
}

impl StringProtocol for Server {
    fn string_received(&mut self, strings: &StringTransport, string: &[u8]) {
        let answer = self.0.answer(string).and_then(|answer| answer.to_vec().ok());
        let is_sent = answer.is_some_and(|answer| strings.send_string(&answer).is_ok());
        if !is_sent {
            strings.lose_connection();
        }
    }
}

/// Listens at `address` for UDP and TCP, and returns the address. Port 0 means a number that is free for both.
fn listen(reactor: &Reactor, address: SocketAddr, names: Names) -> ropewalk::Result<SocketAddr> {
    let server = Server(Rc::new(names));
    let attempts = if address.port() == 0 { 10 } else { 1 };
    // The system chooses a number that is free for TCP. Another program may have it for UDP.
    let early = (1..attempts).find_map(|_| listen_once(reactor, address, &server).ok());
    early.map_or_else(|| listen_once(reactor, address, &server), Ok)
}

fn listen_once(reactor: &Reactor, address: SocketAddr, server: &Server) -> ropewalk::Result<SocketAddr> {
    let own = server.clone();
    let factory = paced(move || Int16StringReceiver::new(own.clone()));
    let limited = LimitTotalConnectionsFactory::new(TimeoutFactory::new(factory, IDLE), CONNECTIONS);
    let port = reactor.listen_tcp(address, limited)?;
    let address = port.host()?.inet().expect("it is a TCP port");
    if let Err(error) = reactor.listen_udp(address, server.clone()) {
        port.close_now()?;
        return Err(error);
    }
    Ok(address)
}

fn main() -> ropewalk::Result<()> {
    let options = Options::parse();
    let hosts = std::fs::read(&options.hosts)
        .map_err(|error| ropewalk::Error::Failed(format!("cannot read {}: {error}", options.hosts.display()).into()))?;
    let reactor = Reactor::new()?;
    let names = Names { hosts: HostsFile::parse(&hosts), lifetime: options.lifetime };
    println!("answering at {}", listen(&reactor, options.listen, names)?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use ropewalk::names::hickory_proto::rr::Name;
    use ropewalk::names::{DnsConfig, DnsResolver};
    use ropewalk::testing::MemoryReactor;

    use super::*;

    /// A server of this file on a simulated network, and a resolver that asks it.
    fn world(hosts: &str) -> (MemoryReactor, DnsResolver) {
        let net = MemoryReactor::new();
        let names = Names { hosts: HostsFile::parse(hosts.as_bytes()), lifetime: 60 };
        let address = listen(&net, "10.0.0.53:53".parse().unwrap(), names).unwrap();
        (net, DnsResolver::new(DnsConfig::new([address])))
    }

    fn addresses(net: &MemoryReactor, host: &str) -> Result<Vec<String>, String> {
        let found = net.resolve_host_name(host, 80);
        net.advance(Duration::from_secs(1));
        let found = found.try_result().unwrap().map_err(|failure| failure.to_string())?;
        Ok(found.iter().map(|address| address.ip().to_string()).collect())
    }

    #[test]
    fn names_of_the_file_are_resolved() {
        let (net, resolver) =
            world("10.0.0.9 printer.example printer\nfd00::9 printer.example\nfe80::1%2 printer.example");
        net.install_name_resolver(Rc::new(resolver));
        assert_eq!(addresses(&net, "Printer.example").unwrap(), ["fd00::9", "10.0.0.9"]);
        assert_eq!(addresses(&net, "printer").unwrap(), ["10.0.0.9"]);
        assert_eq!(addresses(&net, "scanner").unwrap_err(), "the name does not exist (NXDOMAIN)");
    }

    #[test]
    fn many_addresses_are_fetched_by_tcp() {
        let hosts: String = (1..=200).map(|last| format!("10.0.1.{last} farm.example\n")).collect();
        let (net, resolver) = world(&hosts);
        net.install_name_resolver(Rc::new(resolver));
        assert_eq!(addresses(&net, "farm.example").unwrap().len(), 200);
        assert!(!net.tcp_clients().is_empty());
    }

    #[test]
    fn garbage_gets_an_error_or_nothing() {
        let names = Names { hosts: HostsFile::default(), lifetime: 60 };
        let code = |message: &[u8]| names.answer(message).map(|answer| answer.response_code());
        assert_eq!(code(b"short"), None);
        assert_eq!(code(&[0xff; 40]), Some(ResponseCode::FormErr));
        let mut message = Message::new();
        assert_eq!(code(&message.to_vec().unwrap()), Some(ResponseCode::FormErr), "no question");
        message.add_query(Query::query(Name::root(), RecordType::A)).set_op_code(OpCode::Update);
        assert_eq!(code(&message.to_vec().unwrap()), Some(ResponseCode::NotImp));
        message.set_message_type(MessageType::Response);
        assert_eq!(code(&message.to_vec().unwrap()), None);
    }
}
