//! A window of wxWidgets with a log and a field.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn demo_open(
        title: *const c_char,
        typed: unsafe extern "C" fn(*mut c_void, *const c_char),
        context: *mut c_void,
    ) -> *mut c_void;
    fn demo_append(line: *const c_char);
    fn demo_ask(question: *const c_char) -> c_int;
    fn demo_show(text: *const c_char);
    fn demo_call_after(call: unsafe extern "C" fn(*mut c_void), argument: *mut c_void);
    fn demo_main_loop();
    fn demo_close();
}

type Typed = Box<dyn Fn(&str)>;

/// A window. Its methods do nothing when the user has closed it. There is one in the process.
pub struct Window {
    app: *mut c_void,
}

impl Window {
    /// Opens the window. `typed` is called with each line that is typed into its field.
    ///
    /// # Panics
    /// If there is no display.
    pub fn open(title: &str, typed: impl Fn(&str) + 'static) -> Window {
        let typed: Typed = Box::new(typed);
        // The window keeps it until the process exits.
        let context = Box::into_raw(Box::new(typed));
        // SAFETY: the title is copied, and the context is what `called` takes.
        let app = unsafe { demo_open(text(title).as_ptr(), called, context.cast()) };
        assert!(!app.is_null(), "there is no display");
        Window { app }
    }

    /// Returns the `wxApp`, which lives as long as this value.
    pub fn app(&self) -> *mut c_void {
        self.app
    }

    /// Adds a line to the log.
    pub fn append(line: &str) {
        // SAFETY: the line is copied.
        unsafe { demo_append(text(line).as_ptr()) };
    }

    /// Asks in a modal dialog, and returns whether the answer was yes.
    pub fn ask(question: &str) -> bool {
        // SAFETY: the question is copied.
        unsafe { demo_ask(text(question).as_ptr()) != 0 }
    }

    /// Shows a modal dialog until it is closed.
    pub fn show(title: &str) {
        // SAFETY: the title is copied.
        unsafe { demo_show(text(title).as_ptr()) };
    }

    /// Makes the call in the thread of the window. May be called in any thread, while the application lives.
    pub fn call_after(call: impl FnOnce() + Send + 'static) {
        let call: Box<dyn FnOnce() + Send> = Box::new(call);
        let argument = Box::into_raw(Box::new(call));
        // SAFETY: the argument is what `make` takes.
        unsafe { demo_call_after(make, argument.cast()) };
    }

    /// Runs the application until the window is closed.
    pub fn main_loop(&self) {
        // SAFETY: the application lives.
        unsafe { demo_main_loop() };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the application lives, and is not used any more.
        unsafe { demo_close() };
    }
}

fn text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("without a zero byte")
}

unsafe extern "C" fn called(context: *mut c_void, line: *const c_char) {
    // SAFETY: `open` has passed this pointer, and never frees it.
    let typed = unsafe { &*context.cast::<Typed>() };
    // SAFETY: the window passes a text with a zero byte behind it.
    let line = unsafe { CStr::from_ptr(line) };
    typed(&line.to_string_lossy());
}

unsafe extern "C" fn make(argument: *mut c_void) {
    // SAFETY: `call_after` made the pointer, and each call is made once.
    let call = unsafe { Box::from_raw(argument.cast::<Box<dyn FnOnce() + Send>>()) };
    call();
}
