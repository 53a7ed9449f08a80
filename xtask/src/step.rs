//! Starts other programs and prints their command lines first, so that a slow step can be seen.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, bail};

/// Returns the cargo that runs this tool, so that every step uses the same toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Prints one line of progress.
pub(crate) fn say(text: &str) {
    println!("xtask: {text}");
}

/// Runs the program, which inherits standard input, output and error.
///
/// # Errors
/// If the program cannot be started, or exits with a status other than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(&line_of(command));
    let status = command.status().with_context(|| format!("cannot start {}", line_of(command)))?;
    if !status.success() {
        bail!("{status} from {}", line_of(command));
    }
    Ok(())
}

/// Runs the program, shows its standard output and returns the lines of that output. The program inherits standard
/// input and standard error.
///
/// # Errors
/// As for [`run`], and if the program was killed because it still ran after `limit`: a hang is a failure.
pub(crate) fn run_and_read(command: &mut Command, limit: Duration) -> Result<Vec<String>> {
    say(&line_of(command));
    let started = format!("cannot start {}", line_of(command));
    let mut child = command.stdout(Stdio::piped()).spawn().context(started)?;
    let stdout = child.stdout.take().context("the child's standard output was not piped")?;
    let lines = thread::spawn(move || echo_lines(BufReader::new(stdout)));
    let deadline = std::time::Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            let lines = lines.join().unwrap_or_default();
            return if status.success() { Ok(lines) } else { bail!("{status} from {}", line_of(command)) };
        }
        if std::time::Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("still running after {} minutes, killed: {}", limit.as_secs() / 60, line_of(command));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn echo_lines(reader: impl BufRead) -> Vec<String> {
    reader.lines().map_while(Result::ok).inspect(|line| println!("{line}")).collect()
}

/// Runs the program silently and returns its standard output.
///
/// # Errors
/// If the program cannot be started, or fails. The message includes its standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", line_of(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{} from {}: {}", output.status, line_of(command), complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the command as typed in a shell, without the environment.
pub(crate) fn line_of(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_line_names_the_program_without_its_folder() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["test", "--doc"]);
        assert_eq!(line_of(&command), "cargo test --doc");
    }

    #[test]
    fn the_error_of_a_failing_program_has_its_standard_error() {
        let error = read(cargo().arg("no-such-command-anywhere")).unwrap_err().to_string();
        assert!(error.contains("no-such-command-anywhere"), "{error}");
    }

    #[test]
    fn a_program_that_outlives_its_limit_is_killed() {
        // A compiler that reads its source from an open pipe never exits by itself.
        let mut endless = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        endless.arg("-").stdin(Stdio::piped());
        let error = run_and_read(&mut endless, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("killed"), "{error}");
    }
}
