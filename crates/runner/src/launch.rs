//! Everything up to the reactor, in the order that each step needs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ropewalk::Reactor;
use ropewalk::application::{Identity, MultiService};

use crate::announce;
use crate::configuration::{BoxedError, Configuration, Kinds, Origins};
use crate::log::Target;
use crate::options::{RunnerOptions, Umask};
use crate::panics;
use crate::serving::{FromFile, Listener, Serving};
use crate::system::{self, PidFile, Side, Surroundings};

/// What a daemon's files may not be for others unless somebody says so: twistd's.
const DAEMON_UMASK: Umask = Umask(0o077);

/// Runs a program; see the crate's page.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::TimerService;
/// use ropewalk_runner::{Runner, RunnerOptions};
///
/// let options = RunnerOptions::default(); // what a command line without options says
/// let status = Runner::new("briefd", options).run(|reactor, services| {
///     services.add(TimerService::new(Duration::from_secs(60), |_| println!("alive")));
///     reactor.call_when_running(|reactor| reactor.stop().unwrap());
///     Ok(())
/// });
/// assert_eq!(status, std::process::ExitCode::SUCCESS);
/// ```
pub struct Runner {
    name: &'static str,
    options: RunnerOptions,
    daemon_by_default: bool,
    needs_foreground: Option<String>,
    kinds: Kinds,
}

/// Why it came to nothing: an exit status and one line.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failed {
    pub(crate) fn new(message: impl ToString) -> Failed {
        Failed { status: 1, message: message.to_string() }
    }

    fn wrong(message: String) -> Failed {
        Failed { status: 2, message }
    }
}

impl Runner {
    /// Runs the program `name` as `options` say. The name begins its complaints and names its files.
    pub fn new(name: &'static str, options: RunnerOptions) -> Runner {
        Runner { name, options, daemon_by_default: false, needs_foreground: None, kinds: Kinds::default() }
    }

    /// Goes into the background unless `--nodaemon` is given, as twistd does; without this, only with `--daemon`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::application::TimerService;
    /// use ropewalk_runner::{Runner, RunnerOptions};
    ///
    /// let options = RunnerOptions { nodaemon: true, ..RunnerOptions::default() }; // -n
    /// let status = Runner::new("briefd", options).daemon_by_default().run(|reactor, services| {
    ///     services.add(TimerService::new(Duration::from_secs(60), |_| println!("alive")));
    ///     reactor.call_when_running(|reactor| reactor.stop().unwrap());
    ///     Ok(())
    /// });
    /// assert_eq!(status, std::process::ExitCode::SUCCESS);
    /// ```
    #[must_use]
    pub fn daemon_by_default(mut self) -> Runner {
        self.daemon_by_default = true;
        self
    }

    /// Refuses to go into the background, for this reason if there is one: before anything else is done, and with status 2.
    /// What the file describes has its own say, [`Kinds::add_checked`].
    ///
    /// ```
    /// use ropewalk_runner::{Runner, RunnerOptions};
    ///
    /// let options = RunnerOptions { daemon: true, ..RunnerOptions::default() };
    /// let reason = Some("a game needs its terminal".to_owned());
    /// let status = Runner::new("gamed", options).needs_foreground(reason).run(|_reactor, _services| Ok(()));
    /// assert_eq!(status, std::process::ExitCode::from(2)); // gamed: a game needs its terminal: ...
    /// ```
    #[must_use]
    pub fn needs_foreground(mut self, reason: Option<String>) -> Runner {
        self.needs_foreground = reason;
        self
    }

    /// The kinds of services that the file of `--config` may describe.
    ///
    /// ```
    /// use ropewalk::application::TimerService;
    /// use ropewalk_runner::{Kinds, Runner, RunnerOptions};
    ///
    /// let mut kinds = Kinds::default();
    /// kinds.add("chimes", |_reactor, seconds: std::collections::BTreeMap<String, u64>| {
    ///     let every = std::time::Duration::from_secs(seconds.get("every").copied().unwrap_or(900));
    ///     Ok(TimerService::new(every, |_| println!("ding")))
    /// });
    /// let _runner = Runner::new("chimesd", RunnerOptions::default()).kinds(kinds); // for --config FILE
    /// ```
    #[must_use]
    pub fn kinds(mut self, kinds: Kinds) -> Runner {
        self.kinds = kinds;
        self
    }

