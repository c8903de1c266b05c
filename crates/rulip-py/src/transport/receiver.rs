//! Who gets what a connection receives: the one way from bytes to a protocol.
//!
//! What lives here: how a protocol takes bytes, asked once when it is set, and the delivery of bytes that
//! are there already. Plain and TLS transports deliver through here, so whoever takes bytes natively
//! takes them from both. Not here: where the bytes come from (`reading.rs`, `tls::reading`), nor
//! protocols with a buffer of their own, which are asked for it before there are bytes.
//! Owner thread; nothing is borrowed while the protocol runs.

use crate::ffi::{Obj, Ref, Res, bytes, value};
use crate::streams::protocol::{Receiver, StreamProtocol};
use crate::tls::protocol::TlsProtocol;
use crate::{imports, names};

/// How a protocol takes bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Takes {
    /// `data_received(bytes)`.
    Bytes,
    /// `get_buffer()` and `buffer_updated()`.
    IntoBuffer,
    /// Ours: it decrypts them.
    Encrypted,
    /// A native stream protocol: its reader gets them.
    Stream,
}

impl Takes {
    pub(crate) fn of(protocol: &Obj) -> Res<Self> {
        if Ref::<TlsProtocol>::exact(protocol).is_some() {
            return Ok(Self::Encrypted);
        }
        if Ref::<StreamProtocol>::downcast(protocol).is_some() {
            return Ok(Self::Stream);
        }
        let buffered = protocol.is_instance(&imports::get().buffered_protocol_class)?;
        Ok(if buffered { Self::IntoBuffer } else { Self::Bytes })
    }
}

/// Bytes on their way to a protocol.
pub(crate) enum Received<'a> {
    /// In memory that is used again.
    Slice(&'a [u8]),
    /// In an exact bytes object of their own.
    Object(Obj),
}

/// Hands bytes over. Whoever has a buffer of his own gets them as `data_received` would. Inlined: mostly the
/// caller knows how they are taken, and then nothing is left of the questions.
#[inline(always)]
pub(crate) fn deliver(protocol: &Obj, takes: Takes, received: Received<'_>) -> Res<Obj> {
    if takes == Takes::Encrypted
        && let Some(tls) = Ref::<TlsProtocol>::exact(protocol)
    {
        match received {
            Received::Slice(slice) => tls.receive(slice)?,
            Received::Object(data) => value::with_buffer(&data, |slice| tls.receive(slice))??,
        }
        return Ok(Obj::none());
    }
    if takes == Takes::Stream
        && let Some(stream) = Ref::<StreamProtocol>::downcast(protocol)
    {
        match stream.receiver()? {
            Receiver::Reader(reader) => {
                match &received {
                    Received::Slice(slice) => reader.feed(slice)?,
                    Received::Object(data) => reader.feed_object(data)?,
                }
                return Ok(Obj::none());
            }
            Receiver::Nobody => return Ok(Obj::none()),
            Receiver::ByName => {}
        }
    }
    let data = match received {
        Received::Slice(slice) => bytes::from_slice(slice)?,
        Received::Object(data) => data,
    };
    protocol.method1(&names::get().data_received, &data)
}
