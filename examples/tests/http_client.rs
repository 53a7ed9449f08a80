//! Runs the program `http_client` against a server of the standard library's sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Answers requests until the client closes the connection. The first request of all gets a 503.
fn serve(stream: TcpStream, requests: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut stream = stream;
    while let Some(first) = lines.next() {
        // The rest of the head.
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let status = match (requests.fetch_add(1, Ordering::SeqCst), first.contains("/missing")) {
            (0, _) => "503 Service Unavailable",
            (_, true) => "404 Not Found",
            _ => "200 OK",
        };
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello");
    }
}

#[test]
fn the_program_prints_a_line_for_each_url() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counter = counter.clone();
            thread::spawn(move || serve(stream, &counter));
        }
    });
    let urls = ["page", "missing", "page"].map(|path| format!("http://{address}/{path}"));
    let output = Command::new(env!("CARGO_BIN_EXE_http_client")).args(&urls).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let [page, missing, again] = urls;
    let expected = [
        format!("200 OK, 5 bytes: {page}"),
        format!("404 Not Found, 5 bytes: {missing}"),
        format!("200 OK, 5 bytes: {again}"),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(1), "one page is missing");
    assert_eq!(requests.load(Ordering::SeqCst), 4, "the refused request was repeated");
}
