//! A connection as a byte stream for async code, with back-pressure in both directions.
//!
//! ```text
//!  data_received -> received (pauses the transport at 64 KiB) -> poll_read
//!  poll_write -> transport (pending above its high-water mark)   -> peer
//! ```

mod child;
mod copying;
mod factory;
mod halves;
mod state;

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ropewalk_proto::{Deferred, Layer};
use ropewalk_sys::OwnedWaitable;

use crate::endpoints::{StreamClientEndpoint, connect_protocol};
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::transports::Transport;

pub use child::AsyncChild;
pub use copying::copy_bidirectional;
pub use factory::StreamFactory;
use factory::StreamProtocol;
pub use halves::{ReadHalf, WriteHalf};
use state::Shared;

/// A connection to read and write from async code.
///
/// Dropping the stream closes the connection after the written data has been sent. A stream can only be used on the
/// reactor's thread.
///
/// ```
/// use ropewalk::task::StreamFactory;
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut stream, reactor| {
///     reactor.spawn(async move {
///         let mut name = [0; 64];
///         let count = stream.read(&mut name).await?;
///         stream.write_all(b"hello, ").await?;
///         stream.write_all(&name[..count]).await?;
///         stream.shut_down_write();
///         std::io::Result::Ok(())
///     });
/// }))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"Ada");
/// net.settle();
/// assert_eq!(client.received(), b"hello, Ada");
/// assert!(client.is_eof());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct AsyncStream {
    // Dropped first, so that dropping the writer closes the whole connection at once.
    pub(super) reader: ReadHalf,
    writer: WriteHalf,
}

impl AsyncStream {
    fn new(transport: &Transport, shared: &Rc<Shared>) -> AsyncStream {
        let (reader, writer) = halves::halves(transport, shared);
        AsyncStream { reader, writer }
    }

