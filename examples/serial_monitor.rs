//! Prints the lines that a device sends over a serial port.
//!
//! Run `cargo run -p ropewalk-examples --bin serial_monitor -- /dev/ttyUSB0 115200`. The device may be plugged in later,
//! and it may be unplugged: the program waits until it is there again.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::serial::SerialSettings;

/// The time between two attempts to open the device.
const RETRY: Duration = Duration::from_millis(500);

/// Prints the lines of one device, each time that it is there.
struct Monitor {
    device: PathBuf,
    settings: SerialSettings,
    print: Box<dyn Fn(&str)>,
}

impl Monitor {
    /// Opens the device, now or when it is there. A problem is printed once, and not for each attempt.
    fn open(self: Rc<Monitor>, reactor: &Reactor, last_problem: Option<String>) {
        let monitor = self.clone();
        let factory = move || LineReceiver::new(Lines(monitor.clone())).delimiter("\n");
        let Err(error) = reactor.open_serial_port(&self.device, &self.settings, &factory) else { return };
        let problem = error.to_string();
        if last_problem.as_ref() != Some(&problem) {
            (self.print)(&format!("* {problem}"));
        }
        reactor.call_later(RETRY, move |reactor| self.open(reactor, Some(problem)));
    }
}

/// The protocol of one connection.
struct Lines(Rc<Monitor>);

impl LineProtocol for Lines {
    fn connection_made(&mut self, _lines: &LineTransport) {
        (self.0.print)(&format!("* {} at {}", self.0.device.display(), self.0.settings));
    }

    fn line_received(&mut self, _lines: &LineTransport, line: &[u8]) {
        (self.0.print)(String::from_utf8_lossy(line).trim_end());
    }

    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        (self.0.print)(&format!("* {reason}"));
        let monitor = self.0.clone();
        lines.reactor().call_later(RETRY, move |reactor| monitor.open(reactor, None));
    }
}

fn main() -> ropewalk::Result<()> {
    let arguments = Vec::from_iter(std::env::args().skip(1));
    let [device, speed] = &arguments[..] else {
        return Err(Error::Failed("usage: serial_monitor DEVICE SPEED".into()));
    };
    let speed = speed.parse().map_err(|_| Error::Failed(format!("'{speed}' is not a speed").into()))?;
    let monitor = Monitor {
        device: device.into(),
        settings: SerialSettings::new(speed),
        print: Box::new(|line| println!("{line}")),
    };
    let reactor = Reactor::new()?;
    Rc::new(monitor).open(&reactor, None);
    reactor.run()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::cell::RefCell;
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    /// Plugs a device in at `path`, and returns the other end of its line.
    fn plug_in(path: &Path) -> File {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let _ = std::fs::remove_file(path);
        std::os::unix::fs::symlink(name.to_str().unwrap(), path).unwrap();
        master.into()
    }

    #[test]
    fn a_device_that_is_plugged_in_again_is_found() {
        let path = std::env::temp_dir().join(format!("ropewalk-monitor-{}", std::process::id()));
        let printed = Rc::new(RefCell::new(Vec::new()));
        let lines = printed.clone();
        let monitor = Monitor {
            device: path.clone(),
            settings: SerialSettings::new(115_200),
            print: Box::new(move |line| lines.borrow_mut().push(line.to_owned())),
        };
        let reactor = Reactor::new().unwrap();
        let until = |count: usize| {
            while printed.borrow().len() < count {
                reactor.iterate(Some(Duration::from_millis(100))).unwrap();
            }
        };
        reactor.call_later(Duration::ZERO, move |reactor| Rc::new(monitor).open(reactor, None));
        until(1);
        for (round, word) in ["one", "two"].into_iter().enumerate() {
            let mut device = plug_in(&path);
            until(3 * round + 2);
            device.write_all(word.as_bytes()).unwrap();
            device.write_all(b"\r\n").unwrap();
            until(3 * round + 3);
            drop(device);
            until(3 * round + 4);
        }
        std::fs::remove_file(&path).unwrap();
        let name = path.display();
        let opened = format!("* {name} at 115200 8N1");
        let missing = format!("* cannot open the serial port: there is no device {name}: check that it is plugged in");
        let gone = "* connection was lost: the device is gone";
        assert_eq!(*printed.borrow(), [&missing, &opened, "one", gone, &opened, "two", gone]);
    }
}
