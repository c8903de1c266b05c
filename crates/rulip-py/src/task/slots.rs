//! The Python face of `Task`.

use std::ffi::CStr;

use pyo3::ffi as c;

use super::{Task, check_coroutine, registry, step};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, body_offset, class_of};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{
    class_call, fast, getter, init, new, noargs, onearg, property, unary,
};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::Future;
use crate::future::slots::{cancel_message, class_getitem};
use crate::imports;
use crate::names;

#[cfg(Py_3_12)]
const DOC: &CStr = c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\nA coroutine driven by the loop (mirrors asyncio.Task).";
#[cfg(not(Py_3_12))]
const DOC: &CStr = c"Task(coro, *, loop=None, name=None, context=None)\n--\n\nA coroutine driven by the loop (mirrors asyncio.Task).";

/// Makes the type; after `Future`'s.
pub(crate) fn build() -> Res<Obj> {
    let future_at = std::mem::offset_of!(Task, future);
    TypeSpec::new::<Task>(
        c"rulip._rulip.Task",
        DOC,
    )
    .base(Future::type_cell())
    .subclassable()
    .weakrefs_at(body_offset::<Task>(future_at + Future::WEAKREFS_AT))
    .dict_at(body_offset::<Task>(future_at + Future::DICT_AT))
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| crate::ffi::native::allocate(kind, Task::blank())))
    .slot(c::Py_tp_init, init(initialise))
    .called(class_call(called))
    .slot(c::Py_tp_repr, unary(|this: &Ref<Task>| {
        this.future_ref().ensure_initialised()?;
        imports::get().task_repr.call1(this.as_obj())
    }))
    .methods([
        fast(c"cancel", c"cancel($self, msg=None)\n--\n\nRequest that the task cancel itself.", |this: &Ref<Task>, args: &Args<'_>| {
            Ok(Obj::bool(Task::request_cancel(this, cancel_message(args)?)?))
        }),
        noargs(c"cancelling", c"Return how many cancellations were requested and not taken back.", |this: &Ref<Task>| {
            value::int(i64::from(this.cancel_requests.get()))
        }),
        noargs(c"uncancel", c"Take one cancellation request back; return how many remain.", |this: &Ref<Task>| {
            value::int(i64::from(this.uncancel()))
        }),
        noargs(c"get_coro", c"Return the coroutine.", |this: &Ref<Task>| Ok(this.coro.get_or_none())),
        noargs(c"get_context", c"Return the context.", |this: &Ref<Task>| Ok(this.context())),
        noargs(c"get_name", c"Return the name.", |this: &Ref<Task>| this.name()),
        onearg(c"set_name", c"set_name($self, value, /)\n--\n\nSet the name.", |this: &Ref<Task>, name: &Obj| {
            this.set_name(name)?;
            Ok(Obj::none())
        }),
        onearg(c"set_result", c"set_result($self, result, /)\n--\n\nNot supported by tasks.", |_: &Ref<Task>, _: &Obj| {
            Err(Raised::runtime_error("Task does not support set_result operation"))
        }),
        onearg(c"set_exception", c"set_exception($self, exception, /)\n--\n\nNot supported by tasks.", |_: &Ref<Task>, _: &Obj| {
            Err(Raised::runtime_error("Task does not support set_exception operation"))
        }),
        fast(c"get_stack", c"get_stack($self, *, limit=None)\n--\n\nReturn the frames of the task's coroutine.", |this: &Ref<Task>, args: &Args<'_>| {
            let limit = keyword(args, "get_stack", &[c"limit"])?;
            imports::get().task_get_stack.call(&[this.as_obj(), &limit[0].clone().unwrap_or_else(Obj::none)])
        }),
        fast(c"print_stack", c"print_stack($self, *, limit=None, file=None)\n--\n\nPrint the stack or the traceback of the task's coroutine.", |this: &Ref<Task>, args: &Args<'_>| {
            let given = keyword(args, "print_stack", &[c"limit", c"file"])?;
            let [limit, file] = &given[..] else { return Ok(Obj::none()) };
            let none = Obj::none();
            imports::get().task_print_stack.call(&[
                this.as_obj(),
                limit.as_ref().unwrap_or(&none),
                file.as_ref().unwrap_or(&none),
            ])
        }),
        fast(c"task_wakeup", c"Step the task: what it awaited is done.", |this: &Ref<Task>, args: &Args<'_>| {
            step::wakeup(this, args.positional().first())?;
            Ok(Obj::none())
        }),
        class_getitem(),
    ])
    .attributes([
        getter(c"__class__", c"asyncio.Task", |this: &Ref<Task>| class_of(this, &imports::get().task_class)),
        getter(c"_coro", c"The coroutine.", |this: &Ref<Task>| Ok(this.coro.get_or_none())),
        getter(c"_context", c"The context.", |this: &Ref<Task>| Ok(this.context())),
        getter(c"_fut_waiter", c"What the task awaits.", |this: &Ref<Task>| {
            Ok(this.awaited()?.unwrap_or_else(Obj::none))
        }),
        getter(c"_must_cancel", c"Whether it is cancelled at its next step.", |this: &Ref<Task>| {
            Ok(Obj::bool(this.must_cancel.get()))
        }),
        getter(c"_num_cancels_requested", c"How many cancellations were requested.", |this: &Ref<Task>| {
            value::int(i64::from(this.cancel_requests.get()))
        }),
        property(c"_log_destroy_pending", c"Whether to report it if it dies pending.", |this: &Ref<Task>| {
            Ok(Obj::bool(this.log_destroy_pending.get()))
        }, |this: &Ref<Task>, value: Option<&Obj>| {
            let Some(value) = value else {
                    let class = super::builtin("AttributeError")?;
                    return Err(Raised::new(&class, "cannot delete attribute"));
                };
                this.log_destroy_pending.set(value.is_true()?);
            Ok(())
        }),
        crate::ffi::trampoline::generic_dict(),
    ])
    .build(Task::type_cell())
}

