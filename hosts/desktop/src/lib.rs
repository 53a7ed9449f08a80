//! A desktop for tests of programs with windows: Xvfb, the window manager openbox, and xdotool for keys and clicks.
//!
//! Tests show what a person would see and do. The pictures of the documentation are taken by the same tests: with the
//! variable `ROPEWALK_PICTURES`, each [`Desktop::picture`] is written to that folder.
//!
//! Every wait here has a limit, after which it panics: a window that never comes is a failure.

#![allow(clippy::print_stdout, reason = "the test runner shows beside a test why it was skipped")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest time that a test waits for anything.
const LIMIT: Duration = Duration::from_secs(40);
const STEP: Duration = Duration::from_millis(30);

/// Waits until `condition` returns something.
///
/// # Panics
/// After a limit, with the name of what did not come.
#[track_caller]
pub fn wait_for<T>(name: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{name} did not come within {LIMIT:?}");
        sleep(STEP);
    }
}

/// An X server without a screen, with a window manager.
pub struct Desktop {
    server: Process,
    _manager: Process,
    display: String,
}

/// A program that is ended when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Desktop {
    /// Starts the desktop on a free display. Returns `None`, and says so, on a machine without Xvfb, openbox or xdotool.
    pub fn start(width: u32, height: u32) -> Option<Desktop> {
        let missing = ["Xvfb", "openbox", "xdotool", "import"].iter().find(|program| !is_here(program));
        if let Some(missing) = missing {
            println!("skipped: this machine has no {missing}");
            return None;
        }
        let mut server = Command::new("Xvfb");
        // Without `-noreset`, the server loses its state, and its clients, whenever the last client leaves.
        server
            .args(["-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{width}x{height}x24"));
        let mut server = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Xvfb starts");
        let mut number = String::new();
        BufReader::new(server.stdout.take().expect("a pipe")).read_line(&mut number).expect("Xvfb names its display");
        let display = format!(":{}", number.trim());
        let mut manager = on_display(Command::new("openbox"), &display);
        let manager = manager.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openbox starts");
        let desktop = Desktop { server: Process(server), _manager: Process(manager), display };
        wait_for("the window manager", || {
            let id = desktop.xdotool(&["get_desktop"])?;
            (!id.is_empty()).then_some(())
        });
        Some(desktop)
    }

    /// Starts a program on this desktop, without a message bus.
    pub fn open(&self, program: &str, arguments: &[&str]) -> Program {
        self.start_program(on_display(Command::new(program), &self.display), arguments)
    }

    /// Starts a program on this desktop, which finds other instances of it on `bus`.
    pub fn open_on(&self, bus: &Bus, program: &str, arguments: &[&str]) -> Program {
        let mut command = on_display(Command::new(program), &self.display);
        command.env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
        self.start_program(command, arguments)
    }

    fn start_program(&self, mut command: Command, arguments: &[&str]) -> Program {
        Program(Process(command.args(arguments).stdin(Stdio::null()).spawn().expect("the program starts")))
    }

    /// Waits for the window whose title contains `title`, and makes it the active one. Returns its number.
    #[track_caller]
    pub fn activate(&self, title: &str) -> String {
        let window = wait_for(title, || self.window(title));
        wait_for("focus", || {
            self.xdotool(&["windowactivate", &window]);
            (self.xdotool(&["getactivewindow"]) == Some(window.clone())).then_some(())
        });
        window
    }

    /// Returns the number of the visible window whose title contains `title`.
    pub fn window(&self, title: &str) -> Option<String> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", title])?;
        found.lines().next().map(str::to_owned)
    }

    /// Returns the number of visible windows of a program.
    pub fn windows_of_class(&self, class: &str) -> usize {
        self.xdotool(&["search", "--onlyvisible", "--class", class]).map_or(0, |found| found.lines().count())
    }

    /// Closes the window as its close button does.
    #[track_caller]
    pub fn close(&self, title: &str) {
        let window = self.activate(title);
        // The window manager ignores a key that comes while it still moves the focus.
        wait_for("the end of the window", || {
            self.xdotool(&["key", "alt+F4"]);
            sleep(5 * STEP);
            self.xdotool(&["getwindowname", &window]).is_none().then_some(())
        });
    }

    /// Gives the window another size.
    #[track_caller]
    pub fn resize(&self, title: &str, width: u32, height: u32) {
        let window = self.activate(title);
        self.xdotool(&["windowsize", &window, &width.to_string(), &height.to_string()]);
    }

    /// Types a text, and then the key `Return`.
    #[track_caller]
    pub fn type_line(&self, title: &str, text: &str) {
        self.activate(title);
        self.xdotool(&["type", "--delay", "5", text]);
        self.press("Return");
    }

    /// Presses a key, which the active window gets.
    pub fn press(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    /// Clicks at a place of a window.
    #[track_caller]
    pub fn click(&self, title: &str, x: u32, y: u32) {
        let window = self.activate(title);
        self.xdotool(&["mousemove", "--window", &window, &x.to_string(), &y.to_string(), "click", "1"]);
    }

    /// Takes a picture of the screen, without its empty border. Returns the number of its colours.
    ///
    /// The picture is kept as `NAME.png` in the folder `ROPEWALK_PICTURES`.
    ///
    /// # Panics
    /// If the screen is empty.
    #[track_caller]
    pub fn picture(&self, name: &str) -> usize {
        // Toolkits draw the last change in one of the next frames.
        sleep(Duration::from_millis(300));
        let folder = std::env::var_os("ROPEWALK_PICTURES").map(PathBuf::from);
        let path = folder.unwrap_or_else(std::env::temp_dir).join(format!("{name}.png"));
        let mut import = on_display(Command::new("import"), &self.display);
        import.args(["-window", "root", "-trim", "+repage", "-strip", "-colors", "64"]).arg(&path);
        assert!(import.status().expect("import starts").success(), "no picture of {name}");
        let colours = Command::new("identify").args(["-format", "%k"]).arg(&path).output().expect("identify starts");
        let colours = String::from_utf8_lossy(&colours.stdout).trim().parse().expect("a number");
        assert!(colours > 2, "the screen of {name} is empty");
        if std::env::var_os("ROPEWALK_PICTURES").is_none() {
            let _ = fs::remove_file(&path);
        }
        colours
    }

    fn xdotool(&self, arguments: &[&str]) -> Option<String> {
        let mut command = on_display(Command::new("xdotool"), &self.display);
        let output = command.args(arguments).stderr(Stdio::null()).output().expect("xdotool starts");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Returns the process id of the X server.
    pub fn server(&self) -> u32 {
        self.server.0.id()
    }
}

/// A message bus of a session.
pub struct Bus {
    address: String,
    _daemon: Process,
}

impl Bus {
    /// Starts a bus. Returns `None`, and says so, on a machine without dbus-daemon.
    pub fn start() -> Option<Bus> {
        if !is_here("dbus-daemon") {
            println!("skipped: this machine has no dbus-daemon");
            return None;
        }
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address=1"]);
        let mut daemon = daemon.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("dbus-daemon starts");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().expect("a pipe")).read_line(&mut address).expect("its address");
        Some(Bus { address: address.trim().to_owned(), _daemon: Process(daemon) })
    }
}

