//! Thousands of child processes, 200 at once, beside children that another thread waits for.

use std::io;

use super::{Plan, thousands};
use crate::arguments::Task;
use crate::figure::{Bar, Figure};
use crate::spawning::AT_ONCE;
use crate::subject::Subject;

pub(super) const NAME: &str = "spawns";

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let (spawns, deaths) = (plan.amount(10_000), plan.amount(3_000));
    let of_spawns = Subject::start(Task::Spawns, plan.reactor, spawns as u64)?.figures()?;
    let of_deaths = Subject::start(Task::Deaths, plan.reactor, deaths as u64)?.figures()?;
    let [wrong, wrong_beside, left, opened, most, memory, processor, sleeps, seconds] = of_spawns[..] else {
        return Err(io::Error::other("expected nine figures of spawns"));
    };
    let [wrong_deaths, left_by_deaths, opened_by_deaths] = of_deaths[..] else {
        return Err(io::Error::other("expected three figures of deaths"));
    };
    let (spawns, deaths) = (thousands(spawns), thousands(deaths));
    let none = Bar::Exactly(0.0);
    let exact = |title: String, measured, bar| plan.figure(NAME, title, measured, bar);
    let timed = |title: String, measured, bar| plan.timed_figure(NAME, title, measured, Bar::AtMost(bar));
    Ok(vec![
        exact(format!("wrong or lost statuses of {spawns} children, {AT_ONCE} at once"), wrong, none),
        exact("wrong or lost statuses of the children of another thread".to_owned(), wrong_beside, none),
        exact(format!("zombies after {spawns} children"), left, none),
        exact(format!("descriptors more after {spawns} children"), opened, none),
        exact(format!("descriptors at once with {AT_ONCE} children"), most, Bar::AtMost(850.0)),
        exact(format!("memory above the start with {AT_ONCE} children, MB"), memory, Bar::AtMost(20.0)),
        timed("processor time of the loop for each child, µs".to_owned(), processor, 500.0),
        timed("sleeps of the loop for each child, while its program loads included".to_owned(), sleeps, 8.0),
        timed(format!("time for {spawns} children, s"), seconds, 60.0),
        exact(
            format!("wrong or lost statuses of {deaths} children that are killed or leave others"),
            wrong_deaths,
            none,
        ),
        exact(format!("zombies after {deaths} children that are killed or leave others"), left_by_deaths, none),
        exact(format!("descriptors more after {deaths} children of these"), opened_by_deaths, none),
    ])
}