    /// Connects to `endpoint`. The Deferred fails and can be cancelled like that of [`StreamClientEndpoint::connect`].
    ///
    /// ```
    /// use ropewalk::endpoints::TcpClientEndpoint;
    /// use ropewalk::task::AsyncStream;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("10.0.0.1:80")?;
    /// let connecting = AsyncStream::connect(&net, &TcpClientEndpoint::new("10.0.0.1:80")?);
    /// let peer = net.spawn(async move {
    ///     let mut stream = connecting.await?;
    ///     stream.write_all(b"hello").await?;
    ///     Ok::<_, ropewalk::Failure>(stream.transport().peer().to_string())
    /// });
    /// net.settle();
    /// assert_eq!(peer.try_result().unwrap().unwrap().unwrap(), "10.0.0.1:80");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect(reactor: &Reactor, endpoint: &(impl StreamClientEndpoint + ?Sized)) -> Deferred<AsyncStream> {
        connect(reactor, endpoint, false)
    }

    /// Connects like [`connect`](AsyncStream::connect). A UNIX connection receives descriptors as well, for
    /// [`next_file_descriptor`](AsyncStream::next_file_descriptor).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::fs::File;
    /// use ropewalk::UnixBinding;
    /// use ropewalk::endpoints::UnixClientEndpoint;
    /// use ropewalk::task::{AsyncStream, StreamFactory};
    ///
    /// let path = std::env::temp_dir().join(format!("lend-{}.sock", std::process::id()));
    /// let code = ropewalk::react(|reactor| async move {
    ///     let lend = StreamFactory::new(|mut stream, reactor| {
    ///         reactor.spawn(async move {
    ///             stream.send_file_descriptor(File::open("/dev/null")?)?;
    ///             stream.write_all(b"f").await?; // the byte that carries it
    ///             Ok::<_, ropewalk::Error>(())
    ///         });
    ///     });
    ///     reactor.listen_unix(UnixBinding::new(&path), lend)?;
    ///     let endpoint = UnixClientEndpoint::new(&path);
    ///     let mut stream = AsyncStream::connect_with_file_descriptors(&reactor, &endpoint).await?;
    ///     let file = stream.next_file_descriptor().await?.expect("a file");
    ///     assert!(File::from(file).metadata().is_ok());
    ///     Ok::<_, ropewalk::Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    pub fn connect_with_file_descriptors(
        reactor: &Reactor,
        endpoint: &(impl StreamClientEndpoint + ?Sized),
    ) -> Deferred<AsyncStream> {
        connect(reactor, endpoint, true)
    }

    /// Joins two halves, which may belong to different connections: the pipes of a child, for example. Dropping the
    /// stream drops both halves, the reading one first.
    ///
    /// [`transport`](AsyncStream::transport) is that of the reading half.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::processes::Command;
    /// use ropewalk::task::{AsyncChild, AsyncStream};
    ///
    /// let code = ropewalk::react(|reactor| async move {
    ///     let mut cat = AsyncChild::spawn(&reactor, &Command::new("cat"))?;
    ///     let (output, input) = (cat.stdout.take().expect("a pipe"), cat.stdin.take().expect("a pipe"));
    ///     let mut stream = AsyncStream::from_halves(output, input);
    ///     stream.write_all(b"hello\n").await?;
    ///     assert_eq!(stream.next_line(100).await?.as_deref(), Some(&b"hello"[..]));
    ///     Ok::<_, ropewalk::Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    pub fn from_halves(reader: ReadHalf, writer: WriteHalf) -> AsyncStream {
        AsyncStream { reader, writer }
    }

    /// Splits the stream into its halves, which two tasks can use independently.
    ///
    /// ```
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|stream, reactor| {
    ///     let (mut reader, mut writer) = stream.into_split();
    ///     let waiting = reactor.clone();
    ///     reactor.spawn(async move {
    ///         while writer.write_all(b"tick\n").await.is_ok() {
    ///             waiting.sleep(std::time::Duration::from_secs(1)).await;
    ///         }
    ///     });
    ///     reactor.spawn(async move {
    ///         while let Some(line) = reader.next_line(100).await? {
    ///             println!("{}", line.escape_ascii());
    ///         }
    ///         std::io::Result::Ok(())
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"hello\n");
    /// net.advance(std::time::Duration::from_secs(2));
    /// assert_eq!(client.received(), b"tick\ntick\ntick\n");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }

    /// Reads into `buffer`, and returns the number of bytes. 0 bytes mean the end of the stream.
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:7", StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         let mut buffer = [0; 64];
    ///         let count = poll_fn(|context| stream.poll_read(context, &mut buffer)).await?;
    ///         poll_fn(|context| stream.poll_write(context, &buffer[..count])).await?;
    ///         poll_fn(|context| stream.poll_flush(context)).await
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:7");
    /// client.write(b"echo");
    /// net.settle();
    /// assert_eq!(client.received(), b"echo");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The reason why the connection was lost.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reader.poll_read(context, buffer)
    }

    /// Writes all of `data`, or waits while more than 64 KiB are unsent.
    ///
    /// # Errors
    /// `BrokenPipe` when the connection has been lost.
    pub fn poll_write(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.poll_write(context, data)
    }

    /// Writes all of `pieces`, or waits while more than 64 KiB are unsent.
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::io::IoSlice;
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         let pieces = [IoSlice::new(b"head, "), IoSlice::new(b"body")];
    ///         poll_fn(|context| stream.poll_write_vectored(context, &pieces)).await
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(client.received(), b"head, body");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`poll_write`](AsyncStream::poll_write).
    pub fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer.poll_write_vectored(context, pieces)
    }

    /// Completes when [`poll_write`](AsyncStream::poll_write) would accept data.
    ///
    /// # Errors
    /// The errors of [`poll_write`](AsyncStream::poll_write).
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(context)
    }

    /// Reads into `buffer`, and returns the number of bytes. 0 bytes mean the end of the stream.
    ///
    /// # Errors
    /// The errors of [`poll_read`](AsyncStream::poll_read).
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).await
    }

    /// Fills `buffer`.
    ///
    /// If the future is dropped before it completes, the bytes read so far are in `buffer`, and their number is
    /// unknown.
    ///
    /// ```
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         let mut length = [0; 4];
    ///         stream.read_exact(&mut length).await?;
    ///         let mut body = vec![0; u32::from_be_bytes(length).min(1000) as usize];
    ///         stream.read_exact(&mut body).await?;
    ///         stream.write_all(&body).await
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"\0\0\0\x05hello");
    /// net.settle();
    /// assert_eq!(client.received(), b"hello");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream has ended before `buffer` is full, and the errors of
    /// [`poll_read`](AsyncStream::poll_read).
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer).await
    }

    /// Reads a line of at most `max_length` bytes, without its final `\n` or `\r\n`. `None` means the end of the
    /// stream.
    ///
    /// If bytes follow the last newline when the stream ends, they are the last line. If the future is dropped before
    /// it completes, no byte is lost.
    ///
    /// ```
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         while let Some(line) = stream.next_line(1000).await? {
    ///             stream.write_all(format!("{} bytes\n", line.len()).as_bytes()).await?;
    ///         }
    ///         std::io::Result::Ok(())
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"one\r\nthree\nlast");
    /// client.finish();
    /// net.settle();
    /// assert_eq!(client.received(), b"3 bytes\n5 bytes\n4 bytes\n");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidData` with a [`LineTooLong`](crate::proto::framing::LineTooLong) when the line is longer. The next call
    /// skips the rest of that line. The errors of [`poll_read`](AsyncStream::poll_read).
    #[doc(alias = "lines")]
    #[doc(alias = "read_line")]
    pub async fn next_line(&mut self, max_length: usize) -> io::Result<Option<Vec<u8>>> {
        self.reader.next_line(max_length).await
    }

    /// Writes all of `data`, after waiting while more than 64 KiB are unsent.
    ///
    /// # Errors
    /// The errors of [`poll_write`](AsyncStream::poll_write).
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.writer.write_all(data).await
    }

    /// Closes the sending direction after the written data. Data written afterwards is dropped.
    pub fn shut_down_write(&mut self) {
        self.writer.shut_down_write();
    }

    /// Waits for a descriptor that the peer of a UNIX connection sends. `None` means the end of the stream.
    ///
    /// The stream must come from a factory [`with_file_descriptors`](StreamFactory::with_file_descriptors) or from
    /// [`connect_with_file_descriptors`](AsyncStream::connect_with_file_descriptors). Otherwise the system closes the
    /// descriptors. A descriptor arrives before the byte that carries it, or together with it. The bytes
    /// stay unread. Descriptors that were not taken are closed with the stream. If the future is dropped before it
    /// completes, no descriptor is lost.
    ///
    /// Reading from the peer pauses while 256 descriptors were not taken.
    ///
    /// ```
    /// use std::fs::File;
    /// use ropewalk::task::AsyncStream;
    ///
    /// /// Each message is a descriptor and one byte, which names its purpose.
    /// async fn next_message(stream: &mut AsyncStream) -> std::io::Result<Option<(u8, File)>> {
    ///     let Some(descriptor) = stream.next_file_descriptor().await? else { return Ok(None) };
    ///     let mut purpose = [0];
    ///     stream.read_exact(&mut purpose).await?;
    ///     Ok(Some((purpose[0], descriptor.into())))
    /// }
    /// ```
    ///
    /// # Errors
    /// `InvalidData` if 64 KiB are unread and no descriptor is here, because then none can arrive. In the same way
    /// reading bytes fails if 256 descriptors were not taken and no byte is here. The errors of
    /// [`poll_read`](AsyncStream::poll_read).
    pub async fn next_file_descriptor(&mut self) -> io::Result<Option<OwnedWaitable>> {
        self.reader.next_file_descriptor().await
    }

    /// Sends `descriptor` with the next byte that is written: see [`Transport::send_file_descriptor`].
    ///
    /// # Errors
    /// The errors of [`Transport::send_file_descriptor`].
    pub fn send_file_descriptor(&mut self, descriptor: impl Into<OwnedWaitable>) -> Result<()> {
        self.writer.send_file_descriptor(descriptor)
    }

    /// Puts `layer` between this connection and the stream: see [`Transport::start_layer`].
    ///
    /// Unread bytes go to the layer. So bytes that were received before this call never count as bytes of the layer. If
    /// the layer fails, the next read or write reports its error.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use ropewalk::proto::Layer;
    /// use ropewalk::task::AsyncStream;
    ///
    /// async fn upgrade(stream: &mut AsyncStream, layer: Box<dyn Layer>) -> std::io::Result<()> {
    ///     stream.write_all(b"UPGRADE\r\n").await?;
    ///     stream.start_layer(layer, Duration::from_secs(10)).map_err(std::io::Error::other)
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Transport::start_layer`].
    pub fn start_layer(&mut self, layer: Box<dyn Layer>, limit: Duration) -> Result<()> {
        self.reader.give_back();
        self.transport().start_layer(layer, limit)
    }

    /// Starts TLS on this connection, as the server or the client that has created `layer`: see
    /// [`Transport::start_tls`].
    ///
    /// Unread bytes belong to the handshake. If the handshake fails, the next read or write reports its error.
    ///
    /// ```no_run
    /// use ropewalk::task::AsyncStream;
    /// use ropewalk::tls::TlsClient;
    ///
    /// async fn upgrade(stream: &mut AsyncStream, tls: &TlsClient) -> std::io::Result<()> {
    ///     stream.write_all(b"STARTTLS\r\n").await?;
    ///     let _answer = stream.next_line(512).await?;
    ///     stream.start_tls(tls.layer("mail.example.org")?).map_err(std::io::Error::other)
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Transport::start_layer`].
    #[cfg(feature = "tls")]
    pub fn start_tls(&mut self, layer: ropewalk_tls::TlsLayer) -> Result<()> {
        self.reader.give_back();
        self.transport().start_tls(layer)
    }

    /// Returns the connection's transport, for its addresses and options. To start a layer, use
    /// [`start_layer`](AsyncStream::start_layer) of the stream, which has unread bytes of its own.
    pub fn transport(&self) -> &Transport {
        self.reader.transport()
    }
}

fn connect(
    reactor: &Reactor,
    endpoint: &(impl StreamClientEndpoint + ?Sized),
    takes_descriptors: bool,
) -> Deferred<AsyncStream> {
    let made = Rc::new(Cell::new(None));
    let keep = made.clone();
    let serve = move |stream, _: &Reactor| keep.set(Some(stream));
    let protocol = StreamProtocol::new(Rc::new(serve), takes_descriptors);
    connect_protocol(reactor, endpoint, protocol).and_then(move |_| made.take().ok_or(Error::Closed))
}

impl fmt::Debug for AsyncStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncStream").field(self.transport()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::state::{RECEIVE_LIMIT, WRITE_LIMIT};
    use super::*;
    use crate::testing::{MemoryReactor, TestStream};
    use ropewalk_proto::framing::LineTooLong;
    use ropewalk_proto::{LayerState, Outbox};

    const PIECE: usize = 10_000;
    const PIECES: usize = 500;

    #[test]
    fn a_task_waits_while_its_peer_reads_slowly() {
        let net = MemoryReactor::new();
        let most = Rc::new(std::cell::Cell::new(0));
        let highest = most.clone();
        let serve = StreamFactory::new(move |mut stream: AsyncStream, reactor| {
            let highest = highest.clone();
            reactor.spawn(async move {
                for number in 0..PIECES {
                    stream.write_all(&[number as u8; PIECE]).await.unwrap();
                    highest.set(highest.get().max(stream.transport().buffered()));
                }
            });
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.pause_reading();
        net.settle();
        client.resume_reading();
        net.settle();
        let received = client.received();
        assert!(client.is_eof());
        assert_eq!(received.len(), PIECES * PIECE);
        assert!(
            received.chunks(PIECE).enumerate().all(|(number, piece)| piece.iter().all(|&byte| byte == number as u8))
        );
        assert!((WRITE_LIMIT..WRITE_LIMIT + 2 * PIECE).contains(&most.get()), "{}", most.get());
    }

    #[test]
    fn reading_continues_after_shut_down_write() {
        let net = MemoryReactor::new();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hear = heard.clone();
        let serve = StreamFactory::new(move |mut stream: AsyncStream, reactor| {
            let hear = hear.clone();
            reactor.spawn(async move {
                stream.write_all(&[1; 2 * WRITE_LIMIT]).await.unwrap();
                stream.shut_down_write();
                let mut buffer = [0; 100];
                let count = stream.read(&mut buffer).await.unwrap();
                hear.borrow_mut().extend_from_slice(&buffer[..count]);
            });
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert!(client.is_eof());
        assert_eq!(client.received().len(), 2 * WRITE_LIMIT);
        client.write(b"still here");
        net.settle();
        assert_eq!(*heard.borrow(), b"still here");
    }

    #[test]
    fn reading_pauses_while_the_task_reads_slowly() {
        let net = MemoryReactor::new();
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let serve =
            StreamFactory::new(move |stream: AsyncStream, _: &crate::Reactor| *keep.borrow_mut() = Some(stream));
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(&[7; 1_000_000]);
        client.finish();
        net.settle();
        let mut stream = kept.take().unwrap();
        assert!(stream.reader.unread() < 2 * RECEIVE_LIMIT);
        let read = net.spawn(async move {
            let (mut buffer, mut total) = (vec![0; 50_000], 0);
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => return total,
                    count => total += count,
                }
            }
        });
        net.settle();
        assert_eq!(read.try_result().unwrap().unwrap(), 1_000_000);
    }

    #[test]
    fn connecting_without_a_listener_fails() {
        let net = MemoryReactor::new();
        let endpoint = crate::endpoints::TcpClientEndpoint::new("10.0.0.1:80").unwrap();
        let connecting = AsyncStream::connect(&net, &endpoint);
        net.settle();
        let failure = connecting.try_result().unwrap().err().unwrap();
        assert!(matches!(failure.trap::<Error>().unwrap(), Error::ConnectionRefused(..)));
    }

    #[test]
    fn an_abandoned_connection_is_closed() {
        let net = MemoryReactor::new();
        let server = net.listen_stream("10.0.0.1:80").unwrap();
        let endpoint = crate::endpoints::TcpClientEndpoint::new("10.0.0.1:80").unwrap();
        drop(AsyncStream::connect(&net, &endpoint));
        net.settle();
        assert!(server.accept().expect("a connection").is_eof());
        assert_eq!(net.source_count(), 0);
    }

    /// Connects a client to `serve`, which keeps its outcome.
    fn outcome_of<T: 'static, F: Future<Output = T> + 'static>(
        net: &MemoryReactor,
        serve: impl Fn(AsyncStream) -> F + 'static,
    ) -> (TestStream, Rc<RefCell<Option<T>>>) {
        let outcome = Rc::new(RefCell::new(None));
        let keep = outcome.clone();
        let factory = StreamFactory::new(move |stream, reactor: &Reactor| {
            let (keep, serving) = (keep.clone(), serve(stream));
            drop(reactor.spawn(async move { *keep.borrow_mut() = Some(serving.await) }));
        });
        net.listen_tcp("10.0.0.1:80", factory).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        (client, outcome)
    }

    #[test]
    fn read_exact_reports_an_early_end() {
        let net = MemoryReactor::new();
        let read = |mut stream: AsyncStream| async move {
            let mut buffer = [0; 10];
            stream.read_exact(&mut buffer).await?;
            assert_eq!(buffer, *b"0123456789");
            stream.read_exact(&mut buffer).await
        };
        let (client, outcome) = outcome_of(&net, read);
        for piece in [&b"012"[..], b"3456789ab", b"cdefg"] {
            client.write(piece);
            net.settle();
        }
        assert!(outcome.borrow().is_none());
        client.finish();
        net.settle();
        assert_eq!(outcome.take().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_line_may_be_longer_than_the_limit_of_unread_bytes() {
        let net = MemoryReactor::new();
        let read = |mut stream: AsyncStream| async move { stream.next_line(1_000_000).await };
        let (client, outcome) = outcome_of(&net, read);
        client.write(&[b'x'; 999_999]);
        net.settle();
        client.write(b"x\n");
        net.settle();
        assert_eq!(outcome.take().unwrap().unwrap(), Some(vec![b'x'; 1_000_000]));
    }

    #[test]
    fn a_line_that_is_too_long_fails_without_its_end() {
        let net = MemoryReactor::new();
        let read = |mut stream: AsyncStream| async move {
            let failed = stream.next_line(10).await;
            (failed, stream.next_line(10).await)
        };
        let (client, outcome) = outcome_of(&net, read);
        client.write(&[b'x'; 1_000_000]);
        client.write(b"\nshort");
        client.finish();
        net.settle();
        let (failed, next) = outcome.take().unwrap();
        let cause = failed.unwrap_err().into_inner().expect("a cause");
        assert!(cause.is::<LineTooLong>());
        assert_eq!(next.unwrap(), Some(b"short".to_vec()), "the rest of the long line was skipped");
    }

    #[test]
    fn an_unfinished_line_of_a_reset_connection_is_an_error() {
        let net = MemoryReactor::new();
        let (client, outcome) = outcome_of(&net, |mut stream: AsyncStream| async move { stream.next_line(10).await });
        client.write(b"cut o");
        net.settle();
        client.abort();
        net.settle();
        assert_eq!(outcome.take().unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_dropped_writer_closes_the_sending_direction() {
        let net = MemoryReactor::new();
        let read = |stream: AsyncStream| async move {
            let (mut reader, mut writer) = stream.into_split();
            writer.write_all(b"goodbye").await?;
            drop(writer);
            reader.next_line(100).await
        };
        let (client, outcome) = outcome_of(&net, read);
        assert!(client.received() == b"goodbye" && client.is_eof());
        client.write(b"still here\n");
        net.settle();
        assert_eq!(outcome.take().unwrap().unwrap(), Some(b"still here".to_vec()));
        assert_eq!(net.open_sources(), 1, "the port is left");
    }

    /// Counts the bytes that it gets, and passes none of them on.
    struct Counting(Rc<Cell<usize>>);

    impl Layer for Counting {
        fn incoming(&mut self, received: &mut [u8], _: &mut Outbox, _: &mut Outbox) -> io::Result<usize> {
            self.0.set(self.0.get() + received.len());
            Ok(received.len())
        }

        fn incoming_ended(&mut self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn outgoing(&mut self, _: &mut [u8], _: &mut Outbox, _: &mut Outbox, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn close(&mut self, _: &mut [u8], _: &mut Outbox) {}

        fn state(&self) -> LayerState {
            LayerState::OPEN
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    #[test]
    fn unread_bytes_belong_to_a_layer_that_starts() {
        // Otherwise a command that an attacker sends behind STARTTLS would count as encrypted.
        let net = MemoryReactor::new();
        let (counted, heard) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (count, hear) = (counted.clone(), heard.clone());
        let serve = StreamFactory::new(move |mut stream: AsyncStream, reactor| {
            let (count, hear) = (count.clone(), hear.clone());
            reactor.spawn(async move {
                stream.next_line(100).await.unwrap();
                stream.start_layer(Box::new(Counting(count)), Duration::from_secs(1)).unwrap();
                hear.set(stream.read(&mut [0; 100]).await.unwrap());
            });
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(b"STARTTLS\r\nevil");
        net.settle();
        client.write(b"hello");
        net.settle();
        assert_eq!((counted.get(), heard.get()), (9, 0));
    }

    #[test]
    fn bytes_after_a_dropped_reader_are_discarded() {
        let net = MemoryReactor::new();
        let (client, outcome) = outcome_of(&net, |stream: AsyncStream| async move { stream.into_split().1 });
        client.write(&[1; 1_000_000]);
        net.settle();
        assert_eq!(client.unread(), 0, "the peer is not held back");
        drop(outcome.take());
        net.settle();
        assert!(client.is_eof());
        assert_eq!(net.open_sources(), 1, "the port is left");
    }
}
