//! Links SDL 2 for the feature of that name, by SDL's own description.

fn main() {
    #[cfg(feature = "sdl2")]
    if let Err(error) = pkg_config::Config::new().atleast_version("2.0.18").probe("sdl2") {
        panic!("{error}\n\nropewalk-frame needs SDL's development files. Debian: apt-get install libsdl2-dev");
    }
}
