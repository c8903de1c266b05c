//! The Python face that the transports of datagrams and pipes share.
//!
//! Not here: what only one of them has (`datagram_slots.rs`, `pipe_slots.rs`). Any attached thread
//! may ask; the owner thread changes. Invariant: a method that says nothing about the end works after it.

use pyo3::ffi as c;

use super::base::{HasBase, TransportBase};
use crate::ffi::arguments::Args;
use crate::ffi::native::body_offset;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, generic_dict, getter, noargs};
use crate::ffi::{Obj, Ref, Res, value};

/// A type with what all of them have.
pub(super) fn spec<T: HasBase>(
    name: &'static std::ffi::CStr,
    doc: &'static std::ffi::CStr,
) -> TypeSpec {
    TypeSpec::new::<T>(name, doc)
        .not_callable()
        .weakrefs_at(body_offset::<T>(T::BASE_AT + TransportBase::WEAKREFS_AT))
        .dict_at(body_offset::<T>(T::BASE_AT + TransportBase::DICT_AT))
        .methods(methods::<T>())
        .attributes(attributes::<T>())
}

fn methods<T: HasBase>() -> [c::PyMethodDef; 3] {
    [
        fast(c"set_protocol", c"set_protocol($self, protocol)\n--\n\nSwitch to another protocol.", |this: &Ref<T>, args: &Args<'_>| {
            let [protocol] = args.bind("set_protocol", [c"protocol"], 1)?;
            this.base().protocol.set(protocol.cloned());
            Ok(Obj::none())
        }),
        noargs(c"get_protocol", c"Return the protocol.", |this: &Ref<T>| {
            Ok(this.base().protocol.get_or_none())
        }),
        fast(
            c"get_extra_info",
            c"get_extra_info($self, name, default=None)\n--\n\nReturn what is known about the transport.",
            |this: &Ref<T>, args: &Args<'_>| {
                if let Some(other) = T::class().other_extra_info(this.as_obj())? {
                    return args.pass_to(&other);
                }
                let [name, default] = args.bind("get_extra_info", [c"name", c"default"], 1)?;
                let found = match (this.base().extra.get(), name) {
                    (Some(extra), Some(name)) => value::dict_get(&extra, name)?,
                    _ => None,
                };
                Ok(found.or_else(|| default.cloned()).unwrap_or_else(Obj::none))
            },
        ),
    ]
}

fn attributes<T: HasBase>() -> [c::PyGetSetDef; 4] {
    [
        getter(c"_protocol", c"The protocol, None once closed.", |this: &Ref<T>| {
            Ok(this.base().protocol.get_or_none())
        }),
        getter(c"_loop", c"The event loop, None once closed.", |this: &Ref<T>| {
            Ok(this.base().loop_.get().map_or_else(Obj::none, Ref::into_obj))
        }),
        getter(c"_extra", c"What get_extra_info knows.", |this: &Ref<T>| {
            Ok(this.base().extra.get_or_none())
        }),
        generic_dict(),
    ]
}

/// The methods and the flag of those that write; what they need to know stands in [`Writes`].
pub(super) fn writing<T: Writes>(spec: TypeSpec) -> TypeSpec {
    spec.methods([
        noargs(c"get_write_buffer_size", c"Return how much waits to be sent.", |this: &Ref<T>| {
            value::int(i64::try_from(this.buffered()).unwrap_or(i64::MAX))
        }),
        noargs(
            c"get_write_buffer_limits",
            c"Return the (low, high) water marks.",
            |this: &Ref<T>| {
                let (low, high) = this.limits();
                value::tuple(&[
                    &value::int(i64::try_from(low).unwrap_or(i64::MAX))?,
                    &value::int(i64::try_from(high).unwrap_or(i64::MAX))?,
                ])
            },
        ),
        fast(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the high and low water marks.",
            |this: &Ref<T>, args: &Args<'_>| {
                let [high, low] = args.bind("set_write_buffer_limits", [c"high", c"low"], 0)?;
                let number = |limit: Option<&Obj>| {
                    limit.filter(|limit| !limit.is_none()).map(value::water_mark).transpose()
                };
                T::set_limits(this, number(high)?, number(low)?).map(|()| Obj::none())
            },
        ),
    ])
    .attributes([getter(
        c"_protocol_paused",
        c"Whether the protocol was told to pause writing.",
        |this: &Ref<T>| Ok(Obj::bool(this.base().writing_paused.get())),
    )])
}

/// A transport with a write buffer.
pub(super) trait Writes: HasBase {
    fn buffered(&self) -> usize;
    fn limits(&self) -> (usize, usize);
    fn set_limits(this: &Ref<Self>, high: Option<i64>, low: Option<i64>) -> Res<()>;
}
