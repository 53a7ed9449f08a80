//! The functions of SDL 2 that the adapter calls.
//!
//! The adapter declares its functions itself, so it serves every binding of SDL, and adds none of its own.
//! Source: the headers of SDL 2.0.18, SDL.h, SDL_events.h and SDL_error.h.

use std::ffi::{c_char, c_int};

use super::Event;

/// `SDL_INIT_EVENTS`.
pub(crate) const INIT_EVENTS: u32 = 0x4000;
/// `SDL_QUIT`.
pub(crate) const QUIT: u32 = 0x100;

#[allow(non_snake_case)] // SDL's names
unsafe extern "C" {
    pub(crate) fn SDL_InitSubSystem(flags: u32) -> c_int;
    pub(crate) fn SDL_QuitSubSystem(flags: u32);
    pub(crate) fn SDL_GetError() -> *const c_char;
    pub(crate) fn SDL_RegisterEvents(count: c_int) -> u32;
    pub(crate) fn SDL_PushEvent(event: *mut Event) -> c_int;
    pub(crate) fn SDL_WaitEventTimeout(event: *mut Event, milliseconds: c_int) -> c_int;
}
