//! Runs the specifications in loops of frames.

use ropewalk_hosts_conformance::{frame, on_epoll, on_select, on_uring};

on_select!(frame_select = frame::sleeping);
on_uring!(frame_uring = frame::drawing);
on_epoll!(sdl2_epoll = frame::sdl2);
