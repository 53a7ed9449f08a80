//! The process at the other end of a UNIX socket.

use std::io;
use std::os::fd::BorrowedFd;

use ropewalk_proto::Address;

use super::address;
use crate::seam::PeerCredentials;

#[cfg_attr(linux_like, path = "linux.rs")]
#[cfg_attr(bsd_like, path = "bsd.rs")]
#[cfg_attr(not(any(linux_like, bsd_like)), path = "none.rs")]
mod system;

/// # Errors
/// `InvalidInput` for a socket of another family: for a TCP socket some systems return numbers that mean nothing.
pub(crate) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    match address::local(socket)? {
        Address::Inet(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only a UNIX connection knows the process at its other end",
        )),
        _ => system::of_peer(socket),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    #[cfg(linux_like)]
    use std::{
        os::unix::net::UnixListener,
        process::{Command, Stdio},
    };

    use super::*;

    /// The path to which the client connects, which is this test in another process.
    #[cfg(linux_like)]
    const SERVER: &str = "ROPEWALK_CREDENTIALS_SERVER";

    #[test]
    #[cfg(linux_like)]
    fn the_numbers_are_those_of_the_process_that_connected() {
        if let Some(server) = std::env::var_os(SERVER) {
            let _connection = UnixStream::connect(server).unwrap();
            std::io::stdin().read_line(&mut String::new()).unwrap();
            return;
        }
        let path = std::env::temp_dir().join(format!("ropewalk-credentials-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let name = "socket::credentials::tests::the_numbers_are_those_of_the_process_that_connected";
        let mut client = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(SERVER, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (server, _) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(of_peer(server.as_fd()).unwrap().pid, Some(client.id()));
        drop(client.stdin.take());
        assert!(client.wait().unwrap().success());
    }

    #[test]
    fn a_socket_of_another_family_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(of_peer(socket.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let (one, _other) = UnixStream::pair().unwrap();
        let own = PeerCredentials::of_this_process().unwrap();
        let found = of_peer(one.as_fd()).unwrap();
        assert_eq!((found.uid, found.gid), (own.uid, own.gid));
    }
}
