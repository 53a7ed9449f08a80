//! `serve` over HTTP/2, with curl as client, and with single frames over openssl.

use std::io::{self, Write};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::frames::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS, PING,
    REFUSED_STREAM, RST_STREAM, SETTINGS, STATUS_200, STATUS_400, WHOLE_REQUEST, encoded, fields,
};
use crate::http::Client;
use crate::running::{Running, eventually, program, reactors};
use crate::scratch::Scratch;
use crate::serve::set_modified;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// A folder with the file `page`, and with `large`, which fills more than any window.
fn files() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("site/page", "a page\n");
    scratch.write("site/large", large());
    scratch
}

fn large() -> Vec<u8> {
    (0..500_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// Serves `scratch` over TLS, whose certificate is in the file `certificate`.
fn serve(scratch: &Scratch, options: &[&str]) -> Running {
    serve_at(scratch, options, "")
}

/// Serves `scratch` over TLS. The endpoint has these arguments as well.
fn serve_at(scratch: &Scratch, options: &[&str], more: &str) -> Running {
    let endpoint = format!("self-signed:0:save={}{more}", scratch.join("certificate"));
    let serve = ["serve", &scratch.join("site"), "--listen", &endpoint];
    Running::start_command(program(&[&serve[..], options].concat()))
}

/// Runs curl for paths of the server. `None` if curl is not installed, or knows no HTTP/2.
fn curl(scratch: &Scratch, server: &Running, options: &[&str], paths: &[&str]) -> Option<Output> {
    let version = Command::new("curl").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP2")) {
        let _ = writeln!(io::stderr(), "skipped: curl with HTTP/2 is not installed");
        return None;
    }
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", &scratch.join("certificate")]);
    let place = format!("https://localhost:{}", server.address().port());
    curl.args(options).args(paths.iter().map(|path| format!("{place}{path}")));
    Some(curl.output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_client_gets_the_version_that_it_offers() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    let limited = serve_at(&scratch, &[], ":alpn=http/1.1");
    let plain = Running::start(&["serve", &scratch.join("site")]);
    for (server, option, expected) in [
        (&server, "--http2", "2"),
        (&server, "--http1.1", "1.1"),
        (&server, "--no-alpn", "1.1"),
        (&limited, "--http2", "1.1"),
    ] {
        // Each server has its own certificate.
        let options = ["--insecure", "--write-out", "%{http_version}", option];
        let Some(output) = curl(&scratch, server, &options, &["/page"]) else { return };
        assert_eq!(text(&output.stdout), format!("a page\n{expected}"), "{option}: {}", text(&output.stderr));
    }
    // RFC 9113, section 3.3: without TLS a client has to know in advance, and this server never speaks it.
    let mut client = Client::new(&plain);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.0.buffer(), b"");
    assert!(!text(&crate::wire::read_all(&mut client.0)).contains("200"));
}

#[test]
fn a_large_file_arrives_complete_over_http2_on_every_reactor() {
    let (scratch, expected) = (files(), large());
    for reactor in reactors() {
        let server = serve(&scratch, &["-r", reactor]);
        let Some(output) = curl(&scratch, &server, &["--http2"], &["/large"]) else { return };
        assert!(output.stdout == expected, "{reactor}: {} bytes, {}", output.stdout.len(), text(&output.stderr));
    }
}

#[test]
fn many_streams_share_a_connection() {
    let scratch = files();
    let (server, expected) = (serve(&scratch, &[]), large());
    let output = scratch.join("output#1");
    let options = ["--http2", "--parallel", "--parallel-max", "30", "--write-out", "%{num_connects} ", "-o", &output];
    let Some(output) = curl(&scratch, &server, &options, &["/large?[1-30]"]) else { return };
    assert_eq!(text(&output.stdout).matches('1').count(), 1, "connections: {}", text(&output.stdout));
    for number in 1..=30 {
        assert!(std::fs::read(scratch.join(&format!("output{number}"))).unwrap() == expected, "{number}");
    }
}

#[test]
fn the_fields_of_a_response_are_those_of_http_1() {
    let scratch = files();
    // A file of this second has other validators a second later.
    set_modified(&scratch, "site/page", SystemTime::now() - Duration::from_secs(3600));
    let server = serve(&scratch, &[]);
    let heads = ["--http2", "--http1.1"].map(|version| {
        let options = [version, "--head", "--header", "Range: bytes=0-1"];
        curl(&scratch, &server, &options, &["/page", "/missing"]).map(|output| text(&output.stdout))
    });
    let [Some(two), Some(one)] = heads else { return };
    let status_lines = two.replace("HTTP/2 200 ", "HTTP/1.1 200 OK").replace("HTTP/2 404 ", "HTTP/1.1 404 Not Found");
    let without_date =
        |text: &str| Vec::from_iter(text.lines().filter(|line| !line.starts_with("date")).map(str::to_owned));
    assert_eq!(without_date(&status_lines), without_date(&one));
    let part = curl(&scratch, &server, &["--http2", "--range", "2-5"], &["/page"]).expect("curl");
    assert_eq!(text(&part.stdout), "page");
}

#[test]
fn a_refused_upload_over_http2_gets_its_answer() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    let body = format!("@{}", scratch.join("site/large"));
    let options = ["--http2", "--data-binary", &body, "--write-out", "%{http_code}"];
    let Some(output) = curl(&scratch, &server, &options, &["/page"]) else { return };
    let answer = text(&output.stdout);
    assert_eq!(answer, "405 Method Not Allowed: expected GET or HEAD\n405", "{}", text(&output.stderr));
    // Frames without a byte come to an end.
    let mut client = Frames::connect(server.address().port(), &[]);
    client.send(HEADERS, END_HEADERS, 1, &fields("/page", &[]));
    assert_eq!(client.body(1), b"a page\n");
    let empty = encoded(DATA, 0, 1, &[]).repeat(100_000);
    let _ = client.try_send_bytes(&empty);
    assert_eq!(client.next_of(GOAWAY).code(), ENHANCE_YOUR_CALM);
}

