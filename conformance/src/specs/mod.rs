//! The specifications, a module for each interface.

#[cfg(target_os = "linux")]
pub mod async_children;
#[cfg(unix)]
pub mod async_descriptors;
pub mod callbacks;
#[cfg(target_os = "linux")]
pub mod child_output;
#[cfg(target_os = "linux")]
pub mod child_processes;
pub mod closing;
pub mod connectors;
pub mod core;
pub mod current;
pub mod datagram_endpoints;
pub mod datagrams;
#[cfg(unix)]
pub mod descriptor_passing;
#[cfg(unix)]
pub mod descriptor_sockets;
pub mod dns;
pub mod dns_network;
pub mod ending;
pub mod endpoints;
#[cfg(unix)]
pub mod error_numbers;
#[cfg(unix)]
pub mod fd_set;
#[cfg(unix)]
pub mod fd_setsize;
#[cfg(target_os = "linux")]
pub mod file_events;
pub mod guests;
#[cfg(unix)]
pub mod handover;
pub mod host;
#[cfg(unix)]
pub mod host_handle;
pub mod layers;
#[cfg(unix)]
pub mod limits;
pub mod lingering;
pub mod lookups;
#[cfg(target_os = "linux")]
pub mod multicast;
pub mod pacing;
pub mod panics;
#[cfg(unix)]
pub mod peers;
#[cfg(unix)]
pub mod pipes;
pub mod ports;
#[cfg(target_os = "linux")]
pub mod process_abuse;
#[cfg(target_os = "linux")]
pub mod process_output;
#[cfg(target_os = "linux")]
pub mod processes;
pub mod producers;
#[cfg(target_os = "linux")]
pub mod quic;
pub mod races;
#[cfg(unix)]
pub mod real_races;
pub mod real_time;
pub mod receiving;
pub mod reentrancy;
#[cfg(unix)]
pub mod refusals;
pub mod resolver;
pub mod scarcity;
#[cfg(unix)]
pub mod serial_ports;
pub mod settling;
#[cfg(unix)]
pub mod signals;
#[cfg(unix)]
pub mod socket;
pub mod streams;
pub mod task;
pub mod tcp;
#[cfg(target_os = "linux")]
pub mod terminals;
#[cfg(unix)]
pub mod thousands;
pub mod threads;
pub mod time;
#[cfg(target_os = "linux")]
pub mod tls;
#[cfg(target_os = "linux")]
pub mod tls_files;
#[cfg(target_os = "linux")]
pub mod tls_handshakes;
#[cfg(target_os = "linux")]
pub mod tls_network;
#[cfg(target_os = "linux")]
pub mod tls_sockets;
#[cfg(unix)]
pub mod udp_sockets;
#[cfg(unix)]
pub mod unix;
#[cfg(target_os = "linux")]
pub mod unix_abstract;
#[cfg(unix)]
pub mod unix_datagrams;

#[cfg(not(target_os = "linux"))]
mod nothing_on_this_system;

/// The specifications of streams, over UNIX sockets.
#[macro_export]
macro_rules! unix_streams {
    () => {
        fn subject() -> $crate::Subject {
            super::subject().over_unix()
        }
        mod streams {
            $crate::streams!();
        }
        mod callbacks {
            $crate::callbacks!();
        }
        mod closing {
            $crate::closing!();
        }
        mod ending {
            $crate::ending!();
        }
        mod receiving {
            $crate::receiving!();
        }
        mod lingering {
            $crate::lingering!();
        }
        mod ports {
            $crate::ports!();
        }
        mod layers {
            $crate::layers!();
        }
        mod tls {
            $crate::tls!();
        }
        mod producers {
            $crate::producers!();
        }
        mod pacing {
            $crate::pacing!();
        }
        mod connectors {
            $crate::connectors!();
        }
        mod endpoints {
            $crate::endpoints!();
        }
        mod reentrancy {
            $crate::reentrancy!();
        }
    };
}
