//! The main window of an interpreter, whose end stops the reactor.
//!
//! Each window has a command of its name, and Tk deletes the command when the window is destroyed, by whatever way: the
//! window manager, the command `destroy`, the end of the X server's connection or of the interpreter. So a trace on the
//! deletion of the command `.` needs nothing of Tk, and a program cannot overwrite it as it can a binding.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};
use std::rc::{Rc, Weak};

use ropewalk::hosting::Guest;
use ropewalk::{Error, Result};

use crate::ffi;

const MAIN_WINDOW: &CStr = c"::.";

/// A Tcl interpreter, for [`install`](crate::install).
///
/// # Safety
/// The pointer is that of a `Tcl_Interp` which exists at least as long as this value. The value stays on the thread
/// that created the interpreter, so its type is not [`Send`].
pub unsafe trait AsInterpreter {
    /// Returns the `Tcl_Interp`.
    fn as_interpreter(&self) -> *mut c_void;
}

/// The main window of an interpreter.
pub(crate) struct MainWindow {
    /// The interpreter, until it is deleted. `Tcl_Preserve` would keep its windows.
    interpreter: Cell<Option<NonNull<ffi::Interp>>>,
    guest: Guest,
    is_traced: Cell<bool>,
    /// The weak reference that Tcl has for the deletion of the interpreter.
    kept_by_interpreter: Cell<*mut c_void>,
}

/// Tcl compares this pointer. A function may have several addresses, a static has one value.
static INTERPRETER_DELETED: ffi::InterpreterDeleted = interpreter_deleted;

impl MainWindow {
    pub(crate) fn new(interpreter: &impl AsInterpreter, guest: &Guest) -> Result<Rc<MainWindow>> {
        let Some(interpreter) = NonNull::new(interpreter.as_interpreter().cast::<ffi::Interp>()) else {
            return Err(Error::Failed("there is no interpreter at a null pointer".into()));
        };
        let window = Rc::new(MainWindow {
            interpreter: Cell::new(Some(interpreter)),
            guest: guest.clone(),
            is_traced: Cell::default(),
            kept_by_interpreter: Cell::new(null_mut()),
        });
        let data = window.clone().into_data();
        window.kept_by_interpreter.set(data);
        // SAFETY: the trait promises an interpreter. The reference is given up when the call is made or cancelled.
        unsafe { ffi::Tcl_CallWhenDeleted(interpreter.as_ptr(), INTERPRETER_DELETED, data) };
        window.trace();
        Ok(window)
    }

    /// Traces the end of the window, if there is one that is not traced.
    pub(crate) fn trace(self: &Rc<MainWindow>) {
        let Some(interpreter) = self.interpreter.get().filter(|_| !self.is_traced.get()) else { return };
        let interpreter = interpreter.as_ptr();
        // SAFETY: the interpreter exists.
        if unsafe { ffi::Tcl_InterpDeleted(interpreter) } != 0 {
            return;
        }
        let mut information = MaybeUninit::uninit();
        // SAFETY: the interpreter is of this thread, and the information is only written to.
        if unsafe { ffi::Tcl_GetCommandInfo(interpreter, MAIN_WINDOW.as_ptr(), information.as_mut_ptr()) } == 0 {
            return;
        }
        // The command may be renamed, so the trace stays until the end of the window, and may outlive this value.
        let data = self.clone().into_data();
        // SAFETY: the interpreter has the command. The reference is given up when the command is deleted.
        unsafe { ffi::Tcl_TraceCommand(interpreter, MAIN_WINDOW.as_ptr(), ffi::TRACE_DELETE, window_ended, data) };
        self.is_traced.set(true);
    }

    /// Returns a weak reference as Tcl keeps it.
    fn into_data(self: Rc<MainWindow>) -> *mut c_void {
        Weak::into_raw(Rc::downgrade(&self)).cast_mut().cast()
    }

    /// # Safety
    /// `data` is a result of [`into_data`](MainWindow::into_data) that is used once.
    unsafe fn from_data(data: *mut c_void) -> Option<Rc<MainWindow>> {
        // SAFETY: the caller's promise.
        unsafe { Weak::from_raw(data.cast_const().cast::<MainWindow>()) }.upgrade()
    }

    fn ended(&self) {
        self.is_traced.set(false);
        if let Some(reactor) = self.guest.reactor() {
            // An error means that the reactor does not run, or is stopping.
            let _ = reactor.stop();
        }
    }
}

impl Drop for MainWindow {
    fn drop(&mut self) {
        let Some(interpreter) = self.interpreter.get() else { return };
        let data = self.kept_by_interpreter.get();
        // SAFETY: the interpreter exists, and `new` passed this data.
        unsafe { ffi::Tcl_DontCallWhenDeleted(interpreter.as_ptr(), INTERPRETER_DELETED, data) };
        // SAFETY: the call is cancelled, so the reference is not used any more.
        unsafe { MainWindow::from_data(data) };
    }
}

unsafe extern "C" fn window_ended(
    data: *mut c_void,
    _interpreter: *mut ffi::Interp,
    _old_name: *const c_char,
    _new_name: *const c_char,
    _flags: c_int,
) {
    // SAFETY: `trace` made the data, and a command is deleted once.
    if let Some(window) = unsafe { MainWindow::from_data(data) } {
        window.ended();
    }
}

unsafe extern "C" fn interpreter_deleted(data: *mut c_void, _interpreter: *mut ffi::Interp) {
    // SAFETY: `new` made the data, and an interpreter is deleted once.
    if let Some(window) = unsafe { MainWindow::from_data(data) } {
        window.interpreter.set(None);
    }
}
