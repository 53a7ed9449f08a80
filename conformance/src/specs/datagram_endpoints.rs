//! Endpoints of datagram ports, over UDP. Twisted has none: the promises are those of the endpoints of streams.

use std::rc::Rc;

use ropewalk::endpoints::{DatagramEndpoint, datagram_client_from_string, datagram_server_from_string};
use ropewalk::{Address, DatagramPort, Deferred, Error, Failure, Reactor};

use crate::datagram_script::DatagramScript;
use crate::script::{Log, reason_name};
use crate::specifications;
use crate::waiting::iterate_until;

const ANYWHERE: &str = "udp:0:interface=127.0.0.1";

fn server(reactor: &Reactor, description: &str) -> Rc<dyn DatagramEndpoint> {
    datagram_server_from_string(reactor, description).expect("a description that is right")
}

fn client(reactor: &Reactor, peer: &Address) -> Rc<dyn DatagramEndpoint> {
    datagram_client_from_string(reactor, &format!("udp:{peer}")).expect("a description that is right")
}

fn open(reactor: &Reactor, endpoint: &dyn DatagramEndpoint, script: &DatagramScript) -> DatagramPort {
    done(endpoint.open(reactor, Box::new(script.clone()))).expect("the address is free")
}

fn done<T>(deferred: Deferred<T>) -> Result<T, Failure> {
    deferred.try_result().expect("it fires at once")
}

fn name_of(failure: Failure) -> String {
    reason_name(&failure.trap::<Error>().expect("an error of this crate"))
}

specifications! { datagram_endpoints;
    fn a_client_endpoint_reaches_a_server_endpoint(subject: &Subject) {
        // The client gets the answers of its peer only.
        let (reactor, answers) = (subject.reactor(), DatagramScript::new());
        let port = open(&reactor, &*server(&reactor, ANYWHERE), &DatagramScript::echo());
        let connected = open(&reactor, &*client(&reactor, &port.host()), &answers);
        assert_eq!(connected.peer(), Some(port.host()));
        connected.write(b"hello").unwrap();
        iterate_until(&reactor, answers.has(1));
        assert_eq!((answers.received(), answers.senders()), (vec![b"hello".to_vec()], vec![port.host()]));
    }

    fn an_endpoint_opens_several_ports(subject: &Subject) {
        // IStreamClientEndpoint.connect: "each call makes a new connection".
        let reactor = subject.reactor();
        let port = open(&reactor, &*server(&reactor, ANYWHERE), &DatagramScript::echo());
        let endpoint = client(&reactor, &port.host());
        let [one, two] = [(); 2].map(|()| DatagramScript::new());
        let ports = [&one, &two].map(|script| open(&reactor, &*endpoint, script));
        assert_ne!(ports[0].host(), ports[1].host());
        for (number, port) in ports.iter().enumerate() {
            port.write(&[number as u8]).unwrap();
        }
        iterate_until(&reactor, || one.has(1)() && two.has(1)());
        assert_eq!((one.received(), two.received()), (vec![vec![0]], vec![vec![1]]));
    }

    fn a_wildcard_port_answers_from_the_address_asked(subject: &Subject) {
        // RFC 1122, section 4.1.3.5. A connected client receives no other answer. Systems without details choose by
        // themselves, and choose the same on loopback.
        let (reactor, answers) = (subject.reactor(), DatagramScript::new());
        let echo = DatagramScript::new().on_data(|port, datagram| {
            port.write_from(datagram.data, datagram.from, datagram.local).unwrap();
        });
        let port = open(&reactor, &*server(&reactor, "udp:0:interface=0.0.0.0"), &echo);
        let asked = format!("127.0.0.1:{}", port.host().inet().unwrap().port());
        let connected = open(&reactor, &*client(&reactor, &Address::Inet(asked.parse().unwrap())), &answers);
        connected.write(b"hello").unwrap();
        iterate_until(&reactor, answers.has(1));
        assert_eq!(answers.senders()[0].to_string(), asked);
    }

    fn a_failed_open_is_a_failure(subject: &Subject) {
        // IStreamServerEndpoint.listen never raises: its Deferred fails with CannotListenError.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = open(&reactor, &*server(&reactor, ANYWHERE), &DatagramScript::new());
        let again = format!("udp:{}:interface=127.0.0.1", port.host().inet().unwrap().port());
        let second = DatagramScript::new().logged(&log, "second");
        let failure = done(server(&reactor, &again).open(&reactor, Box::new(second))).unwrap_err();
        assert_eq!(name_of(failure), "CannotListen");
        log.expect(&[]);
        assert_eq!(reactor.source_count(), 1);
    }

    fn a_name_that_is_not_one_fails(subject: &Subject) {
        // check_name refuses the name without a query.
        let (reactor, log) = (subject.reactor(), Log::new());
        let endpoint = datagram_client_from_string(&reactor, "udp:-bad-.example..:53").unwrap();
        let opened = endpoint.open(&reactor, Box::new(DatagramScript::new().logged(&log, "client")));
        iterate_until(&reactor, || opened.is_done());
        assert!(done(opened).is_err());
        log.expect(&[]);
    }

    fn a_longest_datagram_may_be_described(subject: &Subject) {
        // maxPacketSize
        let (reactor, script) = (subject.reactor(), DatagramScript::new());
        let port = open(&reactor, &*server(&reactor, &format!("{ANYWHERE}:max_packet_size=10")), &script);
        let sender = open(&reactor, &*client(&reactor, &port.host()), &DatagramScript::new());
        sender.write(&[1; 11]).unwrap();
        sender.write(&[2; 10]).unwrap();
        iterate_until(&reactor, script.has(1));
        assert_eq!((script.received(), port.counters().cut), (vec![vec![2; 10]], 1));
    }

    fn a_registered_datagram_type_is_found_by_its_prefix(subject: &Subject) {
        // IStreamServerEndpointStringParser: a plugin registers a prefix.
        let reactor = subject.reactor();
        reactor.endpoints().register_datagram_server("again", |endpoints, description| {
            endpoints.datagram_server(description.rest().expect("it is nested").1)
        });
        assert!(open(&reactor, &*server(&reactor, &format!("again:{ANYWHERE}")), &DatagramScript::new()).is_listening());
        let wrong = datagram_server_from_string(&reactor, "tcp:80").err().unwrap().to_string();
        assert!(wrong.contains("again, udp") && wrong.contains("did you mean udp:80?"), "{wrong}");
    }
}
