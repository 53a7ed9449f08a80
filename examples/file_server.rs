//! Files, no faster than you like: `cargo run -p ropewalk-examples --bin file_server -- DIRECTORY`, then
//! `echo README.md | nc 127.0.0.1 8007`.
//!
//! A client names a file and is sent it. All clients together get a megabyte a second, and each only as much as it reads:
//! `ThrottlingFactory` says when a connection may send, `FileSender` is asked for the next 16 KiB when it does. However
//! long the files and however many the clients, each holds a chunk and a queue of one.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::protocols::FileSender;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::{LimitTotalConnectionsFactory, ThrottlingFactory, TimeoutFactory};

const BYTES_PER_SECOND: u64 = 1_000_000;
const CLIENTS: usize = 100;
/// Who neither asks nor reads for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

struct Librarian(Rc<Path>);

/// Opens `name` if it is a file in `directory` itself: no path, no link, and nothing that would block when it is read.
fn open(directory: &Path, name: &str) -> io::Result<File> {
    let mut components = Path::new(name).components();
    let (Some(Component::Normal(only)), None) = (components.next(), components.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file, without a path"));
    };
    let path = directory.join(only);
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

impl LineProtocol for Librarian {
    fn line_received(&mut self, lines: &LineTransport, name: &[u8]) {
        let name = String::from_utf8_lossy(name);
        match open(&self.0, name.trim()) {
            // What becomes of it, the client sees.
            Ok(file) => drop(FileSender::begin(file, lines.transport()).expect("it has no other producer")),
            Err(error) => lines.send_line(format!("error: {error}").as_bytes()),
        }
        lines.lose_connection(); // when all of it is sent
    }

    /// It may say at once that it will ask no more: `echo NAME | nc` does.
    fn read_connection_lost(&mut self, lines: &LineTransport) {
        lines.lose_connection();
    }
}

/// Serves the files in `directory`, `bytes_per_second` to all clients together.
fn librarians(directory: PathBuf, bytes_per_second: u64) -> impl Factory {
    let directory: Rc<Path> = directory.into();
    let librarian = move || LineReceiver::new(Librarian(directory.clone())).delimiter(&b"\n"[..]).max_length(1024);
    let throttled = ThrottlingFactory::new(librarian).write_limit(bytes_per_second);
    TimeoutFactory::new(LimitTotalConnectionsFactory::new(throttled, CLIENTS), PATIENCE)
}

/// Says before the first client does what is wrong with the directory.
fn check(directory: &Path) -> ropewalk::Result<()> {
    let readable = directory.read_dir().map(drop);
    readable.map_err(|error| Error::Failed(format!("cannot lend files from {}: {error}", directory.display()).into()))
}

fn main() -> ropewalk::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    check(&directory)?;
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8007", librarians(directory, BYTES_PER_SECOND))?;
    println!("lending files on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{MemoryReactor, TestStream};
    use std::fs;

    struct Shelf(PathBuf);

    impl Shelf {
        /// A directory with a `book` of so many bytes, and a `box` that is a directory.
        fn new(test: &str, length: usize) -> (Shelf, Vec<u8>) {
            let directory = std::env::temp_dir().join(format!("ropewalk-shelf-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(directory.join("box")).unwrap();
            let book: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            fs::write(directory.join("book"), &book).unwrap();
            (Shelf(directory), book)
        }

        fn serve(&self, bytes_per_second: u64) -> MemoryReactor {
            let net = MemoryReactor::new();
            net.listen_tcp("10.0.0.1:80", librarians(self.0.clone(), bytes_per_second)).unwrap();
            net
        }
    }

    impl Drop for Shelf {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn ask(net: &MemoryReactor, name: &str) -> TestStream {
        let client = net.connect_stream("10.0.0.1:80");
        client.write(format!("{name}\n").as_bytes());
        client
    }

    #[test]
    fn a_directory_that_is_not_there_or_none_is_refused_before_it_listens() {
        let (shelf, _) = Shelf::new("check", 1);
        check(&shelf.0).unwrap();
        for wrong in ["missing", "book"] {
            let error = check(&shelf.0.join(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("cannot lend files from ") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn readers_share_the_limit_and_each_gets_the_whole_file() {
        let (shelf, book) = Shelf::new("limit", 1_000_000);
        let net = shelf.serve(100_000);
        let readers = [(); 3].map(|()| ask(&net, "book"));
        for second in 1..=25 {
            net.advance(Duration::from_secs(1));
            let sent: usize = readers.iter().map(|reader| reader.received().len()).sum();
            // A second's worth may come in a burst, and a piece of each is under way when the time is up.
            let most = (second + 1) * 100_000 + 3 * 64 * 1024;
            assert!(sent <= most, "{sent} bytes after {second} seconds");
        }
        net.advance(Duration::from_secs(10));
        for reader in &readers {
            assert!(reader.received() == book && reader.is_eof());
        }
    }

    #[test]
    fn a_reader_who_says_at_once_that_it_asks_no_more_gets_its_file() {
        let (shelf, book) = Shelf::new("finish", 300_000);
        let net = shelf.serve(1_000_000);
        let reader = ask(&net, "book");
        reader.finish();
        net.advance(Duration::from_secs(5));
        assert!(reader.received() == book && reader.is_eof());
    }

    #[test]
    fn what_is_no_file_of_the_shelf_is_refused_with_a_reason() {
        let (shelf, _) = Shelf::new("refused", 10);
        let outside = shelf.0.with_extension("outside");
        fs::write(&outside, "secret").unwrap();
        let climb = format!("../{}", outside.file_name().unwrap().to_str().unwrap());
        let net = shelf.serve(1_000_000);
        let answers = ["", "..", &climb, outside.to_str().unwrap(), "box", "missing"].map(|name| {
            let reader = ask(&net, name);
            net.advance(Duration::from_secs(1));
            assert!(reader.is_eof());
            String::from_utf8(reader.received()).unwrap()
        });
        fs::remove_file(outside).unwrap();
        let (missing, refused) = answers.split_last().unwrap();
        let (not_regular, not_names) = refused.split_last().unwrap();
        assert!(missing.starts_with("error: "), "{missing}");
        assert_eq!(not_regular, "error: not a regular file\n");
        not_names.iter().for_each(|answer| assert_eq!(answer, "error: expected the name of a file, without a path\n"));
    }

    #[test]
    fn a_reader_who_stops_reading_is_not_waited_for_for_ever() {
        let (shelf, _) = Shelf::new("stalled", 1_000_000);
        let net = shelf.serve(10_000_000);
        let reader = ask(&net, "book");
        reader.pause_reading();
        net.advance(PATIENCE * 3);
        assert_eq!(net.open_sources(), 1, "the port alone");
    }
}
