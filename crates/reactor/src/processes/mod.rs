//! Child processes: commands, protocols for their pipes, and helpers that run a program to its end.
//!
//! ```text
//!   Command  -> spawn_process   -> ProcessProtocol     each pipe, the exit, the end
//!            -> process_output  -> Deferred<Output>    everything that the program writes
//!            -> process_value   -> Deferred<ExitStatus>
//! ```
//!
//! Source: `twisted.internet.process`, `twisted.internet.utils`.

mod capture;
mod command;
mod protocol;

pub use capture::{Capture, Output};
pub use command::Command;
pub use protocol::ProcessProtocol;
pub use ropewalk_sys::signals::{Signal, UnknownSignal};
pub use ropewalk_sys::{
    ChildDescriptor, ExitStatus, Identity, PipeEnd, ProcessGroup, Resource, SpawnError, SpawnStep, WindowSize,
};

pub use crate::transports::Process;
