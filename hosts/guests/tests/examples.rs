//! Runs the programs of `examples/`.

use std::process::Command;

/// Returns the output of an example, which exits by itself.
fn output_of(example: &str) -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let output = Command::new(path.join("examples").join(example)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_guest_of_tokio_runs_to_its_end() {
    let expected =
        "echo: hello from the reactor\na delayed call, which a task of tokio scheduled\nthe reactor has ended\n";
    assert_eq!(output_of("tokio_guest"), expected);
}

#[test]
fn a_guest_of_calloop_runs_to_its_end() {
    let expected =
        "echo: hello from the reactor\na delayed call, which a timer of calloop scheduled\nthe reactor has ended\n";
    assert_eq!(output_of("calloop_guest"), expected);
}
