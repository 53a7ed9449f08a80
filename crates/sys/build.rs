//! Names the operating-system sets once, so that no source file repeats a list of systems.

use cfg_aliases::cfg_aliases;

fn main() {
    cfg_aliases! {
        // Systems with eventfd(2) and epoll(7).
        linux_like: { any(target_os = "linux", target_os = "android") },
        // Systems with kqueue(2).
        bsd_like: { any(
            target_os = "macos", target_os = "ios", target_os = "freebsd",
            target_os = "openbsd", target_os = "netbsd", target_os = "dragonfly"
        ) },
    }
}
