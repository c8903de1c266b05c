//! `get_extra_info`: the socket and its addresses, made into Python objects when asked for.
//!
//! Accepted connections start without any Python object for their socket: most are never asked.
//! The addresses are read while the socket is open, so the answers outlive it.

use std::os::fd::IntoRawFd;

use rulip_engine::sys::address::Address;

use super::stream::{Socket, StreamTransport};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::{imports, names};

/// Both ends, as the kernel gave them, or as Python objects already.
pub(crate) struct Addresses {
    pub(crate) local: Option<Address>,
    pub(crate) peer: Option<Address>,
}

impl Addresses {
    /// TCP, in practice.
    pub(crate) fn is_internet(&self) -> bool {
        self.local.as_ref().is_some_and(Address::is_internet)
    }
}

/// The address as Python's `socket` module writes it.
pub(super) fn address(address: &Address) -> Res<Obj> {
    match address {
        Address::V4(v4) => {
            value::tuple(&[&value::str(&v4.ip().to_string())?, &value::int(i64::from(v4.port()))?])
        }
        Address::V6(v6) => value::tuple(&[
            &value::str(&v6.ip().to_string())?,
            &value::int(i64::from(v6.port()))?,
            &value::int(i64::from(u32::from_be(v6.flowinfo()) & 0x000f_ffff))?,
            &value::int(i64::from(v6.scope_id()))?,
        ]),
        Address::Unix(name) if name.first() == Some(&0) => crate::ffi::bytes::from_slice(name),
        Address::Unix(path) => value::fs_decoded(path),
        Address::Other => Ok(Obj::none()),
    }
}

/// What is left of a socket that nobody had asked for while it was open.
fn closed_socket() -> Res<Obj> {
    let socket = imports::get().socket_class.call0()?;
    socket.method0(&names::get().close)?;
    Ok(socket)
}

impl Ref<StreamTransport> {
    /// `get_extra_info(name, default)`.
    pub(crate) fn extra_info(&self, name: &Obj, default: &Obj) -> Res<Obj> {
        let extra = self.extra_dict()?;
        if let Some(found) = value::dict_get(&extra, name)? {
            return Ok(found);
        }
        if !value::is_str(name) {
            return Ok(default.clone());
        }
        let made = if value::text_is(name, c"socket") {
            self.transport_socket()?
        } else if value::text_is(name, c"sockname") {
            self.end_address(|addresses| addresses.local.as_ref())?
        } else if value::text_is(name, c"peername") {
            self.end_address(|addresses| addresses.peer.as_ref())?
        } else {
            return Ok(default.clone());
        };
        let Some(made) = made else { return Ok(default.clone()) };
        value::dict_set(&extra, name, &made)?;
        Ok(made)
    }

    /// The dict behind it, complete: for code that reads `transport._extra`.
    pub(crate) fn extra_filled(&self) -> Res<Obj> {
        let none = Obj::none();
        for name in [c"socket", c"sockname", c"peername"] {
            let name = value::interned(name)?;
            let found = self.extra_info(&name, &none)?;
            value::dict_set(&self.extra_dict()?, &name, &found)?;
        }
        self.extra_dict()
    }

    fn extra_dict(&self) -> Res<Obj> {
        if let Some(extra) = self.extra.get() {
            return Ok(extra);
        }
        let extra = value::dict()?;
        self.extra.set(Some(extra.clone()));
        Ok(extra)
    }

    fn end_address(&self, which: impl FnOnce(&Addresses) -> Option<&Address>) -> Res<Option<Obj>> {
        let found =
            self.addresses.borrow().as_ref().and_then(|addresses| which(addresses).cloned());
        found.as_ref().map(address).transpose()
    }

    /// `asyncio.trsock.TransportSocket` over the Python socket.
    fn transport_socket(&self) -> Res<Option<Obj>> {
        let socket = match self.python_socket()? {
            Some(socket) => socket,
            None => closed_socket()?,
        };
        imports::get().transport_socket_class.call1(&socket).map(Some)
    }

    /// The Python socket; a descriptor of ours becomes one, and belongs to it from then on.
    pub(crate) fn python_socket(&self) -> Res<Option<Obj>> {
        if let Socket::Python(socket) = &*self.socket.borrow() {
            return Ok(Some(socket.clone()));
        }
        if self.fd.get() < 0 {
            return Ok(None);
        }
        self.make_python_socket().map(Some)
    }

    fn make_python_socket(&self) -> Res<Obj> {
        let keywords = value::dict()?;
        value::dict_set(&keywords, &names::get().fileno, &value::int(i64::from(self.fd.get()))?)?;
        let made = imports::get().socket_class.call_tuple(&value::tuple(&[])?, Some(&keywords))?;
        let old = self.socket.replace(Socket::Python(made.clone()));
        match old {
            Socket::Native(owned) => {
                let _python_owns_it_now = owned.into_raw_fd();
            }
            Socket::Python(_) | Socket::Closed => {
                return Err(Raised::runtime_error("the socket changed hands meanwhile"));
            }
        }
        made.method1(&value::interned(c"setblocking")?, &Obj::bool(false))?;
        Ok(made)
    }
}