#[test]
fn the_settings_name_the_limits() {
    let scratch = files();
    let client = Frames::connect(serve(&scratch, &[]).address().port(), &[]);
    let setting = |name| client.settings.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    assert_eq!(setting(MAX_CONCURRENT_STREAMS), Some(100));
    assert_eq!(setting(MAX_HEADER_LIST_SIZE), Some(16 * 1024));
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    // Without a window no response completes.
    let mut client = Frames::connect(server.address().port(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for stream in (0..101).map(|number| 2 * number + 1) {
        client.get(stream, "/page");
    }
    let refused = client.next_of(RST_STREAM);
    assert_eq!((refused.stream, refused.code()), (201, REFUSED_STREAM));
    // The streams that wait for others get their response as well.
    let mut complete = 0;
    for stream in (0..100).map(|number| 2 * number + 1) {
        client.widen(stream, 1000);
    }
    while complete < 100 {
        let frame = client.next().expect("a frame");
        complete += usize::from(frame.ends_stream() && frame.kind != SETTINGS && frame.kind != PING);
    }
}

#[test]
fn the_size_of_a_request_head_over_http2_is_limited() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    let mut client = Frames::connect(server.address().port(), &[]);
    client.send(HEADERS, WHOLE_REQUEST, 1, &fields("/page", &[("x", &"y".repeat(15_000))]));
    assert_eq!(client.next_of(HEADERS).payload[0], STATUS_200);
    let long = "y".repeat(8_500);
    let block = fields("/page", &[("x", &long), ("z", &long)]);
    client.send(HEADERS, END_STREAM, 3, &block[..10_000]);
    client.send(CONTINUATION, END_HEADERS, 3, &block[10_000..]);
    let answer = client.next_of(HEADERS);
    assert_eq!(answer.stream, 3);
    assert_ne!(answer.payload[0], STATUS_200);
    // Fields that never end.
    client.send(HEADERS, END_STREAM, 5, &fields("/page", &[]));
    while client.try_send(CONTINUATION, 0, 5, &[0x82; 10]).is_ok() {}
    client.drain();
    let mut other = Frames::connect(server.address().port(), &[]);
    other.get(1, "/page");
    assert_eq!(other.body(1), b"a page\n");
}

#[test]
fn a_flood_of_resets_closes_the_connection() {
    // CVE-2023-44487.
    let scratch = files();
    let server = serve(&scratch, &[]);
    let mut client = Frames::connect(server.address().port(), &[]);
    let cancel = CANCEL.to_be_bytes();
    let request = |stream| {
        [encoded(HEADERS, WHOLE_REQUEST, stream, &fields("/page", &[])), encoded(RST_STREAM, 0, stream, &cancel)]
            .concat()
    };
    let flood = Vec::from_iter((0..10_000).flat_map(|number| request(2 * number + 1)));
    let _ = client.try_send_bytes(&flood);
    assert_eq!(client.next_of(GOAWAY).code(), ENHANCE_YOUR_CALM);
    client.drain();
}

#[test]
fn a_reset_stream_makes_room_for_another_response() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    let mut client = Frames::connect(server.address().port(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for stream in (0..1000).map(|number| 2 * number + 1) {
        client.get(stream, "/large");
        assert_eq!(client.next_of(HEADERS).payload[0], STATUS_200);
        client.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }
    client.get(2001, "/page");
    client.widen(2001, 1000);
    assert_eq!(client.body(2001), b"a page\n");
}

#[test]
fn a_flood_of_pings_or_settings_costs_little_memory() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    let before = server.memory();
    for frame in [encoded(PING, 0, 0, &[0; 8]), encoded(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])] {
        let mut flooding = Frames::connect(server.address().port(), &[]);
        // 20 MB of frames whose answers nothing reads. The last ones may wait in the sockets.
        let flood = frame.repeat(20_000_000 / frame.len());
        let writer = thread::spawn(move || {
            let _ = flooding.try_send_bytes(&flood);
            flooding
        });
        let mut other = Frames::connect(server.address().port(), &[]);
        for stream in (0..50).map(|number| 2 * number + 1) {
            other.get(stream, "/page");
            assert_eq!(other.next_of(HEADERS).payload[0], STATUS_200);
        }
        assert!(server.memory() < before + (8 << 20), "{} bytes", server.memory() - before);
        drop(writer);
    }
}

