//! A name server on the UDP and TCP of a reactor, whose answers a specification chooses.

use std::net::SocketAddr;
use std::rc::Rc;

use ropewalk::names::hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use ropewalk::names::hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, SOA};
use ropewalk::names::hickory_proto::rr::{Name, RData, Record};
use ropewalk::protocols::basic::{Int16StringReceiver, StringProtocol, StringTransport};
use ropewalk::{Datagram, DatagramPort, DatagramProtocol, Port, Reactor};

use crate::script::Log;

/// The number of ports that are tried until UDP and TCP have the same one.
const PORTS: usize = 20;

/// A question as it has arrived.
pub struct Question {
    message: Message,
    /// The address of the client.
    pub client: SocketAddr,
    /// Whether it has arrived by TCP.
    pub by_tcp: bool,
}

impl Question {
    fn parse(data: &[u8], client: SocketAddr, by_tcp: bool) -> Question {
        let message = Message::from_vec(data).expect("the resolver sends messages");
        assert!(message.recursion_desired() && message.message_type() == MessageType::Query);
        Question { message, client, by_tcp }
    }

    /// Returns the identifier.
    pub fn id(&self) -> u16 {
        self.message.id()
    }

    fn query(&self) -> &Query {
        self.message.query().expect("a message with a question")
    }

    /// Returns the name, with its final dot.
    pub fn name(&self) -> String {
        self.query().name().to_ascii()
    }

    /// Returns the question as one line, such as `udp A host.example.`.
    pub fn line(&self) -> String {
        let way = if self.by_tcp { "tcp" } else { "udp" };
        format!("{way} {} {}", self.query().query_type(), self.name())
    }

    /// Returns an answer without records.
    pub fn response(&self) -> Message {
        let mut response = self.message.clone();
        response.set_message_type(MessageType::Response).set_recursion_available(true);
        response
    }

    /// Returns an answer with the records among `zone` that have this name and type, or are its alias.
    pub fn answer(&self, zone: &[&str]) -> Message {
        let query = self.query();
        let fits = |record: &Record| {
            let is_alias = record.record_type().is_cname();
            *record.name() == *query.name() && (record.record_type() == query.query_type() || is_alias)
        };
        let mut response = self.response();
        response.add_answers(zone.iter().map(|line| record(line)).filter(fits));
        response
    }

    /// Returns an answer with all of `records`.
    pub fn records(&self, records: &[&str]) -> Message {
        let mut response = self.response();
        response.add_answers(records.iter().map(|line| record(line)));
        response
    }

    /// Returns an answer with an error.
    pub fn error(&self, code: ResponseCode) -> Message {
        let mut response = self.response();
        response.set_response_code(code);
        response
    }

    /// Returns an answer that does not fit into a datagram.
    pub fn truncated(&self) -> Message {
        let mut response = self.response();
        response.set_truncated(true);
        response
    }
}

/// Parses a record such as `host.example. 300 A 10.0.0.1`.
pub fn record(line: &str) -> Record {
    let words: Vec<_> = line.split(' ').collect();
    let name = |text: &str| Name::from_ascii(text).expect("a name");
    let data = match words[2..] {
        ["A", ip] => RData::A(A(ip.parse().expect("an IPv4 address"))),
        ["AAAA", ip] => RData::AAAA(AAAA(ip.parse().expect("an IPv6 address"))),
        ["CNAME", target] => RData::CNAME(CNAME(name(target))),
        ["MX", preference, host] => RData::MX(MX::new(preference.parse().expect("a number"), name(host))),
        ["SOA", minimum] => {
            let minimum = minimum.parse().expect("a number");
            RData::SOA(SOA::new(name("ns."), name("root."), 1, 1, 1, 1, minimum))
        }
        _ => panic!("'{line}' is not a record"),
    };
    Record::from_rdata(name(words[0]), words[1].parse().expect("a lifetime"), data)
}

type Answers = Rc<dyn Fn(&Question) -> Vec<Vec<u8>>>;

/// A running name server.
pub struct NameServer {
    /// The address, by UDP and TCP.
    pub address: SocketAddr,
    log: Log,
    udp: DatagramPort,
    tcp: Port,
}

impl NameServer {
    /// Starts a server at `host`, an IP address, that sends one answer to each question.
    pub fn start(reactor: &Reactor, host: &str, answer: impl Fn(&Question) -> Message + 'static) -> NameServer {
        NameServer::raw(reactor, host, move |question| vec![answer(question).to_vec().expect("a short message")])
    }

    /// Starts a server that answers from `zone`, and knows no other name.
    pub fn with_zone(reactor: &Reactor, host: &str, zone: &'static [&'static str]) -> NameServer {
        NameServer::start(reactor, host, move |question| {
            let is_known = zone.iter().any(|line| *record(line).name() == *question.query().name());
            if is_known { question.answer(zone) } else { question.error(ResponseCode::NXDomain) }
        })
    }

    /// Starts a server that takes questions by UDP and TCP, and never answers.
    pub fn silent(reactor: &Reactor, host: &str) -> NameServer {
        NameServer::raw(reactor, host, |_| Vec::new())
    }

    /// Starts a server that sends any bytes.
    pub fn raw(reactor: &Reactor, host: &str, answers: impl Fn(&Question) -> Vec<Vec<u8>> + 'static) -> NameServer {
        let (log, answers): (_, Answers) = (Log::new(), Rc::new(answers));
        let serving = Serving { log: log.clone(), answers };
        let ip = host.parse().expect("an IP address");
        for _ in 0..PORTS {
            let udp = reactor.listen_udp(SocketAddr::new(ip, 0), serving.clone()).expect("a free port");
            let address = udp.host().inet().expect("an IP address");
            let its = serving.clone();
            match reactor.listen_tcp(address, move || Int16StringReceiver::new(its.clone())) {
                Ok(tcp) => return NameServer { address, log, udp, tcp },
                Err(_) => drop(udp.stop_listening()),
            }
        }
        panic!("UDP and TCP have no free port in common");
    }

    /// Returns the questions so far, as lines.
    pub fn asked(&self) -> Vec<String> {
        self.log.entries()
    }

    /// Closes the server.
    pub fn stop(&self) {
        drop(self.udp.stop_listening());
        drop(self.tcp.stop_listening());
    }
}

/// The protocol of both transports.
#[derive(Clone)]
struct Serving {
    log: Log,
    answers: Answers,
}

impl Serving {
    fn answers(&self, question: &Question) -> Vec<Vec<u8>> {
        self.log.add(question.line());
        (self.answers)(question)
    }
}

impl DatagramProtocol for Serving {
    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        let client = datagram.from.inet().expect("an IP address");
        for answer in self.answers(&Question::parse(datagram.data, client, false)) {
            port.write_to(&answer, datagram.from).expect("the client is there");
        }
    }
}

impl StringProtocol for Serving {
    fn string_received(&mut self, strings: &StringTransport, string: &[u8]) {
        let client = strings.peer().inet().expect("an IP address");
        for answer in self.answers(&Question::parse(string, client, true)) {
            strings.send_string(&answer).expect("a short message");
        }
    }
}
