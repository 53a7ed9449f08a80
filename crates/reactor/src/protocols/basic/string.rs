//! Receivers of length-delimited strings: NetstringReceiver, Int8StringReceiver and its siblings.

use std::ops::Deref;

use ropewalk_proto::framing::{
    Decoder, Int8Decoder, Int16Decoder, Int32Decoder, LengthLimitExceeded, LengthPrefix, NetstringDecoder,
    NetstringHeader, NetstringParseError, StringTooLong, int_prefix,
};

use crate::error::Error;
use crate::protocols::{FileDescriptorReceiver, Protocol};
use crate::transports::Transport;

/// The behaviour of one connection that carries strings. A [`StringReceiver`] turns it into a [`Protocol`].
///
/// Callbacks follow the order of [`Protocol`], with strings in place of chunks. When a callback pauses the transport or
/// loses the connection, no further string is delivered. After a pause, the remaining strings are delivered after
/// [`resume_producing`](Transport::resume_producing).
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::basic::{Int32StringReceiver, StringProtocol, StringTransport};
///
/// struct Echo;
///
/// impl StringProtocol for Echo {
///     fn string_received(&mut self, strings: &StringTransport, string: &[u8]) {
///         strings.send_string(string).expect("a received length can be sent");
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// reactor.listen_tcp("127.0.0.1:0", || Int32StringReceiver::new(Echo))?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait StringProtocol {
    /// Called when the connection has been made.
    fn connection_made(&mut self, strings: &StringTransport) {
        let _ = strings;
    }

    /// Called when a layer has opened, like [`Protocol::layer_opened`].
    ///
    /// ```
    /// use ropewalk::protocols::basic::{StringProtocol, StringTransport};
    ///
    /// /// Greets when the connection is encrypted, not before.
    /// struct Greeter;
    ///
    /// impl StringProtocol for Greeter {
    ///     fn layer_opened(&mut self, strings: &StringTransport) {
    ///         strings.send_string(b"ready").expect("it is short");
    ///     }
    ///
    ///     fn string_received(&mut self, _strings: &StringTransport, _string: &[u8]) {}
    /// }
    /// ```
    fn layer_opened(&mut self, strings: &StringTransport) {
        let _ = strings;
    }

    /// Returns this protocol if it takes descriptors, like [`Protocol::file_descriptor_receiver`]. A descriptor may
    /// arrive before strings that were sent earlier, but never after the string whose bytes carried it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::fd::OwnedFd;
    /// use ropewalk::Transport;
    /// use ropewalk::protocols::FileDescriptorReceiver;
    /// use ropewalk::protocols::basic::{StringProtocol, StringTransport};
    ///
    /// /// Pairs each string with the descriptor that came with it.
    /// #[derive(Default)]
    /// struct Pairs(std::collections::VecDeque<OwnedFd>);
    ///
    /// impl StringProtocol for Pairs {
    ///     fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
    ///         Some(self)
    ///     }
    ///
    ///     fn string_received(&mut self, _strings: &StringTransport, _string: &[u8]) {
    ///         let _of_this_string = self.0.pop_front();
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

    /// Called when a string has arrived.
    fn string_received(&mut self, strings: &StringTransport, string: &[u8]);

    /// Called when the input is malformed or announces a string that is too long. No further string is delivered.
    ///
    /// The default closes the connection.
    ///
    /// ```
    /// use ropewalk::protocols::basic::{FramingError, NetstringReceiver, StringProtocol, StringTransport};
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// struct Strict;
    ///
    /// impl StringProtocol for Strict {
    ///     fn string_received(&mut self, _strings: &StringTransport, _string: &[u8]) {}
    ///
    ///     fn framing_broken(&mut self, strings: &StringTransport, error: &FramingError) {
    ///         let _ = strings.send_string(&error.to_string());
    ///         strings.lose_connection();
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || NetstringReceiver::new(Strict))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"GET / HTTP/1.1\r\n");
    /// net.settle();
    /// assert!(client.is_eof() && !client.received().is_empty());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn framing_broken(&mut self, strings: &StringTransport, error: &FramingError) {
        let _ = error;
        strings.lose_connection();
    }

    /// Called when the peer has finished sending, like [`Protocol::read_connection_lost`].
    fn read_connection_lost(&mut self, strings: &StringTransport) {
        strings.lose_connection();
    }

    /// Called when this side can send no more, like [`Protocol::write_connection_lost`].
    fn write_connection_lost(&mut self, strings: &StringTransport) {
        let _ = strings;
    }

    /// Called when the connection has ended. No callback follows.
    ///
    /// ```
    /// use ropewalk::Error;
    /// use ropewalk::protocols::basic::{Int8StringReceiver, StringProtocol, StringTransport};
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Counts words, and replies with the number at the end.
    /// #[derive(Default)]
    /// struct Count(u8);
    ///
    /// impl StringProtocol for Count {
    ///     fn string_received(&mut self, _strings: &StringTransport, _word: &[u8]) {
    ///         self.0 += 1;
    ///     }
    ///
    ///     fn read_connection_lost(&mut self, strings: &StringTransport) {
    ///         strings.send_string(&[self.0]).expect("one byte fits");
    ///         strings.lose_write_connection();
    ///     }
    ///
    ///     fn write_connection_lost(&mut self, strings: &StringTransport) {
    ///         strings.lose_connection();
    ///     }
    ///
    ///     fn connection_lost(&mut self, _strings: &StringTransport, reason: &Error) {
    ///         println!("{}: {reason}", self.log_prefix());
    ///     }
    ///
    ///     fn log_prefix(&self) -> &'static str {
    ///         "count"
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || Int8StringReceiver::new(Count::default()))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"\x04rope\x04walk");
    /// client.finish();
    /// net.settle();
    /// assert_eq!(client.received(), b"\x01\x02");
    /// # Ok::<(), Error>(())
    /// ```
    fn connection_lost(&mut self, strings: &StringTransport, reason: &Error) {
        let _ = (strings, reason);
    }

    /// Returns the name of this protocol in log lines. The default is the name of its type.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// The reason why no further string can be found in the input.
