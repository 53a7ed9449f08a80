//! Signals by name.

use std::fmt;
use std::str::FromStr;

#[cfg_attr(unix, path = "numbers/unix.rs")]
#[cfg_attr(not(unix), path = "numbers/other.rs")]
mod numbers;

use numbers::NAMED;

/// A signal, by its number on this system: signal(7).
///
/// Its name is the one of the system, with or without `SIG`. A number is a name as well, for signals that have no other.
///
/// ```
/// use ropewalk_sys::signals::Signal;
///
/// assert_eq!("TERM".parse(), Ok(Signal::TERM));
/// assert_eq!("SIGTERM".parse(), Ok(Signal::TERM));
/// assert_eq!(Signal::from(Signal::TERM.number()), Signal::TERM);
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert!("BLUE".parse::<Signal>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// The terminal has gone, or a request to reload.
    pub const HUP: Signal = Signal(numbers::HUP);
    /// An interrupt from the keyboard.
    pub const INT: Signal = Signal(numbers::INT);
    /// A quit from the keyboard, which writes a core file.
    pub const QUIT: Signal = Signal(numbers::QUIT);
    /// The end of a process that cannot refuse.
    pub const KILL: Signal = Signal(numbers::KILL);
    /// The first signal for the program's own use.
    pub const USR1: Signal = Signal(numbers::USR1);
    /// The second signal for the program's own use.
    pub const USR2: Signal = Signal(numbers::USR2);
    /// A write to a pipe without a reader.
    pub const PIPE: Signal = Signal(numbers::PIPE);
    /// A request to exit.
    pub const TERM: Signal = Signal(numbers::TERM);
    /// A stopped process continues.
    pub const CONT: Signal = Signal(numbers::CONT);
    /// The process stops, and cannot refuse.
    pub const STOP: Signal = Signal(numbers::STOP);
    /// The size of the terminal has changed.
    pub const WINCH: Signal = Signal(numbers::WINCH);

    /// Returns the number on this system.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl From<i32> for Signal {
    fn from(number: i32) -> Signal {
        Signal(number)
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Signal, UnknownSignal> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        let number = named.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)));
        number.map(Signal).ok_or_else(|| UnknownSignal(text.into()))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of a name that no signal has.
///
/// ```
/// use ropewalk_sys::signals::Signal;
///
/// let error = "BLUE".parse::<Signal>().unwrap_err();
/// assert_eq!(error.to_string(), "no signal is called 'BLUE': expected a name such as TERM, or a number from 1 to 64");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSignal(Box<str>);

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.escape_debug();
        write!(f, "no signal is called '{name}': expected a name such as TERM, or a number from 1 to 64")
    }
}

impl std::error::Error for UnknownSignal {}
