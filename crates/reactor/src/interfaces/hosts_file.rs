//! Host names from a file: `Resolver` of `twisted.names.hosts`.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ropewalk_proto::description::ZonedIp;
use ropewalk_proto::hosts_file::HostsFile;
use ropewalk_proto::{Deferred, fail, succeed};
use ropewalk_sys::{IpFamily, zone_number};

use super::resolver::{HostnameResolver, OneResolver, of_family};
use crate::error::Error;
use crate::kernel::Reactor;

/// The size above which a file is not read. The longest lists of blocked names are smaller.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The time after a change in which another change may leave the file's time stamp as it is.
const COARSE: Duration = Duration::from_secs(2);

/// A resolver that looks names up in a file such as `/etc/hosts`, and asks another resolver for names that the file does
/// not have.
///
/// The file is read in a thread, when the first name is looked up and again after each change. A missing file is like
/// an empty one. A file that cannot be read, or is larger than 64 MiB, is one as well, and a line in the log says so.
/// A name in the file has no other addresses than those in the file, in either family.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::interfaces::resolver::{HostsFileResolver, ThreadedResolver};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let path = std::env::temp_dir().join(format!("hosts-{}", std::process::id()));
/// std::fs::write(&path, "10.0.0.9 printer.example printer\n").unwrap();
/// let net = MemoryReactor::new();
/// net.install_name_resolver(Rc::new(HostsFileResolver::new(&path, Rc::new(ThreadedResolver))));
/// net.connect_tcp("printer:631", AccumulatingProtocol::new().factory())?;
/// net.settle();
/// assert_eq!(net.tcp_clients()[0].address.to_string(), "10.0.0.9:631");
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct HostsFileResolver {
    file: Arc<Hosts>,
    next: OneResolver,
}

impl HostsFileResolver {
    /// Creates a resolver that reads `path`, and asks `next` for names that the file does not have. Does not read the
    /// file yet.
    pub fn new(path: impl Into<PathBuf>, next: Rc<dyn HostnameResolver>) -> HostsFileResolver {
        let file = Hosts { path: path.into(), loaded: Mutex::default() };
        HostsFileResolver { file: Arc::new(file), next: OneResolver(next) }
    }

    /// Returns the addresses that the file has for `host` and that `is_wanted` accepts. Asks `next` for a name that the
    /// file does not have.
    fn look_up(
        &self,
        reactor: &Reactor,
        host: &str,
        port: u16,
        is_wanted: impl Fn(&SocketAddr) -> bool + 'static,
        next: impl FnOnce(&Reactor) -> Deferred<Vec<SocketAddr>> + 'static,
    ) -> Deferred<Vec<SocketAddr>> {
        let (file, name, weak) = (self.file.clone(), host.to_owned(), reactor.downgrade());
        let found = reactor.defer_to_lookup_thread(move || file.addresses(&name));
        found.and_then(move |found| match weak.upgrade() {
            Some(reactor) if found.is_empty() => next(&reactor),
            Some(_) => succeed(found.iter().filter_map(|ip| socket_address(ip, port)).filter(is_wanted).collect()),
            None => fail(Error::Closed),
        })
    }
}

impl HostnameResolver for HostsFileResolver {
    fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let (next, name) = (self.next.clone(), host.to_owned());
        self.look_up(reactor, host, port, |_| true, move |reactor| reactor.resolve_by(&next, &name, port))
    }

    fn resolve_family(
        &self,
        reactor: &Reactor,
        host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        let (next, name) = (self.next.clone(), host.to_owned());
        let ask_next = move |reactor: &Reactor| {
            let answer = reactor.resolve_family_by(&next, &name, port, family);
            // A resolver that does not separate the families is asked once, because equal questions are joined.
            answer.unwrap_or_else(|| {
                reactor.resolve_by(&next, &name, port).add_callback(move |found| of_family(found, family))
            })
        };
        Some(self.look_up(reactor, host, port, move |address| family.has(address), ask_next))
    }
}

impl std::fmt::Debug for HostsFileResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostsFileResolver").field("path", &self.file.path).finish_non_exhaustive()
    }
}

