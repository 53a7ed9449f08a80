//! IReactorTCP: ports, connectors and connections.

use crate::script::{Log, Script};
use crate::{run, specifications};

specifications! {
    tcp;

    fn bytes_written_by_one_side_are_received_by_the_other(subject: &Subject) {
        // ITransport.write, IProtocol.dataReceived
        let reactor = subject.reactor();
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let client = Script::new()
            .on_made(|transport| transport.write(b"hello"))
            .on_data(|transport, _| transport.lose_connection())
            .stop_when_lost();
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"hello");
    }

    fn a_connection_is_made_then_receives_and_is_lost_once_and_last(subject: &Subject) {
        // IProtocol
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = Script::logged(&log, "server").stop_when_lost();
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let client = Script::new().on_made(|transport| {
            transport.write(b"bye");
            transport.lose_connection();
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        log.expect(&["server made", "server data bye", "server read lost", "server lost ConnectionDone"]);
    }
}
