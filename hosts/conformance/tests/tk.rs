//! Runs the specifications in Tcl's event loop.

use ropewalk_hosts_conformance::{on_epoll, on_select, on_uring, tk};

on_epoll!(tk_epoll = tk::install);
on_uring!(tk_uring = tk::install);
on_select!(tk_select = tk::install);
