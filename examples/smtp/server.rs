//! The server's side of SMTP, with STARTTLS.
//!
//! ```text
//!   connected --EHLO--> greeted --MAIL--> sender --RCPT--> recipients --DATA--> text --"."--> greeted
//!                          |
//!                          +--STARTTLS--> handshake --> connected, and all before is forgotten
//! ```
//!
//! Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 1870 (SIZE).

use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::IdleTimeout;
use ropewalk::tls::{TlsServer, Version};

use super::mail::{LINE_MAX, Mail, is_address};

/// The maximum length of a command, without its end. Source: RFC 5321, section 4.5.3.1.4.
const COMMAND_MAX: usize = 510;
/// The time without a byte after which a connection is closed. Source: RFC 5321, section 4.5.3.2.7.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The number of refused commands after which a connection is closed.
const MISTAKES_MAX: usize = 20;
/// The maximum number of bytes that are queued for a client that does not read.
const QUEUED_MAX: usize = 64 * 1024;

/// The options of a server.
pub(crate) struct Options {
    /// The server's name in its replies.
    pub(crate) name: String,
    pub(crate) tls: TlsServer,
    /// Whether mail is refused before TLS has started.
    pub(crate) requires_tls: bool,
    pub(crate) message_bytes_max: usize,
    pub(crate) recipients_max: usize,
    /// Gets each mail, and the version of TLS that has protected it.
    pub(crate) deliver: Box<dyn Fn(Mail, Option<Version>)>,
}

/// Builds the protocol of each connection.
pub(crate) fn sessions(options: Options) -> impl Fn() -> LineReceiver<Session> {
    let options = Rc::new(options);
    // A text line may have a dot more than its length.
    move || LineReceiver::new(Session::new(&options, false)).max_length(LINE_MAX + 1)
}

/// The protocol of one connection.
pub(crate) struct Session {
    options: Rc<Options>,
    is_protected: bool,
    /// Whether the client has introduced itself.
    is_greeted: bool,
    /// The mail that MAIL has begun.
    mail: Option<Mail>,
    stage: Stage,
    mistakes: usize,
}

#[derive(Debug, PartialEq)]
enum Stage {
    Commands,
    Text,
    /// Text that is not kept, and the reply that refuses it.
    RefusedText(&'static str),
}

const TOO_LARGE: &str = "552 the mail is larger than SIZE says";

impl Session {
    fn new(options: &Rc<Options>, is_protected: bool) -> Session {
        let options = options.clone();
        Session { options, is_protected, is_greeted: false, mail: None, stage: Stage::Commands, mistakes: 0 }
    }

    fn command(&mut self, lines: &LineTransport, line: &[u8]) {
        let Some(line) = std::str::from_utf8(line).ok().filter(|line| is_command(line)) else {
            return self.refuse(lines, "500 expected a command of at most 510 printable letters");
        };
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let verb = verb.to_ascii_uppercase();
        let is_refused = self.options.requires_tls && !self.is_protected;
        match verb.as_str() {
            "EHLO" | "HELO" => self.greet(lines, &verb, argument),
            "NOOP" => lines.send_line("250 ok"),
            "QUIT" => {
                lines.send_line("221 goodbye");
                lines.lose_connection();
            }
            "STARTTLS" => self.start_tls(lines, argument),
            _ if is_refused => self.refuse(lines, "530 STARTTLS must come first"),
            "MAIL" => self.begin(lines, argument),
            "RCPT" => self.add_recipient(lines, argument),
            "DATA" => self.begin_text(lines, argument),
            "RSET" => {
                self.mail = None;
                lines.send_line("250 forgotten");
            }
            "VRFY" => lines.send_line("252 send it, and see"),
            _ => self.refuse(lines, "500 no such command"),
        }
    }

    /// Refuses a command. Closes the connection after too many.
    fn refuse(&mut self, lines: &LineTransport, reply: &str) {
        lines.send_line(reply);
        self.mistakes += 1;
        if self.mistakes == MISTAKES_MAX {
            lines.send_line("421 too many mistakes");
            lines.lose_connection();
        }
    }

    fn greet(&mut self, lines: &LineTransport, verb: &str, client: &str) {
        if client.is_empty() {
            return self.refuse(lines, "501 expected the name of the client");
        }
        (self.is_greeted, self.mail) = (true, None);
        let name = &self.options.name;
        if verb == "HELO" {
            return lines.send_line(&format!("250 {name}"));
        }
        lines.send_line(&format!("250-{name}"));
        if !self.is_protected {
            lines.send_line("250-STARTTLS");
        }
        lines.send_line("250-8BITMIME");
        lines.send_line(&format!("250 SIZE {}", self.options.message_bytes_max));
    }

    fn start_tls(&mut self, lines: &LineTransport, argument: &str) {
        if self.is_protected {
            return self.refuse(lines, "503 TLS has started already");
        }
        if !argument.is_empty() {
            return self.refuse(lines, "501 STARTTLS has no argument");
        }
        lines.send_line("220 begin the handshake");
        // Bytes that came in the same packet belong to the handshake, and are never read as commands.
        if let Err(error) = lines.start_tls(self.options.tls.layer()) {
            tracing::warn!(peer = %lines.peer(), %error, "TLS cannot start");
            lines.abort_connection();
        }
    }

