//! The descriptions `tls:` and `ssl:` in a build without TLS.

use ropewalk_proto::description::{Description, DescriptionError};

use super::registry::Endpoints;

/// Registers the descriptions, so that an error names the missing feature.
pub(super) fn register(endpoints: &Endpoints) {
    for name in ["ssl", "tls"] {
        endpoints.register_server(name, |_, description| Err(missing(description)));
        endpoints.register_client(name, |_, description| Err(missing(description)));
    }
}

fn missing(description: &Description) -> DescriptionError {
    let message = format!("'{}:' needs TLS: build ropewalk with the feature 'tls'", description.name().value);
    DescriptionError::new(0, message)
}
