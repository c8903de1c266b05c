//! The Python face of `Gathering`: what asyncio's `_GatheringFuture` adds to a future.

use pyo3::ffi as c;

use super::Gathering;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, body_offset};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, onearg};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::Future;
use crate::future::slots::cancel_message;
use crate::imports;
use crate::task;

/// Makes the type; after `Future`'s.
pub(crate) fn build() -> Res<Obj> {
    let future_at = std::mem::offset_of!(Gathering, future);
    TypeSpec::new::<Gathering>(
        c"rulip._rulip._GatheringFuture",
        c"What gather() returns: the future of a list of results.",
    )
    .base(Future::type_cell())
    .not_callable()
    .weakrefs_at(body_offset::<Gathering>(future_at + Future::WEAKREFS_AT))
    .dict_at(body_offset::<Gathering>(future_at + Future::DICT_AT))
    .slot(
        c::Py_tp_repr,
        crate::ffi::trampoline::unary(|this: &Ref<Gathering>| {
            imports::get().future_repr.call1(this.as_obj())
        }),
    )
    .methods([
        fast(
            c"cancel",
            c"Cancel the children that are not done; return whether there were any.",
            |this: &Ref<Gathering>, args: &Args<'_>| {
                Ok(Obj::bool(this.cancel(cancel_message(args)?.as_ref())?))
            },
        ),
        onearg(c"_done_callback", c"Count a child that is done.", done_callback),
    ])
    .attributes([
        getter(c"__class__", c"asyncio's class of the same name.", |_: &Ref<Gathering>| {
            Ok(imports::get().gathering_class.clone())
        }),
        getter(c"_children", c"The futures, one per argument.", |this: &Ref<Gathering>| {
            value::list(this.children().into_iter().map(Ref::into_obj).collect())
        }),
        getter(
            c"_cancel_requested",
            c"Whether cancel() found children to cancel.",
            |this: &Ref<Gathering>| Ok(Obj::bool(this.cancel_requested.get())),
        ),
    ])
    .build(Gathering::type_cell())
}

fn done_callback(this: &Ref<Gathering>, child: &Obj) -> Res<Obj> {
    let Some(child) = task::native_future(child) else {
        return Err(Raised::type_error("a child of this future was expected"));
    };
    this.count(child)?;
    Ok(Obj::none())
}
