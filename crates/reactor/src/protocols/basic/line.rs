//! LineReceiver: a protocol of lines, with a raw mode for other data.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use ropewalk_proto::framing::{Decoder, LineDecoder};

use crate::error::Error;
use crate::protocols::{FileDescriptorReceiver, Protocol};
use crate::transports::Transport;

/// The behaviour of one connection that carries lines. A [`LineReceiver`] turns it into a [`Protocol`].
///
/// Callbacks follow the order of [`Protocol`], with lines or raw bytes in place of chunks. When a callback pauses the
/// transport or loses the connection, no further line is delivered. After a pause, the remaining lines are delivered
/// after [`resume_producing`](Transport::resume_producing).
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
///
/// struct Greeter;
///
/// impl LineProtocol for Greeter {
///     fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
///         lines.send_line(&[b"hello, ", line].concat());
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// reactor.listen_tcp("127.0.0.1:0", || LineReceiver::new(Greeter))?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait LineProtocol {
    /// Called when the connection has been made.
    fn connection_made(&mut self, lines: &LineTransport) {
        let _ = lines;
    }

    /// Called when a layer has opened, like [`Protocol::layer_opened`].
    ///
    /// ```
    /// use ropewalk::protocols::basic::{LineProtocol, LineTransport};
    ///
    /// /// Greets when the connection is encrypted, not before.
    /// struct Greeter;
    ///
    /// impl LineProtocol for Greeter {
    ///     fn layer_opened(&mut self, lines: &LineTransport) {
    ///         lines.send_line(b"220 ready");
    ///     }
    ///
    ///     fn line_received(&mut self, _lines: &LineTransport, _line: &[u8]) {}
    /// }
    /// ```
    fn layer_opened(&mut self, lines: &LineTransport) {
        let _ = lines;
    }

    /// Returns this protocol if it takes descriptors, like [`Protocol::file_descriptor_receiver`]. A descriptor may
    /// arrive before lines that were sent earlier, but never after the line whose bytes carried it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::fd::OwnedFd;
    /// use ropewalk::Transport;
    /// use ropewalk::protocols::FileDescriptorReceiver;
    /// use ropewalk::protocols::basic::{LineProtocol, LineTransport};
    ///
    /// /// Pairs each line with the descriptor that came with it.
    /// #[derive(Default)]
    /// struct Pairs(std::collections::VecDeque<OwnedFd>);
    ///
    /// impl LineProtocol for Pairs {
    ///     fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
    ///         Some(self)
    ///     }
    ///
    ///     fn line_received(&mut self, _lines: &LineTransport, _line: &[u8]) {
    ///         let _of_this_line = self.0.pop_front();
    ///     }
    /// }
    ///
    /// impl FileDescriptorReceiver for Pairs {
    ///     fn file_descriptor_received(&mut self, _transport: &Transport, descriptor: OwnedFd) {
    ///         self.0.push_back(descriptor);
    ///     }
    /// }
    /// # }
    /// ```
    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        None
    }

    /// Called when a line has arrived. `line` does not include the delimiter.
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]);

    /// Called when bytes have arrived in raw mode. `data` is never empty. The default drops the bytes.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Reads a line with a length, then a letter of that length, then lines again.
    /// #[derive(Default)]
    /// struct Letters {
    ///     left: usize,
    /// }
    ///
    /// impl LineProtocol for Letters {
    ///     fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
    ///         self.left = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()).unwrap_or(0);
    ///         lines.set_raw_mode();
    ///     }
    ///
    ///     fn raw_data_received(&mut self, lines: &LineTransport, data: &[u8]) {
    ///         let (letter, rest) = data.split_at(data.len().min(self.left));
    ///         self.left -= letter.len();
    ///         lines.write(letter);
    ///         if self.left == 0 {
    ///             lines.set_line_mode(rest);
    ///         }
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || LineReceiver::new(Letters::default()))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"5\r\ndear 3\r\nbob2\r\n\r\n");
    /// net.settle();
    /// assert_eq!(client.received(), b"dear bob\r\n");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn raw_data_received(&mut self, lines: &LineTransport, data: &[u8]) {
        let _ = (lines, data);
    }

    /// Called when a line is longer than allowed. `beginning` is the start of the line. Its length is the maximum plus
    /// the length of the delimiter.
    ///
    /// The default closes the connection. If an implementation keeps the connection open, the rest of the line is
    /// skipped, and the next line is delivered.
    ///
    /// ```
    /// use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// struct Patient;
    ///
    /// impl LineProtocol for Patient {
    ///     fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
    ///         lines.send_line(line);
    ///     }
    ///
    ///     fn line_length_exceeded(&mut self, lines: &LineTransport, _beginning: &[u8]) {
    ///         lines.send_line("too long"); // the next line is delivered
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || LineReceiver::new(Patient).max_length(5))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"a whole sentence\r\nshort\r\n");
    /// net.settle();
    /// assert_eq!(client.received(), b"too long\r\nshort\r\n");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn line_length_exceeded(&mut self, lines: &LineTransport, beginning: &[u8]) {
        let _ = beginning;
        lines.lose_connection();
    }

    /// Called when the peer has finished sending, like [`Protocol::read_connection_lost`].
    fn read_connection_lost(&mut self, lines: &LineTransport) {
        lines.lose_connection();
    }

    /// Called when this side can send no more, like [`Protocol::write_connection_lost`].
    fn write_connection_lost(&mut self, lines: &LineTransport) {
        let _ = lines;
    }

    /// Called when the connection has ended. No callback follows.
    ///
    /// ```
    /// use ropewalk::Error;
    /// use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Adds up numbers, and replies with the sum at the end.
    /// #[derive(Default)]
    /// struct Sum(i64);
    ///
    /// impl LineProtocol for Sum {
    ///     fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
    ///         self.0 += String::from_utf8_lossy(line).parse::<i64>().unwrap_or(0);
    ///     }
    ///
    ///     fn read_connection_lost(&mut self, lines: &LineTransport) {
    ///         lines.send_line(&self.0.to_string());
    ///         lines.lose_write_connection();
    ///     }
    ///
    ///     fn write_connection_lost(&mut self, lines: &LineTransport) {
    ///         lines.lose_connection();
    ///     }
    ///
    ///     fn connection_lost(&mut self, _lines: &LineTransport, reason: &Error) {
    ///         println!("{}: {reason}", self.log_prefix());
    ///     }
    ///
    ///     fn log_prefix(&self) -> &'static str {
    ///         "sum"
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || LineReceiver::new(Sum::default()))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"40\r\n2\r\n");
    /// client.finish();
    /// net.settle();
    /// assert_eq!(client.received(), b"42\r\n");
    /// # Ok::<(), Error>(())
    /// ```
    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        let _ = (lines, reason);
    }

    /// Returns the name of this protocol in log lines. The default is the name of its type.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// A [`Transport`] that sends lines, and switches the input between lines and raw bytes.
