//! The options of `serve` for HTTPS: redirects from HTTP, and Strict-Transport-Security.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::Command;

use crate::http::Client;
use crate::running::{Running, outcome, program};
use crate::scratch::Scratch;

const REDIRECT_FROM: [&str; 2] = ["--redirect-from", "tcp:0:interface=127.0.0.1"];

/// A site with the file `page`, and a server of it over TLS and with redirects.
struct Site {
    scratch: Scratch,
    server: Running,
}

impl Site {
    fn serve(options: &[&str]) -> Site {
        let scratch = Scratch::new();
        scratch.write("site/page", "a page\n");
        let endpoint = format!("self-signed:0:save={}", scratch.join("certificate"));
        let serve = ["serve", &scratch.join("site"), "--listen", &endpoint];
        let server = Running::start_command(program(&[&serve[..], &REDIRECT_FROM, options].concat()));
        Site { scratch, server }
    }

    fn secure_port(&self) -> u16 {
        self.server.address().port()
    }

    /// Returns the address whose requests are redirected.
    fn plain_address(&self) -> SocketAddr {
        let (_, from) = self.server.start_line.split_once("redirecting from http://").expect("an address");
        from.trim().trim_end_matches('/').parse().expect("an address")
    }

    fn plain(&self) -> Client {
        Client::to(self.plain_address())
    }

    /// Returns what curl prints. `None` if curl is not installed.
    fn curl(&self, options: &[&str], url: &str) -> Option<String> {
        let mut curl = Command::new("curl");
        let certificate = self.scratch.join("certificate");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", &certificate]).args(options).arg(url);
        let Ok(output) = curl.output() else {
            let _ = writeln!(io::stderr(), "skipped: curl is not installed");
            return None;
        };
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Some(String::from_utf8(output.stdout).expect("text"))
    }
}

#[test]
fn a_request_over_http_is_redirected_to_https() {
    let site = Site::serve(&[]);
    let (mut client, port) = (site.plain(), site.secure_port());
    for (method, target, status) in [("GET", "/page?a=b", 308), ("HEAD", "/page?a=b", 308), ("POST", "/page?a=b", 308)]
    {
        let reply = client.request(method, target, &[]);
        assert_eq!((reply.status, reply.field("location")), (status, &*format!("https://test:{port}/page?a=b")));
        assert!(!reply.has_field("strict-transport-security"));
    }
    // The port of the request is that of HTTP.
    client.send("GET / HTTP/1.1\r\nHost: example.org:8080\r\n\r\n");
    assert_eq!(client.reply(false).field("location"), format!("https://example.org:{port}/"));
    client.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(client.reply(false).status, 400);
    let mut old = site.plain();
    old.send("GET / HTTP/1.0\r\n\r\n");
    let reply = String::from_utf8(crate::wire::read_all(&mut old.0)).unwrap();
    assert!(reply.starts_with("HTTP/1.0 400 ") && reply.contains("the request names no host"), "{reply}");
}

#[test]
fn curl_follows_a_redirect_to_https() {
    let site = Site::serve(&[]);
    let url = format!("http://localhost:{}/page", site.plain_address().port());
    let options = ["--location", "--write-out", "%{num_redirects} %{scheme}"];
    let Some(output) = site.curl(&options, &url) else { return };
    assert_eq!(output, "a page\n1 HTTPS");
}

#[test]
fn a_redirect_may_lead_to_another_port() {
    for (port, expected) in [("8443", "https://test:8443/"), ("443", "https://test/")] {
        let site = Site::serve(&["--redirect-port", port]);
        assert_eq!(site.plain().get("/", &[]).field("location"), expected);
    }
}

#[test]
fn the_policy_is_part_of_each_response_over_tls() {
    let site = Site::serve(&["--hsts", "31536000"]);
    let secure = format!("https://localhost:{}", site.secure_port());
    for version in ["--http1.1", "--http2"] {
        for path in ["/page", "/", "/missing", "/%2e%2e/"] {
            let Some(head) = site.curl(&[version, "--head"], &format!("{secure}{path}")) else { return };
            assert!(head.contains("strict-transport-security: max-age=31536000\r\n"), "{path}: {head}");
        }
    }
    // RFC 6797, section 7.2: not over HTTP.
    assert!(!site.plain().get("/", &[]).has_field("strict-transport-security"));
    let without = Site::serve(&[]);
    let head = without.curl(&["--head"], &format!("https://localhost:{}/", without.secure_port())).expect("curl");
    assert!(!head.contains("strict-transport-security"), "{head}");
}