///
/// ```
/// use ropewalk::proto::framing::{Decoder, Int8Decoder};
/// use ropewalk::protocols::basic::FramingError;
///
/// let too_long = Int8Decoder::with(3).decode(&mut &b"\x04four"[..]).unwrap_err();
/// assert!(matches!(FramingError::from(too_long), FramingError::LengthLimitExceeded(_)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// The announced string is longer than allowed: lengthLimitExceeded.
    LengthLimitExceeded(LengthLimitExceeded),
    /// The input is not a netstring, or the netstring is longer than allowed.
    Netstring(NetstringParseError),
}

impl std::fmt::Display for FramingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FramingError::LengthLimitExceeded(error) => error.fmt(f),
            FramingError::Netstring(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FramingError {}

impl From<LengthLimitExceeded> for FramingError {
    fn from(error: LengthLimitExceeded) -> FramingError {
        FramingError::LengthLimitExceeded(error)
    }
}

impl From<NetstringParseError> for FramingError {
    fn from(error: NetstringParseError) -> FramingError {
        FramingError::Netstring(error)
    }
}

/// A [`Transport`] that sends strings.
///
/// Cloning is cheap, and a protocol may keep the handle. Its methods may be called from any callback on the reactor's
/// thread.
///
/// ```
/// use ropewalk::protocols::basic::{Int8StringReceiver, StringProtocol, StringTransport};
/// use ropewalk::testing::MemoryReactor;
///
/// struct Greeter;
///
/// impl StringProtocol for Greeter {
///     fn connection_made(&mut self, strings: &StringTransport) {
///         strings.send_string(b"hello").expect("five bytes fit");
///         assert!(strings.send_string(&[0; 256]).is_err()); // 256 do not, so nothing is sent
///         assert_eq!(strings, &strings.clone()); // handles of one connection are equal
///         strings.transport().lose_connection();
///     }
///
///     fn string_received(&mut self, _strings: &StringTransport, _string: &[u8]) {}
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", || Int8StringReceiver::new(Greeter))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// net.settle();
/// assert_eq!(client.received(), b"\x05hello");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StringTransport {
    transport: Transport,
    send: fn(&Transport, &[u8]) -> Result<(), StringTooLong>,
}

