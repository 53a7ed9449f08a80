//! The functions of Tcl that the adapter calls.
//!
//! Tk itself is not linked: its windows are in the same event loop. Source: tcl.h and tclDecls.h of Tcl 8.6.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

/// `Tcl_Interp`.
#[repr(C)]
pub(crate) struct Interp {
    opaque: [u8; 0],
}

/// `Tcl_ThreadId`, a number in the form of a pointer.
pub(crate) type ThreadId = *mut c_void;

/// `Tcl_Time`.
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: c_long,
    pub(crate) microseconds: c_long,
}

/// `Tcl_Event`, the beginning of each event.
#[repr(C)]
pub(crate) struct Event {
    pub(crate) serve: unsafe extern "C" fn(*mut Event, c_int) -> c_int,
    pub(crate) next: *mut Event,
}

/// `Tcl_CmdInfo`, of which nothing is read.
#[repr(C)]
pub(crate) struct CommandInfo {
    fields: [*mut c_void; 8],
}

/// `Tcl_EventSetupProc` and `Tcl_EventCheckProc`.
pub(crate) type SourceFunction = unsafe extern "C" fn(*mut c_void, c_int);

/// `Tcl_CommandTraceProc`.
pub(crate) type CommandTrace = unsafe extern "C" fn(*mut c_void, *mut Interp, *const c_char, *const c_char, c_int);

/// `Tcl_InterpDeleteProc`.
pub(crate) type InterpreterDeleted = unsafe extern "C" fn(*mut c_void, *mut Interp);

/// `TCL_DONT_WAIT`.
pub(crate) const DONT_WAIT: c_int = 1 << 1;
/// `TCL_FILE_EVENTS`.
pub(crate) const FILE_EVENTS: c_int = 1 << 3;
/// `TCL_IDLE_EVENTS`.
pub(crate) const IDLE_EVENTS: c_int = 1 << 5;
/// `TCL_READABLE`.
pub(crate) const READABLE: c_int = 1 << 1;
/// `TCL_QUEUE_TAIL`.
pub(crate) const QUEUE_TAIL: c_int = 0;
/// `TCL_TRACE_DELETE`.
pub(crate) const TRACE_DELETE: c_int = 0x4000;

unsafe extern "C" {
    pub(crate) fn Tcl_FindExecutable(program: *const c_char);
    pub(crate) fn Tcl_GetCurrentThread() -> ThreadId;
    pub(crate) fn Tcl_ThreadAlert(thread: ThreadId);
    pub(crate) fn Tcl_DoOneEvent(flags: c_int) -> c_int;

    pub(crate) fn Tcl_CreateEventSource(setup: SourceFunction, check: SourceFunction, data: *mut c_void);
    pub(crate) fn Tcl_DeleteEventSource(setup: SourceFunction, check: SourceFunction, data: *mut c_void);
    pub(crate) fn Tcl_SetMaxBlockTime(time: *const Time);
    pub(crate) fn Tcl_Alloc(size: c_uint) -> *mut c_char;
    pub(crate) fn Tcl_QueueEvent(event: *mut Event, position: c_int);
    pub(crate) fn Tcl_CreateFileHandler(fd: c_int, mask: c_int, handler: SourceFunction, data: *mut c_void);
    pub(crate) fn Tcl_DeleteFileHandler(fd: c_int);

    pub(crate) fn Tcl_CallWhenDeleted(interpreter: *mut Interp, call: InterpreterDeleted, data: *mut c_void);
    pub(crate) fn Tcl_DontCallWhenDeleted(interpreter: *mut Interp, call: InterpreterDeleted, data: *mut c_void);
    pub(crate) fn Tcl_InterpDeleted(interpreter: *mut Interp) -> c_int;
    pub(crate) fn Tcl_GetCommandInfo(
        interpreter: *mut Interp,
        name: *const c_char,
        information: *mut CommandInfo,
    ) -> c_int;
    pub(crate) fn Tcl_TraceCommand(
        interpreter: *mut Interp,
        name: *const c_char,
        flags: c_int,
        trace: CommandTrace,
        data: *mut c_void,
    ) -> c_int;
}