#[test]
fn the_policy_may_include_subdomains() {
    // RFC 6797, section 6.1.2.
    let site = Site::serve(&["--hsts", "60", "--hsts-include-subdomains"]);
    let Some(head) = site.curl(&["--head"], &format!("https://localhost:{}/", site.secure_port())) else { return };
    assert!(head.contains("strict-transport-security: max-age=60; includeSubDomains\r\n"), "{head}");
}

#[test]
fn options_for_https_need_an_endpoint_with_tls() {
    let serve = ["serve", "."];
    for (options, fault) in [
        (&["--hsts", "60"][..], "--hsts needs an endpoint with TLS: add one, such as --listen tls:PATH"),
        (&REDIRECT_FROM, "--redirect-from needs an endpoint with TLS: add one, such as --listen tls:PATH"),
        (
            &["--listen", "self-signed:0", "--hsts-include-subdomains"],
            "--hsts-include-subdomains needs a policy: add one, such as --hsts 60",
        ),
        (
            &["--redirect-port", "443"],
            "--redirect-port needs an endpoint to redirect from: add one, such as --redirect-from tcp:80",
        ),
        (
            &["--listen", "self-signed:0", "--redirect-from", "self-signed:0"],
            "cannot redirect to HTTPS from 'self-signed:0': it speaks TLS itself, expected one such as tcp:80",
        ),
    ] {
        let output = outcome(&[&serve, options].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error), (Some(2), format!("ropewalk: {fault}\n")));
    }
    for (option, value, fault) in [
        ("--hsts", "1.5", "expected a whole number from 0 to 4294967295"),
        ("--hsts", "-1", "expected a whole number from 0 to 4294967295"),
        ("--redirect-port", "0", "expected a number from 1 to 65535"),
        ("--redirect-port", "http", "expected a number from 1 to 65535"),
    ] {
        let output = outcome(&["serve", ".", option, value]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(fault), "{error}");
    }
}

#[test]
fn only_protocols_of_http_can_be_offered() {
    // HTTP/3 needs QUIC, which `serve` does not speak.
    let fault = "cannot serve the application protocol 'h3' of 'self-signed:0:alpn=h2,h3': \
                 expected some of h2,http/1.1,http/1.0";
    let output = outcome(&["serve", ".", "--listen", "self-signed:0:alpn=h2,h3"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains(fault), "{error}");
    let output = outcome(&["serve", ".", "--listen", "self-signed:many"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("self-signed:many") && !error.contains("alpn"), "{error}");
    let scratch = Scratch::new();
    let listen = "listen = \"self-signed:0:alpn=h2,h3\"";
    scratch.write("h3.toml", format!("[[service]]\nkind = \"serve\"\ndirectory = \".\"\n{listen}\n"));
    let output = outcome(&["--config", &scratch.join("h3.toml")]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains(fault), "{error}");
}

#[test]
fn a_file_has_the_options_for_https() {
    let scratch = Scratch::new();
    scratch.write("site/page", "a page\n");
    let (site, listen) = (scratch.join("site"), "[\"self-signed:0\"]");
    let config =
        |more: &str| format!("[[service]]\nkind = \"serve\"\ndirectory = \"{site}\"\nlisten = {listen}\n{more}");
    scratch
        .write("good.toml", config("hsts = 60\nredirect-from = \"tcp:0:interface=127.0.0.1\"\nredirect-port = 443\n"));
    let server = Running::start_command(program(&["--config", &scratch.join("good.toml")]));
    assert!(server.start_line.contains("redirecting from http://127.0.0.1:"), "{}", server.start_line);
    for (name, more) in [("float", "hsts = 1.5\n"), ("port", "redirect-port = 0\n"), ("alone", "redirect-port = 1\n")] {
        scratch.write("bad.toml", config(more));
        let output = outcome(&["--config", &scratch.join("bad.toml")]);
        assert!(!output.status.success(), "{name}");
    }
}
