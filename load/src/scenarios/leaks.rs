//! Reactors and Deferreds, one after the other in one process, leave nothing behind.

use std::io;

use super::{Plan, thousands};
use crate::arguments::Task;
use crate::figure::{Bar, Figure};
use crate::subject::Subject;

pub(super) const NAME: &str = "leaks";

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let (reactors, deferreds) = (plan.amount(10_000), plan.amount(200_000));
    let of_reactors = Subject::start(Task::Reactors, plan.reactor, reactors as u64)?.figures()?;
    let of_deferreds = Subject::start(Task::Deferreds, plan.reactor, deferreds as u64)?.figures()?;
    let (reactors, deferreds) = (thousands(reactors), thousands(deferreds));
    let [memory, opened] = of_reactors[..] else { return Err(io::Error::other("expected two figures of reactors")) };
    let [kept] = of_deferreds[..] else { return Err(io::Error::other("expected one figure of Deferreds")) };
    let bar = Bar::AtMost(512.0);
    Ok(vec![
        plan.figure(NAME, format!("memory more after {reactors} reactors, KiB"), memory, bar),
        plan.figure(NAME, format!("descriptors more after {reactors} reactors"), opened, Bar::Exactly(0.0)),
        plan.figure(NAME, format!("memory more after {deferreds} Deferreds, KiB"), kept, bar),
    ])
}
