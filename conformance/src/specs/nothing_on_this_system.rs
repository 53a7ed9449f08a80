//! Specifications that other systems have. Here they mount nothing, so that a list of interfaces is the same on all
//! systems.

#[macro_export]
#[doc(hidden)]
macro_rules! unix_abstract {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! multicast {
    () => {};
}

#[cfg(not(unix))]
#[macro_export]
#[doc(hidden)]
macro_rules! error_numbers {
    () => {};
}

#[cfg(not(unix))]
#[macro_export]
#[doc(hidden)]
macro_rules! descriptor_passing {
    () => {};
}

#[cfg(not(unix))]
#[macro_export]
#[doc(hidden)]
macro_rules! refusals {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! child_processes {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! child_output {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! processes {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! terminals {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! process_output {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! process_abuse {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! async_children {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! quic {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! file_events {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! tls {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! tls_files {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! tls_handshakes {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! tls_network {
    () => {};
}

#[macro_export]
#[doc(hidden)]
macro_rules! tls_sockets {
    () => {};
}