///
/// Cloning is cheap, and a protocol may keep the handle. Its methods may be called from any callback on the reactor's
/// thread.
///
/// ```
/// use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
/// use ropewalk::testing::MemoryReactor;
///
/// /// Keeps the handle for later replies.
/// struct Host(Option<LineTransport>);
///
/// impl LineProtocol for Host {
///     fn connection_made(&mut self, lines: &LineTransport) {
///         lines.send_line(&format!("you are {}", lines.transport().peer()));
///         self.0 = Some(lines.clone());
///     }
///
///     fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
///         assert_eq!(self.0.as_ref(), Some(lines)); // handles of one connection are equal
///         if line == b"forget it" {
///             lines.clear_line_buffer();
///         }
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", || LineReceiver::new(Host(None)))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"forget it\r\n");
/// net.settle();
/// assert!(client.received().starts_with(b"you are ") && client.received().ends_with(b"\r\n"));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct LineTransport {
    transport: Transport,
    mode: Rc<Mode>,
}

/// The settings that callbacks change and the receiver follows.
struct Mode {
    delimiter: Cow<'static, [u8]>,
    raw: Cell<bool>,
    clear: Cell<bool>,
}

impl LineTransport {
    /// Sends `line`, text or bytes, and the delimiter. The line must not contain the delimiter, but `send_line` does
    /// not check that.
    pub fn send_line(&self, line: &(impl AsRef<[u8]> + ?Sized)) {
        self.transport.write_sequence([line.as_ref(), &self.mode.delimiter]);
    }

    /// Switches to raw mode: further input goes to [`LineProtocol::raw_data_received`] as it arrives.
    pub fn set_raw_mode(&self) {
        self.mode.raw.set(true);
    }