impl StringTransport {
    /// Sends `string` in the connection's format.
    ///
    /// # Errors
    /// [`StringTooLong`] when the format cannot express the string's length. In this case nothing is sent.
    pub fn send_string(&self, string: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), StringTooLong> {
        (self.send)(&self.transport, string.as_ref())
    }

    /// Returns the underlying transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl PartialEq for StringTransport {
    /// Returns whether both are handles of the same connection.
    fn eq(&self, other: &StringTransport) -> bool {
        self.transport == other.transport
    }
}

impl Eq for StringTransport {}

impl Deref for StringTransport {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

/// The format that delimits strings in the stream: [`Netstring`], [`Int8`], [`Int16`] or [`Int32`].
///
/// ```
/// use ropewalk::protocols::basic::{Int8, Int16, Int32, Netstring};
/// use ropewalk::protocols::basic::{StringFormat, StringProtocol, StringReceiver, StringTransport};
/// use ropewalk::testing::MemoryReactor;
///
/// struct Echo;
///
/// impl StringProtocol for Echo {
///     fn string_received(&mut self, strings: &StringTransport, string: &[u8]) {
///         strings.send_string(string).expect("a received length can be sent");
///     }
/// }
///
/// fn echoed<F: StringFormat>(bytes: &[u8]) -> Vec<u8> {
///     let net = MemoryReactor::new();
///     net.listen_tcp("10.0.0.1:7", || StringReceiver::<F, Echo>::new(Echo)).unwrap();
///     let client = net.connect_stream("10.0.0.1:7");
///     client.write(bytes);
///     net.settle();
///     client.received()
/// }
///
/// assert_eq!(echoed::<Int8>(b"\x02hi"), b"\x02hi");
/// assert_eq!(echoed::<Int16>(b"\0\x02hi"), b"\0\x02hi");
/// assert_eq!(echoed::<Int32>(b"\0\0\0\x02hi"), b"\0\0\0\x02hi");
/// assert_eq!(echoed::<Netstring>(b"2:hi,"), b"2:hi,");
/// ```
pub trait StringFormat: sealed::Sealed + 'static {
    /// The decoder that splits the input into strings.
    #[doc(hidden)]
    type Decoder: Decoder<Error: Into<FramingError>>;

    #[doc(hidden)]
    fn decoder(max_length: Option<usize>) -> Self::Decoder;

    #[doc(hidden)]
    fn send(transport: &Transport, string: &[u8]) -> Result<(), StringTooLong>;
}

mod sealed {
    pub trait Sealed {}
}

/// Strings with their length in decimal digits, such as `5:hello,`.
#[derive(Clone, Copy, Debug)]
pub struct Netstring;

/// Strings that follow their length in one byte.
#[derive(Clone, Copy, Debug)]
pub struct Int8;

/// Strings that follow their length in two big-endian bytes.
#[derive(Clone, Copy, Debug)]
pub struct Int16;

/// Strings that follow their length in four big-endian bytes.
#[derive(Clone, Copy, Debug)]
pub struct Int32;

impl sealed::Sealed for Netstring {}

impl StringFormat for Netstring {
    type Decoder = NetstringDecoder;

    fn decoder(max_length: Option<usize>) -> NetstringDecoder {
        max_length.map_or_else(NetstringDecoder::new, NetstringDecoder::with)
    }

    fn send(transport: &Transport, string: &[u8]) -> Result<(), StringTooLong> {
        transport.write_sequence([NetstringHeader::new(string.len()).as_ref(), string, b","]);
        Ok(())
    }
}

macro_rules! int_format {
    ($($format:ident, $decoder:ident, $prefix:ty;)*) => { $(
        impl sealed::Sealed for $format {}

        impl StringFormat for $format {
            type Decoder = $decoder;

            fn decoder(max_length: Option<usize>) -> $decoder {
                max_length.map_or_else($decoder::new, $decoder::with)
            }

            fn send(transport: &Transport, string: &[u8]) -> Result<(), StringTooLong> {
                send_int_prefixed::<$prefix>(transport, string)
            }
        }
    )* };
}

int_format! {
    Int8, Int8Decoder, u8;
    Int16, Int16Decoder, u16;
    Int32, Int32Decoder, u32;
}

