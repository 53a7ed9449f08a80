//! Compiles the window, and links wxWidgets for it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/window.cpp");
    let mut build = cc::Build::new();
    build.cpp(true).file("src/window.cpp");
    for flag in wx_config("--cxxflags").split_whitespace() {
        build.flag(flag);
    }
    build.compile("wx_demo_window");
    for library in wx_config("--libs").split_whitespace().filter_map(|flag| flag.strip_prefix("-l")) {
        println!("cargo::rustc-link-lib={library}");
    }
}

fn wx_config(option: &str) -> String {
    let output = Command::new("wx-config").args([option, "base,core"]).output().expect("wx-config starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
