//! The process that stays: from its log to its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk::application::{Application, Identity, MultiService, ServiceFailed};
use ropewalk::sys::signals::{SIGHUP, SIGUSR1};
use ropewalk::{Error, Failure, Phase, Reactor, SignalWatch};

use crate::announce;
use crate::configuration::{BoxedError, Origins};
use crate::launch::{Failed, catch};
use crate::log::{LogFile, Target};
use crate::options::RunnerOptions;
use crate::panics;
use crate::supervisor::Supervisor;
use crate::system::{PidFile, Telling, close_streams, hide_input};

/// Who waits to hear how the start went.
pub(crate) enum Listener {
    Terminal,
    Parent(Telling),
}

pub(crate) struct Serving {
    pub(crate) name: &'static str,
    pub(crate) options: RunnerOptions,
    pub(crate) file: FromFile,
    pub(crate) identity: Identity,
    /// Taken when the start has been told.
    pub(crate) listener: Option<Listener>,
    pub(crate) pid_file: Option<PidFile>,
}

/// Where the file says what it says.
pub(crate) struct FromFile {
    /// The services by their names.
    pub(crate) places: BTreeMap<String, String>,
    pub(crate) origins: Origins,
}

/// What is known while the loop runs.
#[derive(Default)]
struct Progress {
    listener: RefCell<Option<Listener>>,
    failure: RefCell<Option<Failed>>,
    /// The shutdown came to its end.
    in_order: Cell<bool>,
}

impl Serving {
    /// Runs to the end. A failure is told to whoever listens, and to the log if that is elsewhere.
    pub(crate) fn run(
        mut self,
        system_log: Option<Target>,
        setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>,
    ) -> ExitCode {
        let progress = Rc::new(Progress { listener: RefCell::new(self.listener.take()), ..Progress::default() });
        let mut logs_elsewhere = false;
        let outcome = catch(|| {
            if matches!(*progress.listener.borrow(), Some(Listener::Parent(_))) {
                hide_input().map_err(Failed::new)?;
            }
            let log = match system_log {
                Some(log) => log,
                None => Target::open(&self.options, self.name, self.identity)
                    .map_err(|error| Failed::new(self.file.origins.explain("logfile", error)))?,
            };
            logs_elsewhere = !matches!(log, Target::Terminal);
            self.serve(log, &progress, setup)
        });
        if let Some(pid_file) = self.pid_file.take() {
            pid_file.remove();
        }
        match outcome {
            Ok(status) => status,
            Err(failed) => {
                if logs_elsewhere {
                    tracing::error!(status = failed.status, "{}", failed.message);
                }
                match progress.listener.take() {
                    Some(Listener::Parent(parent)) => parent.tell(failed.status, &failed.message),
                    Some(Listener::Terminal) => announce::complain(self.name, &failed.message),
                    None => {}
                }
                ExitCode::from(failed.status)
            }
        }
    }

    fn serve(
        &mut self,
        log: Target,
        progress: &Rc<Progress>,
        setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>,
    ) -> Result<ExitCode, Failed> {
        let log_file = log.file();
        log.start(&self.options, self.name);
        panics::log_them();
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.write().map_err(Failed::new)?;
        }
        let reactor = match &self.options.reactor {
            Some(name) => Reactor::with(name),
            None => Reactor::new(),
        };
        let is_chosen = self.options.reactor.is_some();
        let reactor = reactor.map_err(|error| no_reactor(&error, is_chosen, &self.file.origins))?;
        let application = Application::with_identity(self.name, self.identity);
        setup(&reactor, application.services()).map_err(Failed::new)?;
        if application.services().services().is_empty() {
            return Err(Failed::new("there is nothing to run: no service was asked for"));
        }
        let supervisor = Supervisor::from_environment();
        supervisor.add_watchdog(application.services()).map_err(Failed::new)?;
        let _signals = watch_signals(&reactor, log_file, &supervisor, progress).map_err(Failed::new)?;
        watch_the_end(&reactor, &supervisor, progress);
        start(&application, &reactor, std::mem::take(&mut self.file.places), supervisor, progress);
        tracing::info!(reactor = reactor.name(), pid = std::process::id(), "starting");
        let ran = reactor.run();
        conclude(&reactor, ran, progress)
    }
}

