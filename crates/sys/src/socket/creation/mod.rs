//! Makes sockets non-blocking and closed by exec(2), and keeps them from raising SIGPIPE.

#[cfg_attr(not(apple), path = "at_once.rs")]
#[cfg_attr(apple, path = "stepwise.rs")]
mod way;

pub(super) use way::{SEND_FLAGS, acceptfrom, is_listening, open, prepare};
