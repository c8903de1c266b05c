//! What PyO3 cannot express: owned references without bookkeeping, raw heap types, vectorcall, freelists.
//!
//! One file per subject. This is one of the few places where unsafe code lives; everything
//! above it works with the safe types exported here. All of it runs attached to the interpreter
//! (with the GIL held): [`Obj`] and [`Ref`] are neither `Send` nor `Sync`, and are only made from
//! pointers that CPython hands to a slot or returns from a call.
//!
//! Invariant: an [`Obj`] owns exactly one reference, and is dropped while attached.
#![allow(unsafe_code, reason = "the border to CPython's C API")]

pub(crate) mod arguments;
pub(crate) mod bytearray;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod coroutine_function;
pub(crate) mod descriptor;
pub(crate) mod error;
pub(crate) mod gc;
pub(crate) mod inline_args;
pub(crate) mod list;
pub(crate) mod native;
pub(crate) mod object;
pub(crate) mod overrides;
pub(crate) mod reused_bytes;
pub(crate) mod send;
pub(crate) mod slot;
pub(crate) mod spec;
#[cfg(not(Py_3_14))]
pub(crate) mod special;
pub(crate) mod thread_end;
pub(crate) mod trampoline;
pub(crate) mod value;
pub(crate) mod weakref;

pub(crate) use error::{Raised, Res};
pub(crate) use native::Ref;
pub(crate) use object::Obj;
pub(crate) use slot::{EitherSlot, NumberOrObj, RefSlot, Slot};
