//! The choice of a toolkit's loop by `-r`.

use std::process::{Child, Command, Output};

use ropewalk_desktop::{Lines, free_address};

fn output(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anywhere")).args(arguments).output().expect("the program starts")
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.expect("kill starts").success());
}

#[test]
fn toolkits_are_listed_below_the_reactors() {
    let list = String::from_utf8(output(&["--help-reactors"]).stdout).unwrap();
    let names = list.lines().map(|line| line[1..].split_whitespace().next().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["epoll", "poll", "select", "uring", "glib", "tk"]);
}

#[test]
fn a_service_runs_in_each_loop_until_a_signal() {
    for reactor in ["glib", "glib:poll", "glib:uring", "tk", "tk:select"] {
        let address = free_address();
        let endpoint = format!("tcp:{}:interface=127.0.0.1", address.rsplit(':').next().unwrap());
        let mut program = Command::new(env!("CARGO_BIN_EXE_anywhere"));
        let mut child = program.args(["-n", "-r", reactor, "--listen", &endpoint]).spawn().unwrap();
        let mut client = Lines::connect(&address);
        client.send("hello");
        assert_eq!(client.receive(), "hello", "{reactor}");
        signal(&child, "TERM");
        assert_eq!(client.receive(), "", "{reactor}");
        assert!(child.wait().unwrap().success(), "{reactor}");
    }
}

#[test]
fn an_unknown_reactor_is_refused_with_the_toolkits_in_the_list() {
    let refused = output(&["-n", "-r", "qt"]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("no reactor is called 'qt'") && text.contains("uring, glib, tk"), "{text}");
}
