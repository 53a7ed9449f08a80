//! Options that other programs have for the place to listen at. They are refused with the option that this program has.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, Error};
use ropewalk::proto::description::quote_string_argument;

/// Hidden options that name a port or an address. No value is ever stored, because parsing a value is an error.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ForeignOptions {
    #[arg(short, long, hide = true, value_parser = Refused(port))]
    port: Option<String>,

    #[arg(long, alias = "bind", alias = "address", alias = "interface", hide = true, value_parser = Refused(host))]
    host: Option<String>,
}

/// A parser that refuses each value, and suggests what the function makes of it.
#[derive(Clone)]
struct Refused(fn(&str) -> String);

impl TypedValueParser for Refused {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        let name = argument.and_then(Arg::get_long).unwrap_or_default();
        let suggestion = self.0(&value.to_string_lossy());
        let message = format!("there is no option '--{name}' (did you mean --listen {suggestion}?)");
        Err(Error::raw(ErrorKind::UnknownArgument, message).with_cmd(command))
    }
}

fn port(value: &str) -> String {
    let port = if value.parse::<u16>().is_ok() { value } else { "PORT" };
    format!("tcp:{port}:interface=127.0.0.1")
}

fn host(value: &str) -> String {
    let address = if value == "localhost" { "127.0.0.1" } else { value };
    let (address, port) = match address.parse::<std::net::SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port().to_string()),
        Err(_) => (address.to_owned(), "PORT".to_owned()),
    };
    format!("tcp:{port}:interface={}", quote_string_argument(&address))
}
