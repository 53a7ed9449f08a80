//! A mail with its envelope, and the form in which SMTP carries its text.

/// The maximum length of a line of text, without its end. Source: RFC 5321, section 4.5.3.1.6.
pub(crate) const LINE_MAX: usize = 998;

/// A mail and its envelope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mail {
    /// The sender's address. Empty for a mail that reports a failure.
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    /// Lines that end in `\r\n`.
    pub(crate) text: Vec<u8>,
}

impl Mail {
    /// Creates a mail from a text whose lines end in `\n` or `\r\n`.
    ///
    /// The error says what SMTP cannot carry. An address with a line end would begin another command.
    pub(crate) fn new(sender: &str, recipients: &[String], text: &[u8]) -> Result<Mail, String> {
        if let Some(wrong) = recipients.iter().find(|address| !is_address(address)) {
            return Err(format!("{wrong:?} is not a recipient's address"));
        }
        if recipients.is_empty() || !sender.is_empty() && !is_address(sender) {
            return Err(format!("expected a recipient, and {sender:?} as the sender's address"));
        }
        let mut normal = Vec::with_capacity(text.len() + 2);
        for line in text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LINE_MAX || line.contains(&b'\r') {
                return Err(format!("expected lines of at most {LINE_MAX} bytes without a bare carriage return"));
            }
            normal.extend_from_slice(line);
            normal.extend_from_slice(b"\r\n");
        }
        Ok(Mail { sender: sender.to_owned(), recipients: recipients.to_vec(), text: normal })
    }

    /// Returns the text as it follows the command DATA, with the line that ends it. Source: RFC 5321, section 4.5.2.
    pub(crate) fn stuffed(&self) -> Vec<u8> {
        let mut stuffed = Vec::with_capacity(self.text.len() + 3);
        for line in self.text.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".\r\n");
        stuffed
    }
}

/// Returns whether a text can be the address in `<...>`.
pub(crate) fn is_address(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'<' && byte != b'>';
    text.len() <= 254
        && text.bytes().all(is_allowed)
        && text.split_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
}
