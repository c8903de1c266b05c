//! [`Separators`]: what `readuntil` looks for.
//!
//! Pure Rust but for reading the argument. Invariant: sorted by length, shortest first, none empty.

use std::ops::Range;

use crate::ffi::{Obj, Raised, Res, bytes, value};
use crate::imports;

/// What ends a chunk.
pub(super) enum Separators {
    /// One line feed: the reader remembers how far it has looked for it.
    LineFeed,
    One(Vec<u8>),
    /// Several of them (3.13 on).
    Several(Vec<Vec<u8>>),
}

impl Separators {
    /// Reads the argument of `readuntil(separator)`.
    pub(super) fn of(argument: Option<&Obj>) -> Res<Self> {
        let Some(argument) = argument else { return Ok(Self::LineFeed) };
        if value::is_tuple(argument) && imports::get().version >= (3, 13, 0) {
            let mut all: Vec<Vec<u8>> =
                value::tuple_items(argument).iter().map(memory).collect::<Res<_>>()?;
            all.sort_by_key(Vec::len);
            return match all.first() {
                None => Err(Raised::value_error("Separator should contain at least one element")),
                Some(shortest) if shortest.is_empty() => Err(empty()),
                Some(_) => Ok(Self::Several(all)),
            };
        }
        let one = memory(argument)?;
        match one.as_slice() {
            [] => Err(empty()),
            b"\n" => Ok(Self::LineFeed),
            _ => Ok(Self::One(one)),
        }
    }

    pub(super) fn shortest(&self) -> usize {
        match self {
            Self::LineFeed => 1,
            Self::One(one) => one.len(),
            Self::Several(all) => all.first().map_or(1, Vec::len),
        }
    }

    pub(super) fn longest(&self) -> usize {
        match self {
            Self::LineFeed => 1,
            Self::One(one) => one.len(),
            Self::Several(all) => all.last().map_or(1, Vec::len),
        }
    }

    /// The match that ends first, from `offset` on.
    pub(super) fn find(&self, data: &[u8], offset: usize) -> Option<Range<usize>> {
        let within = data.get(offset..)?;
        let found = |separator: &[u8]| {
            let at = offset + memchr::memmem::find(within, separator)?;
            Some(at..at + separator.len())
        };
        match self {
            Self::LineFeed => {
                let at = offset + memchr::memchr(b'\n', within)?;
                Some(at..at + 1)
            }
            Self::One(one) => found(one),
            Self::Several(all) => {
                all.iter().filter_map(|one| found(one)).min_by_key(|found| found.end)
            }
        }
    }
}

fn empty() -> Raised {
    Raised::value_error("Separator should be at least one-byte string")
}

fn memory(separator: &Obj) -> Res<Vec<u8>> {
    if bytes::is_exact(separator) {
        return value::with_buffer(separator, <[u8]>::to_vec);
    }
    // `len()` first, as asyncio: it is what complains about a number.
    value::len(separator)?;
    value::with_buffer(separator, <[u8]>::to_vec)
}
