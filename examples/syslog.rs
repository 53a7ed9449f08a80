//! Receives syslog messages over UDP and prints them, or sends one.
//!
//! Run `cargo run -p ropewalk-examples --bin syslog`, and in another terminal
//! `cargo run -p ropewalk-examples --bin syslog -- --send udp:127.0.0.1:5514 'it works'`. The receiver prints
//! `user.notice HOST syslog: it works`. `logger -d -n 127.0.0.1 -P 5514 'it works'` is another sender. The first argument
//! is the place to receive at, such as `udp:514` as root, or `unix-datagram:/tmp/log`.
//!
//! ```text
//!   <34>1 2003-10-11T22:14:15.003Z mymachine su 77 ID47 [a b="c"] 'su root' failed      RFC 5424
//!   <34>Oct 11 22:14:15 mymachine su[77]: 'su root' failed                              RFC 3164
//!    34 = 8 * 4 + 2: facility auth, severity crit
//! ```
//!
//! Anyone can send anything, so nothing here trusts a message. Its length is bounded, control characters are escaped, and
//! a message that breaks the rules is printed as it is. If the printer is slow, the system drops messages. The receiver
//! prints their number once a second.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use ropewalk::endpoints::{datagram_client_from_string, datagram_server_from_string};
use ropewalk::prelude::*;
use ropewalk::{DatagramPort, DatagramProtocol, Datagrams, Moment, react};

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The priority of a message without one: user.notice, RFC 3164, section 4.3.3.
const DEFAULT_PRIORITY: u8 = 13;

/// The time between two reports of dropped messages.
const REPORTS_APART: Duration = Duration::from_secs(1);

/// The parts of a message.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    priority: u8,
    host: Option<&'a str>,
    /// The name of the program, without its process id.
    program: Option<&'a str>,
    text: &'a str,
}

impl<'a> Message<'a> {
    fn parse(whole: &'a str) -> Message<'a> {
        let Some((priority, rest)) = priority(whole) else {
            return Message { priority: DEFAULT_PRIORITY, host: None, program: None, text: whole };
        };
        let parsed = rest.strip_prefix("1 ").and_then(rfc_5424).or_else(|| rfc_3164(rest));
        let (host, program, text) = parsed.unwrap_or((None, None, rest));
        Message { priority, host, program, text }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (facility, severity) = (usize::from(self.priority / 8), usize::from(self.priority % 8));
        write!(f, "{}.{} ", FACILITIES[facility], SEVERITIES[severity])?;
        if let Some(host) = self.host {
            write!(f, "{} ", Plain(host))?;
        }
        if let Some(program) = self.program {
            write!(f, "{}: ", Plain(program))?;
        }
        Plain(self.text).fmt(f)
    }
}

/// A text whose control characters are escaped: they could change the terminal, or forge a line.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|character| match character.is_control() {
            true => write!(f, "{}", character.escape_debug()),
            false => f.write_char(character),
        })
    }
}

/// Host, program and text.
type Parts<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

/// Splits `<34>...` into the priority and the rest.
fn priority(whole: &str) -> Option<(u8, &str)> {
    let (digits, rest) = whole.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority = digits.parse().ok().filter(|priority| is_number && *priority < 192)?;
    Some((priority, rest))
}

/// Parses what follows the version: `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]`.
fn rfc_5424(rest: &str) -> Option<Parts<'_>> {
    let mut fields = rest.splitn(6, ' ');
    let [_time, host, program, _process, _kind, rest] = std::array::from_fn(|_| fields.next());
    let rest = rest?;
    let end = match rest.strip_prefix('-') {
        Some(_) => 1,
        None => structured_data_length(rest)?,
    };
    let text = rest[end..].strip_prefix(' ').unwrap_or(&rest[end..]);
    let present = |field: Option<&'_ str>| field.is_some_and(|field| field != "-");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some((host.filter(|host| present(Some(host))), program.filter(|program| present(Some(program))), text))
}