fn send_int_prefixed<P: LengthPrefix>(transport: &Transport, string: &[u8]) -> Result<(), StringTooLong> {
    let prefix = int_prefix::<P>(string.len())?;
    transport.write_sequence([prefix.as_ref(), string]);
    Ok(())
}

/// Turns a [`StringProtocol`] into a [`Protocol`], with strings in the format `F`.
///
/// ```
/// use ropewalk::protocols::basic::{NetstringReceiver, StringProtocol, StringTransport};
/// use ropewalk::testing::MemoryReactor;
///
/// struct Reverse;
///
/// impl StringProtocol for Reverse {
///     fn string_received(&mut self, strings: &StringTransport, string: &[u8]) {
///         let reversed: Vec<u8> = string.iter().rev().copied().collect();
///         strings.send_string(&reversed).expect("netstrings have any length");
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", || NetstringReceiver::new(Reverse).max_length(1000))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"5:knits,");
/// net.settle();
/// assert_eq!(client.received(), b"5:stink,");
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct StringReceiver<F: StringFormat, P> {
    protocol: P,
    decoder: F::Decoder,
    /// The decoder found an error. Further input is dropped.
    broken: bool,
}

/// A [`StringReceiver`] of netstrings, of at most 99999 bytes by default.
pub type NetstringReceiver<P> = StringReceiver<Netstring, P>;
/// A [`StringReceiver`] of strings that follow their length in one byte.
pub type Int8StringReceiver<P> = StringReceiver<Int8, P>;
/// A [`StringReceiver`] of strings that follow their length in two bytes.
pub type Int16StringReceiver<P> = StringReceiver<Int16, P>;
/// A [`StringReceiver`] of strings that follow their length in four bytes, of at most 99999 bytes by default.
pub type Int32StringReceiver<P> = StringReceiver<Int32, P>;

impl<F: StringFormat, P: StringProtocol> StringReceiver<F, P> {
    /// Creates a receiver of strings of at most 99999 bytes, or of the format's maximum if that is less.
    pub fn new(protocol: P) -> StringReceiver<F, P> {
        StringReceiver { protocol, decoder: F::decoder(None), broken: false }
    }

    /// Sets the maximum length of a string. The format may have a lower maximum.
    #[must_use]
    pub fn max_length(mut self, bytes: usize) -> StringReceiver<F, P> {
        self.decoder = F::decoder(Some(bytes));
        self
    }

    fn strings(transport: &Transport) -> StringTransport {
        StringTransport { transport: transport.clone(), send: F::send }
    }

    /// Delivers the next string. Returns false if there was none.
    fn deliver_one(&mut self, strings: &StringTransport, input: &mut &[u8]) -> bool {
        match self.decoder.decode(input) {
            Ok(Some(string)) => {
                self.protocol.string_received(strings, string);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.broken = true;
                self.protocol.framing_broken(strings, &error.into());
                false
            }
        }
    }
}

