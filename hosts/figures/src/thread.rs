//! `thread`: the time until a call from another thread runs.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::ThreadHandle;

use crate::Result;
use crate::measured::{Measured, median, micros, stop};

const SAMPLES: usize = 500;
/// The time that the loop has to fall asleep.
const PAUSE: Duration = Duration::from_millis(2);

/// Returns the median, in microseconds. The loop sleeps before each call.
pub(crate) fn delay(measured: &Measured) -> Result<Vec<f64>> {
    let handle = measured.reactor.thread_handle();
    let calls = thread::spawn(move || call(&handle));
    measured.run()?;
    let samples = calls.join().map_err(|_| "the thread that calls has panicked")?;
    Ok(vec![median(samples)])
}

fn call(handle: &ThreadHandle) -> Vec<f64> {
    let (ran, samples) = channel();
    let samples = (0..SAMPLES).map(|_| {
        thread::sleep(PAUSE);
        let ran = ran.clone();
        let called = Instant::now();
        handle.call_from_thread(move |_| ran.send(micros(called.elapsed())).expect("the thread waits"));
        samples.recv().expect("the loop runs the call")
    });
    let samples = samples.collect();
    handle.call_from_thread(stop);
    samples
}
