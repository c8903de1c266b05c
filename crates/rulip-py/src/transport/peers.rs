//! Addresses of peers, as Python writes them and as the kernel does, and the pairs used lately.
//!
//! A server answers whom it hears: the tuple that comes with a datagram goes back with the answer.
//! Making and reading such a tuple costs more than looking it up here.
//! Owner thread. Invariant: a pair that is found says the same in both languages.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use rulip_engine::sys::address::Address;

use super::extra_info;
use crate::ffi::{Obj, Res, value};

/// The families whose addresses we read and write by ourselves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Family {
    V4,
    V6,
    Unix,
    /// Python's socket module reads and writes them.
    Foreign,
}

impl Family {
    /// That of a socket, told by its own address.
    pub(super) fn of(local: &Address) -> Self {
        match local {
            Address::V4(_) => Self::V4,
            Address::V6(_) => Self::V6,
            Address::Unix(_) => Self::Unix,
            Address::Other => Self::Foreign,
        }
    }

    fn has(self, address: &Address) -> bool {
        self != Self::Foreign && self == Self::of(address)
    }
}

/// How many peers are remembered.
const PLACES: usize = 8;

/// The peers of one socket.
#[derive(Default)]
pub(super) struct Peers(RefCell<[Option<(Address, Obj)>; PLACES]>);

impl Peers {
    /// A peer in Python's form.
    #[inline]
    pub(super) fn python(&self, address: Address) -> Res<Obj> {
        let place = place(&address);
        if let Some((known, obj)) = &self.0.borrow()[place]
            && *known == address
        {
            return Ok(obj.clone());
        }
        let made = extra_info::address(&address)?;
        let old = self.0.borrow_mut()[place].replace((address, made.clone()));
        drop(old);
        Ok(made)
    }

    /// A peer in the kernel's form, if it is one that we gave to Python, or written in numbers and
    /// of the socket's family. Others are for Python's own socket module to understand, or to refuse.
    #[inline]
    pub(super) fn native(&self, obj: &Obj, family: Family) -> Option<Address> {
        for (address, known) in self.0.borrow().iter().flatten() {
            if known.is(obj) {
                return Some(address.clone());
            }
        }
        written_in_numbers(obj).filter(|address| family.has(address))
    }
}

fn place(address: &Address) -> usize {
    match address {
        Address::V4(v4) => usize::from(v4.port()) ^ usize::from(v4.ip().octets()[3]),
        Address::V6(v6) => usize::from(v6.port()) ^ usize::from(v6.ip().octets()[15]),
        Address::Unix(name) => name.iter().map(|byte| usize::from(*byte)).sum(),
        Address::Other => 0,
    }
    .rem_euclid(PLACES)
}

/// `('1.2.3.4', port)`, `('::1', port)`, `('::1', port, 0, scope)`.
fn written_in_numbers(obj: &Obj) -> Option<Address> {
    if !value::is_exact_tuple(obj) {
        return None;
    }
    let items = value::tuple_items(obj);
    let (host, rest) = items.split_first()?;
    if !value::is_exact_str(host) || !rest.iter().all(value::is_exact_int) {
        return None;
    }
    let mut numbers = [0u32; 3];
    for (number, item) in numbers.iter_mut().zip(rest) {
        match value::as_i64(item) {
            Ok(item) => *number = u32::try_from(item).ok()?,
            Err(raised) => {
                raised.clear();
                return None;
            }
        }
    }
    let port = u16::try_from(numbers[0]).ok()?;
    let host = match value::text(host) {
        Ok(host) => host,
        Err(raised) => {
            raised.clear();
            return None;
        }
    };
    match rest.len() {
        1 if host.contains('.') && !host.contains(':') => {
            let ip: Ipv4Addr = host.parse().ok()?;
            Some(Address::V4(SocketAddrV4::new(ip, port)))
        }
        // A flow label is rare, and Python knows its byte order.
        1 | 3 if numbers[1] == 0 => {
            let ip: Ipv6Addr = host.parse().ok()?;
            Some(Address::V6(SocketAddrV6::new(ip, port, 0, numbers[2])))
        }
        _ => None,
    }
}
