//! The operator `?` on an awaited Deferred, in functions that return the usual errors. If this file compiles, most of
//! the test has passed.

use std::error::Error;
use std::io;
use std::time::Duration;

use ropewalk::testing::Clock;
use ropewalk::{Deferred, DeferredError, Failure, Reactor, fail};

const SECOND: Duration = Duration::from_secs(1);

fn broken() -> Deferred<u32> {
    fail(io::Error::from(io::ErrorKind::NotFound))
}

fn closed() -> Deferred<u32> {
    fail(ropewalk::Error::Closed)
}

async fn in_ropewalk(deferred: Deferred<u32>) -> ropewalk::Result<u32> {
    Ok(deferred.await? + 1)
}

async fn in_anyhow() -> anyhow::Result<u32> {
    Ok(broken().await? + 1)
}

async fn in_box() -> Result<u32, Box<dyn Error + Send + Sync>> {
    Ok(broken().await? + 1)
}

async fn in_plain_box() -> Result<u32, Box<dyn Error>> {
    Ok(broken().await? + 1)
}

async fn in_failure() -> Result<u32, Failure> {
    Ok(broken().await? + 1)
}

async fn in_time(reactor: Reactor) -> ropewalk::Result<u32> {
    Ok(reactor.timeout(SECOND, closed()).await?? + 1)
}

async fn too_late(reactor: Reactor) -> ropewalk::Result<()> {
    Ok(reactor.timeout(SECOND, reactor.sleep(2 * SECOND)).await?)
}

/// Returns the error of `task`.
fn error_of<E: 'static>(clock: &Clock, task: impl Future<Output = Result<u32, E>> + 'static) -> E {
    let task = clock.spawn(task);
    clock.advance(Duration::ZERO);
    task.try_result().expect("the task is done").expect("the task has an output").expect_err("the output is an error")
}

#[test]
fn an_awaited_deferred_fails_in_the_error_of_its_function() {
    let clock = Clock::new();
    assert!(matches!(error_of(&clock, in_ropewalk(closed())), ropewalk::Error::Closed));
    let error = error_of(&clock, in_ropewalk(broken()));
    assert!(matches!(error, ropewalk::Error::Io(_, cause) if cause.kind() == io::ErrorKind::NotFound));
    assert!(matches!(error_of(&clock, in_time(Reactor::clone(&clock))), ropewalk::Error::Closed));
    assert!(error_of(&clock, in_failure()).check::<io::Error>());
    let error = error_of(&clock, in_anyhow());
    assert!(error.downcast_ref::<DeferredError>().is_some_and(|error| error.check::<io::Error>()));
    assert!(error_of(&clock, in_box()).is::<DeferredError>());
    assert!(error_of(&clock, in_plain_box()).is::<DeferredError>());
}

#[test]
fn an_exceeded_timeout_is_an_error_of_ropewalk() {
    let clock = Clock::new();
    let task = clock.spawn(too_late(Reactor::clone(&clock)));
    clock.advance(SECOND);
    let error = task.try_result().expect("the task is done").expect("the task has an output").unwrap_err();
    assert_eq!(error.to_string(), "timed out after 1s");
}

#[test]
fn a_failure_converts_in_a_synchronous_function() {
    fn all_of_them() -> ropewalk::Result<u32> {
        Ok(closed().try_result().expect("it is done")?)
    }
    fn boxed() -> Result<u32, Box<dyn Error + Send + Sync>> {
        Ok(broken().try_result().expect("it is done")?)
    }
    assert!(matches!(all_of_them(), Err(ropewalk::Error::Closed)));
    assert!(boxed().unwrap_err().is::<io::Error>());
}
