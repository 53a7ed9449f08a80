//! What the seam promises, on real sockets, for every provider that works by readiness.
#![cfg(unix)]

use ropewalk_sys::{EventProvider, providers};

mod bench;
mod connecting;
mod interest;
mod listening;
mod schedules;
mod streams;
mod time;
mod unix;
mod waking;
mod watching;

fn open(name: &str) -> Box<dyn EventProvider> {
    let provider = providers().iter().find(|provider| provider.name == name).expect("a provider of this system");
    (provider.open)().expect("it opens")
}

macro_rules! provider {
    ($provider:ident; $($group:ident { $($specification:ident)+ })+) => {
        mod $provider {
            $(mod $group {
                $(#[test]
                fn $specification() {
                    crate::$group::$specification(&mut crate::bench::Bench::new(crate::open(stringify!($provider))));
                })+
            })+
        }
    };
}

macro_rules! every_provider {
    ($($specifications:tt)+) => {
        #[cfg(target_os = "linux")]
        provider! { epoll; $($specifications)+ }
        #[cfg(target_os = "linux")]
        provider! { uring; $($specifications)+ }
        provider! { poll; $($specifications)+ }
        provider! { select; $($specifications)+ }
    };
}

every_provider! {
    connecting {
        a_connection_is_reported_as_writable_when_it_is_made
        a_refused_connection_says_so
        a_bound_connection_comes_from_that_address
        an_address_that_is_not_ours_cannot_be_bound
        a_connection_over_ipv6_has_ipv6_addresses
        an_outcome_that_is_not_known_yet_would_block_and_is_reported_later
    }
    interest {
        nothing_is_reported_until_somebody_reads
        reading_that_was_switched_off_reports_nothing
        reading_that_was_switched_on_again_reports_what_came_meanwhile
        a_report_that_was_answered_by_switching_off_comes_again_with_switching_on
        what_was_left_when_reading_was_switched_off_is_reported_when_it_is_on_again
        a_hang_up_that_nobody_waits_for_does_not_end_a_wait
        a_connection_that_can_write_does_not_end_a_wait_unless_asked
        write_readiness_is_reported_once_for_each_send_that_was_cut_short
        write_readiness_that_nobody_waits_for_any_more_is_not_reported
        a_reset_peer_is_reported_to_whoever_only_writes
    }
    listening {
        a_port_hands_out_its_connections_and_then_none
        an_accepted_connection_is_non_blocking_and_closed_by_exec
        a_port_in_use_says_so
        a_port_can_be_bound_again_at_once
        two_ports_share_an_address_only_when_both_ask
        a_wildcard_of_ipv6_takes_ipv4_unless_told_otherwise
        a_connection_that_was_reset_before_accept_does_no_harm
        an_adopted_port_accepts
        a_port_takes_nobody_before_it_is_asked
        a_port_that_is_not_read_any_more_takes_nobody_and_knows_them_when_it_is_read_again
        an_adopted_blocking_connection_becomes_non_blocking
        what_is_not_a_stream_socket_of_that_kind_is_not_adopted
    }
    schedules {
        whatever_is_read_and_sent_and_when_what_is_there_is_reported
    }
    streams {
        bytes_go_both_ways
        fewer_bytes_than_the_buffer_holds_were_all
        a_full_buffer_may_not_have_been_all
        what_follows_urgent_data_is_read_without_anything_more_arriving
        what_follows_passed_descriptors_is_read_without_anything_more_arriving
        unread_bytes_come_before_the_end_of_the_stream
        the_end_of_a_stream_that_came_with_the_last_bytes_is_reported_after_them
        the_end_of_the_stream_is_an_end_and_not_an_absence
        a_half_closed_connection_still_receives
        a_large_outbox_arrives_whole_and_in_order
        one_call_of_send_takes_its_share_and_no_more
        a_share_that_was_used_up_is_followed_by_the_next_whoever_reads
        a_slice_is_sent_as_far_as_it_goes
        writing_to_a_broken_connection_is_an_error_and_no_signal
        an_aborted_connection_is_reset
        bytes_sent_before_a_close_arrive
        options_can_be_switched_and_read
        a_stale_key_answers_not_found_and_harms_nobody
        a_reused_place_does_not_report_for_its_predecessor
        dropping_the_provider_closes_everything
    }
    time {
        a_wait_is_never_cut_short
        the_longest_timeout_waits
        a_wait_of_zero_does_not_block
        a_signal_ends_a_wait_without_an_event
        the_clock_begins_at_zero_and_does_not_go_back
    }
    unix {
        a_path_is_served_and_removed_when_it_is_closed
        the_mode_is_that_of_the_file
        the_file_of_a_successor_is_left_alone
        a_path_that_exists_is_in_use
        a_path_that_is_too_long_is_refused
        a_full_backlog_is_neither_a_refusal_nor_a_silence
        the_file_is_removed_when_the_provider_goes
        the_hang_up_of_a_peer_comes_after_its_bytes
        the_last_bytes_before_a_hang_up_promise_more
    }
    waking {
        a_wake_before_the_wait_is_not_lost
        a_wake_ends_a_wait_and_is_no_event
        wakes_from_many_threads_are_never_lost
        a_waker_outlives_its_provider
    }
    watching {
        a_pipe_reports_what_it_was_watched_for
        a_watched_descriptor_goes_on_reporting
        a_watched_descriptor_without_interest_is_silent
        a_regular_file_is_always_ready
        a_descriptor_that_is_not_open_cannot_be_watched
        a_watched_descriptor_is_not_read_written_or_closed
        a_descriptor_may_be_watched_again_after_its_key_was_ended
    }
}
