//! The promises of the seam, on real sockets, for every provider that works by readiness.
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
        a_refused_connection_returns_its_error
        a_bound_connection_comes_from_that_address
        binding_to_a_foreign_address_is_an_error
        a_connection_over_ipv6_has_ipv6_addresses
        an_unknown_outcome_would_block
    }
    interest {
        nothing_is_reported_before_reading_is_on
        reading_that_is_off_reports_nothing
        switching_reading_on_reports_earlier_data
        a_report_is_repeated_when_reading_is_on_again
        unread_data_is_reported_when_reading_is_on_again
        a_hang_up_is_reported_once_while_reading_is_off
        a_reset_is_reported_once_while_reading_is_off
        a_writable_connection_wakes_a_wait_only_if_asked
        write_readiness_is_reported_once_for_each_partial_send
        unwanted_write_readiness_is_not_reported
        a_reset_is_reported_to_an_owner_that_only_writes
    }
    listening {
        a_port_returns_none_after_its_last_connection
        an_accepted_connection_has_its_flags_set
        listening_on_a_used_port_is_an_error
        a_port_can_be_bound_again_at_once
        two_ports_share_an_address_only_when_both_ask
        an_ipv6_wildcard_takes_ipv4_by_default
        a_connection_reset_before_accept_affects_no_other
        an_adopted_port_accepts_connections
        a_port_accepts_only_on_request
        a_paused_port_reports_its_queue_when_it_is_resumed
        an_adopted_blocking_connection_becomes_non_blocking
        a_socket_of_another_kind_is_not_adopted
    }
    schedules {
        all_readiness_is_reported_in_random_schedules
    }
    streams {
        bytes_go_both_ways
        a_partly_filled_buffer_means_that_no_bytes_are_left
        a_full_buffer_means_that_more_bytes_may_follow
        bytes_behind_urgent_data_are_read
        bytes_behind_passed_descriptors_are_read
        unread_bytes_come_before_the_end_of_the_stream
        the_end_of_a_stream_is_reported_after_its_last_bytes
        the_end_of_the_stream_differs_from_no_data
        a_half_closed_connection_still_receives
        a_large_outbox_arrives_unchanged
        one_call_of_send_takes_only_its_share
        a_used_up_share_is_followed_by_the_next
        a_slice_is_sent_as_far_as_it_goes
        writing_to_a_broken_connection_raises_no_signal
        an_aborted_connection_is_reset
        bytes_sent_before_a_close_arrive
        options_can_be_switched
        a_stale_key_is_not_found
        a_reused_place_does_not_report_for_its_predecessor
        dropping_the_provider_closes_everything
    }
    time {
        a_wait_is_never_cut_short
        the_longest_timeout_waits
        a_wait_of_zero_does_not_block
        a_signal_interrupts_a_wait_without_an_event
        the_clock_never_goes_back
    }
    unix {
        a_closed_port_removes_its_path
        the_mode_is_that_of_the_file
        the_file_of_a_successor_is_left_alone
        a_path_that_exists_is_in_use
        a_path_that_is_too_long_is_an_error
        a_full_backlog_is_an_error
        dropping_the_provider_removes_the_file
        the_hang_up_of_a_peer_comes_after_its_bytes
        receive_reports_more_to_come_before_a_known_hang_up
    }
    waking {
        a_wake_before_the_wait_is_not_lost
        a_wake_up_is_not_an_event
        wakes_from_many_threads_are_never_lost
        a_waker_outlives_its_provider
    }
    watching {
        a_pipe_reports_what_it_was_watched_for
        a_watched_descriptor_is_reported_repeatedly
        a_watched_descriptor_without_interest_is_silent
        a_regular_file_is_always_ready
        a_descriptor_that_is_not_open_cannot_be_watched
        a_watched_descriptor_is_not_read_written_or_closed
        a_descriptor_may_be_watched_again_after_its_key_was_ended
    }
}
