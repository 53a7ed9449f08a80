//! The numbers of the requests: sys/ttycom.h, the same on all BSDs and on macOS.

use std::ffi::c_int;

use rustix::ioctl::{Opcode, opcode};

pub(super) const GET_LINES: Opcode = opcode::read::<c_int>(b't', 106);
pub(super) const SWITCH_ON: Opcode = opcode::write::<c_int>(b't', 108);
pub(super) const SWITCH_OFF: Opcode = opcode::write::<c_int>(b't', 107);
pub(super) const START_BREAK: Opcode = opcode::none(b't', 123);
pub(super) const STOP_BREAK: Opcode = opcode::none(b't', 122);
pub(super) const COUNT_UNSENT: Opcode = opcode::read::<c_int>(b't', 115);

pub(super) const DTR: c_int = 0o2;
pub(super) const RTS: c_int = 0o4;
pub(super) const CTS: c_int = 0o40;
pub(super) const CD: c_int = 0o100;
pub(super) const RI: c_int = 0o200;
pub(super) const DSR: c_int = 0o400;
