//! The children of one provider, by their keys.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ropewalk_proto::Key;

use super::abandoned;
use super::descriptors::{Descriptors, resize};
use super::explain::explain;
use super::image::Image;
use super::recipients;
use super::stack::Stack;
use super::start::{Started, start};
use super::status;
use crate::seam::{
    Adoption, ChildPipe, ExitStatus, Interest, Kind, PipeEnd, Pipes, Processes, Recipient, Sharing, SpawnError,
    SpawnPlan, SpawnStep, Spawned, Streams, Watches, WindowSize,
};
use crate::socket::table::stale;

/// A provider that can have children.
pub(crate) trait HasChildren: Adoption + Pipes + Streams + Watches {
    fn children(&mut self) -> &mut Children;

    /// # Errors
    /// `NotFound` for a stale key, `InvalidInput` for one that is not a pipe's or terminal's.
    fn pipe_descriptor(&mut self, key: Key) -> io::Result<BorrowedFd<'_>>;
}

#[derive(Default)]
pub(crate) struct Children {
    by_key: HashMap<Key, Child>,
    /// The stack of a child until it executes its program. Kept, because a new one costs as much as the rest.
    stack: Option<Stack>,
}

struct Child {
    pid: i32,
    process: OwnedFd,
    status: Option<ExitStatus>,
}

impl Child {
    /// The number of the process, as long as it belongs to the process.
    fn number(&self) -> Option<i32> {
        self.status.is_none().then_some(self.pid)
    }

    fn release(self) {
        if self.status.is_none() {
            abandoned::keep(self.process);
        }
    }
}

impl Children {
    fn start(&mut self, image: &mut Image) -> Result<Started, super::steps::Failure> {
        start(image, self.stack.get_or_insert_with(Stack::new))
    }

    fn get_mut(&mut self, key: Key) -> io::Result<&mut Child> {
        self.by_key.get_mut(&key).ok_or_else(stale)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.by_key.drain().for_each(|(_, child)| child.release());
    }
}

impl<P: HasChildren> Processes for P {
    fn spawn(&mut self, plan: &SpawnPlan) -> Result<Spawned, SpawnError> {
        plan.check()?;
        abandoned::reap();
        let at = |step| move |error| SpawnError::new(step, &plan.program, error);
        let mut descriptors = Descriptors::open(plan).map_err(at(SpawnStep::Descriptors))?;
        let mut image = Image::new(plan, &descriptors)?;
        // Before the child exists, because a child cannot be taken back.
        let mut ours = Ours::default();
        let adopted = ours.adopt(self, &mut descriptors);
        let started = match adopted {
            Ok(()) => self.children().start(&mut image).map_err(|failure| explain(plan, &image, &failure)),
            Err(error) => Err(at(SpawnStep::Descriptors)(error)),
        };
        drop(descriptors);
        let watched = started.and_then(|started| watch(self, started).map_err(at(SpawnStep::Watch)));
        match watched {
            Ok((pid, process)) => {
                Ok(Spawned { pipes: ours.pipes, terminal: ours.terminal, ..Spawned::new(pid, process) })
            }
            Err(error) => {
                ours.close(self);
                Err(error)
            }
        }
    }

    fn exit_status(&mut self, process: Key) -> io::Result<Option<ExitStatus>> {
        let child = self.children().get_mut(process)?;
        if child.status.is_none() {
            child.status = status::of(child.process.as_fd())?;
        }
        let status = child.status;
        if status.is_some() {
            // The descriptor of an ended process is readable for ever. The status counts also if it stays armed.
            let _ = self.set_interest(process, Interest::empty());
        }
        Ok(status)
    }

    fn signal(&mut self, process: Key, signal: i32, to: Recipient) -> io::Result<()> {
        let child = self.children().get_mut(process)?;
        recipients::signal(child.process.as_fd(), child.number(), signal, to)
    }

    fn resize_terminal(&mut self, terminal: Key, size: WindowSize) -> io::Result<()> {
        resize(self.pipe_descriptor(terminal)?, size)
    }

    fn release_process(&mut self, process: Key) {
        self.unwatch(process);
        if let Some(child) = self.children().by_key.remove(&process) {
            child.release();
        }
    }
}

/// Watches a new child, and returns its number and its key. A child that cannot be watched is killed.
fn watch(provider: &mut impl HasChildren, started: Started) -> io::Result<(u32, Key)> {
    let Started { pid, process } = started;
    let key = match provider.watch(process.as_raw_fd(), Interest::READ) {
        Ok(key) => key,
        Err(error) => {
            let _ = recipients::signal(process.as_fd(), Some(pid), libc::SIGKILL, Recipient::Process);
            abandoned::keep(process);
            return Err(error);
        }
    };
    provider.children().by_key.insert(key, Child { pid, process, status: None });
    Ok((pid.unsigned_abs(), key))
}

/// This process's ends of a child's pipes.
#[derive(Default)]
struct Ours {
    pipes: Vec<ChildPipe>,
    terminal: Option<[Key; 2]>,
}

impl Ours {
    fn adopt(&mut self, provider: &mut impl HasChildren, descriptors: &mut Descriptors) -> io::Result<()> {
        for (number, end, fd) in descriptors.ours.drain(..) {
            let key = match end {
                PipeEnd::Both => provider.adopt(fd, Kind::StreamConnection)?,
                end => provider.adopt_pipe(fd, end, Sharing::Owned)?,
            };
            self.pipes.push(ChildPipe { number, key, end });
        }
        if let Some(master) = descriptors.master.take() {
            let key = provider.adopt_pipe(master, PipeEnd::Both, Sharing::Owned)?;
            self.terminal = Some([key, key]);
        }
        Ok(())
    }

    fn close(self, provider: &mut impl HasChildren) {
        self.pipes.iter().for_each(|pipe| provider.close(pipe.key));
        if let Some([terminal, _]) = self.terminal {
            provider.close(terminal);
        }
    }
}
