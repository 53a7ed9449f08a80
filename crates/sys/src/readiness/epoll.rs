//! epoll(7).
//!
//! Some facts about epoll:
//! - EPOLLHUP and EPOLLERR are always reported. So a descriptor that is watched for nothing is removed, and one that is
//!   watched for its loss has no other bits.
//! - The open file is registered, not the descriptor number. A registration must be removed before the descriptor is
//!   closed. Otherwise a copy of the descriptor (dup(2), fork(2)) keeps reporting, and only a new epoll instance helps.
//! - An edge-triggered eventfd(2) is reported once for each write, whether or not it is read. So a waker need not empty
//!   it.
//! - After a level-triggered descriptor was reported, the next wait polls it again, ready or not. For an echoed message
//!   that costs the kernel about 4 % more. An edge-triggered descriptor that is read must also be watched for
//!   EPOLLRDHUP (the peer will send no more) and EPOLLPRI (a read stops short at urgent data), because bytes that a
//!   read leaves behind are not reported again.
//! - A descriptor is registered once. So several keys that watch one descriptor share a registration (`numbers`).
//! - Regular files are refused with EPERM. They never block, so they are ready in every wait. For a host loop, which
//!   waits for the epoll descriptor, an eventfd(2) that is never read makes that descriptor readable meanwhile.
//! - epoll_wait(2) counts in milliseconds. epoll_pwait2(2), Linux 5.11, counts in nanoseconds; sandboxes deny it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::slice;
use std::time::Duration;

use ropewalk_proto::Key;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, Errno};

use super::numbers::{Holder, Numbers};
use super::selector::{Selector, Trigger, Watch};
use super::timeout::{shortened, timespec};
use crate::seam::{EVENTS_PER_WAIT, Event, Events, Ready};

/// The events that one system call can report. Further events come with the next call.
type Batch = [MaybeUninit<epoll::Event>; EVENTS_PER_WAIT];

/// The key of the alarm, which no source has.
const ALARM: Key = Key::new(u32::MAX, u32::MAX);

pub(crate) struct Epoll {
    epoll: OwnedFd,
    /// Descriptors that are always ready, with what they are watched for.
    always: Vec<(Key, Watch)>,
    /// Makes the epoll descriptor readable for a host loop. It is registered while there are such descriptors.
    host_alarm: Option<OwnedFd>,
    /// The keys of the registered descriptors.
    numbers: Numbers,
    /// Whether the system has epoll_pwait2(2).
    precise: bool,
}

impl Selector for Epoll {
    const NAME: &'static str = "epoll";

    const DESCRIPTION: &'static str = "epoll(7), for any number of connections";

    const EDGES: bool = true;

