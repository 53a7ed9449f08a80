//! The limit of select(2). The process of this file has few descriptors left, so it has no other specification.

use std::fs::File;
use std::os::fd::AsRawFd;

use ropewalk::hosting::Guest;
use ropewalk::{Error, Reactor};
use rustix::process::{Resource, getrlimit, setrlimit};

#[test]
fn a_descriptor_that_is_too_large_for_select_is_refused() {
    // Tcl would write beyond the end of a set of descriptors.
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < 2000) {
        return;
    }
    limit.current = Some(2000);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut files = vec![File::open("/dev/null").unwrap()];
    while files.last().is_some_and(|file| file.as_raw_fd() < 1023) {
        files.push(File::open("/dev/null").unwrap());
    }
    let reactor = Reactor::with("epoll").unwrap();
    let refused = ropewalk_tk::install_without_interpreter(&reactor);
    assert!(matches!(&refused, Err(Error::Failed(fault)) if fault.contains("is too large for Tcl")), "{refused:?}");
    Guest::new(&reactor).unwrap();
    let _tk = ropewalk_tk::install_without_interpreter(&Reactor::with("poll").unwrap()).unwrap();
}
