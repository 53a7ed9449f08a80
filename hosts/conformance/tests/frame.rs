//! Runs the specifications in loops of frames.

use ropewalk_hosts_conformance::{frame, on_epoll, on_select};

on_select!(frame_select = frame::sleeping);
on_epoll!(frame_epoll = frame::drawing);
on_epoll!(sdl2_epoll = frame::sdl2);
// io_uring is left out: when the Deferred of `stop_listening` fires, the thread that waits may still hold the last request
// of the port, and so its address (`ports::an_address_is_free_again_when_the_deferred_fires`, about once in six runs).