    /// Switches back to line mode. `extra` is the unconsumed part of the last raw chunk. `extra` is parsed before later
    /// input.
    pub fn set_line_mode(&self, extra: &[u8]) {
        self.mode.raw.set(false);
        self.transport.unread(extra);
    }

    /// Discards all input that was received but not delivered.
    pub fn clear_line_buffer(&self) {
        self.mode.clear.set(true);
        self.transport.take_unread();
    }

    /// Returns the delimiter between lines.
    pub fn delimiter(&self) -> &[u8] {
        &self.mode.delimiter
    }

    /// Returns the underlying transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl Deref for LineTransport {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

impl PartialEq for LineTransport {
    /// Returns whether both are handles of the same connection.
    fn eq(&self, other: &LineTransport) -> bool {
        self.transport == other.transport
    }
}

impl Eq for LineTransport {}

impl std::fmt::Debug for LineTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineTransport").field("transport", &self.transport).field("raw", &self.mode.raw).finish()
    }
}

/// Turns a [`LineProtocol`] into a [`Protocol`]. If raw mode is not used, the receiver behaves as Twisted's
/// LineOnlyReceiver.
///
/// ```
/// use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
/// use ropewalk::testing::MemoryReactor;
///
/// struct Sum(i64);
///
/// impl LineProtocol for Sum {
///     fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
///         self.0 += String::from_utf8_lossy(line).trim().parse::<i64>().unwrap_or(0);
///         lines.send_line(&self.0.to_string());
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", || LineReceiver::new(Sum(0)).delimiter("\n").max_length(100))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"1\n41\n");
/// net.settle();
/// assert_eq!(client.received(), b"1\n42\n");
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct LineReceiver<P> {
    protocol: P,
    decoder: LineDecoder,
    delimiter: Cow<'static, [u8]>,
    lines: Option<LineTransport>,
}

impl<P: LineProtocol> LineReceiver<P> {
    /// Creates a receiver of lines of at most 16384 bytes that end in `\r\n`.
    pub fn new(protocol: P) -> LineReceiver<P> {
        LineReceiver { protocol, decoder: LineDecoder::new(), delimiter: Cow::Borrowed(b"\r\n"), lines: None }
    }

    /// Sets the delimiter between lines, such as `"\n"`.
    ///
    /// With `"\n"`, a line from a peer that sends `\r\n` ends in `\r`.
    /// [`trim_ascii_end`](slice::trim_ascii_end) removes it.
    ///
    /// # Panics
    /// When `delimiter` is empty.
    #[must_use]
    pub fn delimiter(mut self, delimiter: &(impl AsRef<[u8]> + ?Sized)) -> LineReceiver<P> {
        self.delimiter = match delimiter.as_ref() {
            b"\n" => Cow::Borrowed(b"\n"), // the usual choice allocates nothing for each connection
            other => Cow::Owned(other.to_vec()),
        };
        self.decoder = LineDecoder::with(self.delimiter.clone(), self.decoder.max_length());
        self
    }

    /// Sets the maximum length of a line in bytes, not counting the delimiter.
    #[must_use]
    pub fn max_length(mut self, bytes: usize) -> LineReceiver<P> {
        self.decoder = LineDecoder::with(self.delimiter.clone(), bytes);
        self
    }

    fn lines(&mut self, transport: &Transport) -> LineTransport {
        let delimiter = &self.delimiter;
        let new = || LineTransport {
            transport: transport.clone(),
            mode: Rc::new(Mode { delimiter: delimiter.clone(), raw: Cell::new(false), clear: Cell::new(false) }),
        };
        self.lines.get_or_insert_with(new).clone()
    }

    /// Delivers `input`. If a callback gives bytes back with `set_line_mode`, returns these bytes joined with the rest
    /// of the input.
    fn deliver(&mut self, lines: &LineTransport, mut input: &[u8]) -> Option<Vec<u8>> {
        loop {
            if lines.mode.clear.take() {
                self.decoder.clear();
                return None;
            }
            if let Some(extra) = lines.take_unread() {
                return Some([&extra, input].concat());
            }
            if !lines.is_delivering() {
                lines.unread(input);
                return None;
            }
            if !self.deliver_one(lines, &mut input) {
                return None;
            }
        }
    }

