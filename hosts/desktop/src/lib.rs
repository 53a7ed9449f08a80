//! A desktop for tests of programs with windows: Xvfb, the window manager openbox, and xdotool for keys and clicks.
//!
//! Tests show what a person would see and do. The pictures of the documentation are taken by the same tests: with the
//! variable `ROPEWALK_PICTURES`, each [`Desktop::picture`] is written to that folder.
//!
//! Every wait here has a limit, after which it panics: a window that never comes is a failure.
//!
//! A test whose process must be its own, for example because a toolkit has one loop in a process, is an ignored test
//! that another one starts: [`run_own_test`].

#![allow(clippy::print_stdout, reason = "the test runner shows beside a test why it was skipped")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
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

impl Process {
    /// Starts a program. Returns also the lines of its output.
    fn start(command: &mut Command) -> (Process, Receiver<String>) {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = Process(child.unwrap_or_else(|error| panic!("cannot start {name:?}: {error}")));
        let output = BufReader::new(process.0.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        // A thread reads, so that a wait for a line has a limit. It reads all, so that the program can always write.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        (process, lines)
    }

    /// Starts a program, and waits until it has written a line.
    #[track_caller]
    fn start_ready(command: &mut Command) -> (Process, String) {
        let name = command.get_program().to_owned();
        let (process, lines) = Process::start(command.stderr(Stdio::null()));
        let line = lines.recv_timeout(LIMIT);
        let line = line.unwrap_or_else(|error| panic!("{name:?} is not ready: {error}"));
        (process, line.trim().to_owned())
    }
}

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
        let (server, number) = Process::start_ready(&mut server);
        let display = format!(":{number}");
        // A window that is opened while the manager starts may never be shown.
        let mut manager = on_display("openbox", &display);
        let (manager, _) = Process::start_ready(manager.args(["--startup", "echo ready"]));
        Some(Desktop { server, _manager: manager, display })
    }

    /// Returns a command whose windows are on this desktop, without a message bus.
    pub fn command(&self, program: &str) -> Command {
        on_display(program, &self.display)
    }

    /// Starts a program on this desktop, without a message bus.
    pub fn open(&self, program: &str, arguments: &[&str]) -> Program {
        Program::start(self.command(program).args(arguments))
    }

    /// Starts a program on this desktop, which finds other instances of it on `bus`.
    pub fn open_on(&self, bus: &Bus, program: &str, arguments: &[&str]) -> Program {
        Program::start(self.command(program).env("DBUS_SESSION_BUS_ADDRESS", &bus.address).args(arguments))
    }

    /// Waits for the window whose title contains `title`, and makes it the active one. Returns its number.
    #[track_caller]
    pub fn activate(&self, title: &str) -> String {
        let window = wait_for(title, || self.window(title));
        wait_for("focus", || self.focus(&window).then_some(()));
        window
    }

    /// Asks the window manager for the focus. Returns whether the window has it.
    fn focus(&self, window: &str) -> bool {
        self.xdotool(&["windowactivate", window]);
        self.xdotool(&["getactivewindow"]).is_some_and(|active| active == window)
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
        // The window manager ignores a key that comes while it still moves the focus. A key that comes after the end of
        // the window would close another one, so a slow program has a second before the next key.
        wait_for("the end of the window", || {
            if self.focus(&window) {
                self.press("alt+F4");
            }
            let is_gone = || self.xdotool(&["getwindowname", &window]).is_none();
            (0..33)
                .any(|_| {
                    is_gone() || {
                        sleep(STEP);
                        false
                    }
                })
                .then_some(())
        });
    }

    /// Gives the window another size.
    #[track_caller]
    pub fn resize(&self, title: &str, width: u32, height: u32) {
        let window = self.activate(title);
        self.xdotool(&["windowsize", &window, &width.to_string(), &height.to_string()]);
    }

    /// Moves the window to a place of the screen.
    #[track_caller]
    pub fn move_to(&self, title: &str, x: u32, y: u32) {
        let window = self.activate(title);
        self.xdotool(&["windowmove", &window, &x.to_string(), &y.to_string()]);
    }

    /// Types a text.
    #[track_caller]
    pub fn type_text(&self, title: &str, text: &str) {
        self.activate(title);
        self.xdotool(&["type", "--delay", "5", text]);
    }

    /// Types a text, and then the key `Return`.
    #[track_caller]
    pub fn type_line(&self, title: &str, text: &str) {
        self.type_text(title, text);
        self.press("Return");
    }

    /// Presses a key, which the active window gets.
    pub fn press(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    /// Holds a key for a while, which the active window gets.
    pub fn hold(&self, key: &str, duration: Duration) {
        self.xdotool(&["keydown", key]);
        sleep(duration);
        self.xdotool(&["keyup", key]);
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
        let mut import = self.command("import");
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
        let output = self.command("xdotool").args(arguments).stderr(Stdio::null()).output().expect("xdotool starts");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Returns the value of the variable `DISPLAY`, for a test whose own process opens windows.
    pub fn display(&self) -> &str {
        &self.display
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
        let (daemon, address) = Process::start_ready(&mut daemon);
        Some(Bus { address, _daemon: daemon })
    }
}

/// A program, usually on a desktop. It is killed when this is dropped.
pub struct Program {
    process: Process,
    lines: Receiver<String>,
}

impl Program {
    /// Starts a program without input. Its errors are those of the test.
    pub fn start(command: &mut Command) -> Program {
        let (process, lines) = Process::start(command);
        Program { process, lines }
    }

    /// Waits until the program writes a line with `text`. Returns what follows the text in that line.
    #[track_caller]
    pub fn expect(&self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        let mut others = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.split_once(text) {
                    Some((_, rest)) => return rest.to_owned(),
                    None => others.push(line),
                },
                Err(error) => panic!("the program did not write {text:?}, but {others:?}: {error}"),
            }
        }
    }

    /// Sends the process a signal: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.0.id().to_string()]).status();
        assert!(status.expect("kill starts").success());
    }

    /// Waits until the process has exited.
    #[track_caller]
    pub fn exit_status(&mut self) -> ExitStatus {
        wait_for("the end of the program", || self.process.0.try_wait().expect("a child of this process"))
    }

    /// Waits until the process has exited, and fails unless its status is 0.
    #[track_caller]
    pub fn expect_success(&mut self) {
        let status = self.exit_status();
        assert!(status.success(), "{status}");
    }

    /// Returns the number of context switches of all threads.
    pub fn context_switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.0.id())).expect("the process runs");
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

