//! Serves static files over HTTP/1.1, and over HTTP/2 with TLS.
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
mod before;
mod body;
mod condition;
mod connection;
mod connections;
mod head;
mod http1;
mod http2;
mod idle_limited;
mod listing;
mod listings;
mod media_type;
mod pieces;
mod range;
mod redirect;
mod request_path;
mod responder;
mod root;
#[cfg_attr(not(feature = "tls"), path = "without_secure.rs")]
mod secure;
mod site;
mod upload;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::HeaderValue;
use ropewalk::{Address, Reactor};
use ropewalk_runner::BoxedError;

use super::Begun;
use crate::arguments::Serve;
use crate::descriptors::connection_limit;
use crate::endpoint_types::endpoints_of_http;
use crate::listen::{Listeners, Place, is_tls, listen_each};
use connection::Connecting;
use connections::Connections;
use redirect::HttpsPort;
use responder::Contents;
use site::Site;

/// Checks that the options for HTTPS have an endpoint with TLS.
///
/// # Errors
/// A message for the author of the options.
pub(super) fn check(options: &Serve) -> Result<(), String> {
    if let Some(secure) = options.redirect_from.iter().find(|endpoint| is_tls(endpoint)) {
        let secure = secure.escape_debug();
        return Err(format!(
            "cannot redirect to HTTPS from '{secure}': it speaks TLS itself, expected one such as tcp:80"
        ));
    }
    if options.redirect_port.is_some() && options.redirect_from.is_empty() {
        return Err(
            "--redirect-port needs an endpoint to redirect from: add one, such as --redirect-from tcp:80".to_owned()
        );
    }
    if options.hsts_include_subdomains && options.hsts.is_none() {
        return Err("--hsts-include-subdomains needs a policy: add one, such as --hsts 60".to_owned());
    }
    if options.listen.iter().any(|endpoint| is_tls(endpoint)) {
        return Ok(());
    }
    let option = match (options.hsts, options.redirect_from.is_empty()) {
        (Some(_), _) => "--hsts",
        (None, false) => "--redirect-from",
        (None, true) => return Ok(()),
    };
    Err(format!("{option} needs an endpoint with TLS: add one, such as --listen tls:PATH"))
}

/// Starts to listen.
pub(super) fn begin(reactor: &Reactor, options: Serve) -> Result<Begun, BoxedError> {
    let requested = options.directory.display().to_string();
    let cannot_serve = move |error: io::Error| format!("cannot serve {requested}: {error}");
    let site = Arc::new(Site::open(&options.directory, options.hidden).map_err(&cannot_serve)?);
    let directory = site.directory().display().to_string();
    let limit = connection_limit(options.max_connections, 2);
    let served = site.clone();
    let connections = Connections::new(options.grace, move || served.release_memory());
    let https_port = Rc::<HttpsPort>::default();
    let connecting = |contents, transport_security| {
        let idle_limit = options.idle_timeout.0;
        Rc::new(Connecting::new(reactor, contents, transport_security, idle_limit, &connections))
    };
    let policy = options.hsts.map(|seconds| transport_security(seconds, options.hsts_include_subdomains));
    let files = connecting(Contents::Files(site.clone()), policy);
    let redirects = connecting(Contents::Redirects(https_port.clone()), None);
    let services = [(&options.listen[..], files as _), (&options.redirect_from[..], redirects as _)];
    let Listeners { ports, places, .. } = listen_each(reactor, &endpoints_of_http(), limit, services)?;
    let (served_at, redirected_from) = places.split_at(options.listen.len());
    if let Some(port) = options.redirect_port.or_else(|| first_tls_port(served_at, &options.listen)) {
        https_port.set(port);
    }
    let mut start_line =
        format!("serve on {}: {directory} at {}", reactor.name(), urls(served_at, &options.listen).join(", "));
    if !redirected_from.is_empty() {
        start_line += &format!(", redirecting from {}", urls(redirected_from, &options.redirect_from).join(", "));
    }
    let reactor = reactor.clone();
    let check = move || site.check().map_err(|error| cannot_serve(error).into());
    let close = move || connections.close(&reactor);
    Ok(Begun { start_line, ports, check: Some(Box::new(check)), close: Some(Box::new(close)), ..Begun::default() })
}

/// Returns the value of `Strict-Transport-Security`: RFC 6797, section 6.1.
fn transport_security(seconds: u32, includes_subdomains: bool) -> HeaderValue {
    let subdomains = if includes_subdomains { "; includeSubDomains" } else { "" };
    HeaderValue::from_str(&format!("max-age={seconds}{subdomains}")).expect("ASCII characters")
}

fn first_tls_port(places: &[Place], endpoints: &[String]) -> Option<u16> {
    let mut places = places.iter().zip(endpoints);
    places.find_map(|(place, endpoint)| place.address().inet().filter(|_| is_tls(endpoint))).map(|inet| inet.port())
}

fn urls(places: &[Place], endpoints: &[String]) -> Vec<String> {
    places.iter().zip(endpoints).map(|(place, endpoint)| url(place.address(), endpoint)).collect()
}

/// Returns the URL of a TCP address that `endpoint` describes. Other addresses are returned unchanged.
fn url(address: &Address, endpoint: &str) -> String {
    match address {
        Address::Inet(inet) if is_tls(endpoint) => format!("https://{inet}/"),
        Address::Inet(inet) => format!("http://{inet}/"),
        other => other.to_string(),
    }
}
