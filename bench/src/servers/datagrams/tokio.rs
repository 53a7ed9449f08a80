//! tokio's current_thread runtime: one task, as in its own echo example.

use std::io;
use std::net::UdpSocket;

use tokio::runtime::Builder;

pub(super) fn serve(socket: UdpSocket, buffer_bytes: usize) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let mut buffer = vec![0; buffer_bytes];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await?;
            socket.send_to(&buffer[..length], peer).await?;
        }
    })
}
