//! The command serve: files over HTTP.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http::Client;
use crate::running::{Running, eventually, reactors};
use crate::scratch::Scratch;
use crate::wire::read_all;

/// Creates a directory with various files, and a server for it.
fn site() -> (Scratch, Running) {
    let scratch = site_directory();
    let server = Running::start(&["serve", &scratch.join("site")]);
    (scratch, server)
}

/// Creates the directory of [`site`], in a directory with a file that must not be served.
fn site_directory() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("site/hello.txt", "hello, world\n");
    scratch.write("site/empty.css", "");
    scratch.write("site/with space & <b>é.html", "<p>");
    scratch.write("site/LICENSE", "Permission is hereby granted\n");
    scratch.write("site/.hidden", "secret");
    scratch.write("site/sub/page.html", "<p>page");
    scratch.write("site/indexed/index.html", "<p>index");
    scratch.write("outside.txt", "outside");
    set_modified(&scratch, "site/hello.txt", LONG_AGO);
    scratch
}

/// A modification time at least a second old, so the server sends it as `Last-Modified`.
const LONG_AGO: SystemTime = UNIX_EPOCH;

pub(crate) fn set_modified(scratch: &Scratch, name: &str, time: SystemTime) {
    fs::File::options().write(true).open(scratch.join(name)).unwrap().set_modified(time).unwrap();
}

/// Removes the mark of a weak entity tag.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Starts a server for the directory of [`site`] on each reactor.
fn servers_on_every_reactor(scratch: &Scratch) -> impl Iterator<Item = Running> {
    reactors().map(|reactor| Running::start(&["-r", reactor, "serve", &scratch.join("site")]))
}

/// Sends `bytes` on a new connection and returns the whole answer. A reset fails, because it could destroy an answer.
fn answer_to(server: &Running, bytes: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(bytes).expect("the server reads the bytes");
    String::from_utf8_lossy(&read_all(&mut stream)).into_owned()
}

#[test]
fn a_file_is_sent_with_its_metadata() {
    let (_scratch, server) = site();
    let mut client = Client::new(&server);
    let reply = client.get("/hello.txt", &[]);
    assert_eq!((reply.status, reply.text()), (200, "hello, world\n"));
    assert_eq!(reply.field("content-type"), "text/plain; charset=utf-8");
    assert_eq!(reply.field("content-length"), "13");
    assert_eq!(reply.field("accept-ranges"), "bytes");
    assert_eq!(reply.field("last-modified"), httpdate::fmt_http_date(LONG_AGO));
    assert!(httpdate::parse_http_date(reply.field("date")).is_ok());
    assert!(opaque(reply.field("etag")).starts_with('"'));
    let license = client.get("/LICENSE", &[]);
    assert_eq!(license.field("content-type"), "text/plain; charset=utf-8");
    assert!(license.text().starts_with("Permission"));
    let empty = client.get("/empty.css", &[]);
    assert_eq!((empty.status, empty.field("content-length"), empty.text()), (200, "0", ""));
}

#[test]
fn a_request_without_one_valid_host_is_refused() {
    // RFC 9112, section 3.2
    let (_scratch, server) = site();
    let ask = |hosts: &str| {
        let request = format!("GET /LICENSE HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        answer_to(&server, request.as_bytes())
    };
    for hosts in ["Host: test\r\n", "Host: test:80\r\n", "Host: [::1]:80\r\n", "Host:\r\n"] {
        assert!(ask(hosts).starts_with("HTTP/1.1 200 "), "{hosts:?}");
    }
    for (hosts, why) in [
        ("", "no Host"),
        ("Host: a\r\nHost: b\r\n", "several Host"),
        ("Host: a b/..\r\n", "not a valid host"),
        ("Host: user@test\r\n", "not a valid host"),
        ("Host: test:http\r\n", "not a valid host"),
    ] {
        let answer = ask(hosts);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(why), "{hosts:?}: {answer}");
    }
}

