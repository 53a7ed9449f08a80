//! Runs the specifications in GLib's main loop.

use ropewalk_hosts_conformance::{glib, on_epoll, on_select, on_uring};

on_epoll!(glib_epoll = glib::install);
on_uring!(glib_uring = glib::install);
on_select!(glib_select = glib::install);