impl<F: StringFormat, P: StringProtocol> Protocol for StringReceiver<F, P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(&Self::strings(transport));
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.protocol.layer_opened(&Self::strings(transport));
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        self.protocol.file_descriptor_receiver()
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if self.broken {
            return;
        }
        let strings = Self::strings(transport);
        let mut input = data;
        while self.deliver_one(&strings, &mut input) {
            if !transport.is_delivering() {
                return transport.unread(input);
            }
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.protocol.read_connection_lost(&Self::strings(transport));
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.protocol.write_connection_lost(&Self::strings(transport));
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.protocol.connection_lost(&Self::strings(transport), reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.protocol.log_prefix()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::testing::{Faults, MemoryReactor};

    /// Records strings and errors, and echoes each string.
    #[derive(Clone, Default)]
    struct Echo {
        notes: Rc<RefCell<Vec<String>>>,
        transport: Rc<RefCell<Option<StringTransport>>>,
        forgives: bool,
    }

    impl StringProtocol for Echo {
        fn connection_made(&mut self, strings: &StringTransport) {
            *self.transport.borrow_mut() = Some(strings.clone());
        }

        fn string_received(&mut self, strings: &StringTransport, string: &[u8]) {
            self.notes.borrow_mut().push(string.escape_ascii().to_string());
            strings.send_string(string).unwrap();
            match string {
                b"pause" => strings.pause_producing(),
                b"lose" => strings.lose_connection(),
                _ => {}
            }
        }

        fn framing_broken(&mut self, strings: &StringTransport, error: &FramingError) {
            self.notes.borrow_mut().push(error.to_string());
            if !self.forgives {
                strings.lose_connection();
            }
        }

        fn connection_lost(&mut self, _strings: &StringTransport, reason: &Error) {
            self.notes.borrow_mut().push(reason.to_string());
        }
    }

    /// Sends `stream` to a server in the format `F`, and returns the server's reply.
    fn serve<F: StringFormat>(echo: &Echo, stream: &[u8], seed: u64) -> Vec<u8> {
        let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_reads());
        let protocol = echo.clone();
        net.listen_tcp("10.0.0.1:1", move || StringReceiver::<F, _>::new(protocol.clone()).max_length(300)).unwrap();
        let client = net.connect_stream("10.0.0.1:1");
        client.write(stream);
        net.settle();
        if let Some(paused) = echo.transport.borrow().as_ref().filter(|strings| strings.is_connected()) {
            paused.resume_producing();
        }
        net.settle();
        client.received()
    }

    fn echoes<F: StringFormat>(stream: &[u8]) {
        for seed in 0..10 {
            let echo = Echo::default();
            assert_eq!(serve::<F>(&echo, stream, seed), stream);
            assert_eq!(echo.notes.take(), ["hello", "", "x"]);
        }
    }

    #[test]
    fn each_format_carries_strings_in_both_directions() {
        echoes::<Netstring>(b"5:hello,0:,1:x,");
        echoes::<Int8>(b"\x05hello\0\x01x");
        echoes::<Int16>(b"\0\x05hello\0\0\0\x01x");
        echoes::<Int32>(b"\0\0\0\x05hello\0\0\0\0\0\0\0\x01x");
    }

    #[test]
    fn a_pause_stops_between_two_strings() {
        let echo = Echo::default();
        let net = MemoryReactor::new();
        let protocol = echo.clone();
        net.listen_tcp("10.0.0.1:1", move || NetstringReceiver::new(protocol.clone())).unwrap();
        let client = net.connect_stream("10.0.0.1:1");
        client.write(b"5:pause,1:a,1:b,");
        client.finish();
        net.settle();
        assert_eq!(echo.notes.take(), ["pause"]);
        echo.transport.borrow().as_ref().unwrap().transport().resume_producing();
        net.settle();
        assert_eq!(echo.notes.take(), ["a", "b", "connection was closed cleanly"]);
    }

    #[test]
    fn a_framing_error_is_reported_once() {
        let echo = Echo::default();
        serve::<Netstring>(&echo, b"1:a,01:b,", 0);
        let expected = ["a", "leading zero in the length of a netstring", "connection was closed cleanly"];
        assert_eq!(echo.notes.take(), expected);
        serve::<Int16>(&echo, b"\x01\x2d", 0);
        let expected = ["received a string length of 301 bytes: the limit is 300", "connection was closed cleanly"];
        assert_eq!(echo.notes.take(), expected);
    }

    #[test]
    fn no_string_follows_a_framing_error() {
        let echo = Echo { forgives: true, ..Echo::default() };
        serve::<Netstring>(&echo, b"x1:a,1:b,", 3);
        assert_eq!(echo.notes.take(), ["unexpected 'x' in the length of a netstring: expected a digit"]);
    }

    #[test]
    fn no_string_follows_a_string_that_closed_the_connection() {
        let echo = Echo::default();
        serve::<Int8>(&echo, b"\x04lose\x01a", 0);
        assert_eq!(echo.notes.take(), ["lose", "connection was closed cleanly"]);
    }

    #[test]
    fn a_string_too_long_for_its_format_is_not_sent() {
        let echo = Echo::default();
        assert_eq!(serve::<Int8>(&echo, b"\x01a", 0), b"\x01a");
        let strings = echo.transport.borrow().clone().unwrap();
        let error = strings.send_string(&[0; 256]).unwrap_err();
        assert_eq!((error.length, error.max_length), (256, 255));
        assert_eq!(strings.buffered(), 0);
    }
}
