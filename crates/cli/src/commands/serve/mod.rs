//! Serves static files over HTTP/1.1.
//!
//! ```text
//!   loop    connection -> hyper -> request head            response head, body -> hyper -> connection
//!                                   |                             ^
//!   thread                          +-> answer: find, open, read -+-> read the next piece of the file
//! ```
//!
//! All access to the file system runs in the thread pool: [`answer`] is a plain function from a request to a response. The
//! loop only parses, writes and waits. A response to a slow reader holds two pieces of its
//! file in memory: [`pieces`] bounds them, and [`listings`] those of directories.

mod answer;
mod body;
mod condition;
mod connection;
mod connections;
mod head;
mod listing;
mod listings;
mod media_type;
mod pieces;
mod range;
mod request_path;
mod root;
mod site;

use std::io;
use std::sync::Arc;

use ropewalk::{Address, Reactor};
use ropewalk_runner::BoxedError;

use super::Begun;
use crate::arguments::Serve;
use crate::descriptors::connection_limit;
use crate::listen::{Listeners, is_tls, listen};
use connections::Connections;
use site::Site;

/// Starts to listen.
pub(super) fn begin(reactor: &Reactor, options: Serve) -> Result<Begun, BoxedError> {
    let requested = options.directory.display().to_string();
    let cannot_serve = move |error: io::Error| format!("cannot serve {requested}: {error}");
    let site = Arc::new(Site::open(&options.directory, options.hidden).map_err(&cannot_serve)?);
    let directory = site.directory().display().to_string();
    let limit = connection_limit(options.max_connections, 2);
    let served = site.clone();
    let connections = Connections::new(options.grace, move || served.release_memory());
    let factory = connection::factory(reactor, site.clone(), options.idle_timeout.0, &connections);
    let Listeners { ports, places, .. } = listen(reactor, &options.listen, limit, factory)?;
    let urls: Vec<_> = places.iter().zip(&options.listen).map(|(place, by)| url(place.address(), by)).collect();
    let start_line = format!("serve on {}: {directory} at {}", reactor.name(), urls.join(", "));
    let reactor = reactor.clone();
    let check = move || site.check().map_err(|error| cannot_serve(error).into());
    let close = move || connections.close(&reactor);
    Ok(Begun { start_line, ports, check: Some(Box::new(check)), close: Some(Box::new(close)), ..Begun::default() })
}

/// Returns the URL of a TCP address that `endpoint` describes. Other addresses are returned unchanged.
fn url(address: &Address, endpoint: &str) -> String {
    match address {
        Address::Inet(inet) if is_tls(endpoint) => format!("https://{inet}/"),
        Address::Inet(inet) => format!("http://{inet}/"),
        other => other.to_string(),
    }
}
