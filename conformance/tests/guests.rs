//! Runs the specifications of guests on each provider that `hosted` leaves out for a kind of host loop.

#![cfg(target_os = "linux")]

use ropewalk_conformance::{Subject, conformance, hosts};

conformance!(message_loop_poll = Subject::named("poll").hosted(hosts::message_loop); guests, threads, streams);
conformance!(message_loop_epoll = Subject::named("epoll").hosted(hosts::message_loop); guests, threads, streams);
conformance!(message_loop_uring = Subject::named("uring").hosted(hosts::message_loop); guests, threads, streams);
conformance!(tick_loop_select = Subject::named("select").hosted(hosts::tick_loop); guests, threads, streams);
conformance!(tick_loop_epoll = Subject::named("epoll").hosted(hosts::tick_loop); guests, threads, streams);
conformance!(tick_loop_uring = Subject::named("uring").hosted(hosts::tick_loop); guests, threads, streams);
