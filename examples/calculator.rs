//! A calculator with a line protocol.
//!
//! Run `cargo run -p ropewalk-examples --bin calculator`, then `nc 127.0.0.1 8002`, and type `1 + 2`.
//!
//! The arithmetic is a function without a network, and the protocol is four lines. The tests need no socket.

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};

/// Calculates `left operator right`, separated by spaces.
fn calculate(line: &str) -> Result<f64, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [left, operator, right] = words[..] else {
        return Err("expected a number, an operator and a number, separated by spaces, as in 1 + 2".into());
    };
    let number = |word: &str| word.parse::<f64>().map_err(|_| format!("'{word}' is not a number"));
    let (left, right) = (number(left)?, number(right)?);
    match operator {
        "+" => Ok(left + right),
        "-" => Ok(left - right),
        "*" => Ok(left * right),
        "/" if right == 0.0 => Err("cannot divide by zero".into()),
        "/" => Ok(left / right),
        _ => Err(format!("'{operator}' is not an operator: expected + - * or /")),
    }
}

struct Calculator;

impl LineProtocol for Calculator {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        let answer = calculate(&String::from_utf8_lossy(line));
        lines.send_line(&answer.map_or_else(|error| format!("error: {error}"), |value| value.to_string()));
    }
}

fn calculators() -> LineReceiver<Calculator> {
    LineReceiver::new(Calculator).delimiter("\n")
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8002", calculators)?;
    println!("calculating on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{Faults, MemoryReactor};

    /// Returns the answer to `question`, over a network that splits the data into small pieces.
    fn ask(question: &[u8]) -> String {
        let net = MemoryReactor::seeded(1).with_faults(Faults::none().short_reads().short_writes());
        net.listen_tcp("10.0.0.1:80", calculators).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(question);
        net.settle();
        String::from_utf8(client.received()).unwrap()
    }

    #[test]
    fn each_line_is_answered_in_order() {
        assert_eq!(ask(b"1 + 2\n7 / 2\r\n2 * 21\n"), "3\n3.5\n42\n");
    }

    #[test]
    fn an_error_does_not_end_the_conversation() {
        assert_eq!(
            ask(b"1 / 0\none + 2\n1 ^ 2\n1 +\n2 - 1\n"),
            "error: cannot divide by zero\nerror: 'one' is not a number\nerror: '^' is not an operator: expected + - * or /\n\
             error: expected a number, an operator and a number, separated by spaces, as in 1 + 2\n1\n"
        );
    }
}
