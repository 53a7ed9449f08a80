//! Systems where the standard library asks: for both families, of which one is left out.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::IpFamily;

pub(super) fn look_up(host: &str, port: u16, family: IpFamily) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.filter(|address| family.has(address)).collect())
}
