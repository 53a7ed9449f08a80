//! A small HTTP client that exposes each part of a response.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::running::Running;

/// One response.
pub(crate) struct Reply {
    pub(crate) status: u16,
    fields: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Returns the value of the field with this name in lower case.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.fields))
    }

    pub(crate) fn has_field(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// A connection that sends one request after the other.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn new(server: &Running) -> Client {
        Client(BufReader::new(server.connect()))
    }

    /// Connects to another address of a server.
    #[cfg(feature = "tls")]
    pub(crate) fn to(address: std::net::SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(crate::running::PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// Returns a client whose request is being answered. On a suspended machine, a server with a short idle limit may close a
    /// connection before its request arrives. Then another connection is tried.
    #[track_caller]
    pub(crate) fn with_answer_begun(server: &Running, request: &str) -> Client {
        let mut clients = (0..20).map(|_| Client::new(server));
        let is_answered = |client: &mut Client| {
            let sent = client.0.get_mut().write_all(request.as_bytes());
            sent.is_ok() && client.0.fill_buf().is_ok_and(|beginning| !beginning.is_empty())
        };
        clients.find_map(|mut client| is_answered(&mut client).then_some(client)).expect("an answer")
    }

    /// Sends a GET request with further fields, such as `"Range: bytes=0-1"`.
    pub(crate) fn get(&mut self, path: &str, fields: &[&str]) -> Reply {
        self.request("GET", path, fields)
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, fields: &[&str]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        fields.iter().for_each(|field| head += &format!("{field}\r\n"));
        self.send(&(head + "\r\n"));
        self.reply(method == "HEAD")
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the request is accepted");
    }

    /// Reads a response. A response to HEAD has no body.
    pub(crate) fn reply(&mut self, is_head: bool) -> Reply {
        let mut reply = self.reply_head();
        let length = reply.fields.get("content-length").map_or(0, |length| length.parse().expect("a number"));
        if !is_head && reply.status != 304 {
            reply.body = vec![0; length];
            self.0.read_exact(&mut reply.body).expect("a body of the stated length");
        }
        reply
    }

    /// Reads the head of a response.
    pub(crate) fn reply_head(&mut self) -> Reply {
        let status_line = self.line();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {status_line}"));
        let mut fields = HashMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                return Reply { status, fields, body: Vec::new() };
            };
            fields.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Returns whether the server closes without sending more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.strip_suffix("\r\n").expect("a complete line").to_owned()
    }
}
