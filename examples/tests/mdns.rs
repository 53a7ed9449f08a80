//! Runs the program `mdns` in a network namespace, which no packet can leave: network_namespaces(7).
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

/// Gives the namespace a loopback interface with groups. The first program is ended with the namespace.
const SCRIPT: &str = r#"set -e
ip link set lo multicast on up
ip route add 224.0.0.0/4 dev lo
"$0" serve rope.local 192.0.2.7 --interface lo > "$1" &
responder=$!
trap 'kill $responder' EXIT
until grep -q answering "$1"; do kill -0 $responder; done
"$0" ask rope.local --interface lo
! "$0" ask hemp.local --interface lo"#;

/// The ways to make a namespace: as an ordinary user, and as root.
const WAYS: [&str; 2] = ["-rn", "-n"];

fn is_possible(way: &&str) -> bool {
    let mut command = Command::new("unshare");
    command.args([way, "ip", "link", "set", "lo", "multicast", "on", "up"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn the_responder_answers_for_its_name_alone() {
    let Some(way) = WAYS.into_iter().find(is_possible) else {
        println!("skipped: this machine allows no network namespace");
        return;
    };
    let log = std::env::temp_dir().join(format!("ropewalk-mdns-{}", std::process::id()));
    let mut command = Command::new("unshare");
    command.args([way, "sh", "-c", SCRIPT, env!("CARGO_BIN_EXE_mdns")]).arg(&log);
    let output = command.output().unwrap();
    let _ = std::fs::remove_file(&log);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let [shown, errors] = [text(output.stdout), text(output.stderr)];
    assert!(output.status.success(), "{shown}{errors}");
    assert_eq!((shown.as_str(), errors.as_str()), ("192.0.2.7\n", "hemp.local: no answer\n"));
}
