//! Programs started by posix_spawn(3), which `std::process` uses, with their pipes and a pidfd in epoll(7).

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::event::epoll;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Spawns;

pub(super) struct RawSpawns(OwnedFd);

impl RawSpawns {
    pub(super) fn new() -> io::Result<RawSpawns> {
        Ok(RawSpawns(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    fn add(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }
}

impl Spawns for RawSpawns {
    fn spawn(&mut self) -> io::Result<()> {
        let piped = Stdio::piped;
        let mut child = Command::new("/bin/true").stdin(piped()).stdout(piped()).stderr(piped()).spawn()?;
        drop(child.stdin.take());
        let (mut out, mut err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        ioctl_fionbio(&out, true)?;
        ioctl_fionbio(&err, true)?;
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        self.add(out.as_fd(), 0)?;
        self.add(err.as_fd(), 1)?;
        self.add(process.as_fd(), 2)?;
        let mut open = [true; 3];
        let mut events = Vec::with_capacity(8);
        while open.contains(&true) {
            events.clear();
            epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                match event.data.u64() {
                    0 if at_end(&mut out)? => self.remove(out.as_fd(), &mut open[0])?,
                    1 if at_end(&mut err)? => self.remove(err.as_fd(), &mut open[1])?,
                    2 => {
                        child.wait()?;
                        self.remove(process.as_fd(), &mut open[2])?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl RawSpawns {
    fn remove(&self, fd: BorrowedFd<'_>, open: &mut bool) -> io::Result<()> {
        *open = false;
        Ok(epoll::delete(&self.0, fd)?)
    }
}

/// Reads what there is.
fn at_end(pipe: &mut impl Read) -> io::Result<bool> {
    let mut scratch = [0; 4096];
    loop {
        match pipe.read(&mut scratch) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
