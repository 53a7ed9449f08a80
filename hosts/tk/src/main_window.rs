//! The main window of an interpreter, whose end stops the reactor.
//!
//! Each window has a command of its name, and Tk deletes the command when the window is destroyed, by whatever way: the
//! window manager, the command `destroy`, the end of the X server's connection or of the interpreter. So a trace on the
//! deletion of the command `.` needs nothing of Tk, and a program cannot overwrite it as it can a binding.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use ropewalk::hosting::Guest;
use ropewalk::{Error, Result};

use crate::ffi;

const MAIN_WINDOW: &CStr = c"::.";

/// A Tcl interpreter, for [`install`](crate::install).
///
/// # Safety
/// The pointer is that of a `Tcl_Interp` which exists at least as long as this value. The value stays on the thread that
/// created the interpreter, so its type is not [`Send`].
pub unsafe trait AsInterpreter {
    /// Returns the `Tcl_Interp`.
    fn as_interpreter(&self) -> *mut c_void;
}

/// The main window of an interpreter.
pub(crate) struct MainWindow {
    interpreter: Interpreter,
    guest: Guest,
    is_traced: Cell<bool>,
}

impl MainWindow {
    pub(crate) fn new(interpreter: &impl AsInterpreter, guest: &Guest) -> Result<Rc<MainWindow>> {
        let interpreter = Interpreter::preserve(interpreter)?;
        let window = Rc::new(MainWindow { interpreter, guest: guest.clone(), is_traced: Cell::default() });
        window.trace();
        Ok(window)
    }

    /// Traces the end of the window, if there is one that is not traced.
    pub(crate) fn trace(self: &Rc<MainWindow>) {
        if self.is_traced.get() || !self.interpreter.has_command(MAIN_WINDOW) {
            return;
        }
        // The command may be renamed, so the trace stays until the end of the window, and may outlive this value.
        let data = Rc::downgrade(self).into_raw();
        self.interpreter.trace_deletion(MAIN_WINDOW, ended, data.cast_mut().cast());
        self.is_traced.set(true);
    }

    fn ended(&self) {
        self.is_traced.set(false);
        if let Some(reactor) = self.guest.reactor() {
            // An error means that the reactor does not run, or is stopping.
            let _ = reactor.stop();
        }
    }
}

unsafe extern "C" fn ended(
    data: *mut c_void,
    _interpreter: *mut ffi::Interp,
    _old_name: *const c_char,
    _new_name: *const c_char,
    _flags: c_int,
) {
    // SAFETY: `trace` made the pointer, and a command is deleted once.
    if let Some(window) = unsafe { Weak::from_raw(data.cast_const().cast::<MainWindow>()) }.upgrade() {
        window.ended();
    }
}

/// An interpreter whose memory stays. The interpreter itself may be deleted at any time.
struct Interpreter(NonNull<ffi::Interp>);

impl Interpreter {
    fn preserve(interpreter: &impl AsInterpreter) -> Result<Interpreter> {
        let Some(interpreter) = NonNull::new(interpreter.as_interpreter()) else {
            return Err(Error::Failed("there is no interpreter at a null pointer".into()));
        };
        // SAFETY: the trait promises an interpreter.
        unsafe { ffi::Tcl_Preserve(interpreter.as_ptr()) };
        Ok(Interpreter(interpreter.cast()))
    }

    fn has_command(&self, name: &CStr) -> bool {
        // SAFETY: the memory is preserved.
        if unsafe { ffi::Tcl_InterpDeleted(self.0.as_ptr()) } != 0 {
            return false;
        }
        let mut information = MaybeUninit::uninit();
        // SAFETY: the interpreter is of this thread and not deleted. The information is only written to.
        unsafe { ffi::Tcl_GetCommandInfo(self.0.as_ptr(), name.as_ptr(), information.as_mut_ptr()) != 0 }
    }

    /// Calls `trace` once with `data`, when the command is deleted.
    fn trace_deletion(&self, name: &CStr, trace: ffi::CommandTrace, data: *mut c_void) {
        // SAFETY: the interpreter is of this thread and has the command.
        unsafe { ffi::Tcl_TraceCommand(self.0.as_ptr(), name.as_ptr(), ffi::TRACE_DELETE, trace, data) };
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        // SAFETY: `preserve` preserved the memory on this thread.
        unsafe { ffi::Tcl_Release(self.0.as_ptr().cast()) };
    }
}
