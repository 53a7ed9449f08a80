//! A signal at any moment: the program exits with a documented status, and leaves no process or pid file behind.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait, waitpid};

use super::Plan;
use crate::figure::{Bar, Figure};
use crate::run::say;
use crate::server::{ANYWHERE, Server, program};

pub(super) const NAME: &str = "signals";

/// The number of moments in each phase.
const MOMENTS: usize = 200;

/// The number of looks, one each millisecond, after which a program has exited, and a daemon is gone or has its pid
/// file. The time in which the machine is suspended does not count.
const LOOKS: u32 = 5_000;

type Phase = fn(&Trial<'_>) -> io::Result<Outcome>;

/// The phases, each with the time over which its moments are spread.
const PHASES: [(&str, Duration, Phase); 4] = [
    ("while it starts", Duration::from_millis(15), starting),
    ("while it serves", Duration::from_millis(15), serving),
    ("while it stops", Duration::from_millis(5), stopping),
    ("while it becomes a daemon", Duration::from_millis(40), daemonizing),
];

/// One signal at one moment.
struct Trial<'a> {
    reactor: &'a str,
    signal: Signal,
    moment: Duration,
}

/// The faults of a trial, in words.
type Outcome = Result<(), String>;

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let moments = plan.amount(MOMENTS);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut figures = Vec::new();
    for (words, span, phase) in PHASES {
        let mut faults = 0;
        for number in 0..moments {
            let signal = if number % 2 == 0 { Signal::INT } else { Signal::TERM };
            let trial = Trial { reactor: plan.reactor, signal, moment: random.below(span) };
            if let Err(fault) = phase(&trial)? {
                faults += 1;
                say(&format!("{NAME}: {signal:?} after {:?} {words}: {fault}", trial.moment));
            }
        }
        let title = format!("faults after SIGINT or SIGTERM at {moments} moments {words}");
        figures.push(plan.figure(NAME, title, f64::from(faults), Bar::Exactly(0.0)));
    }
    Ok(figures)
}

/// The signal may come before the program has installed its handlers: then the default action stops the process.
fn starting(trial: &Trial<'_>) -> io::Result<Outcome> {
    let mut command = program(trial.reactor, None)?;
    command.args(["echo", "--listen", ANYWHERE]);
    let server = Server::spawn(command)?;
    thread::sleep(trial.moment);
    server.signal(trial.signal)?;
    exits(server, |status| status.code() == Some(0) || status.signal() == Some(trial.signal.as_raw()))
}

fn serving(trial: &Trial<'_>) -> io::Result<Outcome> {
    let (server, address) = Server::start(program(trial.reactor, None)?, &["echo"])?;
    send_some(address)?;
    thread::sleep(trial.moment);
    server.signal(trial.signal)?;
    exits(server, |status| status.code() == Some(0))
}

/// A second signal stops the program at once, with status 128 plus its number.
fn stopping(trial: &Trial<'_>) -> io::Result<Outcome> {
    let (server, address) = Server::start(program(trial.reactor, None)?, &["echo"])?;
    send_some(address)?;
    server.signal(Signal::TERM)?;
    thread::sleep(trial.moment);
    server.signal(trial.signal)?;
    let number = trial.signal.as_raw();
    exits(server, |status| {
        status.code().is_some_and(|code| code == 0 || code == 128 + number) || status.signal() == Some(number)
    })
}

