//! The first bytes of a peer, which may speak another protocol.

use ropewalk_proto::Outbox;

use crate::error::TlsError;

/// The first byte of a record that carries a handshake message, and of one that carries an alert.
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;

/// The first four bytes of a request in HTTP/1 or HTTP/2.
const HTTP_STARTS: [&[u8; 4]; 10] =
    [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC", b"PRI "];

const HTTP_ANSWER: &str = "This port speaks HTTPS, and the request came as plain HTTP. \
    Use an address that begins with https.\n";

/// The number of bytes that an error message shows.
const SHOWN_MOST: usize = 48;

/// Checks the first bytes that a server has received. Returns whether they are enough to judge.
///
/// # Errors
/// If they are not TLS. A peer that speaks plain HTTP gets an answer in `queue`, another one an alert.
pub(crate) fn of_client(received: &[u8], queue: &mut Outbox) -> Result<bool, TlsError> {
    match received.first() {
        None => return Ok(false),
        Some(&HANDSHAKE | &ALERT) => return Ok(true),
        Some(_) => {}
    }
    let seen = received.len().min(4);
    if HTTP_STARTS.iter().any(|start| start[..seen] == received[..seen]) {
        if seen < 4 {
            return Ok(false);
        }
        let length = HTTP_ANSWER.len();
        let head = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8";
        queue.write(format!("{head}\r\nContent-Length: {length}\r\n\r\n{HTTP_ANSWER}").as_bytes());
        return Err(TlsError::NotTls(format!("it sent a request in plain HTTP, {}", shown(received))));
    }
    queue.write(&fatal_alert(rustls::AlertDescription::UnexpectedMessage));
    Err(TlsError::NotTls(format!("its first bytes are {}", shown(received))))
}

/// Checks the first bytes that a client has received. Returns whether they are enough to judge.
///
/// # Errors
/// If they are not TLS.
pub(crate) fn of_server(received: &[u8]) -> Result<bool, TlsError> {
    match received.first() {
        None => Ok(false),
        Some(&HANDSHAKE | &ALERT) => Ok(true),
        Some(_) => Err(TlsError::NotTls(format!("its first bytes are {}", shown(received)))),
    }
}

/// Returns an alert in clear, for a peer whose handshake has not begun. Source: RFC 8446, section 6.
pub(crate) fn fatal_alert(alert: rustls::AlertDescription) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, 2, u8::from(alert)]
}

fn shown(received: &[u8]) -> String {
    let line = received.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or(received);
    let text = line[..line.len().min(SHOWN_MOST)].escape_ascii();
    if line.len() > SHOWN_MOST { format!("\"{text}...\"") } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(received: &[u8]) -> (Result<bool, String>, Vec<u8>) {
        let mut queue = Outbox::new();
        let judged = of_client(received, &mut queue).map_err(|error| error.to_string());
        (judged, queue.front().to_vec())
    }

    #[test]
    fn a_request_in_plain_http_is_answered_in_words() {
        assert_eq!(judge(b"GE").0, Ok(false));
        let (judged, answer) = judge(b"GET / HTTP/1.1\r\nHost: a\r\n");
        assert!(judged.unwrap_err().ends_with("it sent a request in plain HTTP, \"GET / HTTP/1.1\""));
        assert!(String::from_utf8(answer).unwrap().contains("https"));
    }

    #[test]
    fn another_protocol_gets_an_alert() {
        let (judged, answer) = judge(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert!(judged.unwrap_err().contains("SSH-2.0"));
        assert_eq!(answer[0], ALERT);
    }

    #[test]
    fn a_client_names_the_first_bytes_of_the_server() {
        let error = of_server(b"220 mail.example.org ESMTP\r\n").unwrap_err().to_string();
        assert_eq!(error, "the peer does not speak TLS: its first bytes are \"220 mail.example.org ESMTP\"");
    }
}