/// A name that no reactor has is a slip of the command line, the file or the environment.
fn no_reactor(error: &Error, is_chosen: bool, origins: &Origins) -> Failed {
    let message = origins.explain("reactor", error);
    match error {
        Error::NoSuchReactor(..) if is_chosen => Failed { status: 2, message },
        Error::NoSuchReactor(..) => Failed { status: 2, message: format!("ROPEWALK_REACTOR: {message}") },
        _ => Failed::new(message),
    }
}

/// Which service of the file it was, and where that stands.
fn not_started(failure: &Failure, places: &BTreeMap<String, String>) -> Failed {
    let service = failure.downcast_ref::<ServiceFailed>();
    match service.and_then(|failed| places.get(&*failed.service)) {
        Some(place) => Failed::new(format!("{place}: {failure}")),
        None => Failed::new(failure),
    }
}

/// Starts the application, and tells whoever waits for that.
fn start(
    application: &Application,
    reactor: &Reactor,
    places: BTreeMap<String, String>,
    supervisor: Supervisor,
    progress: &Rc<Progress>,
) {
    let (started, failed) = (progress.clone(), progress.clone());
    let handle = reactor.clone();
    let tell = move |()| {
        tracing::info!("started");
        if let Some(Listener::Parent(parent)) = started.listener.take() {
            if let Err(error) = close_streams() {
                tracing::warn!(%error, "the terminal stays open");
            }
            parent.tell(0, "");
        } else {
            *started.listener.borrow_mut() = Some(Listener::Terminal);
        }
        supervisor.ready();
    };
    application.start(reactor).add_callbacks(tell, move |failure| {
        *failed.failure.borrow_mut() = Some(not_started(&failure, &places));
        // It may be stopping already.
        let _ = handle.stop();
    });
}

fn watch_the_end(reactor: &Reactor, supervisor: &Supervisor, progress: &Rc<Progress>) {
    let supervisor = supervisor.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| supervisor.stopping());
    let progress = progress.clone();
    reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| progress.in_order.set(true));
}

/// SIGHUP opens the log anew and SIGUSR1 rotates it. A program on a terminal without a log file is ended by SIGHUP, as
/// any.
fn watch_signals(
    reactor: &Reactor,
    log_file: Option<Arc<LogFile>>,
    supervisor: &Supervisor,
    progress: &Rc<Progress>,
) -> ropewalk::Result<Vec<SignalWatch>> {
    let has_parent = matches!(*progress.listener.borrow(), Some(Listener::Parent(_)));
    if log_file.is_none() && !supervisor.is_there() && !has_parent {
        return Ok(Vec::new());
    }
    let (file, supervisor) = (log_file.clone(), supervisor.clone());
    let reopen = reactor.on_signal(SIGHUP, move |_| {
        supervisor.reloading();
        tracing::info!("SIGHUP: the log goes on in a file opened anew");
        report(file.as_deref().map(LogFile::reopen), "the log file cannot be opened anew");
        supervisor.ready();
    })?;
    let rotate = reactor.on_signal(SIGUSR1, move |_| {
        report(log_file.as_deref().map(LogFile::rotate), "the log file cannot be rotated");
    })?;
    Ok(vec![reopen, rotate])
}

fn report(outcome: Option<std::io::Result<()>>, what: &str) {
    if let Some(Err(error)) = outcome {
        tracing::error!(%error, "{what}");
    }
}

/// What the end of the loop means.
fn conclude(reactor: &Reactor, ran: ropewalk::Result<()>, progress: &Progress) -> Result<ExitCode, Failed> {
    if let Some(failed) = progress.failure.take() {
        return Err(failed);
    }
    match ran {
        Err(error @ Error::Panicked(..)) => return Err(Failed { status: 101, message: error.to_string() }),
        Err(error) => return Err(Failed::new(error)),
        Ok(()) => {}
    }
    match reactor.exit_signal() {
        Some(signal) if !progress.in_order.get() => {
            let status = u8::try_from(128 + signal).unwrap_or(1);
            Err(Failed { status, message: "a second signal ended it before its services had stopped".to_owned() })
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
