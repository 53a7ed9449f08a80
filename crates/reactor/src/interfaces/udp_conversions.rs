//! The values that convert into a [`UdpBinding`]: those that convert into a [`Binding`] for TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::tcp::Binding;
use super::udp::UdpBinding;
use crate::error::{Error, Result};

macro_rules! from_addresses {
    ($($type:ty),*) => {$(
        impl From<$type> for UdpBinding {
            fn from(address: $type) -> UdpBinding {
                UdpBinding::new(address.into())
            }
        }
    )*};
}

from_addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

macro_rules! from_texts {
    ($($type:ty),*) => {$(
        impl TryFrom<$type> for UdpBinding {
            type Error = Error;

            fn try_from(text: $type) -> Result<UdpBinding> {
                Ok(UdpBinding::like(&Binding::try_from(text)?))
            }
        }
    )*};
}

from_texts!(&str, &String, (&str, u16));
