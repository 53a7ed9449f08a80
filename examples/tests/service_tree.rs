//! Runs the program `service_tree` with a configuration file.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running(Child, PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(&self.1);
    }
}

fn run(services: &str) -> Running {
    let directory = std::env::temp_dir().join(format!("ropewalk-service-tree-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("services.toml"), services).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_service_tree"));
    command.arg("--config").arg(directory.join("services.toml")).arg("--rundir").arg(&directory);
    Running(command.stdin(Stdio::null()).spawn().unwrap(), directory)
}

#[test]
fn a_courier_sends_notes_to_the_board() {
    let mut running = run("
        # The courier starts first, and has to wait for the board.
        [[service]]
        kind = 'courier'
        to = 'unix:board'
        note = 'good news'
        seconds = 0.01

        [[service]]
        kind = 'board'
        listen = 'unix:board'
        notes = 3
    ");
    let began = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        assert!(began.elapsed() < PATIENCE, "timed out: {seen:?}");
        std::thread::sleep(Duration::from_millis(10));
        let Ok(stream) = UnixStream::connect(running.1.join("board")) else { continue };
        // The board sends all notes at once, and does not close the connection.
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        seen = BufReader::new(stream).lines().map_while(Result::ok).collect();
    }
    assert_eq!(seen, ["good news"; 3]);
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}
