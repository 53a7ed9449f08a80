//! The table of host names that most systems have as `/etc/hosts`: hosts(5).
//!
//! ```text
//!   127.0.0.1   localhost
//!   192.0.2.7   printer.example  printer     # a comment
//!   fe80::1%2   router
//! ```

use std::collections::HashMap;

use crate::description::ZonedIp;

/// Host names and their addresses.
///
/// A line that has no address at its beginning is ignored, as the C library does. So are names that are not ASCII. May
/// be shared between threads.
///
/// ```
/// use ropewalk_proto::hosts_file::HostsFile;
///
/// let hosts = HostsFile::parse(b"192.0.2.7 printer.example printer # upstairs\n2001:db8::7 printer\n");
/// let found: Vec<_> = hosts.addresses("Printer.").iter().map(ToString::to_string).collect();
/// assert_eq!(found, ["192.0.2.7", "2001:db8::7"]);
/// assert!(hosts.addresses("upstairs").is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsFile(HashMap<Box<str>, Vec<ZonedIp>>);

impl HostsFile {
    /// Parses the bytes of a file. Accepts any bytes.
    pub fn parse(file: &[u8]) -> HostsFile {
        let mut hosts = HostsFile::default();
        for line in file.split(|&byte| byte == b'\n') {
            let entry = line.split(|&byte| byte == b'#').next().unwrap_or_default();
            hosts.add(entry);
        }
        hosts
    }

    /// Returns the addresses of `name`, in the order of the file. Capitals and a final dot make no difference.
    pub fn addresses(&self, name: &str) -> &[ZonedIp] {
        self.0.get(&*canonical(name)).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, entry: &[u8]) {
        let mut words = entry.split(|byte| byte.is_ascii_whitespace() || *byte == 0).filter(|word| !word.is_empty());
        let text = |word: &[u8]| std::str::from_utf8(word).ok().filter(|text| text.is_ascii()).map(str::to_owned);
        let Some(address) = words.next().and_then(text).and_then(|text| ZonedIp::parse(&text)) else { return };
        for name in words.filter_map(text) {
            let addresses = self.0.entry(canonical(&name).into()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address.clone());
            }
        }
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, name: &str) -> Vec<String> {
        HostsFile::parse(file.as_bytes()).addresses(name).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_name_of_a_line_has_its_address() {
        let file = "127.0.0.1\tlocalhost loopback\n\n  ::1 localhost # 192.0.2.1 other\r\n";
        assert_eq!(found(file, "localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(found(file, "loopback"), ["127.0.0.1"]);
        for missing in ["other", "192.0.2.1", "#", ""] {
            assert!(found(file, missing).is_empty(), "{missing}");
        }
    }

    #[test]
    fn names_differ_neither_by_capitals_nor_by_the_final_dot() {
        let file = "192.0.2.1 WWW.Example.\n192.0.2.2 www.example";
        for name in ["www.example", "www.example.", "WWW.EXAMPLE"] {
            assert_eq!(found(file, name), ["192.0.2.1", "192.0.2.2"]);
        }
        assert!(found(file, "www.example..").is_empty());
    }

    #[test]
    fn an_address_is_listed_once_for_a_name() {
        assert_eq!(found("192.0.2.1 a a\n192.0.2.1 a\n192.0.2.1 b", "a"), ["192.0.2.1"]);
    }

    #[test]
    fn a_zone_belongs_to_a_link_local_address() {
        assert_eq!(found("fe80::1%eth0 router", "router"), ["fe80::1%eth0"]);
        assert!(found("192.0.2.1%eth0 router", "router").is_empty());
    }

    #[test]
    fn faulty_lines_leave_the_others_intact() {
        let file =
            b"printer 192.0.2.1\n192.0.2 printer\n192.0.2.256 printer\n\xff\xfe printer\n192.0.2.9 \xff printer\0x";
        let hosts = HostsFile::parse(file);
        assert_eq!(hosts.addresses("printer").len(), 1);
        assert_eq!(hosts.addresses("x").len(), 1);
        assert!(hosts.addresses("192.0.2.1").is_empty());
    }
}