/// Returns the path of an example of the package whose test calls this. Cargo builds it with the tests.
pub fn example(name: &str) -> String {
    let test = std::env::current_exe().expect("the path of this program");
    let folder = test.parent().and_then(Path::parent).expect("the folder of cargo's profile");
    folder.join("examples").join(name).to_str().expect("a path of UTF-8").to_owned()
}

/// Returns the path of this program, and its arguments that run one ignored test.
pub fn own_test(name: &str) -> (String, [&str; 4]) {
    let program = std::env::current_exe().expect("the path of this program");
    (program.to_str().expect("a path of UTF-8").to_owned(), ["--exact", name, "--ignored", "--nocapture"])
}

/// Runs an ignored test of this program on a desktop, in a process of its own.
#[track_caller]
pub fn run_own_test(name: &str) {
    let Some(desktop) = Desktop::start(800, 600) else { return };
    let (program, arguments) = own_test(name);
    let mut test = desktop.open(&program, &arguments);
    // A name that does not exist would pass, because no test fails then.
    test.expect("1 passed");
    test.expect_success();
}

fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Returns a command for a program with windows. It talks neither to a bus nor to a service for the disabled.
fn on_display(program: &str, display: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DISPLAY", display).env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET");
    command.env_remove("DBUS_SESSION_BUS_ADDRESS").env("NO_AT_BRIDGE", "1").env("GTK_A11Y", "none");
    command.env("GSETTINGS_BACKEND", "memory").env("GDK_BACKEND", "x11").env("GSK_RENDERER", "cairo");
    command
}
