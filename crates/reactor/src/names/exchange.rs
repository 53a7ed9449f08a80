//! One question, until a server has answered it.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::net::SocketAddr;
use std::rc::Rc;

use hickory_proto::op::{Message, Query, ResponseCode};

use super::config::DnsConfig;
use super::error::{DnsError, ServerFault};
use super::query::Asked;
use super::secrets::Secrets;
use super::tcp;
use super::udp::{Reply, UdpQuestion};
use crate::error::Error;
use crate::kernel::{Reactor, WeakReactor};
use crate::task::TimedOut;

/// The servers, and what the questions to them share.
pub(super) struct Servers {
    pub(super) config: DnsConfig,
    /// The secrets of the first reactor that asks. `None` before that.
    secrets: RefCell<Option<Rc<RefCell<Secrets>>>>,
    /// The number of questions so far, which rotates the servers.
    questions: Cell<usize>,
}

impl Servers {
    pub(super) fn new(config: DnsConfig) -> Servers {
        Servers { config, secrets: RefCell::default(), questions: Cell::new(0) }
    }

    /// Asks the servers in turn, in as many rounds as configured, and returns the first answer.
    ///
    /// Two answers are final: there are such records or none, and the name does not exist. Any other answer is a fault
    /// of its server.
    pub(super) async fn exchange(&self, reactor: &WeakReactor, question: &Query) -> Result<Message, DnsError> {
        let mut servers = self.config.servers().to_vec();
        let number = self.questions.replace(self.questions.get().wrapping_add(1));
        if self.config.is_rotating && !servers.is_empty() {
            let first = number % servers.len();
            servers.rotate_left(first);
        }
        let mut faults = Vec::new();
        for _ in 0..self.config.attempts {
            faults.clear();
            for server in &servers {
                match self.ask(reactor, *server, question).await {
                    Ok(message) => return Ok(message),
                    Err(fault) => {
                        tracing::debug!(%server, %fault, %question, "a name server gave no answer");
                        faults.push((*server, fault));
                    }
                }
            }
        }
        Err(DnsError::NoAnswer(faults))
    }

    /// Asks one server, by UDP and then by TCP if necessary.
    async fn ask(&self, reactor: &WeakReactor, server: SocketAddr, question: &Query) -> Result<Message, ServerFault> {
        let reply = if self.config.is_tcp_only { Reply::ByTcp } else { self.by_udp(reactor, server, question).await? };
        let message = match reply {
            Reply::Answer(message) => message,
            Reply::ByTcp => self.by_tcp(reactor, server, question).await?,
        };
        match message.response_code() {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
            fault => Err(ServerFault::Code(fault)),
        }
    }

    async fn by_udp(&self, reactor: &WeakReactor, server: SocketAddr, question: &Query) -> Result<Reply, ServerFault> {
        let within = {
            let Ready { reactor, secrets, asked } = self.prepare(reactor, question)?;
            let asking = UdpQuestion::ask(&reactor, server, &asked, &secrets).map_err(failed)?;
            reactor.timeout(self.config.timeout, asking.reply())
        };
        outcome(within.await)
    }

    async fn by_tcp(
        &self,
        reactor: &WeakReactor,
        server: SocketAddr,
        question: &Query,
    ) -> Result<Message, ServerFault> {
        let within = {
            let Ready { reactor, asked, .. } = self.prepare(reactor, question)?;
            let connecting = tcp::connect(&reactor, server).map_err(failed)?;
            reactor.timeout(self.config.timeout, tcp::ask(connecting, asked))
        };
        outcome(within.await)
    }

    /// Gives a question a new identifier.
    fn prepare(&self, reactor: &WeakReactor, question: &Query) -> Result<Ready, ServerFault> {
        let reactor = reactor.upgrade().ok_or_else(|| failed(Error::Closed))?;
        let new = || Rc::new(RefCell::new(Secrets::new(&reactor)));
        let secrets = self.secrets.borrow_mut().get_or_insert_with(new).clone();
        let id = secrets.borrow_mut().id();
        let asked = Asked::new(id, question.clone()).map_err(|error| ServerFault::Failed(error.to_string()))?;
        Ok(Ready { reactor, secrets, asked: Rc::new(asked) })
    }
}

/// The parts that send a question. The reactor must not be kept while waiting, because it owns the task that waits.
struct Ready {
    reactor: Reactor,
    secrets: Rc<RefCell<Secrets>>,
    asked: Rc<Asked>,
}

fn failed(error: Error) -> ServerFault {
    ServerFault::Failed(error.to_string())
}

fn outcome<T>(outcome: Result<Result<T, impl Display>, TimedOut>) -> Result<T, ServerFault> {
    match outcome {
        Ok(outcome) => outcome.map_err(|error| ServerFault::Failed(error.to_string())),
        Err(late) => Err(ServerFault::TimedOut(late.after)),
    }
}
