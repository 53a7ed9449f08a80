//! Blocking work in threads: a server that factors numbers.
//!
//! Run `cargo run -p ropewalk-examples --bin blocking_work`, then `nc 127.0.0.1 8006`, and type `18446744073709551557`.
//! Meanwhile, another terminal gets an answer for a small number at once.
//!
//! The server answers each line with the prime factors of the number. A large number takes up to a minute of processor
//! time, so a thread does the work and the reactor continues to serve other clients. Nothing is locked: the thread gets
//! a number and returns a string, and the callback runs on the reactor.

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// Returns the prime factors in ascending order: `2 2 3` for 12.
fn factors(number: u64) -> String {
    let (mut rest, mut divisor, mut found) = (number, 2, Vec::new());
    while rest > 1 {
        if divisor > rest / divisor {
            divisor = rest;
        }
        while rest % divisor == 0 {
            found.push(divisor.to_string());
            rest /= divisor;
        }
        divisor += 1;
    }
    found.join(" ")
}

/// Answers one line after the other.
struct Worker {
    work: fn(u64) -> String,
    /// The work in progress. The work is cancelled when the connection is lost.
    answer: Option<Deferred<()>>,
}

impl LineProtocol for Worker {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let Ok(number) = text.trim().parse() else {
            return lines.send_line(&format!("error: '{text}' is not a number below 2^64"));
        };
        // The next line waits until this one is answered. So answers stay in order, and a client occupies only one
        // thread.
        lines.pause_producing();
        let work = self.work;
        let (reply, failed) = (lines.clone(), lines.clone());
        let answer = lines.reactor().defer_to_thread(move || work(number));
        self.answer = Some(answer.add_callbacks(
            move |answer| {
                reply.send_line(&answer);
                reply.resume_producing();
            },
            move |_failure| failed.abort_connection(), // the work panicked, which is logged
        ));
    }

    fn connection_lost(&mut self, _lines: &LineTransport, _reason: &Error) {
        if let Some(answer) = self.answer.take() {
            answer.cancel();
        }
    }
}

fn workers(work: fn(u64) -> String) -> impl Fn() -> LineReceiver<Worker> {
    move || LineReceiver::new(Worker { work, answer: None }).delimiter("\n")
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    reactor.suggest_thread_pool_size(std::thread::available_parallelism().map_or(1, usize::from));
    let port = reactor.listen_tcp("127.0.0.1:8006", workers(factors))?;
    println!("factoring on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    #[test]
    fn numbers_are_factored() {
        let cases = [(0, ""), (1, ""), (2, "2"), (12, "2 2 3"), (49, "7 7"), (8051, "83 97"), (65_537, "65537")];
        for (number, expected) in cases {
            assert_eq!(factors(number), expected, "{number}");
        }
        assert_eq!(factors(u64::from(u32::MAX)), "3 5 17 257 65537");
    }

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn connect(address: &str) -> Client {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            Client(BufReader::new(stream))
        }

        fn send(&mut self, lines: &str) {
            self.0.get_mut().write_all(lines.as_bytes()).unwrap();
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        }
    }

    /// Runs the server while `talk` uses it from another thread.
    fn serve(work: fn(u64) -> String, talk: impl FnOnce(&str) + Send + 'static) {
        let reactor = Reactor::new().unwrap();
        let port = reactor.listen_tcp("127.0.0.1:0", workers(work)).unwrap();
        let address = port.host().unwrap().to_string();
        let handle = reactor.thread_handle();
        let talking = std::thread::spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| talk(&address)));
            handle.call_from_thread(|reactor| reactor.stop().unwrap());
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        reactor.run().unwrap();
        talking.join().unwrap();
    }

    /// Closed until the test opens it.
    static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    /// Blocks for 0 until the gate is open.
    fn slow_at_zero(number: u64) -> String {
        if number == 0 {
            drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open).unwrap());
        }
        format!("did {number}")
    }

    #[test]
    fn blocked_work_delays_only_its_own_client() {
        serve(slow_at_zero, |address| {
            let (mut slow, mut quick) = (Client::connect(address), Client::connect(address));
            slow.send("0\n1\n");
            quick.send("2\nthree\n4\n");
            // The thread of the slow client is blocked all this time.
            assert_eq!(quick.line(), "did 2");
            assert_eq!(quick.line(), "error: 'three' is not a number below 2^64");
            assert_eq!(quick.line(), "did 4");
            *GATE.0.lock().unwrap() = true;
            GATE.1.notify_all();
            assert_eq!(slow.line(), "did 0");
            assert_eq!(slow.line(), "did 1");
        });
    }

    #[test]
    fn panicking_work_resets_only_its_own_client() {
        serve(
            |number| if number == 0 { panic!("on purpose") } else { number.to_string() },
            |address| {
                let (mut unlucky, mut other) = (Client::connect(address), Client::connect(address));
                unlucky.send("0\n");
                assert_eq!(
                    unlucky.0.read_to_end(&mut Vec::new()).map_err(|error| error.kind()),
                    Err(std::io::ErrorKind::ConnectionReset)
                );
                other.send("5\n");
                assert_eq!(other.line(), "5");
            },
        );
    }
}