    fn new() -> io::Result<Epoll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Epoll { epoll, always: Vec::new(), host_alarm: None, numbers: Numbers::default(), precise: true })
    }

    fn add(&mut self, _fd: BorrowedFd<'_>, _key: Key) -> io::Result<()> {
        Ok(())
    }

    fn add_bell(&mut self, fd: BorrowedFd<'_>, key: Key) -> io::Result<bool> {
        epoll::add(&self.epoll, fd, EventData::new_u64(key.to_u64()), EventFlags::IN | EventFlags::ET)?;
        Ok(true)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, key: Key, from: Watch, to: Watch, trigger: Trigger) -> io::Result<()> {
        match (from.is_empty(), to.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => self.enter(fd, key, to, trigger),
            (false, true) => self.leave(fd, key),
            (false, false) => self.change(fd, key, to, trigger),
        }
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, key: Key, from: Watch) {
        if !from.is_empty() {
            // `leave` accepts the only errors that can happen: epoll_ctl(2).
            let _ = self.leave(fd, key);
        }
    }

    fn forget_all(&mut self) -> io::Result<()> {
        let fresh = Epoll::new()?;
        // The descriptor number must stay the same, because a host loop may watch it.
        rustix::io::dup3(&fresh.epoll, &mut self.epoll, DupFlags::CLOEXEC)?;
        self.always.clear();
        self.numbers = Numbers::default();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events, mut seen: impl FnMut(&Event)) -> io::Result<()> {
        let timeout = if self.always.is_empty() { timeout } else { Some(Duration::ZERO) };
        let mut batch = [MaybeUninit::uninit(); EVENTS_PER_WAIT];
        let ready = match self.epoll_wait(timeout, &mut batch) {
            Err(Errno::INTR) => return Ok(()),
            outcome => outcome?,
        };
        if self.numbers.are_shared() {
            let all = ready.iter().flat_map(|ready| self.numbers.share_out(event(ready)));
            events.extend(all.inspect(&mut seen));
        } else {
            // `inspect` would cost seven instructions more for each event, because it hides the number of events.
            events.extend(ready.iter().map(|ready| {
                let event = event(ready);
                seen(&event);
                event
            }));
        }
        if self.host_alarm.is_some() && !self.always.is_empty() {
            events.retain_mut(|event| event.key != ALARM);
        }
        let always = self.always.iter().map(|&(key, watch)| Event { key, ready: watch.ready() });
        events.extend(always.inspect(seen));
        Ok(())
    }

    fn host_fd(&mut self) -> Option<RawFd> {
        if self.host_alarm.is_none() {
            self.host_alarm = Some(eventfd(1, EventfdFlags::CLOEXEC).ok()?);
            if !self.always.is_empty() {
                self.raise_alarm().ok()?;
            }
        }
        Some(self.epoll.as_raw_fd())
    }

    fn release_host_fd(&mut self) {
        // A closed descriptor is no longer registered.
        self.host_alarm = None;
    }
}

impl Epoll {
    /// Registers the alarm, if a host loop waits for the epoll descriptor.
    fn raise_alarm(&self) -> rustix::io::Result<()> {
        let data = EventData::new_u64(ALARM.to_u64());
        self.host_alarm.iter().try_for_each(|alarm| epoll::add(&self.epoll, alarm, data, EventFlags::IN))
    }

    fn end_alarm(&self) -> rustix::io::Result<()> {
        self.host_alarm.iter().try_for_each(|alarm| epoll::delete(&self.epoll, alarm))
    }

    fn enter(&mut self, fd: BorrowedFd<'_>, key: Key, watch: Watch, trigger: Trigger) -> io::Result<()> {
        match epoll::add(&self.epoll, fd, EventData::new_u64(key.to_u64()), flags(watch, trigger)) {
            Err(Errno::PERM) => {
                if self.always.is_empty() {
                    self.raise_alarm()?;
                }
                self.always.push((key, watch));
            }
            Err(Errno::EXIST) => {
                self.numbers.join(fd, key, watch);
                if let Err(error) = self.update(fd) {
                    self.numbers.leave(fd, key);
                    return Err(error.into());
                }
            }
            outcome => {
                outcome?;
                self.numbers.take(fd, key, watch);
            }
        }
        Ok(())
    }

    fn change(&mut self, fd: BorrowedFd<'_>, key: Key, watch: Watch, trigger: Trigger) -> io::Result<()> {
        if let Some(entry) = self.always.iter_mut().find(|entry| entry.0 == key) {
            entry.1 = watch;
            return Ok(());
        }
        match self.numbers.change(fd, key, watch) {
            Holder::Alone => Ok(self.register(fd, key, watch, trigger)?),
            Holder::Shared => Ok(self.update(fd)?),
            // The descriptor was closed, and its number now belongs to another source.
            Holder::Other => self.enter(fd, key, watch, trigger),
        }
    }

