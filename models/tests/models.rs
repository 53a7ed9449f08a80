//! Runs each model. A model that fails prints the order of its steps with `LOOM_LOG=trace`.

#![cfg(unix)]

#[test]
fn a_ring_wakes_a_loop_that_falls_asleep() {
    ropewalk_models::a_ring_wakes_a_loop_that_falls_asleep();
}

#[test]
fn a_watched_bell_makes_its_channel_readable() {
    ropewalk_models::a_watched_bell_makes_its_channel_readable();
}

#[test]
fn calls_from_threads_are_all_taken_in_order() {
    ropewalk_models::calls_from_threads_are_all_taken_in_order();
}

#[test]
fn a_call_on_a_closing_queue_is_not_kept() {
    ropewalk_models::a_call_on_a_closing_queue_is_not_kept();
}

#[test]
fn a_request_from_a_thread_is_answered() {
    ropewalk_models::a_request_from_a_thread_is_answered();
}

#[test]
fn cancelled_work_runs_or_is_returned() {
    ropewalk_models::cancelled_work_runs_or_is_returned();
}

#[test]
fn a_smaller_pool_leaves_no_work_behind() {
    ropewalk_models::a_smaller_pool_leaves_no_work_behind();
}