/// The signal goes to the process in the foreground. Afterwards there is a daemon with its pid file, or neither.
fn daemonizing(trial: &Trial<'_>) -> io::Result<Outcome> {
    let folder = Folder::new()?;
    let pidfile = folder.0.join("pid");
    let mut command = program(trial.reactor, None)?;
    command.args(["--daemon", "--rundir"]).arg(&folder.0).args(["--pidfile", "pid", "--logfile", "log"]);
    command.args(["echo", "--listen", ANYWHERE]);
    let mut server = Server::spawn(command)?;
    thread::sleep(trial.moment);
    server.signal(trial.signal)?;
    let Some(status) = server.wait()? else { return Ok(Err("the process in the foreground does not exit".to_owned())) };
    let orphans = settled_orphans(&pidfile)?;
    let named = named(&pidfile);
    let states = orphans.iter().map(|&orphan| state(orphan)).collect::<Vec<_>>().join(", ");
    for orphan in &orphans {
        kill_process(*orphan, Signal::TERM)?;
    }
    let are_gone = wait_for_orphans(&orphans)?;
    let fault = match (&orphans[..], named) {
        ([], Some(pid)) => Some(format!("a pid file names {pid}, which does not run")),
        ([], None) if status.success() => Some("status 0 without a daemon".to_owned()),
        ([], None) => None,
        ([daemon], Some(pid)) if daemon.as_raw_pid() == pid && !are_gone => Some("the daemon does not stop".to_owned()),
        ([daemon], Some(pid)) if daemon.as_raw_pid() == pid && pidfile.exists() => {
            Some("the daemon leaves its pid file behind".to_owned())
        }
        ([daemon], Some(pid)) if daemon.as_raw_pid() == pid => None,
        (_, named) => Some(format!("{states} run, and the pid file names {named:?}")),
    };
    Ok(fault.map_or(Ok(()), |fault| Err(format!("{fault}; {status}"))))
}

fn exits(mut server: Server, is_right: impl Fn(ExitStatus) -> bool) -> io::Result<Outcome> {
    Ok(match server.wait()? {
        None => Err("it does not exit".to_owned()),
        Some(status) if is_right(status) => Ok(()),
        Some(status) => Err(format!("it ended with {status}")),
    })
}

fn send_some(address: SocketAddr) -> io::Result<()> {
    (0..4).try_for_each(|_| TcpStream::connect(address)?.write_all(b"a line"))
}

/// Returns the orphans that this process has inherited, once they are the daemon that the pid file names, or none. A
/// process between the one in the foreground and the daemon exits by itself.
fn settled_orphans(pidfile: &Path) -> io::Result<Vec<Pid>> {
    for _ in 0..LOOKS {
        let (orphans, is_settled) = look(pidfile)?;
        if is_settled && orphans.is_empty() {
            return Ok(orphans);
        }
        if is_settled {
            // A daemon writes its pid file a moment before it installs its handlers. Before its report it also exits
            // when its command was interrupted.
            thread::sleep(Duration::from_millis(50));
            if look(pidfile)? == (orphans.clone(), true) {
                return Ok(orphans);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    orphans()
}

/// Returns the orphans, and whether they are the daemon that the pid file names, or none.
fn look(pidfile: &Path) -> io::Result<(Vec<Pid>, bool)> {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    let orphans = orphans()?;
    let is_settled = match orphans[..] {
        [] => true,
        [daemon] => named(pidfile) == Some(daemon.as_raw_pid()),
        _ => false,
    };
    Ok((orphans, is_settled))
}

/// Describes a process: its state, and the kernel function in which it waits, proc(5).
fn state(pid: Pid) -> String {
    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = read("status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap_or("gone");
    format!("process {pid} ({state}, waits in {})", read("wchan"))
}

/// Returns the process id in a pid file.
fn named(pidfile: &Path) -> Option<i32> {
    fs::read_to_string(pidfile).ok()?.trim().parse().ok()
}

fn orphans() -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may have ended meanwhile.
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    Ok(found)
}

/// Waits until the orphans have exited, and kills them if they do not.
fn wait_for_orphans(orphans: &[Pid]) -> io::Result<bool> {
    let mut all = true;
    for orphan in orphans {
        let mut looks = 0;
        while waitpid(Some(*orphan), WaitOptions::NOHANG)?.is_none() {
            if looks == LOOKS {
                all = false;
                kill_process(*orphan, Signal::KILL)?;
                waitpid(Some(*orphan), WaitOptions::empty())?;
                break;
            }
            looks += 1;
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(all)
}

/// The folder of a daemon.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let folder = std::env::temp_dir().join(format!("ropewalk-load-daemon-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Marsaglia's xorshift. Each run has the same moments.
struct Random(u64);

impl Random {
    fn below(&mut self, span: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_nanos(self.0 % span.as_nanos() as u64)
    }
}