/// A program on a desktop. It is killed when this is dropped.
pub struct Program(Process);

impl Program {
    /// Sends the process a signal: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.0.0.id().to_string()]).status();
        assert!(status.expect("kill starts").success());
    }

    /// Waits until the process has exited.
    #[track_caller]
    pub fn exit_status(&mut self) -> ExitStatus {
        wait_for("the end of the program", || self.0.0.try_wait().expect("a child of this process"))
    }

    /// Waits until the process has exited, and fails unless its status is 0.
    #[track_caller]
    pub fn expect_success(&mut self) {
        let status = self.exit_status();
        assert!(status.success(), "{status}");
    }

    /// Returns the number of context switches of all threads.
    pub fn context_switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.0.id())).expect("the process runs");
        tasks.flatten().map(|task| switches(&task.path())).sum()
    }
}

fn switches(task: &Path) -> u64 {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
    counts.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum()
}

/// A peer that speaks lines over TCP.
pub struct Lines(BufReader<TcpStream>);

impl Lines {
    /// Connects when the port listens.
    #[track_caller]
    pub fn connect(address: &str) -> Lines {
        let stream = wait_for(address, || TcpStream::connect(address).ok());
        stream.set_read_timeout(Some(LIMIT)).expect("a limit above zero");
        Lines(BufReader::new(stream))
    }

    /// Returns the address that this is connected to.
    pub fn peer(&self) -> String {
        self.0.get_ref().peer_addr().expect("a connected socket").to_string()
    }

    /// Sends a line.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).expect("the peer reads");
    }

    /// Waits for a line. Returns an empty one at the end of the connection.
    #[track_caller]
    pub fn receive(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line within the limit");
        line.trim_end().to_owned()
    }

    /// Waits for the line, and ignores the lines before it.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        loop {
            let line = self.receive();
            if line == expected {
                return;
            }
            assert!(!line.is_empty(), "the connection ended before {expected:?}");
        }
    }
}

/// Returns an address of this machine whose port is free.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").to_string()
}

fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Sets the variables of a program with windows. It talks neither to a bus nor to a service for the disabled.
fn on_display(mut command: Command, display: &str) -> Command {
    command.env("DISPLAY", display).env_remove("WAYLAND_DISPLAY").env_remove("DBUS_SESSION_BUS_ADDRESS");
    command.env("NO_AT_BRIDGE", "1").env("GTK_A11Y", "none").env("GSETTINGS_BACKEND", "memory");
    command.env("GDK_BACKEND", "x11").env("GSK_RENDERER", "cairo");
    command
}
