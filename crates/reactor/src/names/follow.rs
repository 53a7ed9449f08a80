//! The addresses of one name, by way of its aliases: from the cache, or else from the servers.

use std::cell::RefCell;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use ropewalk_proto::{DeferredSemaphore, Permit};

use super::answer;
use super::cache::{Cache, Outcome};
use super::config::DnsConfig;
use super::error::DnsError;
use super::exchange::Servers;
use crate::kernel::WeakReactor;

/// The number of questions for one name, each of which leads to an alias.
const MOST_ALIASES: usize = 8;

/// The state of a resolver.
pub(super) struct Client {
    pub(super) servers: Servers,
    cache: RefCell<Cache>,
    permits: DeferredSemaphore,
}

impl Client {
    pub(super) fn new(config: DnsConfig) -> Client {
        Client {
            cache: RefCell::new(Cache::new(config.cache_entries)),
            permits: DeferredSemaphore::new(config.concurrent),
            servers: Servers::new(config),
        }
    }

    /// Returns the addresses of a name if they are in the cache.
    pub(super) fn known(&self, reactor: &WeakReactor, name: &Name, record_type: RecordType) -> Option<Outcome> {
        let now = reactor.upgrade()?.now();
        self.cache.borrow_mut().get(name, record_type, now)
    }

    /// Returns the addresses of a name.
    pub(super) async fn addresses(&self, reactor: &WeakReactor, name: &Name, record_type: RecordType) -> Outcome {
        if let Some(known) = self.known(reactor, name, record_type) {
            return known;
        }
        let (outcome, lifetime) = self.follow(reactor, name, record_type).await?;
        if let Some(reactor) = reactor.upgrade() {
            let (outcome, now) = (outcome.clone(), reactor.now());
            self.cache.borrow_mut().insert(name.clone(), record_type, outcome, now, lifetime);
        }
        outcome
    }

    /// Asks for a name and its aliases, and returns the outcome and the time for which it may be kept.
    async fn follow(
        &self,
        reactor: &WeakReactor,
        name: &Name,
        record_type: RecordType,
    ) -> Result<(Outcome, Duration), DnsError> {
        let (mut name, mut lifetime) = (name.clone(), Duration::MAX);
        for _ in 0..MOST_ALIASES {
            let message = self.ask(reactor, &Query::query(name.clone(), record_type)).await?;
            let found = answer::read(&message, &name, record_type);
            lifetime = lifetime.min(found.lifetime);
            if message.response_code() == ResponseCode::NXDomain {
                return Ok((Err(DnsError::NoSuchName), lifetime));
            }
            if found.is_final {
                return Ok((Ok(found.addresses), lifetime));
            }
            name = found.end;
        }
        Err(DnsError::TooManyAliases(MOST_ALIASES))
    }

    /// Asks the servers when it is this question's turn.
    pub(super) async fn ask(&self, reactor: &WeakReactor, question: &Query) -> Result<Message, DnsError> {
        let _permit = self.permit().await?;
        self.servers.exchange(reactor, question).await
    }

    async fn permit(&self) -> Result<Permit, DnsError> {
        let waiting = self.permits.waiting();
        if self.permits.available() == 0 && waiting >= self.servers.config.waiting {
            return Err(DnsError::TooMany(waiting));
        }
        self.permits.acquire().await.map_err(|_| DnsError::TooMany(waiting))
    }
}
