//! The application whose main loop the reactor runs.

use std::ffi::{CStr, c_ulong, c_void};
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;

use ropewalk::hosting::Guest;
use ropewalk::{Error, Result};

use crate::{MainLoop, ffi};

/// A `GApplication`, for [`register_gapplication`](crate::GlibHost::register_gapplication).
///
/// The crates `gio` of `gtk4` and `gtk` implement it by the features of this crate. An application of another binding is
/// passed by an implementation for a type of your own.
///
/// # Safety
/// The pointer is that of a `GApplication` which lives at least as long as this value.
pub unsafe trait AsApplication {
    /// Returns the object. It is only used on the thread that registers it.
    fn as_gapplication(&self) -> *mut c_void;
}

#[cfg(feature = "gio-0_22")]
// SAFETY: the object has counted this reference.
unsafe impl AsApplication for gio_0_22::Application {
    fn as_gapplication(&self) -> *mut c_void {
        use gio_0_22::prelude::ObjectType;
        self.as_ptr().cast()
    }
}

#[cfg(feature = "gio-0_18")]
// SAFETY: the object has counted this reference.
unsafe impl AsApplication for gio_0_18::Application {
    fn as_gapplication(&self) -> *mut c_void {
        use gio_0_18::prelude::ObjectType;
        self.as_ptr().cast()
    }
}

/// A reference to an application.
pub(crate) struct Registered {
    application: NonNull<ffi::Application>,
}

impl MainLoop {
    pub(crate) fn application(&self) -> Option<Rc<Registered>> {
        self.application.borrow().clone()
    }

    pub(crate) fn register(&self, application: &impl AsApplication) -> Result<()> {
        if self.application.borrow().is_some() {
            return Err(Error::Failed("another application is registered with this reactor".into()));
        }
        // SAFETY: needs nothing.
        if self.context.as_ptr() != unsafe { ffi::g_main_context_default() } {
            return Err(Error::Failed(
                "an application runs in the global main context, and the reactor in another".into(),
            ));
        }
        let Some(application) = NonNull::new(application.as_gapplication()) else {
            return Err(Error::Failed("there is no application at a null pointer".into()));
        };
        // SAFETY: the trait promises an object.
        unsafe { ffi::g_object_ref(application.as_ptr()) };
        let registered = Registered { application: application.cast() };
        self.application.replace(Some(Rc::new(registered)));
        Ok(())
    }

    /// Quits the application. GLib runs an application once, so it is not registered any more.
    pub(crate) fn quit_application(&self) {
        if let Some(application) = self.application.take() {
            application.quit();
        }
    }
}

impl Registered {
    /// Registers the application under its name. If an instance has the name already, activates that instance, and
    /// returns false.
    pub(crate) fn is_first_instance(&self) -> Result<bool> {
        let mut error: *mut ffi::GError = null_mut();
        // SAFETY: the reference keeps the application.
        let is_registered = unsafe { ffi::g_application_register(self.as_ptr(), null_mut(), &mut error) };
        if is_registered == 0 {
            // SAFETY: GLib has set the error.
            let message = unsafe { (*error).message };
            // SAFETY: the message of an error is a text.
            let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
            let failed = Error::Failed(format!("cannot register the application: {message}").into());
            // SAFETY: GLib has passed the memory of the error.
            unsafe { ffi::g_error_free(error) };
            return Err(failed);
        }
        // SAFETY: the reference keeps the application.
        let is_first = unsafe { ffi::g_application_get_is_remote(self.as_ptr()) } == 0;
        if !is_first {
            // Sends the activation, and returns when it has been sent.
            // SAFETY: the reference keeps the application.
            unsafe { ffi::g_application_run(self.as_ptr(), 0, null_mut()) };
        }
        Ok(is_first)
    }

    /// Runs the application until it quits.
    pub(crate) fn run(&self, guest: &Guest) {
        // SAFETY: the reference keeps the application.
        unsafe { ffi::g_application_hold(self.as_ptr()) };
        let windows = WindowRemoved::connect(self.object(), guest);
        // SAFETY: the reference keeps the application.
        unsafe { ffi::g_application_run(self.as_ptr(), 0, null_mut()) };
        drop(windows);
        // SAFETY: as above, and the application was held.
        unsafe { ffi::g_application_release(self.as_ptr()) };
    }

    fn quit(&self) {
        // SAFETY: the reference keeps the application.
        unsafe { ffi::g_application_quit(self.as_ptr()) };
    }

    fn as_ptr(&self) -> *mut ffi::Application {
        self.application.as_ptr()
    }

    fn object(&self) -> *mut c_void {
        self.as_ptr().cast()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: this is the reference that was counted.
        unsafe { ffi::g_object_unref(self.object()) };
    }
}

const SIGNAL: &CStr = c"window-removed";

/// The handler of a `GtkApplication`'s signal `window-removed`.
struct WindowRemoved {
    application: *mut c_void,
    handler: c_ulong,
}

impl WindowRemoved {
    /// Returns `None` for an application that has no windows.
    fn connect(application: *mut c_void, guest: &Guest) -> Option<WindowRemoved> {
        if !may_have_windows(application) {
            return None;
        }
        let data = Box::into_raw(Box::new(guest.clone()));
        // SAFETY: the handler has the signature of the signal, and `forget` frees the data.
        let handler = unsafe {
            ffi::g_signal_connect_data(
                application,
                SIGNAL.as_ptr(),
                window_removed as *const c_void,
                data.cast(),
                Some(forget),
                0,
            )
        };
        Some(WindowRemoved { application, handler })
    }
}

impl Drop for WindowRemoved {
    fn drop(&mut self) {
        // SAFETY: `Registered` keeps the application, and the handler is connected.
        unsafe { ffi::g_signal_handler_disconnect(self.application, self.handler) };
    }
}

/// Returns whether this is a `GtkApplication`.
fn may_have_windows(application: *mut c_void) -> bool {
    // SAFETY: each object begins with a pointer to its class.
    let class = unsafe { *application.cast::<*const usize>() };
    // SAFETY: each class begins with its type.
    let type_of = unsafe { *class };
    // SAFETY: the type is that of an object.
    unsafe { ffi::g_signal_lookup(SIGNAL.as_ptr(), type_of) != 0 }
}

fn has_windows(application: *mut c_void) -> bool {
    if !may_have_windows(application) {
        return false;
    }
    let mut window: *mut c_void = null_mut();
    // SAFETY: a GtkApplication has this property, and the list of properties is terminated.
    unsafe { ffi::g_object_get(application, c"active-window".as_ptr(), &raw mut window, null_mut::<c_void>()) };
    if window.is_null() {
        return false;
    }
    // SAFETY: the property has counted a reference for its reader.
    unsafe { ffi::g_object_unref(window) };
    true
}

unsafe extern "C" fn window_removed(application: *mut c_void, _window: *mut c_void, guest: *mut c_void) {
    if has_windows(application) {
        return;
    }
    // SAFETY: `connect` passed this pointer, which lives as long as the handler is connected.
    let guest = unsafe { &*guest.cast::<Guest>() };
    if let Some(reactor) = guest.reactor() {
        // An error means that the reactor is stopping.
        let _ = reactor.stop();
    }
}

unsafe extern "C" fn forget(guest: *mut c_void, _closure: *mut c_void) {
    // SAFETY: `connect` made the pointer, and GLib calls this once.
    drop(unsafe { Box::from_raw(guest.cast::<Guest>()) });
}