#[test]
fn a_flood_of_wrong_frames_does_not_flood_the_log() {
    // h2 has a warning for each answer to a PING that was never sent.
    let scratch = files();
    for options in [&[][..], &["-v"]] {
        let mut server = serve(&scratch, options);
        let mut client = Frames::connect(server.address().port(), &[]);
        let _ = client.try_send_bytes(&encoded(PING, ACK, 0, &[0; 8]).repeat(1000));
        client.get(1, "/page");
        assert_eq!(client.body(1), b"a page\n");
        let log = server.log();
        assert!(log.lines().count() < 10 && !log.contains("PING"), "{log}");
    }
}

#[test]
fn pings_do_not_keep_a_connection_open() {
    let scratch = files();
    let server = serve(&scratch, &["--idle-timeout", "0.5"]);
    let mut client = Frames::connect(server.address().port(), &[]);
    client.get(1, "/page");
    assert_eq!(client.body(1), b"a page\n");
    let pinging = |client: &mut Frames| {
        thread::sleep(Duration::from_millis(50));
        client.try_send(PING, 0, 0, &[0; 8]).is_ok()
    };
    let mut kinds = Vec::new();
    while pinging(&mut client) {
        let Some(frame) = client.next() else { break };
        // The server asks whether its GOAWAY has arrived, and is not answered.
        kinds.push(frame.kind);
    }
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}

#[test]
fn a_silent_connection_over_http2_is_closed() {
    let scratch = files();
    let server = serve(&scratch, &["--idle-timeout", "0.5"]);
    let port = server.address().port();
    let mut silent = Frames::connect(port, &[]);
    let mut begun = Frames::connect(port, &[]);
    // A request whose fields never end.
    begun.send(HEADERS, END_STREAM, 1, &fields("/page", &[]));
    for client in [&mut silent, &mut begun] {
        assert!(client.rest().iter().any(|frame| frame.kind == GOAWAY));
    }
}

