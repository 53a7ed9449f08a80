//! tokio's timers without tasks, and tasks spawned on its loop from another thread.
//!
//! A timer is a `Sleep` in a box, polled once so that it is registered. There is no task and no join handle, so a real
//! program costs more. A timer that has fired is polled again and dropped, as by a task that awaits it.
//! All polls happen outside of any task, so tokio's budget of polls a turn does not apply.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::{Calls, Queue, Spawns, Timers};

pub(super) struct TokioTimers {
    live: Vec<Pin<Box<Sleep>>>,
    fired: usize,
    woken: Arc<Woken>,
    waker: Waker,
    /// The runtime is leaked, so that it can stay entered between calls. The process exits with its probe.
    runtime: &'static Runtime,
    _entered: EnterGuard<'static>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl TokioTimers {
    pub(super) fn new() -> io::Result<TokioTimers> {
        let runtime = Box::leak(Box::new(runtime()?));
        let woken = Arc::new(Woken::default());
        let (live, waker) = (Vec::with_capacity(super::LIVE), woken.clone().into());
        Ok(TokioTimers { live, fired: 0, woken, waker, runtime, _entered: runtime.enter() })
    }

    /// A registered timer, unless it was due at once.
    fn registered(&self, delay: Duration) -> Option<Pin<Box<Sleep>>> {
        let mut timer = Box::pin(tokio::time::sleep(delay));
        timer.as_mut().poll(&mut Context::from_waker(&self.waker)).is_pending().then_some(timer)
    }
}

impl Timers for TokioTimers {
    fn schedule(&mut self, delay: Duration) {
        match self.registered(delay) {
            Some(timer) => self.live.push(timer),
            None => self.fired += 1,
        }
    }

    fn schedule_and_cancel(&mut self, delay: Duration) {
        drop(self.registered(delay));
    }

    fn fire(&mut self, count: usize) -> io::Result<usize> {
        let awaited = count - self.fired;
        self.runtime.block_on(async {
            while self.woken.0.load(Ordering::Relaxed) < awaited {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let mut context = Context::from_waker(&self.waker);
        self.live.retain_mut(|timer| timer.as_mut().poll(&mut context).is_pending());
        Ok(count - self.live.len())
    }
}

pub(super) struct TokioCalls {
    runtime: Runtime,
    stopped: Arc<Notify>,
}

pub(super) struct TokioQueue {
    handle: Handle,
    stopped: Arc<Notify>,
}

impl TokioCalls {
    pub(super) fn new() -> io::Result<TokioCalls> {
        Ok(TokioCalls { runtime: runtime()?, stopped: Arc::default() })
    }
}

impl Calls for TokioCalls {
    type Queue = TokioQueue;

    fn queue(&self) -> TokioQueue {
        TokioQueue { handle: self.runtime.handle().clone(), stopped: self.stopped.clone() }
    }

    fn run(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.stopped.notified());
        Ok(())
    }
}

impl Queue for TokioQueue {
    fn call(&self, callback: impl FnOnce() + Send + 'static) {
        self.handle.spawn(async move { callback() });
    }

    fn stop(&self) {
        self.stopped.notify_one();
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

pub(super) struct TokioSpawns(Runtime);

impl TokioSpawns {
    pub(super) fn new() -> io::Result<TokioSpawns> {
        runtime().map(TokioSpawns)
    }
}

impl Spawns for TokioSpawns {
    fn spawn(&mut self) -> io::Result<()> {
        self.0.block_on(async {
            let piped = Stdio::piped;
            let mut child = Command::new("/bin/true").stdin(piped()).stdout(piped()).stderr(piped()).spawn()?;
            drop(child.stdin.take());
            let (mut out, mut err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
            let (mut outputs, mut errors) = (Vec::new(), Vec::new());
            let (read, also_read, status) =
                tokio::join!(out.read_to_end(&mut outputs), err.read_to_end(&mut errors), child.wait());
            read.and(also_read).and(status.map(drop))
        })
    }
}
