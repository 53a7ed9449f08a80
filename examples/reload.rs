//! Greets each client with a text from two files, and reads them again when they change.
//!
//! Run `cargo run -p ropewalk-examples --bin reload -- greeting.txt signature.txt`, and connect with `nc 127.0.0.1 8000`.
//! Edit a file with any editor, and connect again. Changes of both files within a tenth of a second are read together,
//! as a certificate and its key must be. It needs Linux.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::files::{FileWatcher, WatchOptions};
use ropewalk::prelude::*;

/// The time without a change after which the files are complete.
const QUIET: Duration = Duration::from_millis(100);

/// The text, which all connections share.
struct Greeting {
    files: [PathBuf; 2],
    text: RefCell<String>,
}

impl Greeting {
    fn open(files: [PathBuf; 2]) -> io::Result<Rc<Greeting>> {
        let greeting = Greeting { files, text: RefCell::default() };
        greeting.read()?;
        Ok(Rc::new(greeting))
    }

    /// Reads both files. The earlier text stays if one of them cannot be read.
    fn read(&self) -> io::Result<()> {
        let text = self.files.iter().map(fs::read_to_string).collect::<io::Result<String>>()?;
        self.text.replace(text);
        Ok(())
    }

    /// Reads the files again whenever they change, until the watcher is dropped.
    fn follow(self: &Rc<Greeting>, reactor: &Reactor) -> ropewalk::Result<FileWatcher> {
        let greeting = self.clone();
        let watcher = reactor.watch_files(WatchOptions::new().settle(QUIET), move |_, events| {
            for event in events {
                println!("{event}");
            }
            if let Err(error) = greeting.read() {
                println!("the earlier text stays: {error}");
            }
        })?;
        self.files.iter().try_for_each(|file| watcher.add_file(file))?;
        Ok(watcher)
    }
}

/// The protocol of one connection.
struct Greet(Rc<Greeting>);

impl Protocol for Greet {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.0.text.borrow().as_bytes());
        transport.lose_connection();
    }

    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

fn main() -> ropewalk::Result<()> {
    let arguments = Vec::from_iter(std::env::args_os().skip(1).map(PathBuf::from));
    let Ok(files) = <[PathBuf; 2]>::try_from(arguments) else {
        return Err(Error::Failed("usage: reload GREETING SIGNATURE".into()));
    };
    let greeting = Greeting::open(files).map_err(|error| Error::Failed(error.to_string().into()))?;
    let reactor = Reactor::new()?;
    let _watcher = greeting.follow(&reactor)?;
    let port = reactor.listen_tcp("127.0.0.1:8000", move || Greet(greeting.clone()))?;
    println!("listening on {}", port.host()?);
    reactor.run()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read_again_together() {
        let directory = std::env::temp_dir().join(format!("ropewalk-reload-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let files = ["greeting", "signature"].map(|name| directory.join(name));
        fs::write(&files[0], "hello\n").unwrap();
        fs::write(&files[1], "Ada\n").unwrap();
        let greeting = Greeting::open(files.clone()).unwrap();
        let reactor = Reactor::new().unwrap();
        let watcher = greeting.follow(&reactor).unwrap();
        assert_eq!(*greeting.text.borrow(), "hello\nAda\n");

        // One file is written in place, and the other one is replaced by a move.
        fs::write(&files[0], "good evening\n").unwrap();
        fs::write(directory.join("new"), "Grace\n").unwrap();
        fs::rename(directory.join("new"), &files[1]).unwrap();
        while *greeting.text.borrow() == "hello\nAda\n" {
            reactor.iterate(Some(QUIET)).unwrap();
        }
        assert_eq!(*greeting.text.borrow(), "good evening\nGrace\n");

        // A file that is missing for a while changes nothing.
        fs::remove_file(&files[0]).unwrap();
        reactor.iterate(Some(QUIET)).unwrap();
        reactor.iterate(Some(QUIET)).unwrap();
        assert_eq!(*greeting.text.borrow(), "good evening\nGrace\n");
        drop(watcher);
        fs::remove_dir_all(directory).unwrap();
    }
}
