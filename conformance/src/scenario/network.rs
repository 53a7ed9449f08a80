//! Scenarios in a network namespace of their own, network_namespaces(7), which no packet can leave.

use std::process::{Command, Stdio};

use super::Performance;
use crate::Subject;

/// Gives the namespace the loopback interface with a packet size of 1500 bytes and a route for groups of IPv4, and a
/// default route through `v0` that leads nowhere. Linux does not deliver groups of IPv6 on the loopback interface.
const SET_UP: &str = "set -e
ip link set lo mtu 1500 multicast on up
ip route add 224.0.0.0/4 dev lo metric 9
ip link add v0 type veth peer name v1
ip address add 192.0.2.1/24 dev v0
ip address add 2001:db8::1/64 dev v0 nodad
ip link set v0 up
ip link set v1 up
ip route add 224.0.0.0/4 dev v0 metric 1
ip route add default dev v0";

/// The ways to make a namespace: as an ordinary user, and as root.
const WAYS: [&str; 2] = ["-rn", "-n"];

impl Performance {
    /// Starts the scenario called `name` in a network namespace, as [`begin`](Performance::begin) does. Returns `None`
    /// where that is not allowed, or where the programs unshare(1) and ip(8) are missing.
    pub fn begin_in_a_network(subject: &Subject, name: &str) -> Option<Performance> {
        let way = WAYS.into_iter().find(|way| is_possible(way))?;
        let script = format!("{SET_UP}\nexec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args([way, "sh", "-c", &script, subject.scenarios(), name, subject.name()]);
        Some(Performance::of(&mut command))
    }
}

fn is_possible(way: &str) -> bool {
    let mut command = Command::new("unshare");
    command.args([way, "sh", "-c", SET_UP]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
