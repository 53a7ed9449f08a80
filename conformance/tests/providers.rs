//! Runs each provider against the specifications of the interfaces that it offers.

use ropewalk_conformance::{Subject, conformance};

conformance!(simulated = Subject::simulated();
    core, current, panics, time, threads, host, settling, resolver, dns, dns_network, task,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_network, connectors, endpoints, reentrancy, ports, tcp, datagrams, quic, datagram_endpoints, races, lookups, scarcity, unix_streams, unix_abstract, error_numbers, refusals, child_processes, child_output, async_children, descriptor_passing);
#[cfg(unix)]
conformance!(select = kernel("select");
    core, current, panics, time, threads, host, settling, resolver, dns, task, real_time, signals, fd_set,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_sockets, tls_files, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, quic, datagram_endpoints, udp_sockets, unix_datagrams, multicast, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, process_abuse, terminals, process_output, descriptor_passing, descriptor_sockets, async_descriptors, serial_ports, file_events, limits, fd_setsize, unix_abstract);
#[cfg(unix)]
conformance!(poll = kernel("poll");
    core, current, panics, time, threads, host, settling, resolver, dns, task, real_time, signals, fd_set,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_sockets, tls_files, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, quic, datagram_endpoints, udp_sockets, unix_datagrams, multicast, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, process_abuse, terminals, process_output, descriptor_passing, descriptor_sockets, async_descriptors, serial_ports, file_events, limits, thousands, unix_abstract);
#[cfg(target_os = "linux")]
conformance!(epoll = kernel("epoll");
    core, current, panics, time, threads, host, settling, resolver, dns, task, real_time, signals, fd_set, host_handle, unix_abstract,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_sockets, tls_files, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, quic, datagram_endpoints, udp_sockets, unix_datagrams, multicast, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, process_abuse, terminals, process_output, descriptor_passing, descriptor_sockets, async_descriptors, serial_ports, file_events, limits, thousands);
#[cfg(target_os = "linux")]
conformance!(uring = kernel("uring");
    core, current, panics, time, threads, host, settling, resolver, dns, task, real_time, signals, fd_set, host_handle, unix_abstract,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_sockets, tls_files, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, quic, datagram_endpoints, udp_sockets, unix_datagrams, multicast, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, process_abuse, terminals, process_output, descriptor_passing, descriptor_sockets, async_descriptors, serial_ports, file_events, limits, thousands);

/// A provider of this system, with the program that plays scenarios in processes of their own.
#[cfg(unix)]
fn kernel(name: &'static str) -> Subject {
    Subject::named(name).with_scenarios(env!("CARGO_BIN_EXE_scenario"))
}
