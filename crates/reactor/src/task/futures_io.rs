//! The traits of `futures-io` for [`AsyncStream`] and its halves: `AsyncRead` and `AsyncWrite`, which many protocol
//! crates require.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::{AsyncStream, ReadHalf, WriteHalf};

/// Reads with the `poll_read` of each type.
macro_rules! readable {
    ($($stream:ty),*) => {$(
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().poll_read(context, buffer)
            }
        }
    )*};
}

/// Writes with the methods of each type.
macro_rules! writable {
    ($($stream:ty),*) => {$(
        impl AsyncWrite for $stream {
            fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                self.get_mut().poll_write(context, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().poll_write_vectored(context, pieces)
            }

            /// Completes when `poll_write` would accept data. Written data is sent without a flush.
            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().poll_flush(context)
            }

            /// Closes the sending direction after the written data. Reading can continue.
            fn poll_close(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().shut_down_write();
                Poll::Ready(Ok(()))
            }
        }
    )*};
}

readable!(AsyncStream, ReadHalf);
writable!(AsyncStream, WriteHalf);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::StreamFactory;
    use super::*;
    use crate::testing::MemoryReactor;

    /// Copies with the traits only, like code that does not know this crate.
    async fn copy<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(mut from: R, mut to: W) -> io::Result<()> {
        let mut buffer = [0; 1000];
        loop {
            let count = poll_fn(|context| Pin::new(&mut from).poll_read(context, &mut buffer)).await?;
            if count == 0 {
                break;
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let written = poll_fn(|context| Pin::new(&mut to).poll_write(context, rest)).await?;
                rest = &rest[written..];
            }
            poll_fn(|context| Pin::new(&mut to).poll_flush(context)).await?;
        }
        poll_fn(|context| Pin::new(&mut to).poll_close(context)).await
    }

    #[test]
    fn code_that_only_uses_the_traits_echoes_until_eof() {
        let net = MemoryReactor::new();
        let serve = StreamFactory::new(|stream: AsyncStream, reactor: &crate::Reactor| {
            let (from, to) = stream.into_split();
            drop(reactor.spawn(copy(from, to)));
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(&[7; 300_000]);
        client.finish();
        net.settle();
        assert_eq!(client.received(), [7; 300_000]);
        assert!(client.is_eof());
    }
}
