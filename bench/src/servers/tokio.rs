//! tokio's current_thread runtime: a task and a buffer for each connection, as in its own echo example.

use std::io;
use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

pub(super) fn serve(listener: TcpListener, buffer_bytes: usize) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            tokio::spawn(echo(socket, buffer_bytes));
        }
    })
}

async fn echo(mut socket: TcpStream, buffer_bytes: usize) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; buffer_bytes];
    loop {
        let received = socket.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        socket.write_all(&buffer[..received]).await?;
    }
}
