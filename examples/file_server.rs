//! A file server with a bandwidth limit.
//!
//! Run `cargo run -p ropewalk-examples --bin file_server -- DIRECTORY`, then `echo README.md | nc 127.0.0.1 8007`.
//!
//! A client sends the name of a file and receives its content. All clients share one megabyte per second, and each is
//! sent data only as fast as it reads. `ThrottlingFactory` decides when a connection may send, and then `FileSender`
//! reads the next 16 KiB. So the memory of a connection does not depend on the length of its file.

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
/// The idle time after which a client is disconnected.
const PATIENCE: Duration = Duration::from_secs(60);

struct FileProtocol(Rc<Path>);

/// Opens a regular file in `directory` itself. Paths, links and special files, which might block, are refused.
fn open(directory: &Path, name: &str) -> io::Result<File> {
    let mut components = Path::new(name).components();
    let (Some(Component::Normal(only)), None) = (components.next(), components.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a file name without a path"));
    };
    let path = directory.join(only);
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

impl LineProtocol for FileProtocol {
    fn line_received(&mut self, lines: &LineTransport, name: &[u8]) {
        let name = String::from_utf8_lossy(name);
        match open(&self.0, name.trim()) {
            // The client notices if the transfer fails.
            Ok(file) => drop(FileSender::begin(file, lines.transport()).expect("there is no other producer")),
            Err(error) => lines.send_line(&format!("error: {error}")),
        }
        lines.lose_connection(); // once all data is sent
    }

    /// Answers a client that half-closes after its request, as `echo NAME | nc` does.
    fn read_connection_lost(&mut self, lines: &LineTransport) {
        lines.lose_connection();
    }
}

/// Serves the files in `directory`. All clients share `bytes_per_second`.
fn file_servers(directory: PathBuf, bytes_per_second: u64) -> impl Factory {
    let directory: Rc<Path> = directory.into();
    let protocol = move || LineReceiver::new(FileProtocol(directory.clone())).delimiter("\n").max_length(1024);
    let throttled = ThrottlingFactory::new(protocol).write_limit(bytes_per_second);
    TimeoutFactory::new(LimitTotalConnectionsFactory::new(throttled, CLIENTS), PATIENCE)
}

/// Checks that the directory is readable, before any client connects.
fn check(directory: &Path) -> ropewalk::Result<()> {
    let readable = directory.read_dir().map(drop);
    readable.map_err(|error| Error::Failed(format!("cannot serve files from {}: {error}", directory.display()).into()))
}

fn main() -> ropewalk::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    check(&directory)?;
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8007", file_servers(directory, BYTES_PER_SECOND))?;
    println!("serving files on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{MemoryReactor, TestStream};
    use std::fs;

    struct Directory(PathBuf);

    impl Directory {
        /// Creates a directory with a file `book` of `length` bytes and a directory `box`.
        fn new(test: &str, length: usize) -> (Directory, Vec<u8>) {
            let directory = std::env::temp_dir().join(format!("ropewalk-files-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(directory.join("box")).unwrap();
            let book: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            fs::write(directory.join("book"), &book).unwrap();
            (Directory(directory), book)
        }

        fn serve(&self, bytes_per_second: u64) -> MemoryReactor {
            let net = MemoryReactor::new();
            net.listen_tcp("10.0.0.1:80", file_servers(self.0.clone(), bytes_per_second)).unwrap();
            net
        }
    }

    impl Drop for Directory {
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
    fn an_unreadable_directory_is_reported_at_the_start() {
        let (directory, _) = Directory::new("check", 1);
        check(&directory.0).unwrap();
        for wrong in ["missing", "book"] {
            let error = check(&directory.0.join(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("cannot serve files from ") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn clients_share_the_bandwidth_limit() {
        let (directory, book) = Directory::new("limit", 1_000_000);
        let net = directory.serve(100_000);
        let readers = [(); 3].map(|()| ask(&net, "book"));
        for second in 1..=25 {
            net.advance(Duration::from_secs(1));
            let sent: usize = readers.iter().map(|reader| reader.received().len()).sum();
            // The data of one second may arrive in a burst, and each reader may have one more piece in flight.
            let most = (second + 1) * 100_000 + 3 * 64 * 1024;
            assert!(sent <= most, "{sent} bytes after {second} seconds");
        }
        net.advance(Duration::from_secs(10));
        for reader in &readers {
            assert!(reader.received() == book && reader.is_eof());
        }
    }

    #[test]
    fn a_half_closed_client_gets_its_file() {
        let (directory, book) = Directory::new("finish", 300_000);
        let net = directory.serve(1_000_000);
        let reader = ask(&net, "book");
        reader.finish();
        net.advance(Duration::from_secs(5));
        assert!(reader.received() == book && reader.is_eof());
    }

    #[test]
    fn only_regular_files_of_the_directory_are_served() {
        let (directory, _) = Directory::new("refused", 10);
        let outside = directory.0.with_extension("outside");
        fs::write(&outside, "secret").unwrap();
        let parent_path = format!("../{}", outside.file_name().unwrap().to_str().unwrap());
        let net = directory.serve(1_000_000);
        let answers = ["", "..", &parent_path, outside.to_str().unwrap(), "box", "missing"].map(|name| {
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
        not_names.iter().for_each(|answer| assert_eq!(answer, "error: expected a file name without a path\n"));
    }

    #[test]
    fn a_client_that_stops_reading_is_disconnected() {
        let (directory, _) = Directory::new("stalled", 1_000_000);
        let net = directory.serve(10_000_000);
        let reader = ask(&net, "book");
        reader.pause_reading();
        net.advance(PATIENCE * 3);
        assert_eq!(net.open_sources(), 1, "only the port is left");
    }
}
