//! The endpoint `self-signed:` in a build without TLS.

use ropewalk::endpoints::Endpoints;
use ropewalk::proto::description::DescriptionError;

/// Registers the endpoint type, so that an error names the missing feature.
pub(crate) fn register(endpoints: &Endpoints) {
    endpoints.register_server("self-signed", |_, _| {
        Err(DescriptionError::new(0, "'self-signed:' needs TLS: build ropewalk-cli with the feature 'tls'"))
    });
}
