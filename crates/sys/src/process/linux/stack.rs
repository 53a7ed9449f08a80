//! The memory in which the child's code runs until exec(2).

use std::mem::MaybeUninit;

/// Many times the size that the steps need, in a debug build as well.
const BYTES: usize = 64 << 10;

/// A piece of memory with the alignment of a stack.
type Piece = MaybeUninit<u128>;

pub(super) struct Stack(Box<[Piece]>);

impl Stack {
    pub(super) fn new() -> Stack {
        Stack(vec![Piece::uninit(); BYTES / size_of::<Piece>()].into())
    }

    /// Returns the end of the memory, at which a stack that grows down begins.
    pub(super) fn top(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr_range().end.cast()
    }
}
