//! Slow readers of a large file: their memory in the server, and the answers to good clients beside them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Plan, megabytes, thousands};
use crate::figure::{Bar, Figure};
use crate::server::{Server, program, resident_bytes};

pub(super) const NAME: &str = "slow-readers";

const READERS: usize = 1000;
const GOOD: usize = 100;
const LARGE_BYTES: u64 = 100_000_000;
const SMALL_BYTES: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let folder = Folder::new()?;
    // The server holds a socket and the open file for each of them.
    let (readers, rounds) = (plan.connections(READERS, 2), plan.amount(500));
    // All of them may stay for the whole of the scenario.
    let service = ["serve", folder.0.to_str().expect("a path in UTF-8"), "--idle-timeout", "600"];
    let (server, address) = Server::start(program(plan.reactor, None)?, &service)?;
    let start = resident_bytes(server.id())?;
    let mut good = Good::connect(address)?;
    let alone = good.slowest_of_hundred(rounds)?;
    let before = resident_bytes(server.id())?;
    let slow = Slow::start(address, readers)?;
    thread::sleep(Duration::from_secs(if plan.quick { 1 } else { 5 }));
    let each = resident_bytes(server.id())?.saturating_sub(before) as f64 / readers as f64 / 1024.0;
    let beside = good.slowest_of_hundred(rounds)?;
    let each = each.max(resident_bytes(server.id())?.saturating_sub(before) as f64 / readers as f64 / 1024.0);
    slow.stop()?;
    drop(good);
    let kept = plan.kept_memory(NAME, server.id(), start)?;
    let readers = thousands(readers);
    let megabytes = megabytes(LARGE_BYTES);
    Ok(vec![
        plan.figure(
            NAME,
            format!("memory for each of {readers} slow readers of {megabytes} MB, KiB"),
            each,
            Bar::AtMost(160.0),
        ),
        plan.timed_figure(
            NAME,
            format!(
                "p99 of {GOOD} good clients beside {readers} slow readers, \
                 relative to the same clients without slow readers"
            ),
            beside.as_secs_f64() / alone.as_secs_f64(),
            Bar::AtMost(2.0),
        ),
        kept,
    ])
}

/// The served folder: a small file, and a large one without contents on the disk.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let folder = Folder(std::env::temp_dir().join(format!("ropewalk-load-{}", std::process::id())));
        fs::create_dir_all(&folder.0)?;
        fs::write(folder.0.join("small"), vec![b'x'; SMALL_BYTES])?;
        File::create(folder.0.join("large"))?.set_len(LARGE_BYTES)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Clients that ask for the small file and read its answer at once.
struct Good(Vec<BufReader<TcpStream>>);

impl Good {
    fn connect(address: SocketAddr) -> io::Result<Good> {
        let connect = |_| Ok(BufReader::new(connect(address)?));
        (0..GOOD).map(connect).collect::<io::Result<_>>().map(Good)
    }

    /// Returns the time from a request to the end of its answer that 99 of 100 do not exceed. In a round all clients ask
    /// before the first answer is read.
    fn slowest_of_hundred(&mut self, rounds: usize) -> io::Result<Duration> {
        let mut times = Vec::with_capacity(rounds * GOOD);
        for _ in 0..rounds {
            let mut asked = Vec::with_capacity(GOOD);
            for client in &mut self.0 {
                asked.push(Instant::now());
                client.get_mut().write_all(b"GET /small HTTP/1.1\r\nHost: load\r\n\r\n")?;
            }
            for (client, asked) in self.0.iter_mut().zip(asked) {
                read_answer(client)?;
                times.push(asked.elapsed());
            }
            thread::sleep(Duration::from_millis(5));
        }
        times.sort_unstable();
        Ok(times[times.len() * 99 / 100])
    }
}

fn read_answer(client: &mut impl BufRead) -> io::Result<()> {
    let (mut line, mut is_first) = (String::new(), true);
    loop {
        line.clear();
        client.read_line(&mut line)?;
        if is_first && !line.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("the server answered {:?}", line.trim())));
        }
        is_first = false;
        if line == "\r\n" {
            return client.read_exact(&mut [0; SMALL_BYTES]);
        }
    }
}

/// Clients that ask for the large file, and read a little of it each second.
struct Slow {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl Slow {
    fn start(address: SocketAddr, count: usize) -> io::Result<Slow> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            let mut client = connect(address)?;
            client.write_all(b"GET /large HTTP/1.1\r\nHost: load\r\n\r\n")?;
            clients.push(client);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            let pause = Duration::from_secs(1) / count as u32;
            while !over.load(Ordering::Relaxed) {
                for client in &mut clients {
                    client.read_exact(&mut [0; 4096])?;
                    thread::sleep(pause);
                }
            }
            Ok(())
        });
        Ok(Slow { is_over, thread })
    }

    /// Closes the connections, and returns an error if a reader was cut off.
    fn stop(self) -> io::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the readers do not panic")
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}
