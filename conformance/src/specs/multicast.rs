//! IReactorMulticast, and what else needs a network of its own: broadcasts, and packets that are too long.
//!
//! Each specification is a scenario in a network namespace, which no packet can leave. If namespaces are not allowed,
//! the specification prints that it was skipped.

use crate::scenario::Performance;
use crate::specifications;

#[expect(clippy::print_stdout, reason = "the test runner shows the line on request")]
fn plays(subject: &crate::Subject, name: &str) {
    match Performance::begin_in_a_network(subject, name) {
        Some(performance) => performance.ends(),
        None => println!("skipped: this machine allows no network namespace"),
    }
}

specifications! { multicast;
    fn a_member_receives_until_it_leaves_the_group(subject: &Subject) {
        // IMulticastTransport.joinGroup, leaveGroup; U9.
        plays(subject, "membership");
    }

    fn a_member_knows_the_group_of_a_datagram(subject: &Subject) {
        // ip(7): ipi_addr.
        plays(subject, "details of a group");
    }

    fn a_port_receives_only_for_its_own_groups(subject: &Subject) {
        // U10: IP_MULTICAST_ALL.
        plays(subject, "foreign groups");
    }

    fn a_failed_membership_is_an_error(subject: &Subject) {
        // U9: leaving twice is an error and no panic. MulticastJoinError.
        plays(subject, "failed memberships");
    }

    fn the_outgoing_interface_is_set_by_name_or_datagram(subject: &Subject) {
        // U9: it is not implied by the bind. IMulticastTransport.setOutgoingInterface.
        plays(subject, "interface of a group");
    }

    fn ttl_with_loopback_mode_bound_the_reach_of_a_group(subject: &Subject) {
        // IMulticastTransport.setTTL, setLoopbackMode.
        plays(subject, "reach of a group");
    }

    fn a_broadcast_needs_permission(subject: &Subject) {
        // IUDPTransport.setBroadcastAllowed.
        plays(subject, "broadcast");
    }

    fn trains_that_do_not_fit_leave_one_by_one(subject: &Subject) {
        // U13: none lost, none twice.
        plays(subject, "trains beyond the packet size");
    }

    fn a_probe_that_does_not_fit_is_an_error_of_its_own(subject: &Subject) {
        // IP_PMTUDISC_PROBE, ip(7).
        plays(subject, "probes");
    }
}
