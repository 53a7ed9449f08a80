//! Links GLib, GObject and Gio, by their own descriptions.

fn main() {
    for library in ["glib-2.0", "gobject-2.0", "gio-2.0"] {
        if let Err(error) = pkg_config::Config::new().atleast_version("2.66").probe(library) {
            panic!("{error}\n\nropewalk-glib needs GLib's development files. Debian: apt-get install libglib2.0-dev");
        }
    }
}