/// Returns the length of `[id name="value" ...]...`. In a value a backslash escapes `"`, `\` and `]`.
fn structured_data_length(text: &str) -> Option<usize> {
    let (mut is_inside, mut is_quoted, mut is_escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' if is_inside => is_quoted = !is_quoted,
            b'[' if !is_inside => is_inside = true,
            b']' if is_inside && !is_quoted => is_inside = false,
            b' ' if !is_inside => return (at > 0).then_some(at),
            _ if !is_inside => return None,
            _ => (),
        }
    }
    (!is_inside && !text.is_empty()).then_some(text.len())
}

/// Parses `Oct 11 22:14:15 [HOSTNAME ]TAG[PID]: text`. A program on the same machine sends no host name.
fn rfc_3164(rest: &str) -> Option<Parts<'_>> {
    let (time, rest) = (rest.get(..16)?, rest.get(16..)?);
    if !MONTHS.contains(&time.get(..3)?) || !time.ends_with(' ') {
        return None;
    }
    let is_tag = |word: &str| word.ends_with(':');
    let (host, rest) = match rest.split_once(' ') {
        Some((word, rest)) if !is_tag(word) => (Some(word), rest),
        _ => (None, rest),
    };
    Some(match rest.split_once(": ") {
        Some((tag, text)) if !tag.contains(' ') => (host, tag.split('[').next(), text),
        _ => (host, None, rest),
    })
}

/// The protocol of the receiver.
struct Receiver<P> {
    print: P,
    dropped: u64,
    reported: Option<Moment>,
}

impl<P: FnMut(&str)> Receiver<P> {
    fn new(print: P) -> Receiver<P> {
        Receiver { print, dropped: 0, reported: None }
    }

    fn report_dropped(&mut self, port: &DatagramPort) {
        let now = port.reactor().now();
        if self.reported.is_some_and(|reported| now - reported < REPORTS_APART) {
            return;
        }
        self.reported = Some(now);
        let counters = port.counters();
        let dropped = counters.dropped.unwrap_or(0) + counters.cut;
        if dropped > self.dropped {
            (self.print)(&format!("* {} messages were dropped", dropped - self.dropped));
            self.dropped = dropped;
        }
    }
}

impl<P: FnMut(&str)> DatagramProtocol for Receiver<P> {
    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        for datagram in batch {
            let whole = String::from_utf8_lossy(datagram.data);
            (self.print)(&Message::parse(whole.trim_end_matches(['\n', '\0'])).to_string());
        }
        self.report_dropped(port);
    }

    fn log_prefix(&self) -> &'static str {
        "syslog"
    }
}

/// The protocol of the sender.
struct Sender;
impl DatagramProtocol for Sender {}

/// Opens the port of the receiver.
fn receive(reactor: &Reactor, place: &str, print: impl FnMut(&str) + 'static) -> Deferred<DatagramPort> {
    match datagram_server_from_string(reactor, place) {
        Ok(endpoint) => endpoint.open(reactor, Box::new(Receiver::new(print))),
        Err(error) => ropewalk::fail(error),
    }
}

/// Sends one message of RFC 5424, with the priority user.notice. The receiver knows the time.
fn send(reactor: &Reactor, place: &str, host: &str, text: &str) -> Deferred<()> {
    let message = format!("<{DEFAULT_PRIORITY}>1 - {host} syslog {} - - {text}", std::process::id());
    match datagram_client_from_string(reactor, place) {
        Ok(endpoint) => endpoint.open(reactor, Box::new(Sender)).and_then(move |port| port.write(message.as_bytes())),
        Err(error) => ropewalk::fail(error),
    }
}

/// Receives until a signal ends the program.
fn run(place: &str) -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = receive(&reactor, place, |line| println!("{line}")).try_result().expect("a port opens at once")?;
    println!("* receiving at {}", port.host());
    reactor.run()
}

