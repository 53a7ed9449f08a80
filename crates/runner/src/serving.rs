//! The serving process, from opening the log to its exit status.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use ropewalk::application::{Application, Identity, MultiService, ServiceFailed};
use ropewalk::sys::InheritedDescriptors;
use ropewalk::sys::signals::{SIGHUP, SIGUSR1};
use ropewalk::{Error, Failure, Phase, Reactor, SignalWatch};

use crate::configuration::{BoxedError, OptionLocations};
use crate::console;
use crate::failure::{self, fail_with};
use crate::launch::{ExitError, catch_panic};
use crate::log::{LogFile, Target};
use crate::options::RunnerOptions;
use crate::panics;
use crate::start_watch::{COMMAND_ENDED, SharedPidFile, StartWatch};
use crate::supervisor::Supervisor;
use crate::system::{Reporter, redirect_input, redirect_output};

/// The event that SIGHUP fires.
const RELOAD: &str = "reload";

/// The receiver of the outcome of the start.
pub(crate) enum Launcher {
    Terminal,
    /// The parent of a daemon. The descriptors of the program that called it are closed when the daemon has started.
    Parent(Reporter, InheritedDescriptors),
}

pub(crate) struct Serving {
    pub(crate) name: &'static str,
    pub(crate) options: RunnerOptions,
    pub(crate) locations: Locations,
    pub(crate) identity: Identity,
    /// Taken when the outcome of the start has been reported.
    pub(crate) launcher: Option<Launcher>,
    pub(crate) pid_file: SharedPidFile,
}

/// Locations in the configuration file, for error messages.
pub(crate) struct Locations {
    /// By the names of the services.
    pub(crate) services: BTreeMap<String, String>,
    pub(crate) options: OptionLocations,
}

/// State that callbacks change while the reactor runs.
#[derive(Default)]
struct Progress {
    launcher: RefCell<Option<Launcher>>,
    /// Taken when the start is over.
    watch: RefCell<Option<StartWatch>>,
    /// Whether the shutdown is complete.
    in_order: Cell<bool>,
    /// The handler of SIGHUP. Without one, the signal stops the program.
    hangup: RefCell<Option<SignalWatch>>,
}

impl Serving {
    /// Runs to the end. Reports a failure to the launcher, and to the log unless that is the terminal.
    pub(crate) fn run(
        mut self,
        system_log: Option<Target>,
        setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>,
    ) -> ExitCode {
        let progress = Rc::new(Progress { launcher: RefCell::new(self.launcher.take()), ..Progress::default() });
        let mut has_separate_log = false;
        let outcome = catch_panic(|| {
            if matches!(*progress.launcher.borrow(), Some(Launcher::Parent(..))) {
                redirect_input().map_err(ExitError::new)?;
            }
            let log = match system_log {
                Some(log) => log,
                None => Target::open(&self.options, self.name, self.identity)
                    .map_err(|error| ExitError::new(self.locations.options.locate("logfile", error)))?,
            };
            has_separate_log = !matches!(log, Target::StandardError);
            self.serve(log, &progress, setup)
        });
        drop(progress.watch.take());
        match &outcome {
            Ok(_) => tracing::info!("stopped"),
            Err(error) if has_separate_log => tracing::error!(status = error.status, "{}", error.message),
            Err(_) => {}
        }
        let pid_file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pid_file) = pid_file {
            pid_file.remove();
        }
        outcome.unwrap_or_else(|error| {
            match progress.launcher.take() {
                // The log has the message as well, if the parent is gone.
                Some(Launcher::Parent(parent, _)) => drop(parent.report(error.status, &error.message)),
                Some(Launcher::Terminal) => console::print_error(self.name, &error.message),
                None => {}
            }
            ExitCode::from(error.status)
        })
    }

    fn serve(
        &mut self,
        log: Target,
        progress: &Rc<Progress>,
        setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>,
    ) -> Result<ExitCode, ExitError> {
        let log_file = log.file();
        log.start(&self.options, self.name);
        panics::install_hook();
        if let Some(pid_file) = &mut *self.pid_file.lock().unwrap_or_else(PoisonError::into_inner) {
            pid_file.write().map_err(ExitError::new)?;
        }
        let opened = self.options.hosts.open(self.options.reactor.as_deref());
        let is_chosen = self.options.reactor.is_some();
        // The thread may have run another program before.
        failure::take();
        let (reactor, _host) = opened.map_err(|error| reactor_error(&error, is_chosen, &self.locations.options))?;
        progress.watch.replace(progress.watch_start(&reactor, &self.pid_file));
        let application = Application::with_identity(self.name, self.identity);
        setup(&reactor, application.services()).map_err(ExitError::new)?;
        if application.services().services().is_empty() {
            return Err(ExitError::new("nothing to run: no services were added"));
        }
        let supervisor = Supervisor::from_environment();
        supervisor.add_watchdog(application.services()).map_err(ExitError::new)?;
        let _signals = watch_signals(&reactor, log_file, &supervisor, progress).map_err(ExitError::new)?;
        watch_shutdown(&reactor, &supervisor, progress);
        start(&application, &reactor, std::mem::take(&mut self.locations.services), supervisor, progress);
        tracing::info!(reactor = reactor.name(), pid = std::process::id(), "starting");
        if let Some(watch) = &*progress.watch.borrow() {
            watch.catch_signals();
        }
        let ran = reactor.run();
        exit_status(&reactor, ran, progress)
    }
}

