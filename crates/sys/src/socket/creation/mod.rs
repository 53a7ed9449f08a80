//! Makes sockets non-blocking and closed by exec(2), and keeps them from raising SIGPIPE. Received descriptors are closed
//! by exec(2) as well.

#[cfg_attr(not(apple), path = "at_once.rs")]
#[cfg_attr(apple, path = "stepwise.rs")]
mod way;

pub(super) use way::{RECEIVE_FLAGS, SEND_FLAGS, acceptfrom, close_by_exec, is_listening, open, prepare};
