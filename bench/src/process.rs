//! The measured server: this program again, as a child that exits when its parent closes the pipe.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::accounting;
use crate::candidate::Candidate;

/// The way to start a server.
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Path,
    pub(crate) candidate: Candidate,
    pub(crate) core: usize,
    pub(crate) buffer_bytes: usize,
    /// A tracer and its options, followed by the server's command line.
    pub(crate) tracer: Vec<OsString>,
    pub(crate) service: Service<'a>,
}

/// The bytes that a server echoes.
#[derive(Clone, Copy)]
pub(crate) enum Service<'a> {
    Streams,
    Datagrams,
    /// Streams that speak TLS.
    Tls(Secured<'a>),
}

/// The TLS of a server.
#[derive(Clone, Copy)]
pub(crate) struct Secured<'a> {
    /// The file with the certificate and its key.
    pub(crate) identity: &'a Path,
    /// Whether clients may resume their sessions.
    pub(crate) resumes: bool,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Launch<'_> {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// If the server cannot be started, or exits before it listens.
    pub(crate) fn start(&self) -> io::Result<Server> {
        let mut words = self.tracer.clone();
        words.push(self.program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["serve", self.candidate.name(), "--port", "0"]);
        command.args(["--core", &self.core.to_string(), "--buffer", &self.buffer_bytes.to_string()]);
        match self.service {
            Service::Streams => {}
            Service::Datagrams => {
                command.arg("--datagrams");
            }
            Service::Tls(Secured { identity, resumes }) => {
                command.arg("--tls").arg(identity).args(resumes.then_some("--resume"));
            }
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut server = Server { child, input, output, port: 0 };
        server.port = server.answer()?;
        Ok(server)
    }
}

impl Server {
    /// Returns the server's port on the loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the processor time that the kernel has accounted to the server.
    ///
    /// # Errors
    /// If the server has exited.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        accounting::processor_time(self.child.id())
    }

    /// Returns the private memory that the server has written to, in bytes.
    ///
    /// # Errors
    /// If the server has exited.
    pub(crate) fn private_dirty_bytes(&self) -> io::Result<u64> {
        accounting::private_dirty_bytes(self.child.id())
    }

    /// Returns the memory that the server's allocator has handed out and not received back, in bytes.
    ///
    /// # Errors
    /// If the server has exited, or does not count.
    pub(crate) fn live_bytes(&mut self) -> io::Result<u64> {
        let input = self.input.as_mut().expect("the pipe is closed by finish alone");
        writeln!(input, "memory")?;
        self.answer()
    }

    /// Lets the server exit, and waits until a tracer has written its report.
    ///
    /// # Errors
    /// If the server did not exit successfully.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the server ended with {status}"))) }
    }

    fn answer<T: std::str::FromStr>(&mut self) -> io::Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().map_err(|_| io::Error::other(format!("the server answered {:?}", line.trim())))
    }
}

impl Drop for Server {
    /// Lets the server exit by itself, and leaves no zombie.
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Returns the path of the program on the counting allocator, and builds it first if cargo started us.
///
/// # Errors
/// If the program is missing. The message says how to build it.
pub(crate) fn counted_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("counted");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let build = ["build", "--quiet", "--release", "--package", "ropewalk-bench", "--bin", "counted"];
        let status = Command::new(cargo).args(build).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("cargo {} ended with {status}", build.join(" "))));
        }
    }
    if program.exists() {
        return Ok(program);
    }
    let advice = "cargo build --release -p ropewalk-bench --bins";
    Err(io::Error::other(format!("{} is missing; build it with: {advice}", program.display())))
}

/// Returns the path of a tool on the search path.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
