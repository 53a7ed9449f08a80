//! Systems without signals between processes. The numbers are those of Linux, which simulated children use.

macro_rules! signals {
    ($($name:ident = $number:literal)*) => {
        $(pub(super) const $name: i32 = $number;)*

        pub(super) const NAMED: &[(&str, i32)] = &[$((stringify!($name), $name)),*];
    };
}

signals! {
    HUP = 1 INT = 2 QUIT = 3 KILL = 9 USR1 = 10 USR2 = 12 PIPE = 13 TERM = 15 CONT = 18 STOP = 19 WINCH = 28
}
