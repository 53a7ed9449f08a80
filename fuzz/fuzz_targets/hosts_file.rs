//! Any bytes are a hosts file. A name has exactly the addresses of the lines that name it, whatever the other lines are.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_proto::hosts_file::HostsFile;

/// A name that no other line has, because the other lines are searched for it.
const NAME: &str = "the.name.that.is.asked";

#[derive(Arbitrary, Debug)]
struct Case {
    before: Vec<u8>,
    lines: Vec<(IpAddr, Spacing)>,
    after: Vec<u8>,
}

/// The bytes around the words of a line.
#[derive(Arbitrary, Debug)]
enum Spacing {
    Space,
    Tabs,
    OtherNames,
    Comment,
    CarriageReturn,
}

fuzz_target!(|case: Case| {
    let foreign = HostsFile::parse(&[&case.before[..], b"\n", &case.after].concat());
    if !foreign.addresses(NAME).is_empty() {
        return;
    }
    let mut file = [&case.before[..], b"\n"].concat();
    let mut expected = Vec::new();
    for (address, spacing) in &case.lines {
        file.extend_from_slice(line(address, spacing).as_bytes());
        if !expected.contains(&address.to_string()) {
            expected.push(address.to_string());
        }
    }
    file.extend_from_slice(&case.after);
    let hosts = HostsFile::parse(&file);
    for name in [NAME.to_owned(), NAME.to_uppercase(), format!("{NAME}.")] {
        let found: Vec<_> = hosts.addresses(&name).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
});

fn line(address: &IpAddr, spacing: &Spacing) -> String {
    match spacing {
        Spacing::Space => format!("{address} {NAME}\n"),
        Spacing::Tabs => format!("\t{address}\t\t{NAME}\t\n"),
        Spacing::OtherNames => format!("{address} one {NAME} two\n"),
        Spacing::Comment => format!("{address} {NAME}#{NAME}\n"),
        Spacing::CarriageReturn => format!("{address} {NAME}\r\n"),
    }
}
