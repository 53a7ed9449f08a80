//! The limit of select(2), FD_SETSIZE, which the system itself does not report.

use std::net::{SocketAddr, TcpStream};

use crate::scenario::Performance;
use crate::specifications;

specifications! {
    fd_setsize;

    fn a_descriptor_above_the_limit_of_select_fails_its_opener(subject: &Subject) {
        // select(2): numbers from FD_SETSIZE on are undefined behaviour. The error says what to do.
        let mut beyond = Performance::begin(subject, "beyond select");
        let host: SocketAddr = beyond.line().unwrap().parse().unwrap();
        let clear = |line: String| {
            assert!(line.contains("select cannot watch descriptor"), "{line}");
            assert!(line.contains("choose another reactor such as poll"), "{line}");
            line
        };
        assert!(clear(beyond.line().unwrap()).starts_with("cannot listen on"));
        assert!(clear(beyond.line().unwrap()).starts_with("cannot adopt a connection"));
        assert!(clear(beyond.line().unwrap()).starts_with("failed: cannot connect to"));
        let client = TcpStream::connect(host).unwrap();
        beyond.expect(&["0 accepted"]);
        assert!(clear(beyond.line().unwrap()).starts_with("accept failed: cannot accept"));
        beyond.ends();
        drop(client);
    }
}
