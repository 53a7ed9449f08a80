//! Links Tcl, by its own description.

fn main() {
    // Tcl 9 has other structures. A system may have both, and then has a description for each.
    let probe = |name: &str| pkg_config::Config::new().range_version("8.6".."9").probe(name);
    if let Err(error) = probe("tcl8.6").or_else(|_| probe("tcl")) {
        panic!("{error}\n\nropewalk-tk needs the development files of Tcl 8.6. Debian: apt-get install tcl8.6-dev");
    }
}
