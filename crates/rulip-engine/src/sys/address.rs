//! Socket addresses, in the families that the transports show to their users.
//!
//! What lives here: the decoding of what the kernel fills in. What does not: names and resolving.
//! Any thread. Invariant: decoding never fails; an unknown family is [`Address::Other`].

use std::net::{SocketAddrV4, SocketAddrV6};

use rustix::net::{SocketAddrAny, SocketAddrUnix};

/// A local or a peer address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// IPv4: address and port.
    V4(SocketAddrV4),
    /// IPv6: address, port, flow information, scope.
    V6(SocketAddrV6),
    /// Unix: a path, or a name in the abstract namespace (it begins with NUL), or nothing.
    Unix(Vec<u8>),
    /// Another family.
    Other,
}

impl From<SocketAddrAny> for Address {
    fn from(address: SocketAddrAny) -> Self {
        if let Ok(v4) = SocketAddrV4::try_from(address.clone()) {
            return Self::V4(v4);
        }
        if let Ok(v6) = SocketAddrV6::try_from(address.clone()) {
            return Self::V6(v6);
        }
        let Ok(unix) = SocketAddrUnix::try_from(address) else { return Self::Other };
        if let Some(name) = unix.abstract_name().filter(|name| !name.is_empty()) {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            return Self::Unix(bytes);
        }
        Self::Unix(unix.path_bytes().map(<[u8]>::to_vec).unwrap_or_default())
    }
}

impl Address {
    /// True for IPv4 and IPv6.
    pub fn is_internet(&self) -> bool {
        matches!(self, Self::V4(_) | Self::V6(_))
    }
}
