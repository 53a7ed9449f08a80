//! A window of SDL 2 in which rectangles are drawn.
//!
//! Source: the headers of SDL 2.0.18, SDL.h, SDL_video.h, SDL_render.h, SDL_events.h, SDL_keyboard.h.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

const INIT_VIDEO: u32 = 0x20;
const QUIT: u32 = 0x100;
/// `SDL_WINDOWPOS_UNDEFINED`.
const ANYWHERE: c_int = 0x1fff_0000;
/// `SDL_RENDERER_SOFTWARE`, which every display has.
const SOFTWARE: u32 = 1;

/// An `SDL_Rect`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Rectangle {
    pub(crate) x: c_int,
    pub(crate) y: c_int,
    pub(crate) width: c_int,
    pub(crate) height: c_int,
}

impl Rectangle {
    /// Returns whether both share a pixel.
    pub(crate) fn touches(&self, other: &Rectangle) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// An `SDL_Event`.
#[repr(C, align(8))]
struct Event {
    kind: u32,
    _rest: [u32; 13],
}

/// An `SDL_Scancode`.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Down = 81,
    Up = 82,
}

#[allow(non_snake_case)] // SDL's names
unsafe extern "C" {
    fn SDL_Init(flags: u32) -> c_int;
    fn SDL_Quit();
    fn SDL_GetError() -> *const c_char;
    fn SDL_CreateWindow(
        title: *const c_char,
        x: c_int,
        y: c_int,
        width: c_int,
        height: c_int,
        flags: u32,
    ) -> *mut c_void;
    fn SDL_CreateRenderer(window: *mut c_void, index: c_int, flags: u32) -> *mut c_void;
    fn SDL_SetRenderDrawColor(renderer: *mut c_void, red: u8, green: u8, blue: u8, alpha: u8) -> c_int;
    fn SDL_RenderClear(renderer: *mut c_void) -> c_int;
    fn SDL_RenderFillRect(renderer: *mut c_void, rectangle: *const Rectangle) -> c_int;
    fn SDL_RenderPresent(renderer: *mut c_void);
    fn SDL_PollEvent(event: *mut Event) -> c_int;
    fn SDL_GetKeyboardState(count: *mut c_int) -> *const u8;
}

/// A window, and SDL until it is dropped.
pub(crate) struct Screen {
    renderer: *mut c_void,
}

impl Screen {
    /// Opens the window. A program has one.
    pub(crate) fn open(title: &str, width: c_int, height: c_int) -> Result<Screen, String> {
        let title = CString::new(title).map_err(|error| error.to_string())?;
        // SAFETY: this is the thread that handles the events.
        if unsafe { SDL_Init(INIT_VIDEO) } != 0 {
            return Err(error());
        }
        // SAFETY: the video is started, and SDL copies the title.
        let window = unsafe { SDL_CreateWindow(title.as_ptr(), ANYWHERE, ANYWHERE, width, height, 0) };
        // SAFETY: SDL refuses a window that is null.
        let renderer = unsafe { SDL_CreateRenderer(window, -1, SOFTWARE) };
        if renderer.is_null() { Err(error()) } else { Ok(Screen { renderer }) }
    }

    /// Handles the events that have come, and returns whether the window was closed.
    pub(crate) fn was_closed(&self) -> bool {
        let mut event = Event { kind: 0, _rest: [0; 13] };
        let mut was_closed = false;
        // SAFETY: this is the thread that started the video, and the event has the size of the union.
        while unsafe { SDL_PollEvent(&mut event) } != 0 {
            was_closed |= event.kind == QUIT;
        }
        was_closed
    }

    pub(crate) fn is_pressed(&self, key: Key) -> bool {
        // SAFETY: the video is started.
        let keys = unsafe { SDL_GetKeyboardState(std::ptr::null_mut()) };
        // SAFETY: the array has 512 keys.
        let key = unsafe { keys.add(key as usize) };
        // SAFETY: SDL keeps the array.
        unsafe { key.read() != 0 }
    }

    pub(crate) fn clear(&self) {
        self.set_grey(0x18);
        // SAFETY: the renderer exists until this is dropped.
        unsafe { SDL_RenderClear(self.renderer) };
    }

    pub(crate) fn fill(&self, rectangle: Rectangle, grey: u8) {
        self.set_grey(grey);
        // SAFETY: the renderer exists until this is dropped.
        unsafe { SDL_RenderFillRect(self.renderer, &rectangle) };
    }

    pub(crate) fn present(&self) {
        // SAFETY: the renderer exists until this is dropped.
        unsafe { SDL_RenderPresent(self.renderer) };
    }

    fn set_grey(&self, grey: u8) {
        // SAFETY: the renderer exists until this is dropped.
        unsafe { SDL_SetRenderDrawColor(self.renderer, grey, grey, grey, 0xff) };
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // SAFETY: nothing else uses SDL. This destroys the renderer and the window.
        unsafe { SDL_Quit() };
    }
}

fn error() -> String {
    // SAFETY: needs nothing.
    let text = unsafe { SDL_GetError() };
    // SAFETY: SDL returns a string of this thread.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