/// Returns the error for a reactor that cannot be made. An unknown name is a usage error.
fn reactor_error(error: &Error, is_chosen: bool, locations: &OptionLocations) -> ExitError {
    let message = locations.locate("reactor", error);
    match error {
        Error::NoSuchReactor(..) if is_chosen => ExitError { status: 2, message },
        Error::NoSuchReactor(..) => ExitError { status: 2, message: format!("ROPEWALK_REACTOR: {message}") },
        _ => ExitError::new(message),
    }
}

/// Returns the error for a failed start, with the location of the service in the file.
fn start_error(failure: &Failure, locations: &BTreeMap<String, String>) -> ExitError {
    if let Some(Error::Io(_, cause)) = failure.downcast_ref::<Error>() {
        if cause.kind() == io::ErrorKind::PermissionDenied {
            // The application itself does nothing else that needs rights.
            return ExitError::new(format!("{failure}: only root may use --uid and --gid"));
        }
    }
    let service = failure.downcast_ref::<ServiceFailed>();
    match service.and_then(|failed| locations.get(&*failed.service)) {
        Some(location) => ExitError::new(format!("{location}: {failure}")),
        None => ExitError::new(failure),
    }
}

/// Starts the application, and reports the outcome to the launcher and the supervisor.
fn start(
    application: &Application,
    reactor: &Reactor,
    locations: BTreeMap<String, String>,
    supervisor: Supervisor,
    progress: &Rc<Progress>,
) {
    let started = progress.clone();
    let (starting, failing) = (reactor.clone(), reactor.clone());
    let report = move |()| {
        // The log has this line when the command that started a daemon returns.
        tracing::info!("started");
        if let Err(error) = started.report_start() {
            return fail_with(&starting, error);
        }
        started.watch_reload(&starting, &supervisor);
        supervisor.ready();
    };
    application.start(reactor).add_callbacks(report, move |failure| {
        fail_with(&failing, start_error(&failure, &locations));
    });
}

impl Progress {
    /// Keeps SIGHUP from ending a program whose services have something to reload.
    fn watch_reload(&self, reactor: &Reactor, supervisor: &Supervisor) {
        if self.hangup.borrow().is_some() || !reactor.has_system_event_trigger(RELOAD) {
            return;
        }
        match watch_hangup(reactor, None, supervisor) {
            Ok(watch) => drop(self.hangup.replace(Some(watch))),
            Err(error) => tracing::warn!(%error, "SIGHUP will not reload anything"),
        }
    }

    fn watch_start(&self, reactor: &Reactor, pid_file: &SharedPidFile) -> Option<StartWatch> {
        let launcher = self.launcher.borrow();
        let reporter = match &*launcher {
            Some(Launcher::Parent(reporter, _)) => Some(reporter),
            _ => None,
        };
        StartWatch::begin(reactor, reporter, pid_file)
    }