    fn leave(&mut self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        if let Some(place) = self.always.iter().position(|entry| entry.0 == key) {
            self.always.swap_remove(place);
            return if self.always.is_empty() { Ok(self.end_alarm()?) } else { Ok(()) };
        }
        let outcome = match self.numbers.leave(fd, key) {
            Holder::Alone => epoll::delete(&self.epoll, fd),
            Holder::Shared => self.update(fd),
            Holder::Other => Ok(()),
        };
        match outcome {
            // The owner has closed the watched descriptor already, and closing it removed the registration.
            Err(Errno::BADF | Errno::NOENT) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Makes the registration of a shared descriptor report everything that its keys are watched for.
    fn update(&self, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let Some((key, watch)) = self.numbers.registered(fd) else { return Ok(()) };
        self.register(fd, key, watch, Trigger::Level)
    }

    /// Changes the registration of a descriptor.
    fn register(&self, fd: BorrowedFd<'_>, key: Key, watch: Watch, trigger: Trigger) -> rustix::io::Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(key.to_u64()), flags(watch, trigger))
    }

    fn epoll_wait<'a>(
        &mut self,
        timeout: Option<Duration>,
        batch: &'a mut Batch,
    ) -> rustix::io::Result<&'a [epoll::Event]> {
        if let Some(timeout) = timeout.filter(|timeout| self.precise && timeout.subsec_nanos() % 1_000_000 != 0) {
            match self.epoll_pwait2(timeout, batch) {
                // SAFETY: the kernel filled the first `count` elements, which the slice borrows from `batch`.
                Ok(count) => return Ok(unsafe { slice::from_raw_parts(batch.as_ptr().cast(), count) }),
                Err(Errno::NOSYS | Errno::PERM) => self.precise = false,
                Err(error) => return Err(error),
            }
        }
        // rustix rounds the timeout up to milliseconds.
        let (ready, _) = epoll::wait(&self.epoll, batch, timeout.map(timespec).as_ref())?;
        Ok(ready)
    }

    fn epoll_pwait2(&self, timeout: Duration, batch: &mut Batch) -> rustix::io::Result<usize> {
        let timeout = shortened(timeout);
        // The kernel's own timespec has fields of 64 bits on every architecture.
        let timeout = [timeout.as_secs() as i64, i64::from(timeout.subsec_nanos())];
        // SAFETY: `batch` is valid for writes of the length that is passed, and its elements have the layout of the
        // kernel's epoll_event. `timeout` outlives the call. The null pointer leaves the signal mask as it is, so its
        // size is not read.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                batch.as_mut_ptr(),
                EVENTS_PER_WAIT as libc::c_int,
                timeout.as_ptr(),
                ptr::null::<libc::c_void>(),
                0usize,
            )
        };
        usize::try_from(count).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

fn flags(watch: Watch, trigger: Trigger) -> EventFlags {
    let mut flags = match trigger {
        Trigger::Level => EventFlags::empty(),
        Trigger::Edge if watch.contains(Watch::READ) => EventFlags::ET | EventFlags::RDHUP | EventFlags::PRI,
        Trigger::Edge => EventFlags::ET,
    };
    flags.set(EventFlags::IN, watch.contains(Watch::READ));
    flags.set(EventFlags::OUT, watch.contains(Watch::WRITE));
    flags
}

/// The distance between the bits of EPOLLRDHUP and EPOLLHUP.
const RDHUP_TO_HUP: u32 = 9;

/// The bits of epoll(7) are those of poll(2) and of [`Ready`].
const _: () = assert!(
    Ready::READ.bits() as u32 == EventFlags::IN.bits()
        && Ready::URGENT.bits() as u32 == EventFlags::PRI.bits()
        && Ready::WRITE.bits() as u32 == EventFlags::OUT.bits()
        && Ready::ERROR.bits() as u32 == EventFlags::ERR.bits()
        && Ready::HANGUP.bits() as u32 == EventFlags::HUP.bits()
        && Ready::HANGUP.bits() as u32 == EventFlags::RDHUP.bits() >> RDHUP_TO_HUP
);

#[inline(always)]
fn event(event: &epoll::Event) -> Event {
    let (data, flags) = (event.data, event.flags);
    // In nearly all cases the event is READ alone.
    let ready = if flags.bits() == EventFlags::IN.bits() { Ready::READ } else { ready_of(flags) };
    Event { key: Key::from_u64(data.u64()), ready }
}

#[inline(never)]
fn ready_of(flags: EventFlags) -> Ready {
    let flags = flags.bits();
    let hung_up = (flags & EventFlags::RDHUP.bits()) >> RDHUP_TO_HUP;
    Ready::from_bits_truncate((flags | hung_up) as u8)
}