    fn begin(&mut self, lines: &LineTransport, argument: &str) {
        if !self.is_greeted || self.mail.is_some() {
            return self.refuse(lines, "503 MAIL comes after EHLO, and once for each mail");
        }
        let Some((sender, parameters)) = path(argument, "FROM:") else {
            return self.refuse(lines, "501 expected MAIL FROM:<address>");
        };
        let mut parameters = parameters.split_ascii_whitespace().map(str::to_ascii_uppercase);
        let size = |parameter: &str| parameter.strip_prefix("SIZE=").map(|size| size.parse::<usize>().ok());
        let reply = parameters.find_map(|parameter| match size(&parameter) {
            Some(Some(size)) if size <= self.options.message_bytes_max => None,
            Some(Some(_)) => Some(TOO_LARGE),
            Some(None) => Some("501 expected a number after SIZE="),
            None if ["BODY=7BIT", "BODY=8BITMIME"].contains(&parameter.as_str()) => None,
            None => Some("555 no such parameter"),
        });
        match reply {
            Some(reply) => self.refuse(lines, reply),
            None => {
                self.mail = Some(Mail { sender: sender.to_owned(), recipients: Vec::new(), text: Vec::new() });
                lines.send_line("250 ok");
            }
        }
    }

    fn add_recipient(&mut self, lines: &LineTransport, argument: &str) {
        let recipient = path(argument, "TO:").filter(|(address, rest)| !address.is_empty() && rest.is_empty());
        let reply = match (&mut self.mail, recipient) {
            (None, _) => "503 RCPT comes after MAIL",
            (_, None) => "501 expected RCPT TO:<address>",
            (Some(mail), _) if mail.recipients.len() == self.options.recipients_max => "452 too many recipients",
            (Some(mail), Some((recipient, _))) => {
                mail.recipients.push(recipient.to_owned());
                return lines.send_line("250 ok");
            }
        };
        self.refuse(lines, reply);
    }

    fn begin_text(&mut self, lines: &LineTransport, argument: &str) {
        if !argument.is_empty() || self.mail.as_ref().is_none_or(|mail| mail.recipients.is_empty()) {
            return self.refuse(lines, "503 DATA comes after RCPT, without an argument");
        }
        self.stage = Stage::Text;
        lines.send_line("354 send the text, and a line with a dot");
    }

    fn text_line(&mut self, lines: &LineTransport, line: &[u8]) {
        if line == b"." {
            return self.deliver(lines);
        }
        let (Some(mail), Stage::Text) = (&mut self.mail, &self.stage) else { return };
        let line = line.strip_prefix(b".").unwrap_or(line);
        if line.contains(&b'\r') || line.contains(&b'\n') {
            // Servers disagree about such lines, so that a mail could hide commands for the next server in them.
            return self.refuse_text("554 a line end is not CR LF");
        }
        if mail.text.len() + line.len() + 2 > self.options.message_bytes_max {
            return self.refuse_text(TOO_LARGE);
        }
        mail.text.extend_from_slice(line);
        mail.text.extend_from_slice(b"\r\n");
    }

    /// Frees the text so far. The reply follows the end of the text.
    fn refuse_text(&mut self, reply: &'static str) {
        self.stage = Stage::RefusedText(reply);
        if let Some(mail) = &mut self.mail {
            mail.text = Vec::new();
        }
    }

    fn deliver(&mut self, lines: &LineTransport) {
        match (std::mem::replace(&mut self.stage, Stage::Commands), self.mail.take()) {
            (Stage::Text, Some(mail)) => {
                (self.options.deliver)(mail, lines.with_tls(|tls| tls.version()).flatten());
                lines.send_line("250 delivered");
            }
            (Stage::RefusedText(reply), _) => self.refuse(lines, reply),
            _ => {}
        }
    }
}

/// Returns whether a line may be a command. Line ends inside it would make a second one.
fn is_command(line: &str) -> bool {
    line.len() <= COMMAND_MAX && !line.chars().any(char::is_control)
}

/// Returns the address after `keyword`, and the parameters behind it. The address may be empty.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let begins = argument.get(..keyword.len())?.eq_ignore_ascii_case(keyword);
    let (address, parameters) = argument[keyword.len()..].trim_start().strip_prefix('<')?.split_once('>')?;
    let is_valid = begins && (address.is_empty() || is_address(address));
    (is_valid && (parameters.is_empty() || parameters.starts_with(' '))).then_some((address, parameters.trim()))
}

impl LineProtocol for Session {
    fn connection_made(&mut self, lines: &LineTransport) {
        IdleTimeout::start(lines, IDLE_TIMEOUT);
        lines.send_line(&format!("220 {} ESMTP", self.options.name));
    }

    fn layer_opened(&mut self, lines: &LineTransport) {
        tracing::info!(peer = %lines.peer(), "TLS has started");
        // RFC 3207, section 4.2: nothing that the client said in clear counts.
        *self = Session::new(&self.options, true);
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        match self.stage {
            Stage::Commands => self.command(lines, line),
            Stage::Text | Stage::RefusedText(_) => self.text_line(lines, line),
        }
        if lines.buffered() > QUEUED_MAX {
            lines.abort_connection();
        }
    }

    fn line_length_exceeded(&mut self, lines: &LineTransport, _beginning: &[u8]) {
        match self.stage {
            Stage::Commands => self.refuse(lines, "500 the line is too long"),
            Stage::Text => self.refuse_text("554 a line is longer than 998 bytes"),
            Stage::RefusedText(_) => {}
        }
    }

    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        tracing::info!(peer = %lines.peer(), %reason, "a connection has ended");
    }
}
