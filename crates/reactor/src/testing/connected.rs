//! The start of many unit tests: one connection between a server of the reactor and a client of the test.

use super::{AccumulatingProtocol, MemoryReactor, TestStream};

/// Serves an [`AccumulatingProtocol`] at `10.0.0.1:80`, and connects a client to it.
pub(crate) fn connected(net: &MemoryReactor) -> (AccumulatingProtocol, TestStream) {
    let server = AccumulatingProtocol::new();
    net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
    let client = net.connect_stream("10.0.0.1:80");
    net.settle();
    (server, client)
}