/// The zone of an address is looked up each time, because network interfaces come and go.
fn socket_address(address: &ZonedIp, port: u16) -> Option<SocketAddr> {
    match (address.ip, &address.zone) {
        (IpAddr::V6(ip), Some(zone)) => Some(SocketAddrV6::new(ip, port, 0, zone_number(zone)?).into()),
        (ip, _) => Some(SocketAddr::new(ip, port)),
    }
}

/// A file, and what was read from it last.
struct Hosts {
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    version: Option<Version>,
    hosts: HostsFile,
}

/// The signs by which a change of the file is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
    /// Whether the file may change again without another time stamp.
    is_fresh: bool,
}

impl Version {
    fn of(metadata: &Metadata) -> Option<Version> {
        let modified = metadata.modified().ok()?;
        let is_fresh = SystemTime::now().duration_since(modified).map_or(true, |age| age < COARSE);
        Some(Version { modified, length: metadata.len(), is_fresh })
    }
}

impl Hosts {
    /// Returns the addresses of `name`. Blocks while the file is read.
    fn addresses(&self, name: &str) -> Vec<ZonedIp> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = loaded.renew(&self.path) {
            loaded.hosts = HostsFile::default();
            if loaded.version.take().is_some() || error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %self.path.display(), %error, "cannot read the hosts file");
            }
        }
        loaded.hosts.addresses(name).to_vec()
    }
}

impl Loaded {
    /// Reads the file if it has changed.
    fn renew(&mut self, path: &Path) -> io::Result<()> {
        let version = Version::of(&std::fs::metadata(path)?);
        if version.is_some_and(|now| !now.is_fresh) && version == self.version {
            return Ok(());
        }
        self.hosts = HostsFile::parse(&read(path)?);
        self.version = version;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is removed at the end.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Temporary {
            Temporary(std::env::temp_dir().join(format!("ropewalk-hosts-{name}-{}", std::process::id())))
        }

        fn hosts(&self) -> Hosts {
            Hosts { path: self.0.clone(), loaded: Mutex::default() }
        }

        fn write(&self, content: &str, age: Duration) {
            std::fs::write(&self.0, content).unwrap();
            File::options().write(true).open(&self.0).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn found(hosts: &Hosts) -> Vec<String> {
        hosts.addresses("printer").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_missing_file_is_like_an_empty_one() {
        let file = Temporary::new("missing");
        let hosts = file.hosts();
        assert!(found(&hosts).is_empty());
        file.write("192.0.2.1 printer", Duration::ZERO);
        assert_eq!(found(&hosts), ["192.0.2.1"]);
        drop(file);
        assert!(found(&hosts).is_empty());
    }

    #[test]
    fn two_changes_within_one_time_stamp_are_seen() {
        let (file, now) = (Temporary::new("fresh"), SystemTime::now());
        let hosts = file.hosts();
        for content in ["192.0.2.1 printer", "192.0.2.2 printer"] {
            std::fs::write(&file.0, content).unwrap();
            File::options().write(true).open(&file.0).unwrap().set_modified(now).unwrap();
            assert_eq!(found(&hosts), [content.split(' ').next().unwrap()]);
        }
    }

    #[test]
    fn an_old_file_is_read_once() {
        let (file, hour) = (Temporary::new("old"), Duration::from_secs(3600));
        let hosts = file.hosts();
        file.write("192.0.2.1 printer", hour);
        let first = std::fs::metadata(&file.0).unwrap().modified().unwrap();
        assert_eq!(found(&hosts), ["192.0.2.1"]);
        // A change that neither the time nor the length shows is not noticed, which proves that nothing is read.
        std::fs::write(&file.0, "192.0.2.2 printer").unwrap();
        File::options().write(true).open(&file.0).unwrap().set_modified(first).unwrap();
        assert_eq!(found(&hosts), ["192.0.2.1"]);
        file.write("192.0.2.3 printer", 2 * hour);
        assert_eq!(found(&hosts), ["192.0.2.3"]);
    }

    #[test]
    fn a_directory_is_no_hosts_file() {
        let hosts = Hosts { path: std::env::temp_dir(), loaded: Mutex::default() };
        assert!(found(&hosts).is_empty());
    }
}
