//! The transport that carries the records: a stream transport of ours, called directly, or any other, called as
//! Python would. Owner thread. Invariant: once it is lost, all this is nothing.

use super::protocol::TlsProtocol;
use crate::ffi::{Obj, Ref, Res, bytes};
use crate::names;
use crate::transport::chunk::Chunk;
use crate::transport::stream::StreamTransport;

/// Unless somebody put a method of his own on the instance.
fn native(lower: &Obj) -> Option<&Ref<StreamTransport>> {
    Ref::<StreamTransport>::exact(lower).filter(|stream| stream.is_unpatched())
}

impl Ref<TlsProtocol> {
    #[inline]
    pub(super) fn lower_write(&self, records: Chunk) -> Res<()> {
        let Some(lower) = self.lower.get() else { return Ok(()) };
        match native(&lower) {
            Some(stream) => stream.write_chunk(records),
            None => {
                let records = bytes::from_slice(records.as_ref())?;
                lower.method1(&names::get().write, &records).map(drop)
            }
        }
    }

    pub(super) fn lower_pause_reading(&self) -> Res<()> {
        self.tell_lower(&names::get().pause_reading)
    }

    pub(super) fn lower_resume_reading(&self) -> Res<()> {
        self.tell_lower(&names::get().resume_reading)
    }

    pub(super) fn lower_close(&self) -> Res<()> {
        self.tell_lower(&names::get().close)
    }

    fn tell_lower(&self, method: &Obj) -> Res<()> {
        match self.lower.get() {
            Some(lower) => lower.method0(method).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn lower_force_close(&self, error: &Obj) -> Res<()> {
        match self.lower.get() {
            Some(lower) => lower.method1(&names::get().force_close, error).map(drop),
            None => Ok(()),
        }
    }

    /// The context of the connection, where there is one.
    pub(super) fn lower_context(&self) -> Option<Obj> {
        let lower = self.lower.get()?;
        Ref::<StreamTransport>::exact(&lower)?.context()
    }

    /// Whether it is there and closing.
    pub(super) fn is_lower_closing(&self) -> Res<bool> {
        match self.lower.get() {
            Some(lower) => lower.method0(&names::get().is_closing)?.is_true(),
            None => Ok(false),
        }
    }

    pub(super) fn lower_extra_info(&self, name: &Obj, default: &Obj) -> Res<Obj> {
        match self.lower.get() {
            Some(lower) => lower.attr(&names::get().get_extra_info)?.call(&[name, default]),
            None => Ok(default.clone()),
        }
    }
}
