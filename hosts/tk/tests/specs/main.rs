//! Specifications of the reactor in Tcl's event loop: without windows, and with those of Tk on a desktop.
//!
//! The specifications of the reactor itself run in Tcl's loop in `hosts/conformance`.

mod dialogs;
mod notifier;
mod signals;
mod support;
mod traffic;
mod windows;
