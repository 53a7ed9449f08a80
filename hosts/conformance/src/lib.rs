//! The specifications of the reactor, with the loops of toolkits as hosts.
//!
//! A file of tests mounts them for a host loop on some providers. The lists are those that `conformance/tests/hosted.rs`
//! has for a loop that waits for a descriptor (epoll, uring) and for one whose provider waits in a thread (select, here
//! without `signals`).

pub mod frame;
pub mod glib;
pub mod tk;

use ropewalk_conformance::Subject;

/// Returns a provider of this system. `scenarios` is the program of this package that plays scenarios.
pub fn kernel(name: &'static str, scenarios: &'static str) -> Subject {
    Subject::named(name).with_scenarios(scenarios)
}

/// Mounts the specifications that hold on epoll in a host loop.
#[macro_export]
macro_rules! on_epoll {
    ($provider:ident = $install:expr) => {
        ropewalk_conformance::conformance!($provider = $crate::kernel("epoll", env!("CARGO_BIN_EXE_scenario")).hosted($install);
            guests, core, current, panics, time, threads, settling, resolver, dns, task, real_time, signals, fd_set, unix_abstract,
            streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_sockets, tls_files, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, quic, datagram_endpoints, udp_sockets, unix_datagrams, multicast, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, terminals, process_output, descriptor_passing, descriptor_sockets, async_descriptors, serial_ports, file_events, limits, thousands);
    };
}

/// Mounts the specifications that hold on io_uring in a host loop.
#[macro_export]
macro_rules! on_uring {
    ($provider:ident = $install:expr) => {
        ropewalk_conformance::conformance!($provider = $crate::kernel("uring", env!("CARGO_BIN_EXE_scenario")).hosted($install);
            guests, core, current, panics, time, threads, settling, task, real_time, signals,
            streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, datagram_endpoints, udp_sockets, unix_datagrams, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, terminals, descriptor_passing, async_descriptors, serial_ports, thousands);
    };
}

/// Mounts the specifications that hold on select, which waits in a thread while the host sleeps.
#[macro_export]
macro_rules! on_select {
    ($provider:ident = $install:expr) => {
        ropewalk_conformance::conformance!($provider = $crate::kernel("select", env!("CARGO_BIN_EXE_scenario")).hosted($install);
            guests, core, current, panics, time, threads, settling, resolver, task, real_time, fd_set, unix_abstract,
            streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, datagram_endpoints, udp_sockets, unix_datagrams, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, terminals, descriptor_passing, async_descriptors, serial_ports);
    };
}
