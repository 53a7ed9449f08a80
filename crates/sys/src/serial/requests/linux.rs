//! The numbers of the requests: tty_ioctl(4).

use std::ffi::c_int;

use rustix::ioctl::Opcode;

pub(super) const GET_LINES: Opcode = libc::TIOCMGET as Opcode;
pub(super) const SWITCH_ON: Opcode = libc::TIOCMBIS as Opcode;
pub(super) const SWITCH_OFF: Opcode = libc::TIOCMBIC as Opcode;
pub(super) const START_BREAK: Opcode = libc::TIOCSBRK as Opcode;
pub(super) const STOP_BREAK: Opcode = libc::TIOCCBRK as Opcode;
pub(super) const COUNT_UNSENT: Opcode = libc::TIOCOUTQ as Opcode;

pub(super) const DTR: c_int = libc::TIOCM_DTR;
pub(super) const RTS: c_int = libc::TIOCM_RTS;
pub(super) const CTS: c_int = libc::TIOCM_CTS;
pub(super) const DSR: c_int = libc::TIOCM_DSR;
pub(super) const RI: c_int = libc::TIOCM_RI;
pub(super) const CD: c_int = libc::TIOCM_CD;
