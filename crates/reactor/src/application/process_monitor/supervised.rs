//! The protocol of one run of a monitored process: its output line by line, and its exit.

use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk_sys::ExitStatus;

use super::lines::LineSplitter;
use super::member::Member;
use crate::processes::{Process, ProcessProtocol};

pub(super) struct Supervised {
    member: Rc<Member>,
    /// By the child's descriptors.
    streams: BTreeMap<u32, LineSplitter>,
}

impl Supervised {
    pub(super) fn new(member: &Rc<Member>) -> Supervised {
        Supervised { member: member.clone(), streams: BTreeMap::new() }
    }
}

impl ProcessProtocol for Supervised {
    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        let member = &self.member;
        let stream = self.streams.entry(fd).or_insert_with(|| LineSplitter::new(member.line_length()));
        stream.feed(data, |line, is_cut| member.line_received(process, fd, line, is_cut));
    }

    fn child_connection_lost(&mut self, process: &Process, fd: u32) {
        if let Some(mut stream) = self.streams.remove(&fd) {
            stream.finish(|line, is_cut| self.member.line_received(process, fd, line, is_cut));
        }
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.member.exited(process, status);
    }

    fn log_prefix(&self) -> &'static str {
        "ProcessMonitor"
    }
}
