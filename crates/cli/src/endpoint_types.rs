//! The endpoint types of the program: those of the library, and its own.

use ropewalk::endpoints::Endpoints;
use ropewalk::proto::description::{Description, DescriptionError};

/// The types whose connections speak TLS.
pub(crate) const TLS: [&str; 3] = ["tls", "ssl", "self-signed"];

/// The application protocols of an HTTP server, the favourite first. A client that offers others is refused.
const HTTP: &str = "h2,http/1.1,http/1.0";

/// Returns a registry with all types, for checking descriptions.
pub(crate) fn endpoints() -> Endpoints {
    let endpoints = Endpoints::new();
    register(&endpoints);
    endpoints
}

/// Registers the program's own types.
pub(crate) fn register(endpoints: &Endpoints) {
    crate::self_signed::register(endpoints);
}

/// Returns a registry whose endpoints with TLS offer HTTP/2 and HTTP/1.1, unless a description names some of them. It
/// refuses descriptions that name other protocols.
pub(crate) fn endpoints_of_http() -> Endpoints {
    let registry = endpoints();
    for name in TLS {
        let others = endpoints();
        registry.register_server(name, move |_, description| others.server(&offering_http(description)?));
    }
    registry
}

fn offering_http(description: &Description) -> Result<String, DescriptionError> {
    let Some(offered) = description.get("alpn") else { return Ok(format!("{}:alpn={HTTP}", description.text())) };
    let is_http = |name: &str| HTTP.split(',').any(|known| known == name);
    match offered.value.split(',').find(|name| !is_http(name)) {
        Some(name) => {
            let (name, text) = (name.escape_debug(), description.text().escape_debug());
            let message =
                format!("cannot serve the application protocol '{name}' of '{text}': expected some of {HTTP}");
            Err(DescriptionError::new(offered.offset, message))
        }
        None => Ok(description.text().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_server_offers_its_protocols_by_default() {
        let offering = |text: &str| offering_http(&text.parse().unwrap()).unwrap();
        assert_eq!(offering("tls:a.pem:port=0"), "tls:a.pem:port=0:alpn=h2,http/1.1,http/1.0");
        assert_eq!(offering("tls:a.pem:alpn=http/1.1"), "tls:a.pem:alpn=http/1.1");
    }
}
