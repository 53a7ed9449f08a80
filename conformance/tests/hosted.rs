//! Runs the specifications in host loops: `Reactor::run` and `Reactor::iterate` run the loop of a host.

#![cfg(target_os = "linux")]

use ropewalk_conformance::{Subject, conformance, hosts};

conformance!(poll_loop_epoll = kernel("epoll").hosted(hosts::poll_loop);
    guests, core, current, panics, time, threads, settling, resolver, dns, task, real_time, signals, fd_set, unix_abstract,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, tls_handshakes, tls_sockets, tls_files, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, quic, datagram_endpoints, udp_sockets, unix_datagrams, multicast, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, terminals, process_output, descriptor_passing, descriptor_sockets, async_descriptors, serial_ports, file_events, limits, thousands);
// io_uring begins to poll a watched descriptor at once when there is a host, so a descriptor that was changed or closed
// since may be reported once more than `fd_set` promises.
conformance!(poll_loop_uring = kernel("uring").hosted(hosts::poll_loop);
    guests, core, current, panics, time, threads, settling, task, real_time, signals,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, datagram_endpoints, udp_sockets, unix_datagrams, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, terminals, descriptor_passing, async_descriptors, serial_ports, thousands);
// A loop that ticks never sleeps for long, so it does not keep the promises about sleep in `core`, `time` and `closing`.
conformance!(tick_loop_poll = kernel("poll").hosted(hosts::tick_loop);
    guests, current, panics, threads, settling, task, fd_set,
    streams, receiving, ending, callbacks, producers, layers, tls, connectors, endpoints, reentrancy, ports, tcp, datagrams, pipes, child_processes, child_output, descriptor_passing);
conformance!(message_loop_select = kernel("select").hosted(hosts::message_loop);
    guests, core, current, panics, time, threads, settling, resolver, task, real_time, signals, fd_set, unix_abstract,
    streams, receiving, closing, ending, lingering, callbacks, producers, pacing, layers, tls, connectors, endpoints, reentrancy, ports, tcp, error_numbers, real_races, peers, datagrams, datagram_endpoints, udp_sockets, unix_datagrams, unix_streams, unix, socket, handover, pipes, child_processes, child_output, async_children, processes, terminals, descriptor_passing, async_descriptors, serial_ports);

/// A provider of this system, with the program that plays scenarios in processes of their own.
fn kernel(name: &'static str) -> Subject {
    Subject::named(name).with_scenarios(env!("CARGO_BIN_EXE_scenario"))
}
