//! The release program as a child, and its resources as the kernel counts them.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk_bench::accounting;
use rustix::process::{Pid, Signal, kill_process};

/// The life of a child. A longer one is killed, so that a program that hangs is an error.
const LIFE: Duration = Duration::from_secs(600);

/// The time for an exit after a signal.
const EXIT: Duration = Duration::from_secs(10);

/// The endpoint of all servers.
pub(crate) const ANYWHERE: &str = "tcp:0:interface=127.0.0.1:backlog=1024";

/// Returns a command for the release program on a reactor, in a shell that lowers the limit on open files first.
///
/// # Errors
/// If the path of this program is unknown.
pub(crate) fn program(reactor: &str, descriptors: Option<u32>) -> io::Result<Command> {
    let path = std::env::current_exe()?.with_file_name("ropewalk");
    let mut command = match descriptors {
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]).arg(path);
            shell
        }
        None => Command::new(path),
    };
    // The log of a load, such as a warning for each lost connection, is not a part of the figures.
    command.args(["-r", reactor]).stdin(Stdio::null()).stderr(Stdio::null());
    command.env_remove("ROPEWALK_REACTOR").env_remove("ROPEWALK_LOG").env_remove("NOTIFY_SOCKET");
    Ok(command)
}

/// A running child. Dropping it kills the child.
pub(crate) struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    guard: Option<Sender<()>>,
}

impl Server {
    /// Starts a command, and kills it when its time is over.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Server> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let pid = Pid::from_child(&child);
        let (guard, ended) = mpsc::channel();
        thread::spawn(move || {
            if ended.recv_timeout(LIFE) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Ok(Server { child, output, guard: Some(guard) })
    }

    /// Starts a service, and returns its address once it listens.
    ///
    /// # Errors
    /// If the service does not start.
    pub(crate) fn start(mut command: Command, service: &[&str]) -> io::Result<(Server, SocketAddr)> {
        command.args(service).args(["--listen", ANYWHERE]);
        let mut server = Server::spawn(command)?;
        let line = server.line()?;
        let mut addresses = line.split([' ', ',', '/', '\n']).filter_map(|word| word.parse().ok());
        let address = addresses.next().ok_or_else(|| io::Error::other(format!("no address in {line:?}")))?;
        Ok((server, address))
    }

    /// Returns the next line of the standard output.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the processor time so far.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        accounting::processor_time(self.id())
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits until the child exits. Returns `None` if it does not exit in time.
    pub(crate) fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        drop(self.guard.take());
        let began = Instant::now();
        while began.elapsed() < EXIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the resident memory of a process in bytes: `VmRSS` of proc(5).
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "VmRSS:")? * 1024)
}

/// Returns the most memory that a process has had so far, in bytes: `VmHWM` of proc(5).
pub(crate) fn peak_resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "VmHWM:")? * 1024)
}

/// Returns how often this thread has slept.
pub(crate) fn own_sleeps() -> io::Result<u64> {
    field(&fs::read_to_string("/proc/thread-self/status")?, "\nvoluntary_ctxt_switches:")
}

/// Returns how often the threads of a process have slept: `voluntary_ctxt_switches` of proc(5).
pub(crate) fn sleeps(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        sum += field(&status, "\nvoluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

/// Returns the number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn field(status: &str, name: &str) -> io::Result<u64> {
    let value = status.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("no {name} in proc(5)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_is_read_as_the_kernel_writes_it() {
        let status = "VmRSS:\t    1904 kB\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "VmRSS:").unwrap(), 1904);
        assert_eq!(field(status, "\nvoluntary_ctxt_switches:").unwrap(), 3);
        assert!(field(status, "VmSwap:").is_err());
    }

    #[test]
    fn this_process_has_memory_with_descriptors() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 0 && descriptors(pid).unwrap() > 2);
        assert!(sleeps(pid).is_ok() && own_sleeps().is_ok());
        assert!(peak_resident_bytes(pid).unwrap() >= resident_bytes(pid).unwrap() / 2);
    }
}
