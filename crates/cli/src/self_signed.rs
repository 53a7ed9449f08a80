//! The endpoint `self-signed:`, which speaks TLS with a certificate of its own making, for trying it out.

use std::path::PathBuf;
use std::rc::Rc;

use rcgen::generate_simple_self_signed;
use ropewalk::endpoints::{Endpoints, StreamServerEndpoint, TlsServerEndpoint};
use ropewalk::proto::description::{Arguments, Description, DescriptionError, Shape, quote_string_argument};
use ropewalk::tls::{Identity, ServerOptions, TlsError, TlsServer};
use ropewalk::{Deferred, Error, Factory, Port, Reactor, fail};

const SHAPE: Shape = Shape {
    name: "self-signed",
    usage: "self-signed:PORT[:interface=127.0.0.1][:save=FILE][:alpn=NAME,...]",
    parameters: &["port", "interface", "save", "alpn"],
    positional_max: 1,
};

/// The names in the certificate.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Registers the endpoint type.
pub(crate) fn register(endpoints: &Endpoints) {
    endpoints.register_server("self-signed", parse);
}

fn parse(endpoints: &Endpoints, description: &Description) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> {
    let arguments = Arguments::bind(description, &SHAPE)?;
    let port = arguments.required("port", "a number from 0 to 65535", |port| port.parse::<u16>().ok())?;
    let interface = arguments.optional("interface", "an IP address", |ip| Some(ip.to_owned()))?;
    let interface = interface.unwrap_or_else(|| "127.0.0.1".to_owned());
    let save = arguments.optional("save", "a file", |path| (!path.is_empty()).then(|| path.into()))?;
    let names = |text: &str| {
        let names = Vec::from_iter(text.split(',').map(str::to_owned));
        names.iter().all(|name| (1..=255).contains(&name.len())).then_some(names)
    };
    let protocols = arguments.optional("alpn", "names with commas between them", names)?.unwrap_or_default();
    let inner = endpoints.server(&format!("tcp:{port}:interface={}", quote_string_argument(&interface)))?;
    Ok(Rc::new(SelfSignedEndpoint { inner, save, protocols }))
}

struct SelfSignedEndpoint {
    inner: Rc<dyn StreamServerEndpoint>,
    /// The file for the certificate, so that clients can trust it.
    save: Option<PathBuf>,
    /// The application protocols (ALPN), the favourite first.
    protocols: Vec<String>,
}

impl SelfSignedEndpoint {
    /// Makes a certificate and its key.
    fn tls(&self) -> Result<TlsServer, TlsError> {
        let made = generate_simple_self_signed(NAMES.map(str::to_owned));
        let made = made.map_err(|error| TlsError::Configuration(format!("cannot make a certificate: {error}")))?;
        let certificate = made.cert.pem();
        if let Some(path) = &self.save {
            let saved = std::fs::write(path, &certificate);
            saved.map_err(|error| TlsError::Configuration(format!("{}: {error}", path.display())))?;
        }
        let identity = Identity::from_pem(certificate.as_bytes(), made.signing_key.serialize_pem().as_bytes())?;
        TlsServer::new(ServerOptions::new().identity(identity).application_protocols(&self.protocols))
    }
}

impl StreamServerEndpoint for SelfSignedEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        match self.tls() {
            Ok(tls) => {
                tracing::warn!(
                    names = NAMES.join(","),
                    "the certificate is self-signed and new with each start: use this for trying out only"
                );
                TlsServerEndpoint::new(self.inner.clone(), &tls).listen(reactor, factory)
            }
            Err(error) => fail(Error::from(error)),
        }
    }
}
