//! A Tcl interpreter, as a binding of Tcl would offer it. Only this module calls C functions.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::rc::Rc;

use ropewalk_tk::AsInterpreter;

unsafe extern "C" {
    fn Tcl_FindExecutable(program: *const c_char);
    fn Tcl_CreateInterp() -> *mut c_void;
    fn Tcl_DeleteInterp(interpreter: *mut c_void);
    fn Tcl_Init(interpreter: *mut c_void) -> c_int;
    fn Tcl_Eval(interpreter: *mut c_void, script: *const c_char) -> c_int;
    fn Tcl_Merge(count: c_int, words: *const *const c_char) -> *mut c_char;
    fn Tcl_Free(memory: *mut c_char);
    fn Tcl_GetStringResult(interpreter: *mut c_void) -> *const c_char;
    fn Tcl_CreateCommand(
        interpreter: *mut c_void,
        name: *const c_char,
        function: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, *const *const c_char) -> c_int,
        data: *mut c_void,
        deleted: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> *mut c_void;
}

/// A command of Tcl that is written in Rust.
type Command = Box<dyn Fn(&[String])>;

/// An interpreter of this thread, which is deleted with the last clone.
#[derive(Clone)]
pub(crate) struct Interpreter(Rc<Owned>);

struct Owned {
    interpreter: *mut c_void,
    is_deleted: Cell<bool>,
}

// SAFETY: the interpreter exists until the last clone is dropped, and the type is not Send.
unsafe impl AsInterpreter for Interpreter {
    fn as_interpreter(&self) -> *mut c_void {
        self.0.interpreter
    }
}

impl Interpreter {
    /// Creates an interpreter that has Tcl's library.
    pub(crate) fn new() -> Interpreter {
        // SAFETY: may be called any number of times.
        unsafe { Tcl_FindExecutable(null()) };
        // SAFETY: needs nothing.
        let interpreter = unsafe { Tcl_CreateInterp() };
        let made = Interpreter(Rc::new(Owned { interpreter, is_deleted: Cell::new(false) }));
        // SAFETY: the interpreter is new.
        assert_eq!(unsafe { Tcl_Init(interpreter) }, 0, "{}", made.result());
        made
    }

    /// Evaluates a script, which succeeds.
    #[track_caller]
    pub(crate) fn eval(&self, script: &str) -> String {
        self.try_eval(script).unwrap_or_else(|error| panic!("{error}, in: {script}"))
    }

    /// Evaluates a script, and returns its result or its error.
    pub(crate) fn try_eval(&self, script: &str) -> Result<String, String> {
        let script = CString::new(script).expect("no NUL");
        // SAFETY: the string is terminated.
        unsafe { self.evaluate(script.as_ptr()) }
    }

    /// Calls a command, and returns its result or its error. The words may contain anything but NUL: they are not
    /// evaluated.
    pub(crate) fn try_call(&self, words: &[&str]) -> Result<String, String> {
        let words = Vec::from_iter(words.iter().map(|word| CString::new(*word).expect("no NUL")));
        let pointers = Vec::from_iter(words.iter().map(|word| word.as_ptr()));
        let count = c_int::try_from(pointers.len()).expect("a few words");
        // SAFETY: the strings are terminated.
        let script = unsafe { Tcl_Merge(count, pointers.as_ptr()) };
        // SAFETY: Tcl has made the string.
        let outcome = unsafe { self.evaluate(script) };
        // SAFETY: the string is not used any more.
        unsafe { Tcl_Free(script) };
        outcome
    }

    /// # Safety
    /// The script is a C string.
    unsafe fn evaluate(&self, script: *const c_char) -> Result<String, String> {
        // SAFETY: the interpreter is of this thread. It may be evaluating another script.
        match unsafe { Tcl_Eval(self.0.interpreter, script) } {
            0 => Ok(self.result()),
            _ => Err(self.result()),
        }
    }

    /// Adds the command `name`, which calls `function` with its arguments.
    pub(crate) fn add_command(&self, name: &CStr, function: impl Fn(&[String]) + 'static) {
        let function: Box<Command> = Box::new(Box::new(function));
        let data = Box::into_raw(function).cast();
        // SAFETY: the data lives until the command is deleted.
        unsafe { Tcl_CreateCommand(self.0.interpreter, name.as_ptr(), call, data, Some(deleted)) };
    }

    /// Deletes the interpreter, with its windows. No other method may be called any more.
    pub(crate) fn delete(&self) {
        self.0.delete();
    }

    fn result(&self) -> String {
        // SAFETY: the interpreter is of this thread.
        let result = unsafe { Tcl_GetStringResult(self.0.interpreter) };
        // SAFETY: the result is a C string until the next call.
        unsafe { CStr::from_ptr(result) }.to_string_lossy().into_owned()
    }
}

impl Owned {
    fn delete(&self) {
        if !self.is_deleted.replace(true) {
            // SAFETY: the interpreter is of this thread, and is deleted once.
            unsafe { Tcl_DeleteInterp(self.interpreter) };
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.delete();
    }
}

unsafe extern "C" fn call(data: *mut c_void, _: *mut c_void, count: c_int, words: *const *const c_char) -> c_int {
    // SAFETY: `add_command` made the pointer.
    let function = unsafe { &*data.cast::<Command>() };
    let count = usize::try_from(count).expect("a count");
    // SAFETY: Tcl passes an array of this length.
    let words = unsafe { std::slice::from_raw_parts(words, count) };
    // The first word is the name of the command.
    let arguments = words.iter().skip(1).map(|word| {
        // SAFETY: each word is a C string.
        unsafe { CStr::from_ptr(*word) }.to_string_lossy().into_owned()
    });
    let arguments = Vec::from_iter(arguments);
    // A panic would end the process here, because no panic may enter a C function.
    match catch_unwind(AssertUnwindSafe(|| function(&arguments))) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

unsafe extern "C" fn deleted(data: *mut c_void) {
    // SAFETY: `add_command` made the pointer, and a command is deleted once.
    drop(unsafe { Box::from_raw(data.cast::<Command>()) });
}
