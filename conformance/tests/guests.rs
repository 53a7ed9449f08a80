//! Runs the specifications of guests on each provider that `hosted` leaves out for a kind of host loop.

#![cfg(target_os = "linux")]

use ropewalk_conformance::{Subject, conformance, hosts};

conformance!(message_loop_poll = kernel("poll").hosted(hosts::message_loop); guests, threads, streams);
conformance!(message_loop_epoll = kernel("epoll").hosted(hosts::message_loop); guests, threads, streams);
conformance!(message_loop_uring = kernel("uring").hosted(hosts::message_loop); guests, threads, streams);
conformance!(tick_loop_select = kernel("select").hosted(hosts::tick_loop); guests, threads, streams);
conformance!(tick_loop_epoll = kernel("epoll").hosted(hosts::tick_loop); guests, threads, streams);
conformance!(tick_loop_uring = kernel("uring").hosted(hosts::tick_loop); guests, threads, streams);

/// A provider of this system, with the program that plays scenarios in processes of their own.
fn kernel(name: &'static str) -> Subject {
    Subject::named(name).with_scenarios(env!("CARGO_BIN_EXE_scenario"))
}
