//! Child processes by clone(2) and pidfd_open(2).
//!
//! ```text
//!   spawn:   open our ends and the child's -> adopt ours -> clone(VM, VFORK, PIDFD) -> watch the process descriptor
//!            (descriptors)                   (children)     (start)                    (children)
//!   child:   signals, group, numbers, terminal, limits, identity, directory, mask, exec          (image, steps)
//!   end:     the process descriptor is readable -> waitid of this process alone                  (status)
//! ```
//!
//! The child borrows the memory of this process until exec(2), so starting a program costs the same in a large process
//! as in a small one. It also means that the child's code allocates nothing and takes no lock.

mod abandoned;
mod children;
mod descriptors;
mod explain;
mod image;
mod numbers;
mod recipients;
mod stack;
mod start;
mod status;
mod steps;

pub(crate) use children::{Children, HasChildren};

#[cfg(test)]
mod tests;