    /// Delivers the next line or raw bytes. Returns false if there was neither.
    fn deliver_one(&mut self, lines: &LineTransport, input: &mut &[u8]) -> bool {
        if lines.mode.raw.get() {
            let raw = self.decoder.take_raw(input);
            return raw.map(|data| self.protocol.raw_data_received(lines, data)).is_some();
        }
        match self.decoder.decode(input) {
            Ok(Some(line)) => self.protocol.line_received(lines, line),
            Ok(None) => return false,
            Err(error) => self.protocol.line_length_exceeded(lines, &error.beginning),
        }
        true
    }
}

impl<P: LineProtocol> Protocol for LineReceiver<P> {
    fn connection_made(&mut self, transport: &Transport) {
        let lines = self.lines(transport);
        self.protocol.connection_made(&lines);
    }

    fn layer_opened(&mut self, transport: &Transport) {
        let lines = self.lines(transport);
        self.protocol.layer_opened(&lines);
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        self.protocol.file_descriptor_receiver()
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let lines = self.lines(transport);
        // If `clear` was called before this chunk arrived, the chunk is not discarded.
        if lines.mode.clear.take() {
            self.decoder.clear();
        }
        let mut joined = self.deliver(&lines, data);
        while let Some(bytes) = joined {
            joined = self.deliver(&lines, &bytes);
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        let lines = self.lines(transport);
        self.protocol.read_connection_lost(&lines);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        let lines = self.lines(transport);
        self.protocol.write_connection_lost(&lines);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        let lines = self.lines(transport);
        self.protocol.connection_lost(&lines, reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.protocol.log_prefix()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::testing::{AccumulatingProtocol, Faults, MemoryReactor, TestStream};

    type Action = fn(&LineTransport, &[u8]);

    /// Records its callbacks, and runs the test's actions on lines and raw data.
    #[derive(Clone)]
    struct Scripted {
        notes: Rc<RefCell<Vec<String>>>,
        transport: Rc<RefCell<Option<LineTransport>>>,
        on_line: Action,
        on_raw: Action,
        on_exceeded: Action,
    }

    impl Scripted {
        fn new() -> Scripted {
            let on_exceeded: Action = |lines, _| lines.lose_connection();
            Scripted {
                notes: Rc::default(),
                transport: Rc::default(),
                on_line: |_, _| {},
                on_raw: |_, _| {},
                on_exceeded,
            }
        }

        fn note(&self, what: &str, data: &[u8]) {
            self.notes.borrow_mut().push(format!("{what} {}", data.escape_ascii()));
        }

        fn notes(&self) -> Vec<String> {
            self.notes.take()
        }

        fn lines(&self) -> LineTransport {
            self.transport.borrow().clone().unwrap()
        }

        /// Serves this protocol, and returns a client of it.
        fn serve(&self, net: &MemoryReactor) -> TestStream {
            let protocol = self.clone();
            net.listen_tcp("10.0.0.1:23", move || LineReceiver::new(protocol.clone()).max_length(10)).unwrap();
            net.connect_stream("10.0.0.1:23")
        }
    }

    impl LineProtocol for Scripted {
        fn connection_made(&mut self, lines: &LineTransport) {
            *self.transport.borrow_mut() = Some(lines.clone());
        }

        fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
            self.note("line", line);
            (self.on_line)(lines, line);
        }

        fn raw_data_received(&mut self, lines: &LineTransport, data: &[u8]) {
            self.note("raw", data);
            (self.on_raw)(lines, data);
        }

        fn line_length_exceeded(&mut self, lines: &LineTransport, beginning: &[u8]) {
            self.note("exceeded", beginning);
            (self.on_exceeded)(lines, beginning);
        }

        fn read_connection_lost(&mut self, lines: &LineTransport) {
            self.note("read lost", b"");
            lines.lose_connection();
        }

        fn connection_lost(&mut self, _lines: &LineTransport, reason: &Error) {
            self.note("lost", reason.to_string().as_bytes());
        }
    }

    fn pause(lines: &LineTransport, line: &[u8]) {
        if line == b"stop" {
            lines.pause_producing();
        }
    }

    #[test]
    fn lines_are_delivered_without_their_delimiter() {
        for seed in 0..20 {
            let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_reads());
            let mut server = Scripted::new();
            server.on_line = |lines, line| lines.send_line(line);
            let client = server.serve(&net);
            client.write(b"one\r\ntwo\r\n\r\nthree");
            net.settle();
            assert_eq!(server.notes(), ["line one", "line two", "line "]);
            assert_eq!(client.received(), b"one\r\ntwo\r\n\r\n");
        }
    }

    #[test]
    fn a_pause_delays_lines_without_loss() {
        let net = MemoryReactor::new();
        let mut server = Scripted::new();
        server.on_line = pause;
        let client = server.serve(&net);
        client.write(b"a\r\nstop\r\nb\r\nstop\r\nc\r\n");
        client.finish();
        net.settle();
        assert_eq!(server.notes(), ["line a", "line stop"]);
        server.lines().transport().clone().resume_producing();
        assert_eq!(server.notes(), [""; 0], "no line is delivered inside resume_producing");
        net.settle();
        assert_eq!(server.notes(), ["line b", "line stop"]);
        server.lines().resume_producing();
        net.settle();
        assert_eq!(server.notes(), ["line c", "read lost ", "lost connection was closed cleanly"]);
    }

    #[test]
    fn lines_keep_their_order_across_a_pause() {
        let net = MemoryReactor::new();
        let mut server = Scripted::new();
        server.on_line = pause;
        let client = server.serve(&net);
        client.write(b"stop\r\nfir");
        net.settle();
        client.write(b"st\r\nsecond\r\n");
        net.settle();
        server.lines().resume_producing();
        net.settle();
        assert_eq!(server.notes(), ["line stop", "line first", "line second"]);
    }

    #[test]
    fn raw_mode_gets_the_rest_of_the_chunk() {
        let net = MemoryReactor::new();
        let mut server = Scripted::new();
        server.on_line = |lines, line| {
            if line == b"DATA" {
                lines.set_raw_mode();
            }
        };
        server.on_raw = |lines, data| {
            if let Some(end) = data.iter().position(|&byte| byte == b'.') {
                lines.set_line_mode(&data[end + 1..]);
            }
        };
        let client = server.serve(&net);
        client.write(b"DATA\r\nx\r\ny");
        net.settle();
        client.write(b"z.NOOP\r\nDATA\r\n.QUIT\r\n");
        net.settle();
        let expected = [
            "line DATA",
            r"raw x\r\ny",
            r"raw z.NOOP\r\nDATA\r\n.QUIT\r\n",
            "line NOOP",
            "line DATA",
            r"raw .QUIT\r\n",
            "line QUIT",
        ];
        assert_eq!(server.notes(), expected);
    }

    #[test]
    fn the_mode_can_be_changed_from_outside_a_callback() {
        let net = MemoryReactor::new();
        let server = Scripted::new();
        let client = server.serve(&net);
        client.write(b"half");
        net.settle();
        server.lines().set_raw_mode();
        client.write(b" a line\r\n");
        net.settle();
        assert_eq!(server.notes(), ["raw half", r"raw  a line\r\n"]);
        server.lines().set_line_mode(b"extra\r\nmo");
        net.settle();
        client.write(b"re\r\n");
        net.settle();
        assert_eq!(server.notes(), ["line extra", "line more"]);
    }

    #[test]
    fn returned_bytes_precede_undelivered_ones() {
        let net = MemoryReactor::new();
        let mut server = Scripted::new();
        server.on_raw = |lines, data| lines.set_line_mode(&data[1..]);
        let client = server.serve(&net);
        client.write(b"half");
        net.settle();
        server.lines().set_raw_mode();
        client.write(b" line\r\n");
        net.settle();
        assert_eq!(server.notes(), ["raw half", "line alf line"]);
    }

    #[test]
    fn an_incomplete_line_over_the_limit_closes_the_connection() {
        let net = MemoryReactor::new();
        let server = Scripted::new();
        let client = server.serve(&net);
        client.write(&[b'x'; 100]);
        client.write(b"\r\nnext\r\n");
        net.settle();
        assert_eq!(server.notes(), ["exceeded xxxxxxxxxxxx", "lost connection was closed cleanly"]);
        assert!(!client.is_connected() || client.is_eof());
    }

    #[test]
    fn a_tolerated_over_long_line_is_skipped() {
        let net = MemoryReactor::new();
        let mut server = Scripted::new();
        server.on_exceeded = |lines, _| lines.send_line(b"500 too long");
        let client = server.serve(&net);
        client.write(&[b'x'; 100]);
        client.write(b"QUIT\r\nnext\r\n");
        net.settle();
        assert_eq!(server.notes(), ["exceeded xxxxxxxxxxxx", "line next"]);
        assert_eq!(client.received(), b"500 too long\r\n");
    }

    #[test]
    fn no_line_follows_a_line_that_closed_the_connection() {
        let actions: [Action; 2] = [|lines, _| lines.lose_connection(), |lines, _| lines.abort_connection()];
        for action in actions {
            let net = MemoryReactor::new();
            let mut server = Scripted::new();
            server.on_line = action;
            let client = server.serve(&net);
            client.write(b"one\r\ntwo\r\n");
            net.settle();
            assert_eq!(server.notes.borrow().len(), 2);
            assert_eq!(server.notes.borrow()[0], "line one");
            assert!(server.notes.borrow()[1].starts_with("lost"));
        }
    }

    #[test]
    fn clear_line_buffer_discards_all_undelivered_input() {
        let net = MemoryReactor::new();
        let mut server = Scripted::new();
        server.on_line = |lines, line| {
            if line == b"clear" {
                lines.clear_line_buffer();
            }
        };
        let client = server.serve(&net);
        client.write(b"clear\r\nforgotten\r\nhalf");
        net.settle();
        client.write(b"new\r\nhalf");
        net.settle();
        server.lines().clear_line_buffer();
        client.write(b"again\r\n");
        net.settle();
        assert_eq!(server.notes(), ["line clear", "line new", "line again"]);
        server.lines().pause_producing();
        server.lines().unread(b"forgotten\r\n");
        server.lines().clear_line_buffer();
        server.lines().resume_producing();
        net.settle();
        assert_eq!(server.notes(), [""; 0]);
    }

    #[test]
    fn a_new_protocol_gets_the_rest_of_the_chunk() {
        let net = MemoryReactor::new();
        let upgraded = AccumulatingProtocol::new();
        let successor = upgraded.clone();
        struct Upgrade(AccumulatingProtocol);
        impl LineProtocol for Upgrade {
            fn line_received(&mut self, lines: &LineTransport, _line: &[u8]) {
                lines.switch_protocol(Box::new(self.0.clone()));
            }
        }
        net.listen_tcp("10.0.0.1:23", move || LineReceiver::new(Upgrade(successor.clone()))).unwrap();
        let client = net.connect_stream("10.0.0.1:23");
        client.write(b"UPGRADE\r\nbinary");
        net.settle();
        assert_eq!(upgraded.data(), b"binary");
    }

    #[test]
    fn random_pauses_lose_no_lines() {
        for seed in 0..50 {
            let faults = Faults::none().short_reads().short_writes().jitter(Duration::from_millis(3));
            let net = MemoryReactor::seeded(seed).with_faults(faults);
            let mut server = Scripted::new();
            server.on_line = |lines, line| {
                if line.ends_with(b"7") || line.len() == 2 {
                    lines.pause_producing();
                    let again = lines.transport().clone();
                    lines
                        .reactor()
                        .call_later(Duration::from_millis(line[0].into()), move |_| again.resume_producing());
                }
            };
            let client = server.serve(&net);
            let sent: Vec<_> = (0..100).map(|number: u32| number.to_string()).collect();
            client.write(sent.iter().map(|line| format!("{line}\r\n")).collect::<String>().as_bytes());
            client.finish();
            net.advance(Duration::from_secs(60));
            let mut expected: Vec<_> = sent.iter().map(|line| format!("line {line}")).collect();
            expected.extend(["read lost ".into(), "lost connection was closed cleanly".into()]);
            assert_eq!(server.notes(), expected, "seed {seed}");
        }
    }

    #[test]
    fn the_limit_can_be_set_before_the_delimiter() {
        let net = MemoryReactor::new();
        let server = Scripted::new();
        let protocol = server.clone();
        let build = move || LineReceiver::new(protocol.clone()).max_length(5).delimiter("\0");
        net.listen_tcp("10.0.0.1:23", build).unwrap();
        let client = net.connect_stream("10.0.0.1:23");
        client.write(b"a\r\nb\x00123456\0");
        net.settle();
        assert_eq!(server.notes()[..2], [r"line a\r\nb", "exceeded 123456"]);
        assert_eq!(server.lines().delimiter(), b"\0");
    }
}
