//! Names the operating-system sets once, so that no source file repeats a list of systems.

use cfg_aliases::cfg_aliases;

fn main() {
    cfg_aliases! {
        // Systems with eventfd(2), epoll(7) and abstract UNIX addresses.
        linux_like: { any(target_os = "linux", target_os = "android") },
        // Systems with kqueue(2).
        bsd_like: { any(
            target_os = "macos", target_os = "ios", target_os = "freebsd",
            target_os = "openbsd", target_os = "netbsd", target_os = "dragonfly"
        ) },
        // Systems where each TCP socket has its own times of keep-alive probes.
        keep_alive_timed: { not(target_os = "openbsd") },
        // Systems where a process can count its own threads.
        threads_counted: { any(linux_like, target_os = "freebsd", target_os = "macos") },
        // Systems without accept4(2), MSG_NOSIGNAL and SO_ACCEPTCONN.
        apple: { target_vendor = "apple" },
        // Systems where IPv4 groups are joined on an interface by its number.
        multicast_by_index: { any(
            linux_like, apple, target_os = "freebsd", target_os = "dragonfly", target_os = "openbsd"
        ) },
    }
}