    /// Runs until a signal or the program itself stops the reactor, and returns the status to end with.
    ///
    /// `setup` adds the services to those of the file. It is called in the process that stays, when the reactor has been
    /// made and before it runs; the user and group are still those of the start. Call this before any thread is started:
    /// a process with threads cannot go into the background. Panics go to the log from here on. A program without any
    /// service has nothing to run, which is an error.
    ///
    /// ```
    /// use ropewalk_runner::{Runner, RunnerOptions};
    ///
    /// let status = Runner::new("brokend", RunnerOptions::default()).run(|_reactor, _services| {
    ///     Err("there is nothing to serve".into()) // one line on standard error, and status 1
    /// });
    /// assert_eq!(status, std::process::ExitCode::from(1));
    /// ```
    pub fn run(self, setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>) -> ExitCode {
        let name = self.name;
        self.launch(setup).unwrap_or_else(|failed| {
            announce::complain(name, &failed.message);
            ExitCode::from(failed.status)
        })
    }

    fn launch(self, setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>) -> Result<ExitCode, Failed> {
        let configuration = match &self.options.config {
            Some(path) => Configuration::read(path, &self.kinds).map_err(Failed::wrong)?,
            None => Configuration::default(),
        };
        let (described, file, origins) = configuration.into_parts();
        let origins = origins.unless(|option| self.options.says(option));
        let options = self.options.or(file);
        let daemon = options.daemon || (self.daemon_by_default && !options.nodaemon);
        if let Some(reason) = self.needs_foreground.or_else(|| described.needs_foreground()).filter(|_| daemon) {
            return Err(Failed::wrong(format!("{reason}: run it in the foreground")));
        }
        let options = if daemon { with_daemon_defaults(options, self.name) } else { options };
        let identity = identity(&options, &origins)?;
        let because_of = |option| {
            let origins = &origins;
            move |message: String| Failed::new(origins.explain(option, message))
        };
        // Its socket is out of sight under another root.
        let system_log = match options.syslog {
            Some(_) => Some(Target::open(&options, self.name, identity).map_err(because_of("syslog"))?),
            None => None,
        };
        let surroundings = surroundings(&options);
        system::enter_root(&surroundings).map_err(because_of("chroot"))?;
        system::enter_directory(&surroundings).map_err(because_of("rundir"))?;
        let pid_file = options.pidfile.as_deref().map(PidFile::take).transpose().map_err(because_of("pidfile"))?;
        let listener = match daemon {
            false => Listener::Terminal,
            true => match system::become_daemon().map_err(Failed::new)? {
                Side::Parent(report) => return concluded(report),
                Side::Daemon(telling) => Listener::Parent(telling),
            },
        };
        let file = FromFile { places: described.places(), origins };
        let serving = Serving { name: self.name, options, file, identity, listener: Some(listener), pid_file };
        Ok(serving.run(system_log, |reactor, services| {
            described.build(reactor, services)?;
            setup(reactor, services)
        }))
    }
}

/// What the process that was started does with what the daemon reports.
fn concluded(report: system::Report) -> Result<ExitCode, Failed> {
    match report.read() {
        (0, _) => Ok(ExitCode::SUCCESS),
        (status, message) => Err(Failed { status, message }),
    }
}

fn with_daemon_defaults(options: RunnerOptions, name: &str) -> RunnerOptions {
    let named = |suffix| Some(PathBuf::from(format!("{name}.{suffix}")));
    RunnerOptions {
        pidfile: options.pidfile.or_else(|| named("pid")),
        logfile: options.logfile.or_else(|| named("log").filter(|_| options.syslog.is_none())),
        umask: options.umask.or(Some(DAEMON_UMASK)),
        ..options
    }
}

fn surroundings(options: &RunnerOptions) -> Surroundings<'_> {
    Surroundings {
        chroot: options.chroot.as_deref(),
        rundir: options.rundir.as_deref().map(Path::new),
        umask: options.umask.map(|umask| umask.0),
    }
}

/// Whom the process becomes; looked up before another root hides the user database.
fn identity(options: &RunnerOptions, origins: &Origins) -> Result<Identity, Failed> {
    let mut identity = match &options.uid {
        Some(user) => Identity::of_user(user).map_err(|error| Failed::new(origins.explain("uid", error)))?,
        None => Identity::default(),
    };
    if let Some(group) = &options.gid {
        let group = Identity::group(group).map_err(|error| Failed::new(origins.explain("gid", error)))?;
        identity.gid = Some(group);
    }
    if let (Some(uid), None) = (identity.uid, identity.gid) {
        if system::is_another(uid) {
            // It would stay in the group that it was started in: root's, mostly.
            let message = format!("no user has the number {uid}, so it has no group: say which, with --gid");
            return Err(Failed::new(origins.explain("uid", message)));
        }
    }
    Ok(identity)
}

/// Runs `work`, and makes a failure of a panic.
pub(crate) fn catch<R>(work: impl FnOnce() -> Result<R, Failed>) -> Result<R, Failed> {
    // What was half done is dropped with it.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        Err(Failed { status: 101, message: format!("it panicked: {}", panics::message(&*payload)) })
    })
}