/// Positional-or-keyword arguments by name.
fn keyword(args: &Args<'_>, function: &str, wanted: &[&CStr]) -> Res<Vec<Option<Obj>>> {
    if !args.positional().is_empty() {
        return Err(Raised::type_error(&format!("{function}() takes no positional arguments")));
    }
    let mut found = vec![None; wanted.len()];
    for (name, item) in args.keywords() {
        match wanted.iter().position(|candidate| value::text_is(&name, candidate)) {
            Some(i) => found[i] = Some(item.clone()),
            None => return Err(crate::ffi::arguments::unexpected(function, &name)),
        }
    }
    Ok(found)
}

/// The arguments of `Task(coro, *, loop=None, name=None, context=None, eager_start=False)`.
#[derive(Default)]
struct Given {
    coro: Option<Obj>,
    loop_: Option<Obj>,
    name: Option<Obj>,
    context: Option<Obj>,
    eager: bool,
}

impl Given {
    fn by_position(positional: &[Obj]) -> Res<Self> {
        match positional {
            [] => Ok(Self::default()),
            [coro] => Ok(Self { coro: Some(coro.clone()), ..Self::default() }),
            _ => Err(Raised::type_error("Task() takes exactly 1 positional argument")),
        }
    }

    fn by_name(&mut self, name: &Obj, item: &Obj) -> Res<()> {
        let given = || Some(item.clone()).filter(|item| !item.is_none());
        if value::text_is(name, c"loop") {
            self.loop_ = given();
        } else if value::text_is(name, c"name") {
            self.name = given();
        } else if value::text_is(name, c"context") {
            self.context = given();
        } else if cfg!(Py_3_12) && value::text_is(name, c"eager_start") {
            self.eager = item.is_true()?;
        } else if value::text_is(name, c"coro") && self.coro.is_none() {
            self.coro = Some(item.clone());
        } else {
            return Err(crate::ffi::arguments::unexpected("Task", name));
        }
        Ok(())
    }
}

/// `Task(...)` itself, without a tuple and a dict of its arguments: some servers make one per request.
fn called(args: &Args<'_>) -> Res<Obj> {
    let mut given = Given::by_position(args.positional())?;
    for (name, item) in args.keywords() {
        given.by_name(&name, item)?;
    }
    let this = Ref::new(Task::blank())?;
    begin(&this, given)?;
    Ok(this.into_obj())
}

fn initialise(this: &Ref<Task>, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let mut given = Given::by_position(&value::tuple_items(args))?;
    for (name, item) in kwargs.map(value::dict_items).unwrap_or_default() {
        given.by_name(&name, &item)?;
    }
    begin(this, given)
}

fn begin(this: &Ref<Task>, given: Given) -> Res<()> {
    let Some(coro) = given.coro else {
        return Err(Raised::type_error("Task() missing required argument 'coro' (pos 1)"));
    };
    if let Err(raised) = check_coroutine(&coro) {
        this.log_destroy_pending.set(false);
        return Err(raised);
    }
    if imports::get().version < (3, 15, 0) {
        // Made anew over an old self: the old loop must not go on listing it.
        this.unregister();
    }
    this.future.initialise(this.as_obj(), given.loop_.as_ref())?;
    this.prepare(&coro, given.name.as_ref(), given.context)?;
    let native = this.future.native_loop();
    let runs = || match &native {
        Some(loop_) => Ok(loop_.running.get()),
        None => this.future.loop_obj()?.method0(&names::get().is_running)?.is_true(),
    };
    if given.eager && runs()? {
        let started = step::start_eagerly(this);
        if started.is_err() && !this.future.is_done() && imports::get().version >= (3, 15, 0) {
            this.log_destroy_pending.set(false);
        }
        return started;
    }
    step::start(this, native.as_ref())
}

/// `_pending_tasks(loop)`: for `asyncio.all_tasks()`.
pub(crate) fn pending_tasks(args: &Args<'_>) -> Res<Obj> {
    let Some(loop_) =
        args.positional().first().and_then(Ref::<crate::loop_state::LoopState>::downcast)
    else {
        return Err(Raised::type_error("_pending_tasks() takes a rulip loop"));
    };
    value::list(registry::pending(loop_))
}
