//! The client's side of SMTP: sends one mail, and only over TLS.
//!
//! ```text
//!   220 --> EHLO --> STARTTLS --> handshake --> EHLO --> MAIL --> RCPT ... --> DATA --> text --> QUIT
//! ```
//!
//! Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS).

use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, connect_protocol};
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::IdleTimeout;
use ropewalk::tls::TlsClient;
use ropewalk::{Address, Failure, Resolver};

use super::mail::Mail;

/// The time without a byte after which a server is given up. Source: RFC 5321, section 4.5.3.2.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The maximum number of lines in a reply.
const REPLY_LINES_MAX: usize = 100;

/// Sends `mail` to the server at `endpoint`, whose certificate must be valid for `host`.
///
/// Fails before the mail leaves this program if the server does not start TLS.
pub(crate) async fn send(
    reactor: &Reactor,
    endpoint: &impl StreamClientEndpoint,
    host: &str,
    tls: &TlsClient,
    mail: Mail,
) -> Result<(), Failure> {
    let (sent, resolver) = Deferred::new();
    let sending = Sending {
        tls: tls.clone(),
        host: host.to_owned(),
        mail,
        step: Step::Greeting,
        reply: Vec::new(),
        resolver: Some(resolver),
    };
    connect_protocol(reactor, endpoint, LineReceiver::new(sending)).await?;
    Ok(sent.await?)
}

/// A step of the conversation. Each one waits for a reply, except the handshake.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Greeting,
    Hello,
    StartTls,
    Handshake,
    HelloAgain,
    Sender,
    /// The number of recipients that the server has accepted.
    Recipients(usize),
    Data,
    Text,
    Quit,
}

impl Step {
    /// Returns the first digit of the reply that leads to the next step.
    fn digit(self) -> char {
        if self == Step::Data { '3' } else { '2' }
    }
}

/// The protocol of a connection that sends one mail.
struct Sending {
    tls: TlsClient,
    host: String,
    mail: Mail,
    step: Step,
    /// The lines of the present reply, without their codes.
    reply: Vec<String>,
    /// Present until the outcome is known.
    resolver: Option<Resolver<()>>,
}

impl Sending {
    /// Takes a complete reply, and begins the next step.
    fn proceed(&mut self, lines: &LineTransport, code: &str, reply: &[String]) -> Result<(), String> {
        if !code.starts_with(self.step.digit()) {
            return Err(format!("the server refused at {:?}: {code} {}", self.step, reply.join(" ")));
        }
        let Mail { sender, recipients, .. } = &self.mail;
        let (next, command) = match self.step {
            Step::Greeting => (Step::Hello, hello(lines)),
            Step::Hello => {
                if !reply.iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
                    return Err("the server does not offer STARTTLS, so the mail was not sent".to_owned());
                }
                (Step::StartTls, "STARTTLS".to_owned())
            }
            Step::StartTls => return self.start_tls(lines),
            Step::Handshake => return Err("the server has replied before TLS".to_owned()),
            Step::HelloAgain => (Step::Sender, format!("MAIL FROM:<{sender}>")),
            Step::Sender => (Step::Recipients(0), format!("RCPT TO:<{}>", recipients[0])),
            Step::Recipients(accepted) => match recipients.get(accepted + 1) {
                Some(recipient) => (Step::Recipients(accepted + 1), format!("RCPT TO:<{recipient}>")),
                None => (Step::Data, "DATA".to_owned()),
            },
            Step::Data => {
                self.step = Step::Text;
                lines.write(&self.mail.stuffed());
                return Ok(());
            }
            Step::Text => {
                self.finish(Ok(()));
                (Step::Quit, "QUIT".to_owned())
            }
            Step::Quit => {
                lines.lose_connection();
                return Ok(());
            }
        };
        self.step = next;
        lines.send_line(&command);
        Ok(())
    }

    fn start_tls(&mut self, lines: &LineTransport) -> Result<(), String> {
        self.step = Step::Handshake;
        let layer = self.tls.layer(&self.host).map_err(|error| error.to_string())?;
        // Replies that came in the same packet belong to the handshake, and are never read as replies.
        lines.start_tls(layer).map_err(|error| error.to_string())
    }

    /// Fires the Deferred. Later outcomes do not count.
    fn finish(&mut self, outcome: Result<(), Failure>) {
        if let Some(resolver) = self.resolver.take() {
            // Firing fails if the Deferred was cancelled.
            let _ = resolver.fire(outcome);
        }
    }

    fn give_up(&mut self, lines: &LineTransport, error: String) {
        self.finish(Err(Error::Failed(error.into()).into()));
        lines.lose_connection();
    }
}

/// Returns the command EHLO with the local address. Source: RFC 5321, section 4.1.3.
fn hello(lines: &LineTransport) -> String {
    match lines.host() {
        Ok(Address::Inet(address)) if address.is_ipv4() => format!("EHLO [{}]", address.ip()),
        Ok(Address::Inet(address)) => format!("EHLO [IPv6:{}]", address.ip()),
        _ => "EHLO localhost".to_owned(),
    }
}

/// Splits a line of a reply into the code, whether more lines follow, and the text.
fn parse(line: &[u8]) -> Option<(&str, bool, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    match line.as_bytes().get(3) {
        None => Some((code, false, "")),
        Some(b' ') => Some((code, false, &line[4..])),
        Some(b'-') => Some((code, true, &line[4..])),
        Some(_) => None,
    }
}

impl LineProtocol for Sending {
    fn connection_made(&mut self, lines: &LineTransport) {
        IdleTimeout::start(lines, IDLE_TIMEOUT);
    }

    fn layer_opened(&mut self, lines: &LineTransport) {
        // The offers that the server made in clear do not count.
        self.step = Step::HelloAgain;
        lines.send_line(&hello(lines));
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let Some((code, has_more, text)) = parse(line).filter(|_| self.reply.len() < REPLY_LINES_MAX) else {
            return self.give_up(lines, format!("the server does not speak SMTP: \"{}\"", line.escape_ascii()));
        };
        self.reply.push(text.to_owned());
        if has_more {
            return;
        }
        let reply = std::mem::take(&mut self.reply);
        if let Err(error) = self.proceed(lines, code, &reply) {
            self.give_up(lines, error);
        }
    }

    fn connection_lost(&mut self, _lines: &LineTransport, reason: &Error) {
        self.finish(Err(reason.clone().into()));
    }
}
