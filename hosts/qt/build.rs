//! Compiles the functions that reach Qt, and links Qt's core by its own description.

fn main() {
    println!("cargo::rerun-if-changed=src/shim.cpp");
    println!("cargo::rerun-if-changed=tests/nested.cpp");
    let qt = pkg_config::Config::new().cargo_metadata(false).atleast_version("6.2").probe("Qt6Core");
    let qt = qt.unwrap_or_else(|error| {
        panic!("{error}\n\nropewalk-qt needs the development files of Qt 6. Debian: apt-get install qt6-base-dev")
    });
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").includes(&qt.include_paths);
    for (name, value) in &qt.defines {
        build.define(name, value.as_deref());
    }
    build.clone().file("src/shim.cpp").compile("ropewalk_qt_shim");
    // The linker leaves it out where only the adapter is used.
    build.file("tests/nested.cpp").compile("ropewalk_qt_nested");
    // After the shim, because a linker looks for a name only in what follows.
    pkg_config::Config::new().atleast_version("6.2").probe("Qt6Core").expect("it was there just now");
}