fn main() -> ropewalk::Result<ExitCode> {
    let arguments = Vec::from_iter(std::env::args().skip(1));
    match &Vec::from_iter(arguments.iter().map(String::as_str))[..] {
        ["--send", place, text] => {
            let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            let host = if name.trim().is_empty() { "-" } else { name.trim() };
            return Ok(react(|reactor| send(&reactor, place, host, text)));
        }
        [place] if !place.starts_with('-') => run(place)?,
        [] => run("udp:5514:interface=127.0.0.1")?,
        _ => return Err(Error::Failed("usage: syslog [PLACE], or syslog --send PLACE TEXT".into())),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use ropewalk::testing::MemoryReactor;

    use super::*;

    /// Starts a receiver, and returns the lines that it prints.
    fn receiver(net: &MemoryReactor) -> Rc<RefCell<Vec<String>>> {
        let printed = Rc::new(RefCell::new(Vec::new()));
        let lines = printed.clone();
        let print = move |line: &str| lines.borrow_mut().push(line.to_owned());
        assert!(receive(net, "udp:514:interface=10.0.0.1", print).try_result().unwrap().is_ok());
        printed
    }

    #[test]
    fn messages_of_both_standards_are_printed() {
        let cases = [
            // RFC 5424, section 6.5
            (
                "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed on /dev/pts/8",
                "auth.crit mymachine.example.com su: 'su root' failed on /dev/pts/8",
            ),
            (
                r#"<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [a@1 b="c\"]" d="e"][f g="] "] An event"#,
                "local4.notice host evntslog: An event",
            ),
            ("<191>1 - - - - - -", "local7.debug "),
            // RFC 3164, section 5.4
            ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "auth.crit mymachine su: 'su root' failed"),
            ("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", "user.notice 10.0.0.99 Use the BFG!"),
            // From the same machine, by /dev/log
            ("<78>Oct 11 22:14:15 CRON[77]: (root) CMD (true)\n", "cron.info CRON: (root) CMD (true)"),
            // Without a priority, or with a wrong one
            ("Use the BFG!", "user.notice Use the BFG!"),
            ("<192>x", "user.notice <192>x"),
            ("<+13>x", "user.notice <+13>x"),
            ("<13>", "user.notice "),
            ("<13>1 - host", "user.notice 1 - host"),
            ("<13>1 - host p - - [unclosed x", "user.notice 1 - host p - - [unclosed x"),
            ("", "user.notice "),
            // A forged line, and a change of the terminal
            ("<13>x\n<8>\u{1b}[2Jy", "user.notice x\\n<8>\\u{1b}[2Jy"),
        ];
        let net = MemoryReactor::new();
        let (printed, sender) = (receiver(&net), net.open_datagrams("10.0.0.2:5000").unwrap());
        for (message, line) in cases {
            sender.send_to(message.as_bytes(), &Address::Inet("10.0.0.1:514".parse().unwrap()));
            net.settle();
            assert_eq!(printed.borrow_mut().pop().as_deref(), Some(line));
        }
    }

    #[test]
    fn the_receiver_understands_the_sender() {
        let net = MemoryReactor::new();
        net.add_host("log.example", &["10.0.0.1"]);
        let printed = receiver(&net);
        let sent = send(&net, "udp:log.example:514", "here", "it works");
        net.settle();
        assert!(sent.try_result().unwrap().is_ok());
        assert_eq!(*printed.borrow(), ["user.notice here syslog: it works"]);
    }

    #[test]
    fn dropped_messages_are_counted_once_a_second() {
        let net = MemoryReactor::new();
        let (printed, sender) = (receiver(&net), net.open_datagrams("10.0.0.2:5000").unwrap());
        let to = Address::Inet("10.0.0.1:514".parse().unwrap());
        for length in [1, 9000, 9000, 1] {
            sender.send_to(&vec![b'x'; length], &to);
            net.settle();
        }
        net.advance(REPORTS_APART);
        sender.send_to(b"y", &to);
        net.settle();
        assert_eq!(*printed.borrow(), ["user.notice x", "user.notice x", "user.notice y", "* 2 messages were dropped"]);
    }

    #[test]
    fn no_message_makes_the_parser_panic() {
        let pieces = ["<13>", "1 ", "- ", "[", "]", "\"", "\\", "Oct 11 22:14:15 ", "a", ": ", "é", "\u{feff}", " "];
        for number in 0..pieces.len().pow(5) {
            let digits = (0..5).scan(number, |rest, _| {
                let digit = *rest % pieces.len();
                *rest /= pieces.len();
                Some(pieces[digit])
            });
            let message = String::from_iter(digits);
            let _ = Message::parse(&message).to_string();
        }
    }
}