    /// Notifies the parent of a daemon, after closing the descriptors of the calling program.
    ///
    /// # Errors
    /// If the parent is gone: a signal ended the command that started this daemon.
    fn report_start(&self) -> Result<(), ExitError> {
        // The parent exits after the report, which must not count as its interruption.
        drop(self.watch.take());
        let (parent, inherited) = match self.launcher.take() {
            Some(Launcher::Parent(parent, inherited)) => (parent, inherited),
            terminal => {
                self.launcher.replace(terminal);
                return Ok(());
            }
        };
        if let Err(error) = redirect_output() {
            tracing::warn!(%error, "cannot redirect standard output to /dev/null");
        }
        // The services have taken theirs.
        inherited.close_unused();
        let reported = parent.report(0, "");
        reported.map_err(|_| ExitError::new(COMMAND_ENDED))
    }
}

fn watch_shutdown(reactor: &Reactor, supervisor: &Supervisor, progress: &Rc<Progress>) {
    let supervisor = supervisor.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| supervisor.stopping());
    let progress = progress.clone();
    reactor.add_system_event_trigger(Phase::After, "shutdown", move |_| progress.in_order.set(true));
}

/// Reopens the log and reloads on SIGHUP, and rotates the log on SIGUSR1.
///
/// Without a log file, supervisor or parent, the signals keep their default: they kill the program.
fn watch_signals(
    reactor: &Reactor,
    log_file: Option<Arc<LogFile>>,
    supervisor: &Supervisor,
    progress: &Rc<Progress>,
) -> ropewalk::Result<Option<SignalWatch>> {
    let has_parent = matches!(*progress.launcher.borrow(), Some(Launcher::Parent(..)));
    if log_file.is_none() && !supervisor.is_present() && !has_parent {
        return Ok(None);
    }
    progress.hangup.replace(Some(watch_hangup(reactor, log_file.clone(), supervisor)?));
    let rotate = reactor.on_signal(SIGUSR1, move |_| {
        log_error(log_file.as_deref().map(LogFile::rotate), "cannot rotate the log file");
    })?;
    Ok(Some(rotate))
}

/// Reopens the log and reloads on SIGHUP.
fn watch_hangup(
    reactor: &Reactor,
    log_file: Option<Arc<LogFile>>,
    supervisor: &Supervisor,
) -> ropewalk::Result<SignalWatch> {
    let supervisor = supervisor.clone();
    reactor.on_signal(SIGHUP, move |reactor| {
        supervisor.reloading();
        if let Some(file) = &log_file {
            tracing::info!("SIGHUP: reopening the log file");
            log_error(Some(file.reopen()), "cannot reopen the log file");
        }
        reactor.fire_system_event(RELOAD);
        supervisor.ready();
    })
}

fn log_error(outcome: Option<std::io::Result<()>>, message: &str) {
    if let Some(Err(error)) = outcome {
        tracing::error!(%error, "{message}");
    }
}

/// Returns the exit status after the reactor has stopped.
fn exit_status(reactor: &Reactor, ran: ropewalk::Result<()>, progress: &Progress) -> Result<ExitCode, ExitError> {
    if let Some(error) = failure::take() {
        return Err(error);
    }
    match ran {
        Err(error @ Error::Panicked(..)) => return Err(ExitError { status: 101, message: error.to_string() }),
        Err(error) => return Err(ExitError::new(error)),
        Ok(()) => {}
    }
    match reactor.exit_signal() {
        Some(signal) if !progress.in_order.get() => {
            let status = u8::try_from(128 + signal).unwrap_or(1);
            Err(ExitError { status, message: "a second signal arrived before the services had stopped".to_owned() })
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_change_of_user_names_the_options() {
        let denied = Arc::new(io::Error::from(io::ErrorKind::PermissionDenied));
        let failure = Failure::new(Error::Io("cannot change the user and group", denied));
        let error = start_error(&failure, &BTreeMap::new());
        assert!(error.message.ends_with(": only root may use --uid and --gid"), "{}", error.message);
    }
}
