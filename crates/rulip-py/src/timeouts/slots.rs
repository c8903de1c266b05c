//! The Python face of `Timeout`, and `timeout()` and `timeout_at()`.

use pyo3::ffi as c;

use super::{State, Timeout};
use crate::event_loop::run::running;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, allocate, body_offset, class_of};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, generic_dict, getter, init, new, noargs, unary};
use crate::ffi::{Obj, Raised, Ref, Res, value};

use crate::immediate::{Immediate, exception_given};
use crate::{imports, names};

type This = Ref<Timeout>;

/// Makes the type.
pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<Timeout>(
        c"rulip._rulip.Timeout",
        c"Timeout(when)\n--\n\nA limit on the time a block takes (mirrors asyncio.Timeout).",
    )
    .subclassable()
    .weakrefs_at(body_offset::<Timeout>(std::mem::offset_of!(Timeout, weakrefs)))
    .dict_at(body_offset::<Timeout>(std::mem::offset_of!(Timeout, dict)))
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Timeout::blank(None, None))))
    .slot(c::Py_tp_init, init(initialise))
    .slot(c::Py_tp_repr, unary(describe))
    .methods([
        noargs(c"when", c"Return the deadline, or None.", |this: &This| this.when()),
        fast(
            c"reschedule",
            c"reschedule($self, when)\n--\n\nChange the deadline.",
            |this: &This, args: &Args<'_>| {
                let [when] = args.bind("Timeout.reschedule", [c"when"], 1)?;
                when.map_or(Ok(()), |when| this.reschedule(when)).map(|()| Obj::none())
            },
        ),
        noargs(c"expired", c"Return whether time was up.", |this: &This| {
            Ok(Obj::bool(matches!(this.state.get(), State::Expiring | State::Expired)))
        }),
        noargs(c"__aenter__", c"Begin to watch the time.", |this: &This| {
            Immediate::make(
                c"Timeout.__aenter__",
                |this, _, _| of(this)?.enter(),
                this.to_obj(),
                None,
                None,
            )
        }),
        fast(
            c"__aexit__",
            c"__aexit__($self, exc_type, exc_val, exc_tb)\n--\n\nStop watching the time.",
            |this: &This, args: &Args<'_>| {
                let [exc_type, exc] = exception_given(args)?;
                Immediate::make(
                    c"Timeout.__aexit__",
                    |this, exc_type, exc| of(this)?.leave(exc_type, exc),
                    this.to_obj(),
                    exc_type,
                    exc,
                )
            },
        ),
        noargs(c"_on_timeout", c"Time is up.", |this: &This| {
            this.expire()?;
            Ok(Obj::none())
        }),
    ])
    .attributes([
        getter(c"__class__", c"asyncio.Timeout", |this: &This| {
            class_of(this, &imports::get().timeout_class)
        }),
        getter(c"_state", c"Where it stands.", |this: &This| {
            imports::get().timeout_state.call1(&value::str(this.state.get().name())?)
        }),
        getter(c"_when", c"The deadline, or None.", |this: &This| this.when()),
        getter(c"_task", c"The task that entered.", |this: &This| Ok(this.task.get_or_none())),
        getter(c"_timeout_handler", c"The deadline's handle.", |this: &This| this.handler()),
        getter(c"_cancelling", c"The task's cancel requests on entering.", |this: &This| {
            value::int(this.cancelling.get())
        }),
        generic_dict(),
    ])
    .build(Timeout::type_cell())
}

fn of(obj: &Obj) -> Res<&This> {
    This::downcast(obj).ok_or_else(|| Raised::type_error("a Timeout was expected"))
}

fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let positional = value::tuple_items(args);
    let mut when = positional.first().cloned();
    if positional.len() > 1 {
        return Err(Raised::type_error(&format!(
            "Timeout.__init__() takes 2 positional arguments but {} were given",
            positional.len() + 1
        )));
    }
    for (name, item) in kwargs.map(value::dict_items).unwrap_or_default() {
        if when.is_none() && value::text_is(&name, c"when") {
            when = Some(item);
        } else {
            return Err(crate::ffi::arguments::unexpected("Timeout.__init__", &name));
        }
    }
    let Some(when) = when else {
        return Err(Raised::type_error(
            "Timeout.__init__() missing 1 required positional argument: 'when'",
        ));
    };
    this.disarm()?;
    this.set_when(Some(&when));
    this.task.set(None);
    this.state.set(State::Created);
    Ok(())
}

fn describe(this: &This) -> Res<Obj> {
    let state = this.state.get();
    if state != State::Active {
        return value::str(&format!("<Timeout [{}]>", state.name()));
    }
    let when = this.when()?;
    let when =
        if when.is_none() { when } else { imports::get().round.call(&[&when, &value::int(3)?])? };
    let when = value::text(&value::str_of(&when)?)?;
    value::str(&format!("<Timeout [{}] when={when}>", state.name()))
}

/// `timeout(delay)`.
pub(crate) fn timeout(args: &Args<'_>) -> Res<Obj> {
    let [delay] = args.bind("timeout", [c"delay"], 1)?;
    let Some(delay) = delay else { return Ok(Obj::none()) };
    if let Some(loop_) = running() {
        if delay.is_none() {
            return Ref::new(Timeout::blank(None, None)).map(Ref::into_obj);
        }
        if let Some(delay) = value::exact_number(delay)? {
            let when = loop_.time()? + delay;
            return Ref::new(Timeout::blank(None, Some(when))).map(Ref::into_obj);
        }
    }
    let loop_ = imports::get().get_running_loop.call0()?;
    let when =
        if delay.is_none() { None } else { Some(loop_.method0(&names::get().time)?.plus(delay)?) };
    Ref::new(Timeout::blank(when, None)).map(Ref::into_obj)
}

/// `timeout_at(when)`.
pub(crate) fn timeout_at(args: &Args<'_>) -> Res<Obj> {
    let [when] = args.bind("timeout_at", [c"when"], 1)?;
    Ref::new(Timeout::blank(when.cloned(), None)).map(Ref::into_obj)
}