#[test]
fn a_target_with_user_information_is_refused() {
    // RFC 9110, section 4.2.4: such a target may hide its host.
    let (_scratch, server) = site();
    let ask = |target: &str| {
        answer_to(&server, format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert!(ask("http://test/LICENSE").starts_with("HTTP/1.1 200 "));
    assert!(ask("http://user@test/LICENSE").starts_with("HTTP/1.1 400 "));
}

#[test]
fn an_unknown_transfer_coding_is_not_implemented() {
    // RFC 9112, section 6.1
    let (_scratch, server) = site();
    let ask = |method: &str, codings: &str| {
        let head = format!("{method} /LICENSE HTTP/1.1\r\nHost: test\r\n{codings}\r\n");
        answer_to(
            &server,
            (head + "0\r\n\r\n" + "GET /missing HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
    let known = ask("GET", "Transfer-Encoding: Chunked\r\n");
    assert!(known.starts_with("HTTP/1.1 200 ") && known.contains("HTTP/1.1 404 "), "{known}");
    for codings in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
    ] {
        for method in ["GET", "POST"] {
            let unknown = ask(method, codings);
            assert!(unknown.starts_with("HTTP/1.1 501 ") && !unknown.contains("404"), "{codings:?}: {unknown}");
        }
    }
}

#[test]
fn head_sends_the_fields_of_get_without_a_body() {
    let (_scratch, server) = site();
    let mut client = Client::new(&server);
    for path in ["/hello.txt", "/", "/missing", "/empty.css"] {
        let (head, get) = (client.request("HEAD", path, &[]), client.get(path, &[]));
        assert_eq!(head.status, get.status, "{path}");
        for field in ["content-length", "content-type"] {
            assert_eq!(head.field(field), get.field(field), "{path}");
        }
    }
    // Ranges apply to GET only.
    let head = client.request("HEAD", "/hello.txt", &["Range: bytes=0-1"]);
    assert_eq!((head.status, head.field("content-length")), (200, "13"));
}

#[test]
fn one_connection_serves_many_requests() {
    let (_scratch, server) = site();
    let mut client = Client::new(&server);
    for _ in 0..100 {
        assert_eq!(client.get("/hello.txt", &[]).text(), "hello, world\n");
    }
    // Requests may be pipelined.
    client.send(&"GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n".repeat(50));
    for _ in 0..50 {
        assert_eq!(client.reply(false).text(), "hello, world\n");
    }
    let last = client.get("/hello.txt", &["Connection: close"]);
    assert_eq!(last.text(), "hello, world\n");
    assert!(client.is_closed());
}

#[test]
fn http_1_0_or_half_closed_clients_are_answered() {
    let (_scratch, server) = site();
    let answer = answer_to(&server, b"GET /hello.txt HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("hello, world\n"), "{answer}");
    let answer = crate::wire::converse(server.connect(), b"GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(answer.ends_with(b"hello, world\n"));
}

#[test]
fn a_range_request_sends_a_part_of_the_file() {
    let (_scratch, server) = site();
    let mut client = Client::new(&server);
    let parts = [
        ("bytes=0-4", "hello", "bytes 0-4/13"),
        ("bytes=7-", "world\n", "bytes 7-12/13"),
        ("bytes=-6", "world\n", "bytes 7-12/13"),
        ("bytes=12-99", "\n", "bytes 12-12/13"),
    ];
    for (range, text, place) in parts {
        let reply = client.get("/hello.txt", &[&format!("Range: {range}")]);
        assert_eq!((reply.status, reply.text(), reply.field("content-range")), (206, text, place));
        assert_eq!(reply.field("content-length"), text.len().to_string());
    }
    for beyond in ["bytes=13-", "bytes=-0"] {
        let reply = client.get("/hello.txt", &[&format!("Range: {beyond}")]);
        assert_eq!((reply.status, reply.field("content-range")), (416, "bytes */13"));
    }
    for whole in ["bytes=0-1,3-4", "lines=1-2", "bytes=4-1"] {
        let reply = client.get("/hello.txt", &[&format!("Range: {whole}")]);
        assert_eq!((reply.status, reply.text()), (200, "hello, world\n"));
    }
}

#[test]
fn an_unchanged_version_is_not_sent_again() {
    let (scratch, server) = site();
    let mut client = Client::new(&server);
    eventually("the tag is strong", || client.get("/hello.txt", &[]).field("etag").starts_with('"'));
    let first = client.get("/hello.txt", &[]);
    let (tag, date) = (first.field("etag"), first.field("last-modified"));
    for known in [format!("If-None-Match: {tag}"), format!("If-Modified-Since: {date}")] {
        let reply = client.get("/hello.txt", &[&known]);
        assert_eq!((reply.status, reply.field("etag")), (304, tag), "{known}");
        assert!(!reply.has_field("content-length") && !reply.has_field("content-type"));
    }
    let tail = ["Range: bytes=7-", &format!("If-Range: {tag}")];
    assert_eq!(client.get("/hello.txt", &tail).text(), "world\n");

    scratch.write("site/hello.txt", "changed");
    assert_eq!(client.get("/hello.txt", &[&format!("If-None-Match: {tag}")]).text(), "changed");
    assert_eq!(client.get("/hello.txt", &tail).text(), "changed");
    assert_eq!(client.get("/hello.txt", &[&format!("If-Match: {tag}")]).status, 412);
}

#[test]
fn a_file_dated_in_the_future_keeps_its_tag() {
    let (scratch, server) = site();
    set_modified(&scratch, "site/hello.txt", SystemTime::now() + Duration::from_secs(30 * 86_400));
    let mut client = Client::new(&server);
    let (first, second) = (client.get("/hello.txt", &[]), client.get("/hello.txt", &[]));
    assert_eq!(opaque(first.field("etag")), opaque(second.field("etag")));
    // RFC 9110, section 8.8.2.1: the date would be later than that of the response.
    assert!(!first.has_field("last-modified"));
    let known = format!("If-None-Match: {}", first.field("etag"));
    assert_eq!(client.get("/hello.txt", &[&known]).status, 304);
}

#[test]
fn a_replacement_of_equal_size_is_sent() {
    let (scratch, server) = site();
    let mut client = Client::new(&server);
    let known = format!("If-None-Match: {}", client.get("/hello.txt", &[]).field("etag"));
    scratch.write("site/new", "HELLO, WORLD\n");
    set_modified(&scratch, "site/new", LONG_AGO);
    fs::rename(scratch.join("site/new"), scratch.join("site/hello.txt")).unwrap();
    assert_eq!(client.get("/hello.txt", &[&known]).text(), "HELLO, WORLD\n");
}

#[test]
fn a_file_of_unknown_length_is_read_to_its_end() {
    // proc(5) states a length of 0 for each file.
    let server = Running::start(&["serve", "/proc/self"]);
    let expected = fs::read(format!("/proc/{}/cmdline", server.id())).unwrap();
    let mut client = Client::new(&server);
    let whole = client.get("/cmdline", &["Range: bytes=0-1", "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT"]);
    assert_eq!((whole.status, &whole.body), (200, &expected));
    for field in ["etag", "last-modified", "accept-ranges"] {
        assert!(!whole.has_field(field), "{field}");
    }
    let head = client.request("HEAD", "/cmdline", &[]);
    assert_eq!(head.field("content-length"), expected.len().to_string());
}

#[test]
fn a_long_file_of_unknown_length_is_sent_in_chunks() {
    let server = Running::start(&["serve", "/proc"]);
    let mut client = Client::new(&server);
    let head = client.request("HEAD", "/kallsyms", &[]);
    assert!(head.status == 200 && !head.has_field("content-length"));
    client.send("GET /kallsyms HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.reply_head().field("transfer-encoding"), "chunked");
    let symbols = answer_to(&server, b"GET /kallsyms HTTP/1.0\r\n\r\n");
    let (_, symbols) = symbols.split_once("\r\n\r\n").unwrap();
    // The symbols at the end belong to modules, which come and go.
    let expected = fs::read_to_string("/proc/kallsyms").unwrap();
    assert!(symbols.len() > 1 << 20 && symbols[..1 << 20] == expected[..1 << 20]);
}

#[test]
fn invalid_requests_get_their_status() {
    let (scratch, server) = site();
    let mut client = Client::new(&server);
    symlink("nowhere", scratch.join("site/dangling")).unwrap();
    for path in ["/missing", "/hello.txt/", "/hello.txt/x", "/.hidden", "/sub/.hidden", "/dangling", "/a%00b", "/a%2fb"]
    {
        assert_eq!(client.get(path, &[]).status, 404, "{path}");
    }
    for long in ["x".repeat(300), "y/".repeat(5000), "long name ".repeat(25) + &"/z".repeat(1900)] {
        assert_eq!(client.get(&format!("/{}", long.replace(' ', "%20")), &[]).status, 404);
    }
    for path in ["/%zz", "/%"] {
        let mut client = Client::new(&server);
        assert_eq!(client.get(path, &[]).status, 400, "{path}");
        assert!(client.is_closed(), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let reply = client.request(method, "/hello.txt", &["Content-Length: 0"]);
        assert_eq!((reply.status, reply.field("allow")), (405, "GET, HEAD"), "{method}");
    }
    assert_eq!(client.get("/hello.txt", &[]).status, 200);
}

/// Adds links that lead out of the served directory, back into it, and to themselves, and a pipe.
pub(crate) fn site_with_links() -> Scratch {
    let scratch = site_directory();
    let (outside, inside) = (scratch.join("outside.txt"), scratch.join("site/sub"));
    let (file, root) = (scratch.join("site/hello.txt"), scratch.join("site"));
    fs::create_dir(scratch.join("site/absolute-index")).unwrap();
    for (target, name) in [
        (&*file, "absolute-index/index.html"),
        (&*root, "absolute-root"),
        (&*outside, "absolute-out"),
        ("../outside.txt", "relative-out"),
        ("..", "up"),
        ("/", "everything"),
        ("up/outside.txt", "chain"),
        (&*inside, "absolute"),
        ("hello.txt", "relative"),
        ("../hello.txt", "sub/above"),
        ("loop", "loop"),
        ("pong", "ping"),
        ("ping", "pong"),
    ] {
        symlink(target, scratch.path().join("site").join(name)).unwrap();
    }
    let pipe = Command::new("mkfifo").arg(scratch.join("site/pipe")).status().unwrap();
    assert!(pipe.success());
    scratch
}

/// Checks that links inside the directory are followed and nothing else is served, in a [`site_with_links`].
pub(crate) fn check_links(mut server: Running) {
    let mut client = Client::new(&server);
    check_files_outside(&mut client);
    check_files_inside(&mut client);
    check_special_files(&mut client);
    drop(client);
    server.terminate();
    let log = server.log();
    assert!(log.contains("WARN") && log.contains("path=\"/loop\""), "{log}");
}

fn check_files_outside(client: &mut Client) {
    let paths = [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/sub/../../outside.txt",
        "/..%2foutside.txt",
        "/sub/%2e%2e%2f..%2foutside.txt",
        "/..\\outside.txt",
        "//../outside.txt",
        "/absolute-out",
        "/relative-out",
        "/up/",
        "/up/outside.txt",
        "/chain",
        "/everything/etc/passwd",
        "/everything/",
    ];
    for path in paths {
        let reply = client.get(path, &[]);
        assert!(matches!(reply.status, 403 | 404), "{path}: {}", reply.status);
        assert!(!reply.text().contains("outside.txt"), "{path}: {}", reply.text());
    }
    let listing = client.get("/", &[]);
    for name in ["absolute-out", "relative-out", "up/", "everything", "chain", "loop", "ping", "pipe"] {
        assert!(!listing.text().contains(name), "{name} is listed");
    }
}

fn check_files_inside(client: &mut Client) {
    assert_eq!(client.get("/absolute-index/", &[]).text(), "hello, world\n");
    assert!(client.get("/", &[]).text().contains("href=\"./absolute/\""));
    let root = client.get("/absolute-root/", &[]);
    assert!(root.text().contains("href=\"./hello.txt\""), "{}", root.text());
    assert_eq!(client.get("/relative", &[]).text(), "hello, world\n");
    assert_eq!(client.get("/absolute/page.html", &[]).text(), "<p>page");
    assert_eq!(client.get("/sub/above", &[]).text(), "hello, world\n");
    assert!(client.get("/sub/", &[]).text().contains("href=\"./above\""));
}

fn check_special_files(client: &mut Client) {
    assert_eq!(client.get("/pipe", &[]).status, 403);
    assert_eq!(client.get("/hello.txt", &[]).status, 200);
    for path in ["/loop", "/loop/", "/loop/x", "/ping"] {
        let reply = client.get(path, &[]);
        assert_eq!((reply.status, reply.text()), (403, "403 Forbidden: too many levels of symbolic links\n"), "{path}");
    }
}

#[test]
fn links_never_lead_out_of_the_directory() {
    let scratch = site_with_links();
    servers_on_every_reactor(&scratch).for_each(check_links);
}

#[test]
fn a_directory_shows_its_listing_or_index() {
    let (scratch, server) = site();
    let mut client = Client::new(&server);
    let listing = client.get("/", &[]);
    assert_eq!((listing.status, listing.field("content-type")), (200, "text/html; charset=utf-8"));
    let text = listing.text();
    for expected in [
        "href=\"./sub/\">sub/</a>",
        "href=\"./hello.txt\">hello.txt</a><td>13 B<td>",
        "href=\"./with%20space%20%26%20%3Cb%3E%C3%A9.html\">with space &amp; &lt;b&gt;é.html</a>",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    assert!(!text.contains(".hidden") && !text.contains("../"), "{text}");
    assert!(text.find("indexed/").unwrap() < text.find("hello.txt").unwrap(), "directories come first");
    assert!(client.get("/sub/", &[]).text().contains("href=\"../\""));
    assert_eq!(client.get("/with%20space%20%26%20%3Cb%3E%C3%A9.html", &[]).text(), "<p>");

    assert_eq!(client.get("/indexed/", &[]).text(), "<p>index");
    let redirect = client.get("/indexed?a=b", &[]);
    assert_eq!((redirect.status, redirect.field("location")), (301, "/indexed/?a=b"));
    assert_eq!(client.get("//sub", &[]).field("location"), "/sub/");
    drop(scratch);
}

#[test]
fn names_that_are_not_utf_8_are_served() {
    let (scratch, server) = site();
    let name = OsStr::from_bytes(b"caf\xe9.txt");
    fs::write(scratch.path().join("site").join(name), "au lait").unwrap();
    let mut client = Client::new(&server);
    assert!(client.get("/", &[]).text().contains("href=\"./caf%E9.txt\""));
    assert_eq!(client.get("/caf%E9.txt", &[]).text(), "au lait");
}

#[test]
fn a_request_with_a_missing_body_is_answered() {
    let (_scratch, server) = site();
    let mut client = Client::new(&server);
    client.send("POST /hello.txt HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nbeginning");
    assert_eq!(client.reply(false).status, 405);
    assert!(client.is_closed());
}

#[test]
fn a_refused_upload_gets_its_answer_after_all_data() {
    let (_scratch, server) = site();
    let mut client = Client::new(&server);
    client.send("POST /hello.txt HTTP/1.1\r\nHost: test\r\nContent-Length: 8000000\r\n\r\n");
    client.send(&"x".repeat(8_000_000));
    assert_eq!(client.reply(false).status, 405);
    assert!(client.is_closed());
}

#[test]
fn hidden_names_are_served_on_request() {
    let (scratch, _server) = site();
    let server = Running::start(&["serve", "--hidden", &scratch.join("site")]);
    let mut client = Client::new(&server);
    assert_eq!(client.get("/.hidden", &[]).text(), "secret");
    assert!(client.get("/", &[]).text().contains(".hidden"));
}

#[test]
fn garbage_is_answered_with_400() {
    let (_scratch, server) = site();
    let long_garbage = b"garbage ".repeat(40_000);
    let cases: [&[u8]; 6] = [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: test\r\n\r\n",
        &long_garbage,
    ];
    for bytes in cases {
        let answer = answer_to(&server, bytes);
        let shown = bytes[..bytes.len().min(40)].escape_ascii();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{shown}: {answer}");
    }
    assert_eq!(Client::new(&server).get("/hello.txt", &[]).status, 200);
}

#[test]
fn the_size_of_a_request_head_is_limited() {
    let (_scratch, server) = site();
    let before = server.memory();
    let long_field = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    for head in [
        long_field,
        "GET / HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(100_000),
        format!("GET /{}", "a".repeat(1 << 20)),
    ] {
        let answer = answer_to(&server, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
    }
    assert!(server.memory() < before + (2 << 20), "{} after {before}", server.memory());
}

#[test]
fn a_connection_without_a_complete_request_is_closed() {
    let (scratch, _server) = site();
    let mut server = Running::start(&["-v", "serve", "--idle-timeout", "0.3", &scratch.join("site")]);
    for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: t"] {
        let mut stream = server.connect();
        stream.write_all(beginning.as_bytes()).unwrap();
        // A read that times out fails the test.
        assert!(!read_all(&mut stream).starts_with(b"HTTP/1.1 200"), "{beginning}");
    }
    let mut kept_alive = Client::with_answer_begun(&server, "GET /hello.txt HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(kept_alive.reply(false).status, 200);
    assert!(kept_alive.is_closed());
    // The limit of a stalled response is ten times as long, and would close these connections as well.
    let log = server.log();
    assert!(!log.contains("closing an idle connection"), "{log}");
}

#[test]
fn a_slow_response_that_makes_progress_is_not_closed() {
    const STEP: usize = 8 << 20;
    const STEPS: usize = 20;
    let scratch = Scratch::new();
    scratch.write_sparse("large", (STEP * STEPS) as u64, []);
    // A response without progress for three seconds would be closed. By then the sockets cannot hold the rest.
    let server = Running::start(&["serve", "--idle-timeout", "0.3", &scratch.join("")]);
    let mut client = Client::with_answer_begun(&server, "GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.reply_head().status, 200);
    let mut piece = vec![0; STEP];
    for _ in 0..STEPS {
        std::thread::sleep(Duration::from_millis(220));
        client.0.read_exact(&mut piece).expect("the response continues");
    }
    assert!(client.is_closed());
}

#[test]
fn a_response_without_progress_is_reset() {
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    let server = Running::start(&["serve", "--idle-timeout", "0.05", &scratch.join("")]);
    let before = server.descriptors();
    let mut client = Client::with_answer_begun(&server, "GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.reply_head().status, 200);
    eventually("the connection and the file are closed", || server.descriptors() == before);
    client.0.read_to_end(&mut Vec::new()).expect_err("it was reset");
}

#[test]
fn a_large_file_arrives_complete_on_every_reactor() {
    const LENGTH: u64 = 100 << 20;
    const STEP: u64 = 999_999;
    let scratch = Scratch::new();
    scratch.write_sparse("large", LENGTH, (0..LENGTH).step_by(STEP as usize));
    for reactor in reactors() {
        let server = Running::start(&["-r", reactor, "serve", &scratch.join("")]);
        let reply = Client::new(&server).get("/large", &[]);
        assert_eq!(reply.body.len() as u64, LENGTH, "{reactor}");
        for (mark, step) in (0..).step_by(STEP as usize).zip(reply.body.chunks(STEP as usize)) {
            let mut expected = vec![0; step.len()];
            expected[..8].copy_from_slice(&u64::to_be_bytes(mark));
            assert!(step == expected, "{reactor}: from {mark} on");
        }
        assert!(server.memory() < 8 << 20, "{reactor}: {}", server.memory());
    }
}

/// Sends a request from each of `count` clients, and waits until the server is blocked by all of them.
fn slow_readers(server: &Running, path: &str, count: usize) -> Vec<Client> {
    let mut readers: Vec<_> = (0..count).map(|_| Client::new(server)).collect();
    for reader in &mut readers {
        reader.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(reader.reply_head().status, 200);
    }
    let mut before = Duration::ZERO;
    eventually("all responses are blocked", || {
        let now = server.processor_time();
        let rests = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        rests
    });
    readers
}

/// The most memory that a slow reader may cost: two pieces, and what hyper and the reactor need.
const SLOW_READER_MAX: usize = 160 << 10;

#[test]
fn slow_readers_of_a_gigabyte_cost_little_memory() {
    const READERS: usize = 200;
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    for reactor in reactors() {
        let server = Running::start(&["-r", reactor, "serve", &scratch.join("")]);
        let before = server.memory();
        let mut readers = slow_readers(&server, "/large", READERS);
        let cost = server.memory() - before;
        // Threads and free pieces cost something as well, but no more with more readers.
        assert!(cost < (8 << 20) + READERS * SLOW_READER_MAX, "{reactor}: {cost}");
        // The responses were paused, not lost.
        let mut piece = vec![0; 30 << 20];
        readers[0].0.read_exact(&mut piece).unwrap();
        drop(readers);
        // The stacks of the threads remain, and what hyper and the allocator keep.
        eventually("the memory is released", || server.memory() < before + cost / 2);
    }
}

#[test]
fn slow_readers_of_a_listing_share_it() {
    const READERS: usize = 20;
    let scratch = Scratch::new();
    // Eight bytes of HTML for each byte of a name.
    (0..3_000).for_each(|number| fs::write(scratch.join(&format!("{number}{}", "&".repeat(240))), "").unwrap());
    let server = Running::start(&["serve", &scratch.join("")]);
    let before = server.memory();
    let mut readers = slow_readers(&server, "/", READERS);
    let cost = server.memory() - before;
    let listing: usize = Client::new(&server).request("HEAD", "/", &[]).field("content-length").parse().unwrap();
    assert!(listing > 5_000_000, "more than the sockets take: {listing}");
    assert!(cost < 4 * listing + READERS * SLOW_READER_MAX, "{cost}");
    let mut page = vec![0; listing];
    readers[0].0.read_exact(&mut page).unwrap();
    assert!(page.ends_with(b"</html>\n"));
}

#[test]
fn a_truncated_file_never_looks_complete() {
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    let server = Running::start(&["serve", &scratch.join("")]);
    let mut client = Client::new(&server);
    client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.reply_head().status, 200);
    fs::File::options().write(true).open(scratch.join("large")).unwrap().set_len(1 << 20).unwrap();
    let mut body = Vec::new();
    // The connection is closed or reset, and the body is never complete.
    let ended = client.0.read_to_end(&mut body);
    let is_open = ended.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(!is_open && body.len() < 1 << 30, "open: {is_open}, {} bytes", body.len());
    assert_eq!(Client::new(&server).get("/", &[]).status, 200);
}

#[test]
fn serve_listens_on_a_unix_socket() {
    let scratch = Scratch::new();
    scratch.write("site/a.txt", "a");
    let socket = scratch.join("http.sock");
    let _server = Running::start(&["serve", &scratch.join("site"), "--listen", &format!("unix:{socket}")]);
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /a.txt HTTP/1.0\r\n\r\n").unwrap();
    assert!(read_all(&mut stream).ends_with(b"\r\n\r\na"));
}

#[test]
fn requests_are_logged_with_verbose() {
    let (scratch, _server) = site();
    let mut server = Running::start(&["-v", "serve", &scratch.join("site")]);
    let mut client = Client::new(&server);
    client.get("/hello.txt?a=b", &[]);
    client.get("/missing", &[]);
    let log = server.log();
    assert!(log.contains("GET /hello.txt?a=b peer=127.0.0.1:"), "{log}");
    assert!(log.contains("status=200 bytes=13"), "{log}");
    assert!(log.contains("status=404"), "{log}");
}
