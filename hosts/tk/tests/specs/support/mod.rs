//! The parts that specifications with windows share: a desktop, an interpreter, connections, and a limit on the time.

pub(crate) mod fuse;
#[path = "../../../examples/tk_monitor/interpreter.rs"]
#[allow(dead_code)] // the example uses more of it
pub(crate) mod interpreter;
pub(crate) mod peers;
pub(crate) mod screen;

use ropewalk::{PanicPolicy, Reactor};

pub(crate) use fuse::Fuse;
pub(crate) use interpreter::Interpreter;
pub(crate) use screen::Screen;

/// Returns a reactor whose run fails when an assertion in a callback fails.
pub(crate) fn strict_reactor() -> Reactor {
    let reactor = Reactor::new().expect("a provider");
    reactor.set_panic_policy(PanicPolicy::Resume);
    reactor
}
