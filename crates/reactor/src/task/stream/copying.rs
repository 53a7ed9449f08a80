//! Copying between two streams, in both directions at once.
//!
//! ```text
//!   end of `a`  -> data, then the sending direction of `b` is closed; the other direction continues
//!   `b` is lost -> `a` gets all that `b` has sent before, then both directions have ended
//! ```

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use super::{AsyncStream, ReadHalf, WriteHalf};

/// Copies bytes from `a` to `b` and from `b` to `a`, until both streams have ended. Returns the number of bytes copied
/// in each direction.
///
/// The end of one stream is passed on: the sending direction of the other stream is closed after the copied data, and
/// copying in the opposite direction continues. A stream is read only while at most 64 KiB are unsent on the other one.
///
/// Dropping the future stops copying, and at most 64 KiB of each stream stay unread.
///
/// ```
/// use ropewalk::Failure;
/// use ropewalk::endpoints::TcpClientEndpoint;
/// use ropewalk::task::{AsyncStream, StreamFactory, copy_bidirectional};
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// let target = net.listen_stream("10.0.0.2:80")?;
/// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut client, reactor| {
///     let connecting = AsyncStream::connect(reactor, &TcpClientEndpoint::new("10.0.0.2:80").unwrap());
///     reactor.spawn(async move {
///         let mut server = connecting.await?;
///         Ok::<_, Failure>(copy_bidirectional(&mut client, &mut server).await?)
///     });
/// }))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"question");
/// client.finish();
/// net.settle();
/// let server = target.accept().expect("a connection");
/// assert!(server.received() == b"question" && server.is_eof());
/// server.write(b"answer");
/// server.finish();
/// net.settle();
/// assert!(client.received() == b"answer" && client.is_eof());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The reason why one of the connections was lost. Bytes that had arrived before are copied first, as far as the other
/// connection takes them. Both streams stay open.
pub async fn copy_bidirectional(a: &mut AsyncStream, b: &mut AsyncStream) -> io::Result<(u64, u64)> {
    let (mut there, mut back) = (Direction::default(), Direction::default());
    poll_fn(|context| {
        // An error means that one of the connections is lost, so the opposite direction comes to an end as well.
        let first = there.poll(context, &mut a.reader, &mut b.writer);
        let second = back.poll(context, &mut b.reader, &mut a.writer);
        if first.is_ready() && second.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    there.error.or(back.error).map_or(Ok((there.copied, back.copied)), Err)
}

/// The progress of copying in one direction.
#[derive(Default)]
struct Direction {
    copied: u64,
    has_ended: bool,
    error: Option<io::Error>,
}

impl Direction {
    fn poll(&mut self, context: &mut Context<'_>, from: &mut ReadHalf, to: &mut WriteHalf) -> Poll<()> {
        while !self.has_ended {
            match self.poll_piece(context, from, to) {
                Poll::Ready(Ok(count)) => {
                    self.copied += count;
                    self.has_ended = count == 0;
                }
                Poll::Ready(Err(error)) => {
                    self.error = Some(error);
                    self.has_ended = true;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Copies the bytes that have arrived. The output is their number, or 0 when the end was passed on.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        from: &mut ReadHalf,
        to: &mut WriteHalf,
    ) -> Poll<io::Result<u64>> {
        match to.poll_flush(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let polled = from.poll_read_all(context);
        match &polled {
            Poll::Ready(Ok(data)) if data.is_empty() => to.shut_down_write(),
            Poll::Ready(Ok(data)) => to.transport().write_bytes(data.clone()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => to.wake_when_lost(context),
        }
        polled.map_ok(|data| data.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::Error;
    use crate::endpoints::TcpClientEndpoint;
    use crate::task::StreamFactory;
    use crate::testing::{Faults, MemoryReactor, TestStream};

    type Outcome = Rc<RefCell<Option<io::Result<(u64, u64)>>>>;

    /// Returns the two ends of a forwarder, and its outcome.
    fn forwarder(net: &MemoryReactor) -> (TestStream, TestStream, Outcome) {
        let outcome = Outcome::default();
        let keep = outcome.clone();
        let target = net.listen_stream("10.0.0.2:80").unwrap();
        let serve = StreamFactory::new(move |mut client: AsyncStream, reactor: &crate::Reactor| {
            let connecting = AsyncStream::connect(reactor, &TcpClientEndpoint::new("10.0.0.2:80").unwrap());
            let keep = keep.clone();
            reactor.spawn(async move {
                let mut server = connecting.await.unwrap();
                let copied = copy_bidirectional(&mut client, &mut server).await;
                *keep.borrow_mut() = Some(copied);
            });
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        (client, target.accept().unwrap(), outcome)
    }

    fn reason(outcome: &Outcome) -> String {
        let error = outcome.take().expect("an outcome").expect_err("a loss");
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).expect("an error of the reactor");
        reason.to_string()
    }

    #[test]
    fn each_end_is_passed_on_after_the_data() {
        let net = MemoryReactor::seeded(7).with_faults(Faults::none().short_reads().short_writes());
        let (client, server, outcome) = forwarder(&net);
        client.write(&[1; 500_000]);
        client.finish();
        net.settle();
        assert!(server.received() == [1; 500_000] && server.is_eof());
        assert!(!client.is_eof() && outcome.borrow().is_none());
        server.write(&[2; 300_000]);
        server.finish();
        net.settle();
        assert!(client.received() == [2; 300_000] && client.is_eof());
        assert_eq!(outcome.take().unwrap().unwrap(), (500_000, 300_000));
        assert_eq!(net.open_sources(), 1, "the port is left");
    }

    #[test]
    fn a_peer_that_reads_slowly_holds_the_other_one_back() {
        let net = MemoryReactor::new();
        let (client, server, _outcome) = forwarder(&net);
        server.pause_reading();
        client.write(&[1; 10_000_000]);
        net.settle();
        let unread = client.unread();
        assert!(unread > 9_000_000, "{unread} of 10,000,000 bytes are held back");
        server.resume_reading();
        net.settle();
        assert_eq!(server.received().len(), 10_000_000);
    }

    #[test]
    fn a_reset_of_the_target_ends_both_directions() {
        // The client is silent, so only the loss itself can wake the task.
        let net = MemoryReactor::new();
        let (client, server, outcome) = forwarder(&net);
        server.abort();
        net.settle();
        assert!(reason(&outcome).contains("lost"));
        assert!(client.is_eof());
    }

    #[test]
    fn an_early_answer_arrives_before_the_error() {
        let net = MemoryReactor::new();
        let (client, server, outcome) = forwarder(&net);
        client.pause_reading();
        server.pause_reading();
        client.write(&[1; 1_000_000]);
        net.settle();
        server.write(&[2; 200_000]);
        net.settle();
        server.abort();
        client.resume_reading();
        net.settle();
        assert!(client.received().len() >= 64 * 1024, "{} bytes", client.received().len());
        assert!(outcome.take().unwrap().is_err());
        assert_eq!(net.open_sources(), 1, "the port is left");
    }

    #[test]
    fn a_reset_after_the_end_of_the_client_is_noticed() {
        let net = MemoryReactor::new();
        let (client, server, outcome) = forwarder(&net);
        client.finish();
        net.settle();
        assert!(server.is_eof() && outcome.borrow().is_none());
        client.abort();
        net.settle();
        assert!(outcome.take().unwrap().is_err());
        assert!(server.is_eof());
    }
}