#[test]
fn a_stream_without_progress_is_reset() {
    let scratch = files();
    let server = serve(&scratch, &["--idle-timeout", "0.1"]);
    let mut client = Frames::connect(server.address().port(), &[(INITIAL_WINDOW_SIZE, 10)]);
    client.get(1, "/large");
    let reset = loop {
        // The connection is not idle.
        client.send(PING, 0, 0, &[0; 8]);
        match client.next().expect("a frame") {
            frame if frame.kind == RST_STREAM => break frame,
            _ => thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!((reset.stream, reset.code()), (1, CANCEL));
}

#[test]
fn stalled_streams_cost_little_memory() {
    const CLIENTS: usize = 10;
    /// The most bytes that a response holds: three pieces of 64 KiB.
    const RESPONSE_MAX: usize = 200 << 10;
    let scratch = files();
    scratch.write_sparse("site/gigabyte", 1 << 30, []);
    let server = serve(&scratch, &[]);
    let before = server.memory();
    let clients = Vec::from_iter((0..CLIENTS).map(|_| {
        let mut client = Frames::connect(server.address().port(), &[(INITIAL_WINDOW_SIZE, 1)]);
        for stream in (0..100).map(|number| 2 * number + 1) {
            client.get(stream, "/gigabyte");
        }
        // Eight responses begin, and the others wait for them.
        for _ in 0..8 {
            client.next_of(HEADERS);
        }
        client.send(PING, 0, 0, &[0; 8]);
        client.next_of(PING);
        client
    }));
    let cost = server.memory() - before;
    assert!(cost < (8 << 20) + CLIENTS * 8 * RESPONSE_MAX, "{cost}");
    drop(clients);
}

#[test]
fn a_shutdown_completes_the_streams_in_progress() {
    let (scratch, expected) = (files(), large());
    let mut server = serve(&scratch, &["--grace", "20"]);
    let mut client = Frames::connect(server.address().port(), &[(INITIAL_WINDOW_SIZE, 1000)]);
    client.get(1, "/large");
    client.next_of(HEADERS);
    server.signal(Signal::TERM);
    // RFC 9113, section 6.8: the first GOAWAY warns, and the second one names the last stream.
    assert_eq!(client.next_of(GOAWAY).payload[..4], i32::MAX.to_be_bytes());
    let ping = client.next_of(PING);
    client.send(PING, ACK, 0, &ping.payload);
    assert_eq!(client.next_of(GOAWAY).payload[..4], 1_u32.to_be_bytes());
    client.widen(1, 10_000_000);
    client.widen(0, 10_000_000);
    let body = client.body(1);
    assert!(expected.ends_with(&body) && body.len() >= expected.len() - 1000, "{} bytes", body.len());
    assert!(client.next().is_none());
    assert!(server.wait().success());
}

#[test]
fn a_client_that_vanishes_is_a_failure_only_during_a_request() {
    let scratch = files();
    let mut server = serve(&scratch, &["-v"]);
    let port = server.address().port();
    let mut client = Frames::connect(port, &[]);
    client.get(1, "/page");
    assert_eq!(client.body(1), b"a page\n");
    drop(client);
    let mut client = Frames::connect(port, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.get(1, "/large?x=y");
    client.next_of(HEADERS);
    drop(client);
    let log = server.log_until("HTTP connection failed");
    assert!(log.contains("GET /large?x=y "), "{log}");
}

#[test]
fn a_host_that_differs_from_the_authority_is_refused() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    let mut client = Frames::connect(server.address().port(), &[]);
    for (stream, host, expected) in
        [(1, "localhost", STATUS_200), (3, "other.test", STATUS_400), (5, "a b", STATUS_400)]
    {
        client.send(HEADERS, WHOLE_REQUEST, stream, &fields("/page", &[("host", host)]));
        assert_eq!(client.next_of(HEADERS).payload[0], expected, "{host}");
    }
}

#[test]
fn bytes_that_are_no_frames_close_the_connection() {
    let scratch = files();
    let server = serve(&scratch, &[]);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 100], &encoded(HEADERS, WHOLE_REQUEST, 2, &[0xff; 9])] {
        let mut client = Frames::connect(server.address().port(), &[]);
        let _ = client.try_send_bytes(garbage);
        client.drain();
    }
    let mut client = Frames::connect(server.address().port(), &[]);
    client.get(1, "/page");
    assert_eq!(client.body(1), b"a page\n");
    eventually("the connections are closed", || server.descriptors() < 30);
}
