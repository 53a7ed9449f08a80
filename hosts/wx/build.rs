//! Compiles the functions that reach wxWidgets, and links what wx-config names.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/shim.cpp");
    let mut build = cc::Build::new();
    build.cpp(true).file("src/shim.cpp");
    for flag in wx_config("--cxxflags") {
        build.flag(flag);
    }
    // wxWidgets has GTK in its own interface, and needs its development files, too.
    let gtk = pkg_config::probe_library("gtk+-3.0").unwrap_or_else(|error| panic!("{error}"));
    build.includes(gtk.include_paths);
    build.compile("ropewalk_wx_shim");
    for flag in wx_config("--libs") {
        match flag.split_at_checked(2) {
            Some(("-l", library)) => println!("cargo::rustc-link-lib={library}"),
            Some(("-L", folder)) => println!("cargo::rustc-link-search=native={folder}"),
            _ => {}
        }
    }
}

fn wx_config(option: &str) -> Vec<String> {
    let output = Command::new("wx-config").args([option, "base,core"]).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        panic!("ropewalk-wx needs wxWidgets 3 and its wx-config. Debian: apt-get install libwxgtk3.2-dev");
    };
    let flags = String::from_utf8_lossy(&output.stdout);
    assert!(option != "--cxxflags" || flags.contains("__WXGTK__"), "ropewalk-wx needs the GTK port of wxWidgets");
    flags.split_whitespace().map(str::to_owned).collect()
}
