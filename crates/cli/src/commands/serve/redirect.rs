//! Redirects from HTTP to HTTPS: the same host and path, on the port that speaks TLS.

use std::cell::Cell;

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;

/// The port of HTTPS unless a URL names another one.
const DEFAULT_PORT: u16 = 443;

/// The port that redirects lead to. It is known once the program listens.
#[derive(Debug)]
pub(super) struct HttpsPort(Cell<u16>);

impl Default for HttpsPort {
    fn default() -> HttpsPort {
        HttpsPort(Cell::new(DEFAULT_PORT))
    }
}

impl HttpsPort {
    pub(super) fn set(&self, port: u16) {
        self.0.set(port);
    }

    /// Returns the URL that a request is redirected to, or `None` if the request names no host.
    pub(super) fn location(&self, request: &Parts) -> Option<String> {
        let host = match request.uri.authority() {
            Some(authority) => authority.as_str(),
            None => request.headers.get(HOST)?.to_str().ok()?,
        };
        let host = without_port(host);
        if host.is_empty() {
            return None;
        }
        // The targets of CONNECT and of OPTIONS * have no path.
        let path = request.uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/'));
        let port = match self.0.get() {
            DEFAULT_PORT => String::new(),
            port => format!(":{port}"),
        };
        Some(format!("https://{host}{port}{}", path.unwrap_or("/")))
    }
}

fn without_port(host: &str) -> &str {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    &host[..end]
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn location(target: &str, host: Option<&str>, port: u16) -> Option<String> {
        let mut request = Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let https = HttpsPort::default();
        https.set(port);
        https.location(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_redirect_leads_to_the_same_place_over_https() {
        for (target, host, port, expected) in [
            ("/", "example.org", 443, "https://example.org/"),
            ("/a/b?c=d", "example.org:8080", 443, "https://example.org/a/b?c=d"),
            ("/", "example.org:80", 8443, "https://example.org:8443/"),
            ("//other.test/", "a.test", 443, "https://a.test//other.test/"),
            ("/", "[::1]:80", 8443, "https://[::1]:8443/"),
            ("*", "a.test", 443, "https://a.test/"),
            // RFC 9112, section 3.2.2: the target counts.
            ("http://b.test/x", "a.test", 443, "https://b.test/x"),
        ] {
            assert_eq!(location(target, Some(host), port).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_request_without_a_host_has_no_location() {
        assert_eq!((location("/", None, 443), location("/", Some(""), 443)), (None, None));
    }
}
