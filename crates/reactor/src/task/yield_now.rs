//! Yielding to the rest of the loop.

use std::future::poll_fn;
use std::task::Poll;

/// Pauses the calling task until the next turn of the loop. Network events that have arrived, due timers and tasks that
/// are already awake come first.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::yield_now;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let sum = clock.spawn(async {
///     let mut sum = 0;
///     for number in 0..1000 {
///         sum += number;
///         if number % 100 == 0 {
///             yield_now().await; // keeps the loop responsive during a long computation
///         }
///     }
///     sum
/// });
/// clock.advance(Duration::ZERO);
/// assert_eq!(sum.try_result().unwrap().unwrap(), 499_500);
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
