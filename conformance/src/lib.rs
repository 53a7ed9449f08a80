//! The behaviour that every event provider promises, as specifications.
//!
//! A specification is a function whose name is a sentence and whose first line names its source. Each specification
//! exists once, in [`specs`], and runs for each provider that offers its interface:
//!
//! ```ignore
//! conformance!(epoll = Subject::named("epoll"); core, time, tcp);
//! ```
//!
//! mounts it as a test called `epoll::tcp::a_sentence`. To test a custom provider, use [`Subject::of`], as
//! `tests/custom.rs` does. If a provider lacks an interface, do not list that interface for it. So no test is skipped.
//! A hang is a failure: the test runner stops a test after some minutes.

#[cfg(target_os = "linux")]
pub mod certificates;
#[cfg(unix)]
pub mod child;
pub mod counting;
pub mod datagram_script;
mod failing_sends;
#[cfg(target_os = "linux")]
pub mod foreign_tls;
pub mod fuse;
pub mod hosts;
mod intercepted;
pub mod links;
pub mod lock_step;
pub mod logged;
pub mod name_server;
mod naming;
#[cfg(unix)]
pub mod passed;
#[cfg(unix)]
pub mod scenario;
pub mod scrambler;
pub mod script;
pub mod specs;
mod subject;
pub mod tap;
#[cfg(unix)]
mod terminals;
#[cfg(target_os = "linux")]
pub mod tls_ends;
#[cfg(target_os = "linux")]
pub mod transfer;
pub mod waiting;
mod without_ipv6;

pub use subject::{Subject, count_turns, quiet, run};

/// Defines specifications as functions, and a macro with the module's name that mounts each of them as a test.
#[macro_export]
macro_rules! specifications {
    ($interface:ident; $( $(#[$attribute:meta])* fn $name:ident($subject:ident: &Subject) $body:block )*) => {
        $( $(#[$attribute])* #[doc = stringify!($name)] pub fn $name($subject: &$crate::Subject) $body )*

        /// Mounts these specifications in a module that has a function `subject`.
        #[macro_export]
        macro_rules! $interface {
            () => { $( #[test] $(#[$attribute])* fn $name() { $crate::specs::$interface::$name(&super::subject()); } )* };
        }
    };
}

/// Runs the specifications of some interfaces for one provider.
#[macro_export]
macro_rules! conformance {
    ($provider:ident = $subject:expr; $($interface:ident),+ $(,)?) => {
        mod $provider {
            fn subject() -> $crate::Subject { use super::*; $subject }
            $( mod $interface { $crate::$interface!(); } )+
        }
    };
}
