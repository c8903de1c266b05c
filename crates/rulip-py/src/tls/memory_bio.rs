//! TLS by Python's own `SSLObject` over two `MemoryBIO`s: the portable way.
//!
//! What lives here: the same questions that `openssl` answers, asked by calling Python's methods. It serves
//! where OpenSSL is built into Python, where an `SSLObject` has methods of its own, and where it is chosen.
//! Not here: which of the two it is (`session.rs`). Owner thread.

use super::openssl::Outcome;
use crate::ffi::{Obj, Res, bytes, value};
use crate::names;

/// One connection's `SSLObject` with its BIOs.
pub(super) struct Session {
    pub(super) sslobj: Obj,
    pub(super) incoming: Obj,
    pub(super) outgoing: Obj,
}

/// The most that one read asks for: asyncio's own limit.
const READ_SIZE: i64 = 256 * 1024;

impl Session {
    /// Keeps records for later.
    pub(super) fn store(&self, records: &[u8]) -> Res<()> {
        self.incoming.method1(&names::get().write, &bytes::from_slice(records)?).map(drop)
    }

    fn pending(bio: &Obj) -> Res<usize> {
        let pending = value::as_i64(&bio.attr(&names::get().pending)?)?;
        Ok(usize::try_from(pending).unwrap_or(0))
    }

    /// Records that no read has taken.
    pub(super) fn incoming(&self) -> Res<usize> {
        Self::pending(&self.incoming)
    }

    /// Records to send.
    pub(super) fn outgoing(&self) -> Res<usize> {
        Self::pending(&self.outgoing)
    }

    /// Whether a read would find nothing, not even half a record.
    pub(super) fn is_drained(&self) -> Res<bool> {
        let decrypted = self.sslobj.method0(&names::get().pending)?;
        Ok(value::as_i64(&decrypted)? == 0 && self.incoming()? == 0)
    }

    pub(super) fn take_outgoing(&self) -> Res<Obj> {
        self.outgoing.method0(&names::get().read)
    }

    /// Everything that can be decrypted now, and what stopped it.
    pub(super) fn read_all(&self) -> Res<(Option<Obj>, Stop)> {
        let size = value::int(READ_SIZE)?;
        let mut chunks: Vec<Obj> = Vec::new();
        let stop = loop {
            match self.sslobj.method1(&names::get().read, &size) {
                Ok(chunk) if value::len(&chunk)? == 0 => break Stop::Outcome(Outcome::CloseNotify),
                Ok(chunk) => {
                    chunks.push(chunk);
                    if self.is_drained()? {
                        break Stop::Outcome(Outcome::Again);
                    }
                }
                Err(raised) => break Stop::Raised(raised.take()),
            }
        };
        let data = match chunks.len() {
            0 | 1 => chunks.pop(),
            _ => Some(bytes::from_slice(b"")?.method1(&names::get().join, &value::list(chunks)?)?),
        };
        Ok((data, stop))
    }

    /// Fills a writable view of bytes, as far as it goes.
    pub(super) fn read_into(&self, view: &Obj) -> Res<(usize, Stop)> {
        let len = value::len(view)?;
        let mut filled = 0;
        let stop = loop {
            let rest = value::slice(view, filled, len)?;
            let room = value::int(i64::try_from(len - filled).unwrap_or(i64::MAX))?;
            let read = self.sslobj.attr(&names::get().read)?;
            match read.call(&[&room, &rest]) {
                Ok(count) => match usize::try_from(value::as_i64(&count)?).unwrap_or(0) {
                    0 => break Stop::Outcome(Outcome::CloseNotify),
                    count => filled += count,
                },
                Err(raised) => break Stop::Raised(raised.take()),
            }
            if filled == len {
                break Stop::Outcome(Outcome::Done(filled));
            }
            if self.is_drained()? {
                break Stop::Outcome(Outcome::Again);
            }
        };
        Ok((filled, stop))
    }
}

/// What ended a run of reads.
pub(super) enum Stop {
    Outcome(Outcome),
    /// An exception, perhaps one that only says that records are missing.
    Raised(Obj),
}
