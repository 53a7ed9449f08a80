//! Sockets: opening, addresses, options. Every socket here is non-blocking and closed by exec(2).

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod adopt;
pub(crate) mod connect;
mod creation;
pub(crate) mod credentials;
pub(crate) mod datagrams;
pub(crate) mod descriptor_passing;
pub(crate) mod file;
mod keep_alive;
pub(crate) mod listen;
pub(crate) mod option;
mod raw_address;
pub(crate) mod service;
pub(crate) mod table;
pub(crate) mod transfer;
mod unix_name;
