//! Links GTK 2, by its own description.

fn main() {
    if let Err(error) = pkg_config::probe_library("gtk+-2.0") {
        panic!("{error}\n\nthis example needs GTK 2's development files. Debian: apt-get install libgtk2.0-dev");
    }
}
