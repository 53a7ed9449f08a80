//! All steps before the reactor, in the necessary order.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use ropewalk::Reactor;
use ropewalk::application::{Identity, MultiService};
use ropewalk::proto::panics::catch;
use ropewalk::sys::InheritedDescriptors;

use crate::configuration::{BoxedError, Configuration, Kinds, OptionLocations};
use crate::console;
use crate::log::{Target, is_standard_output};
use crate::options::{RunnerOptions, Umask};
use crate::serving::{Launcher, Locations, Serving};
use crate::system::{self, Daemonized, Directories, PidFile};

/// The default mask of a daemon, as twistd has it: its files are private.
const DAEMON_UMASK: Umask = Umask(0o077);

/// Runs a program made of services. The page of the crate has an example.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::TimerService;
/// use ropewalk_runner::{Runner, RunnerOptions};
///
/// let options = RunnerOptions::default(); // the options of an empty command line
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

/// The exit status and error message of a failed program.
#[derive(Debug)]
pub(crate) struct ExitError {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl ExitError {
    pub(crate) fn new(message: impl ToString) -> ExitError {
        ExitError { status: 1, message: message.to_string() }
    }

    fn usage(message: String) -> ExitError {
        ExitError { status: 2, message }
    }
}

impl Runner {
    /// Prepares the program `name`. Its error messages start with the name, and so do the default names of its files.
    pub fn new(name: &'static str, options: RunnerOptions) -> Runner {
        Runner { name, options, daemon_by_default: false, needs_foreground: None, kinds: Kinds::default() }
    }

    /// Runs in the background unless `--nodaemon` is given, as twistd does. The default is to need `--daemon`.
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

    /// Refuses to run in the background if there is a `reason`, with status 2 and before any other step.
    ///
    /// For services in the configuration file, use [`Kinds::add_checked`].
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

    /// Sets the kinds of services that the file of `--config` can describe.
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

    /// Runs until a signal or the program itself stops the reactor, and returns the exit status.
    ///
    /// `setup` adds services to those of the file. It is called in the serving process, once the reactor exists and
    /// before it runs, and before the switch of user and group. Call `run` before any thread is started: a process with
    /// threads cannot become a daemon. From then on, panics are logged. A program without any service is an error.
    ///
    /// ```
    /// use ropewalk_runner::{Runner, RunnerOptions};
    ///
    /// let status = Runner::new("brokend", RunnerOptions::default()).run(|_reactor, _services| {
    ///     Err("no data to serve".into()) // one line on standard error, and status 1
    /// });
    /// assert_eq!(status, std::process::ExitCode::from(1));
    /// ```
    pub fn run(self, setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>) -> ExitCode {
        let name = self.name;
        self.launch(setup).unwrap_or_else(|error| {
            console::print_error(name, &error.message);
            ExitCode::from(error.status)
        })
    }

    fn launch(
        self,
        setup: impl FnOnce(&Reactor, &MultiService) -> Result<(), BoxedError>,
    ) -> Result<ExitCode, ExitError> {
        let inherited = InheritedDescriptors::find();
        let configuration = match &self.options.config {
            Some(path) => Configuration::read(path, &self.kinds).map_err(ExitError::usage)?,
            None => Configuration::default(),
        };
        let (services, file, locations) = configuration.into_parts();
        let locations = locations.without(|option| self.options.overrides(option));
        let options = self.options.or(file);
        let daemon = options.daemon || (self.daemon_by_default && !options.nodaemon);
        if let Some(reason) = self.needs_foreground.or_else(|| services.needs_foreground()).filter(|_| daemon) {
            return Err(ExitError::usage(format!("{reason}: run it in the foreground")));
        }
        let options = if daemon { with_daemon_defaults(options, self.name) } else { options };
        if daemon && options.logfile.as_deref().is_some_and(is_standard_output) {
            let message = "a daemon has no standard output to log to: name a file with --logfile, or use --syslog";
            return Err(ExitError::usage(locations.locate("logfile", message)));
        }
        let identity = identity(&options, &locations)?;
        let error_in = |option| {
            let locations = &locations;
            move |message: String| ExitError::new(locations.locate(option, message))
        };
        // Opened first: the socket is unreachable after chroot.
        let system_log = match options.syslog {
            Some(_) => Some(Target::open(&options, self.name, identity).map_err(error_in("syslog"))?),
            None => None,
        };
        let directories = directories(&options);
        system::change_root(&directories).map_err(error_in("chroot"))?;
        system::change_directory(&directories).map_err(error_in("rundir"))?;
        let pid_file = options.pidfile.as_deref().filter(|path| !path.as_os_str().is_empty());
        let pid_file = pid_file.map(|path| PidFile::take(path, identity)).transpose().map_err(error_in("pidfile"))?;
        let pid_file = Arc::new(Mutex::new(pid_file));
        let launcher = match daemon {
            false => Launcher::Terminal,
            true => match system::daemonize().map_err(ExitError::new)? {
                Daemonized::Parent(report) => return parent_status(report),
                Daemonized::Daemon(reporter) => Launcher::Parent(reporter, inherited),
            },
        };
        let locations = Locations { services: services.locations(), options: locations };
        let serving = Serving { name: self.name, options, locations, identity, launcher: Some(launcher), pid_file };
        Ok(serving.run(system_log, |reactor, running| {
            services.build(reactor, running)?;
            setup(reactor, running)
        }))
    }
}

/// Waits for the report of the daemon, and turns it into the exit status of the parent.
fn parent_status(report: system::Report) -> Result<ExitCode, ExitError> {
    match report.read() {
        (0, _) => Ok(ExitCode::SUCCESS),
        (status, message) => Err(ExitError { status, message }),
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

fn directories(options: &RunnerOptions) -> Directories<'_> {
    Directories {
        chroot: options.chroot.as_deref(),
        rundir: options.rundir.as_deref(),
        umask: options.umask.map(|umask| umask.0),
    }
}

/// Looks up the user and group to switch to. After chroot, the user database may be missing.
fn identity(options: &RunnerOptions, locations: &OptionLocations) -> Result<Identity, ExitError> {
    let mut identity = match &options.uid {
        Some(user) => Identity::of_user(user).map_err(|error| unknown_identity(locations, "uid", "passwd", &error))?,
        None => Identity::default(),
    };
    if let Some(group) = &options.gid {
        let group = Identity::group(group).map_err(|error| unknown_identity(locations, "gid", "group", &error))?;
        identity.gid = Some(group);
    }
    if let (Some(uid), None) = (identity.uid, identity.gid) {
        if system::is_other_user(uid) {
            // Otherwise the process would keep its group, usually that of root.
            let message = format!("no user has the id {uid}, so its group is unknown: set it with --gid");
            return Err(ExitError::new(locations.locate("uid", message)));
        }
    }
    Ok(identity)
}

/// Returns the error for a name that `database` of getent(1) does not have.
fn unknown_identity(locations: &OptionLocations, option: &str, database: &str, error: &io::Error) -> ExitError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => format!(": set --{option} to a name that 'getent {database}' lists, or to a number"),
        _ => String::new(),
    };
    ExitError::new(locations.locate(option, format!("{error}{remedy}")))
}

/// Runs `work`, and turns a panic into an error.
pub(crate) fn catch_panic<R>(work: impl FnOnce() -> Result<R, ExitError>) -> Result<R, ExitError> {
    // Unwind safe: the state of `work` is dropped with it.
    catch(work)
        .unwrap_or_else(|panic| Err(ExitError { status: 101, message: format!("panicked: {}", panic.message()) }))
}
