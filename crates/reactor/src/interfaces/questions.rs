//! The questions to the resolver that have no answer yet. Equal questions at the same time are asked once.
//!
//! ```text
//!   first caller  --- asks the resolver ---+
//!   later callers ------ wait -------------+--> the answer, to all callers in the order in which they asked
//!   a caller cancels: it alone gives up. The last one to give up cancels the look-up.
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use ropewalk_proto::{CancelHandle, Deferred, Failure, Resolver};
use ropewalk_sys::IpFamily;

use super::resolver::OneResolver;
use crate::error::Error;

/// A question for the addresses of a name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) host: Rc<str>,
    pub(super) port: u16,
    /// `None` asks for both families at once.
    pub(super) family: Option<IpFamily>,
    /// The resolver that is asked. It lives until the answer comes, so no other one has its place.
    pub(super) resolver: OneResolver,
}

type Outcome = Result<Vec<SocketAddr>, Failure>;

/// All questions that have no answer yet.
#[derive(Default)]
pub(super) struct Questions {
    pending: RefCell<HashMap<Question, LookUp>>,
    next_number: Cell<u64>,
}

/// The look-up of a question, and the callers that wait for its answer.
struct LookUp {
    /// Distinguishes this look-up from a later one of the same question.
    number: u64,
    cancel: CancelHandle,
    /// The callers, by number.
    callers: Vec<(u64, Resolver<Vec<SocketAddr>>)>,
}

impl Questions {
    /// Returns the answer to `question`. Calls `look_up`, unless the same question is pending.
    pub(super) fn ask(
        self: &Rc<Questions>,
        question: Question,
        look_up: impl FnOnce() -> Option<Deferred<Vec<SocketAddr>>>,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        if !self.is_pending(&question) {
            let answer = look_up()?;
            // The resolver may have asked the same question while it was called.
            if answer.is_done() || self.is_pending(&question) {
                return Some(answer);
            }
            self.add(question.clone(), answer);
        }
        self.wait(question)
    }

    fn is_pending(&self, question: &Question) -> bool {
        self.pending.borrow().contains_key(question)
    }

    fn add(self: &Rc<Questions>, question: Question, answer: Deferred<Vec<SocketAddr>>) {
        let (number, cancel) = (self.number(), answer.cancel_handle());
        let look_up = LookUp { number, cancel, callers: Vec::new() };
        self.pending.borrow_mut().insert(question.clone(), look_up);
        let questions = Rc::downgrade(self);
        drop(answer.add_both(move |outcome| {
            if let Some(questions) = questions.upgrade() {
                questions.answered(&question, number, outcome);
            }
        }));
    }

    /// Returns a Deferred for one more caller of a pending question.
    fn wait(self: &Rc<Questions>, question: Question) -> Option<Deferred<Vec<SocketAddr>>> {
        let number = self.number();
        let (questions, asked) = (Rc::downgrade(self), question.clone());
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            if let Some(questions) = questions.upgrade() {
                questions.give_up(&asked, number);
            }
        });
        self.pending.borrow_mut().get_mut(&question)?.callers.push((number, resolver));
        Some(deferred)
    }

    fn number(&self) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }

    /// Removes a caller, and cancels the look-up if no other caller waits for it.
    fn give_up(&self, question: &Question, number: u64) {
        let mut pending = self.pending.borrow_mut();
        let Some(look_up) = pending.get_mut(question) else { return };
        let Some(index) = look_up.callers.iter().position(|(caller, _)| *caller == number) else { return };
        let caller = look_up.callers.remove(index);
        let unwanted = if look_up.callers.is_empty() { pending.remove_entry(question) } else { None };
        // User code follows.
        drop(pending);
        drop(caller);
        if let Some((_question, look_up)) = unwanted {
            look_up.cancel.cancel();
        }
    }

    fn answered(&self, question: &Question, number: u64, outcome: Outcome) {
        let mut pending = self.pending.borrow_mut();
        if pending.get(question).is_none_or(|look_up| look_up.number != number) {
            return;
        }
        let answered = pending.remove_entry(question);
        // User code follows: the question may have the last handle of its resolver.
        drop(pending);
        let mut callers = answered.into_iter().flat_map(|(_, look_up)| look_up.callers).map(|(_, resolver)| resolver);
        let first = callers.next();
        let others: Vec<_> = callers.map(|resolver| (resolver, copy(&outcome))).collect();
        // A caller that gives up meanwhile has fired already.
        if let Some(first) = first {
            let _ = first.fire(outcome);
        }
        for (resolver, outcome) in others {
            let _ = resolver.fire(outcome);
        }
    }
}

/// Copies an outcome. An error of another type than those of this crate and of the system keeps its message only.
fn copy(outcome: &Outcome) -> Outcome {
    let failure = match outcome {
        Ok(addresses) => return Ok(addresses.clone()),
        Err(failure) => failure,
    };
    if let Some(error) = failure.downcast_ref::<io::Error>() {
        return Err(io::Error::new(error.kind(), error.to_string()).into());
    }
    Err(match failure.downcast_ref::<Error>() {
        Some(error) => error.clone().into(),
        None => Failure::new(failure.to_string()),
    })
}
