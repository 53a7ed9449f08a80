//! Systems where the standard library looks names up. The library returns addresses of both families, and those of the
//! unwanted family are dropped.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::IpFamily;

/// WSAEAFNOSUPPORT of Windows.
pub(super) const FAMILY_NOT_SUPPORTED: i32 = 10047;

/// Systems without if_nametoindex(3) know zones by number only.
pub(super) fn zone_number(_name: &str) -> Option<u32> {
    None
}

pub(super) fn look_up(host: &str, port: u16, family: IpFamily) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.filter(|address| family.has(address)).collect())
}
