//! The host loops that are measured.

use ropewalk::Reactor;
use ropewalk_conformance::hosts::{Hosted, message_loop, poll_loop};
use ropewalk_hosts_conformance as toolkits;

use crate::{Figure, glib};

/// A host loop, and the event providers that it is measured with.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) providers: &'static [&'static str],
    /// Makes a reactor its guest. `None` is the reactor's own loop.
    pub(crate) install: Option<fn(&Reactor) -> Hosted>,
    /// Figures that need an idle handler of the host.
    pub(crate) drawing: &'static [(&'static str, Figure)],
}

const ALL: &[&str] = &["epoll", "uring", "select"];
/// Of the providers that have a handle, those that are measured.
const WATCHED: &[&str] = &["epoll", "uring"];
/// A provider that waits in a thread.
const IN_A_THREAD: &[&str] = &["select"];

pub(crate) const HOSTS: &[Host] = &[
    Host { name: "run", providers: ALL, install: None, drawing: &[] },
    Host { name: "poll", providers: WATCHED, install: Some(poll_loop), drawing: &[] },
    Host { name: "message", providers: IN_A_THREAD, install: Some(message_loop), drawing: &[] },
    Host { name: "glib", providers: ALL, install: Some(toolkits::glib::install), drawing: &glib::FIGURES },
    Host { name: "tk", providers: ALL, install: Some(toolkits::tk::install), drawing: &[] },
    Host { name: "frame", providers: ALL, install: Some(toolkits::frame::sleeping), drawing: &[] },
    Host { name: "sdl2", providers: ALL, install: Some(toolkits::frame::sdl2), drawing: &[] },
];
