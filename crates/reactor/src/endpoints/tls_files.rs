//! The files that the descriptions `tls:` and `ssl:` name.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ropewalk_proto::description::{Arguments, Description, DescriptionError, Shape, quote_string_argument};
use ropewalk_tls::{Authorities, ClientOptions, Identity, ServerOptions, TlsError};

use super::registry::{Endpoints, Parsed};
use super::tls::{FileClientEndpoint, FileServerEndpoint};
use super::{StreamClientEndpoint, StreamServerEndpoint};

/// The files of a server.
#[derive(Clone, Debug)]
pub(super) struct ServerFiles {
    certificates: Certificates,
    application_protocols: Vec<String>,
    client_authorities: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Certificates {
    /// A PEM file with certificates and their key, or a folder of such files.
    Below(PathBuf),
    /// Two PEM files, and more certificates of the chain.
    Pair { certificate: PathBuf, key: PathBuf, chain: Option<PathBuf> },
}

impl ServerFiles {
    /// Reads the files.
    pub(super) fn options(&self) -> Result<ServerOptions, TlsError> {
        let mut options = ServerOptions::new().application_protocols(&self.application_protocols);
        for identity in self.certificates.read()? {
            options = options.identity(identity);
        }
        match &self.client_authorities {
            Some(path) => Ok(options.require_client_certificates(Authorities::read(path)?)),
            None => Ok(options),
        }
    }
}

impl ServerFiles {
    /// Returns the files, and the folders of files.
    pub(super) fn paths(&self) -> Vec<&Path> {
        let mut paths = match &self.certificates {
            Certificates::Below(path) => vec![&**path],
            Certificates::Pair { certificate, key, .. } if certificate == key => vec![&**key],
            Certificates::Pair { certificate, key, .. } => vec![&**certificate, &**key],
        };
        if let Certificates::Pair { chain: Some(chain), .. } = &self.certificates {
            paths.push(chain);
        }
        paths.extend(self.client_authorities.as_deref());
        paths
    }
}

impl Certificates {
    fn read(&self) -> Result<Vec<Identity>, TlsError> {
        match self {
            Certificates::Below(path) if path.is_dir() => Identity::read_folder(path),
            Certificates::Below(path) => Ok(vec![Identity::read(path, path)?]),
            Certificates::Pair { certificate, key, chain } => {
                Ok(vec![Identity::read_chain(certificate, chain.as_deref(), key)?])
            }
        }
    }
}

/// The files of a client.
#[derive(Clone, Debug)]
pub(super) struct ClientFiles {
    pair: Option<(PathBuf, PathBuf)>,
    authorities: Option<PathBuf>,
    application_protocols: Vec<String>,
    server_name: Option<String>,
}

impl ClientFiles {
    /// Reads the files.
    pub(super) fn options(&self) -> Result<ClientOptions, TlsError> {
        let mut options = ClientOptions::new().application_protocols(&self.application_protocols);
        if let Some((certificate, key)) = &self.pair {
            options = options.identity(Identity::read(certificate, key)?);
        }
        if let Some(path) = &self.authorities {
            options = options.authorities(Authorities::read(path)?);
        }
        Ok(match &self.server_name {
            Some(name) => options.server_name(name),
            None => options,
        })
    }
}

const TLS_SERVER: Shape = Shape {
    name: "tls",
    usage: "tls:PATH[:port=443][:interface=IP][:backlog=N][:alpn=NAME,...][:clientAuthorities=PATH][:endpoint=STRING]",
    parameters: &["path", "port", "interface", "backlog", "alpn", "clientAuthorities|client_authorities", "endpoint"],
    positional_max: 1,
};

const SSL_SERVER: Shape = Shape {
    name: "ssl",
    usage: "ssl:PORT[:privateKey=server.pem][:certKey=PATH][:extraCertChain=PATH][:interface=IP][:backlog=N]\
        [:alpn=NAME,...]",
    parameters: &[
        "port",
        "privateKey|private_key",
        "certKey|cert_key",
        "extraCertChain|extra_cert_chain",
        "interface",
        "backlog",
        "alpn",
    ],
    positional_max: 1,
};

const TLS_CLIENT: Shape = Shape {
    name: "tls",
    usage: "tls:HOST:PORT[:timeout=30][:bindAddress=IP][:certificate=PATH][:privateKey=PATH][:trustRoots=PATH]\
        [:alpn=NAME,...][:name=NAME][:endpoint=STRING]",
    parameters: &[
        "host",
        "port",
        "timeout",
        "bindAddress|bind_address",
        "certificate",
        "privateKey|private_key",
        "trustRoots|trust_roots",
        "alpn",
        "name",
        "endpoint",
    ],
    positional_max: 2,
};

const SSL_CLIENT: Shape = Shape {
    name: "ssl",
    usage: "ssl:HOST:PORT[:timeout=30][:bindAddress=IP][:certKey=PATH][:privateKey=PATH][:caCertsDir=PATH]\
        [:hostname=NAME]",
    parameters: &[
        "host",
        "port",
        "timeout",
        "bindAddress|bind_address",
        "certKey|cert_key",
        "privateKey|private_key",
        "caCertsDir|ca_certs_dir",
        "hostname",
    ],
    positional_max: 2,
};

/// Registers the descriptions of this module.
pub(super) fn register(endpoints: &Endpoints) {
    endpoints.register_server("tls", tls_server);
    endpoints.register_server("ssl", ssl_server);
    endpoints.register_client("tls", tls_client);
    endpoints.register_client("ssl", ssl_client);
}

/// Parses `tls:PATH`, whose certificates say for which names they are.
fn tls_server(endpoints: &Endpoints, description: &Description) -> Parsed<dyn StreamServerEndpoint> {
    let arguments = Arguments::bind(description, &TLS_SERVER)?;
    let files = ServerFiles {
        certificates: Certificates::Below(arguments.required("path", "a PEM file or a folder of them", path)?),
        application_protocols: arguments.optional("alpn", "names with commas between them", list)?.unwrap_or_default(),
        client_authorities: arguments.optional("clientAuthorities", "a PEM file or a folder of them", path)?,
    };
    let inner = match arguments.optional("endpoint", "an endpoint to listen on", text)? {
        Some(inner) => endpoints.server(&inner)?,
        None => {
            let port =
                arguments.optional("port", "a number from 0 to 65535", text)?.unwrap_or_else(|| "443".to_owned());
            endpoints.server(&tcp(&port, &arguments, &["interface", "backlog"])?)?
        }
    };
    Ok(Rc::new(FileServerEndpoint { inner, files }))
}

/// Parses `ssl:PORT`. The certificate is in the file of the key, unless `certKey` names another.
fn ssl_server(endpoints: &Endpoints, description: &Description) -> Parsed<dyn StreamServerEndpoint> {
    let arguments = Arguments::bind(description, &SSL_SERVER)?;
    let key = arguments.optional("privateKey", "a PEM file", path)?.unwrap_or_else(|| "server.pem".into());
    let certificate = arguments.optional("certKey", "a PEM file", path)?.unwrap_or_else(|| key.clone());
    let chain = arguments.optional("extraCertChain", "a PEM file", path)?;
    let files = ServerFiles {
        certificates: Certificates::Pair { certificate, key, chain },
        application_protocols: arguments.optional("alpn", "names with commas between them", list)?.unwrap_or_default(),
        client_authorities: None,
    };
    let port = arguments.required("port", "a number from 0 to 65535", text)?;
    let inner = endpoints.server(&tcp(&port, &arguments, &["interface", "backlog"])?)?;
    Ok(Rc::new(FileServerEndpoint { inner, files }))
}

fn tls_client(endpoints: &Endpoints, description: &Description) -> Parsed<dyn StreamClientEndpoint> {
    let arguments = Arguments::bind(description, &TLS_CLIENT)?;
    let files = ClientFiles {
        pair: pair(&arguments, "certificate")?,
        authorities: arguments.optional("trustRoots", "a PEM file or a folder of them", path)?,
        application_protocols: arguments.optional("alpn", "names with commas between them", list)?.unwrap_or_default(),
        server_name: arguments.optional("name", "the name in the server's certificate", text)?,
    };
    let inner = arguments.optional("endpoint", "an endpoint to connect to", text)?;
    client(endpoints, &arguments, files, inner)
}

fn ssl_client(endpoints: &Endpoints, description: &Description) -> Parsed<dyn StreamClientEndpoint> {
    let arguments = Arguments::bind(description, &SSL_CLIENT)?;
    let files = ClientFiles {
        pair: pair(&arguments, "certKey")?,
        authorities: arguments.optional("caCertsDir", "a folder of PEM files", path)?,
        application_protocols: Vec::new(),
        server_name: arguments.optional("hostname", "the name in the server's certificate", text)?,
    };
    client(endpoints, &arguments, files, None)
}

fn client(
    endpoints: &Endpoints,
    arguments: &Arguments<'_>,
    files: ClientFiles,
    inner: Option<String>,
) -> Parsed<dyn StreamClientEndpoint> {
    let host = arguments.required("host", "a name or an IP address", text)?;
    let port = arguments.required("port", "a number from 1 to 65535", text)?;
    let inner = match inner {
        Some(inner) => endpoints.client(&inner)?,
        None => {
            let place = format!("{}:{port}", quote_string_argument(&host));
            endpoints.client(&tcp(&place, arguments, &["timeout", "bindAddress"])?)?
        }
    };
    Ok(Rc::new(FileClientEndpoint { inner, files, host, tls: OnceCell::new() }))
}

/// Returns the files of a certificate and its key. The key is in the file of the certificate, unless `privateKey` names
/// another.
fn pair(arguments: &Arguments<'_>, certificate: &str) -> Result<Option<(PathBuf, PathBuf)>, DescriptionError> {
    let certificate = arguments.optional(certificate, "a PEM file", path)?;
    let key = arguments.optional("privateKey", "a PEM file", path)?;
    let either = certificate.clone().or_else(|| key.clone());
    Ok(either.map(|either| (certificate.unwrap_or_else(|| either.clone()), key.unwrap_or(either))))
}

/// Returns the description of the TCP endpoint below, with those of `parameters` that are given.
fn tcp(place: &str, arguments: &Arguments<'_>, parameters: &[&str]) -> Result<String, DescriptionError> {
    let mut description = format!("tcp:{place}");
    for parameter in parameters {
        if let Some(value) = arguments.optional(parameter, "a value", text)? {
            description.push_str(&format!(":{parameter}={}", quote_string_argument(&value)));
        }
    }
    Ok(description)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn path(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| Path::new(value).to_owned())
}

fn list(value: &str) -> Option<Vec<String>> {
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    names.iter().all(|name| (1..=255).contains(&name.len())).then_some(names)
}
