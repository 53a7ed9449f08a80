//! One question to one server by TCP: RFC 1035, section 4.2.2.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use hickory_proto::op::Message;
use ropewalk_proto::{Deferred, Failure};

use super::query::Asked;
use crate::endpoints::TcpClientEndpoint;
use crate::error::Result;
use crate::interfaces::tcp::Destination;
use crate::kernel::Reactor;
use crate::task::AsyncStream;

/// A connection that is closed at once if its question was given up.
struct Connection {
    stream: AsyncStream,
    is_over: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_over {
            self.stream.transport().abort_connection();
        }
    }
}

/// Begins to connect to `server`.
pub(super) fn connect(reactor: &Reactor, server: SocketAddr) -> Result<Deferred<AsyncStream>> {
    // The exchange as a whole has a time limit.
    let endpoint = TcpClientEndpoint::new(Destination::from(server).timeout(None))?;
    Ok(AsyncStream::connect(reactor, &endpoint))
}

/// Sends a question over the connection, and returns the answer.
pub(super) async fn ask(connecting: Deferred<AsyncStream>, asked: Rc<Asked>) -> Result<Message, Failure> {
    let mut connection = Connection { stream: connecting.await?, is_over: false };
    let answer = exchange(&mut connection.stream, asked.bytes()).await?;
    connection.is_over = true;
    let message = asked.answer(&answer);
    message.ok_or_else(|| io::Error::other("the message is not the answer to the question").into())
}

/// Each message follows its length.
async fn exchange(stream: &mut AsyncStream, question: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(question.len()).expect("a question is short");
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
