//! The Python face of the queues: methods, attributes, classes.

use pyo3::ffi as c;

use super::{
    OVERRIDABLE, Queue, TYPE, This, has_no_items, has_no_place, len, operations, over, overrides,
};
use crate::ffi::arguments::Args;
use crate::ffi::native::{TypeCell, allocate};
use crate::ffi::spec::public_class;
use crate::ffi::trampoline::{fast, getter, init, new, noargs, onearg, property, unary};
use crate::ffi::{Obj, Ref, Res, value};
use crate::future::slots::class_getitem;
use crate::locks::loop_bound::{self, required};
use crate::locks::waiters;
use crate::{imports, names};

pub(super) static PUBLIC: TypeCell = TypeCell::new();
static PUBLIC_PRIORITY: TypeCell = TypeCell::new();
static PUBLIC_LIFO: TypeCell = TypeCell::new();

fn number(size: usize) -> Res<Obj> {
    value::uint(u64::try_from(size).unwrap_or(u64::MAX))
}

/// What `_format()` says, unless that is overridden.
fn described(this: &This) -> Res<String> {
    let mut text = format!("maxsize={}", this.limit.get()?.repr()?);
    let items = if overrides(this)? & over::QUEUE != 0 {
        let items = this.as_obj().attr_opt(&names::get().queue_private)?;
        match items {
            Some(items) if items.is_true()? => value::iterate(&items)?,
            _ => Vec::new(),
        }
    } else {
        this.storage.listed()?
    };
    if !items.is_empty() {
        text += &format!(" _queue={}", value::list(items)?.repr()?);
    }
    for (name, waiters) in [("_getters", &this.getters), ("_putters", &this.putters)] {
        let waiting = waiters.len()?;
        if waiting > 0 {
            text += &format!(" {name}[{waiting}]");
        }
    }
    if this.unfinished.get() != 0 {
        text += &format!(" tasks={}", this.unfinished.get());
    }
    if this.is_shut_down.get() {
        text += " shutdown";
    }
    Ok(text)
}

/// `self._format()`.
fn format(this: &This) -> Res<String> {
    if overrides(this)? & over::FORMAT != 0 {
        let text = this.as_obj().method0(&names::get().format_private)?;
        return value::text(&value::str_of(&text)?);
    }
    described(this)
}

fn repr(this: &This) -> Res<Obj> {
    let (name, address) = (class_name(this)?, this.as_obj().as_ptr());
    value::str(&format!("<{name} at {address:p} {}>", format(this)?))
}

fn str(this: &This) -> Res<Obj> {
    value::str(&format!("<{} {}>", class_name(this)?, format(this)?))
}

fn class_name(this: &This) -> Res<String> {
    value::text(&this.as_obj().type_obj().attr(&names::get().class_name)?)
}

/// `_wakeup_next(waiters)`, with a deque from anywhere.
fn wakeup_next(_this: &This, waiting: &Obj) -> Res<Obj> {
    let names = names::get();
    while waiting.is_true()? {
        let waiter = waiting.method0(&names.popleft)?;
        if !waiters::is_done(&waiter)? {
            waiters::wake(&waiter, Obj::none)?;
            break;
        }
    }
    Ok(Obj::none())
}

fn state(this: &This) -> Res<Obj> {
    let mut attributes =
        vec!["_maxsize", "_getters", "_putters", "_unfinished_tasks", "_finished", "_queue"];
    if imports::get().queue_shut_down.is_some() {
        attributes.push("_is_shutdown");
    }
    loop_bound::state(this, &attributes)
}

fn methods() -> Vec<c::PyMethodDef> {
    let mut methods = vec![
        noargs(c"qsize", c"Return how many items there are.", |this: &This| {
            number(len(this, overrides(this)?)?)
        }),
        noargs(c"empty", c"Return True if there are no items.", |this: &This| {
            Ok(Obj::bool(has_no_items(this, overrides(this)?)?))
        }),
        noargs(c"full", c"Return True if there are maxsize items.", |this: &This| {
            Ok(Obj::bool(has_no_place(this, overrides(this)?)?))
        }),
        fast(
            c"put",
            c"put($self, item)\n--\n\nWait for a place, and put the item.",
            |this: &This, args: &Args<'_>| {
                let [item] = args.bind("Queue.put", [c"item"], 1)?;
                operations::put(this, item.cloned().unwrap_or_else(Obj::none))
            },
        ),
        fast(
            c"put_nowait",
            c"put_nowait($self, item)\n--\n\nPut the item, or raise QueueFull.",
            |this: &This, args: &Args<'_>| {
                let [item] = args.bind("Queue.put_nowait", [c"item"], 1)?;
                super::put_now(this, overrides(this)?, item.cloned().unwrap_or_else(Obj::none))?;
                Ok(Obj::none())
            },
        ),
        noargs(c"get", c"Wait for an item, and return it.", operations::get),
        noargs(c"get_nowait", c"Return an item, or raise QueueEmpty.", |this: &This| {
            super::get_now(this, overrides(this)?)
        }),
        noargs(c"task_done", c"Report that an item is done with.", |this: &This| {
            this.task_done()?;
            Ok(Obj::none())
        }),
        noargs(c"join", c"Wait until all items are done with.", operations::join),
        fast(c"_init", c"Begin without items.", |this: &This, args: &Args<'_>| {
            args.bind("Queue._init", [c"maxsize"], 1)?;
            this.storage.begin()?;
            Ok(Obj::none())
        }),
        fast(c"_put", c"Store an item.", |this: &This, args: &Args<'_>| {
            let item = args.positional().first().cloned().unwrap_or_else(Obj::none);
            this.storage.put(this, item)?;
            Ok(Obj::none())
        }),
        fast(c"_get", c"Take an item.", |this: &This, _: &Args<'_>| this.storage.get(this)),
        onearg(c"_wakeup_next", c"Wake the first that waits.", wakeup_next),
        noargs(c"_format", c"What repr() says.", |this: &This| value::str(&described(this)?)),
        noargs(c"__getstate__", c"For copying.", state),
        class_getitem(),
    ];
    if imports::get().queue_shut_down.is_some() {
        methods.push(fast(
            c"shutdown",
            c"shutdown($self, immediate=False)\n--\n\nLet put() and get() raise QueueShutDown from now on.",
            |this: &This, args: &Args<'_>| {
                let [immediate] = args.bind("Queue.shutdown", [c"immediate"], 0)?;
                let immediately = immediate.map_or(Ok(false), Obj::is_true)?;
                Queue::shut_down(this, immediately)?;
                Ok(Obj::none())
            },
        ));
    }
    methods
}

fn attributes() -> Vec<c::PyGetSetDef> {
    let mut attributes = vec![
        getter(c"maxsize", c"How many items are allowed; 0: any number.", |this: &This| {
            this.limit.get()
        }),
        property(
            c"_maxsize",
            c"How many items are allowed; 0: any number.",
            |this: &This| this.limit.get(),
            |this: &This, value: Option<&Obj>| {
                this.limit.set(required(value)?);
                Ok(())
            },
        ),
        property(
            c"_queue",
            c"The items.",
            |this: &This| this.storage.show(this),
            |this: &This, value: Option<&Obj>| {
                this.storage.replace(value);
                Ok(())
            },
        ),
        property(
            c"_getters",
            c"Who waits for an item.",
            |this: &This| this.getters.show(),
            |this: &This, value: Option<&Obj>| {
                this.getters.replace(required(value)?);
                Ok(())
            },
        ),
        property(
            c"_putters",
            c"Who waits for a place.",
            |this: &This| this.putters.show(),
            |this: &This, value: Option<&Obj>| {
                this.putters.replace(required(value)?);
                Ok(())
            },
        ),
        property(
            c"_unfinished_tasks",
            c"How many items are not done with.",
            |this: &This| value::int(this.unfinished.get()),
            |this: &This, value: Option<&Obj>| {
                this.unfinished.set(value::as_i64(required(value)?)?);
                Ok(())
            },
        ),
        property(
            c"_finished",
            c"The event that join() waits for.",
            |this: &This| Ok(this.finished()?.into_obj()),
            |this: &This, value: Option<&Obj>| {
                this.finished.set(Ref::try_from_obj(required(value)?.clone()));
                Ok(())
            },
        ),
    ];
    if imports::get().queue_shut_down.is_some() {
        attributes.push(property(
            c"_is_shutdown",
            c"Whether shutdown() was called.",
            |this: &This| Ok(Obj::bool(this.is_shut_down.get())),
            |this: &This, value: Option<&Obj>| {
                this.is_shut_down.set(required(value)?.is_true()?);
                Ok(())
            },
        ));
    }
    attributes
}

pub(crate) fn build() -> Res<[(&'static str, Obj); 3]> {
    let native = loop_bound::spec::<Queue>(
        c"rulip._rulip.Queue",
        c"Queue(maxsize=0)\n--\n\nItems handed from task to task (mirrors asyncio.Queue).",
    )
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Queue::blank(kind))))
    .slot(c::Py_tp_init, init(Queue::initialise))
    .slot(c::Py_tp_repr, unary(repr))
    .slot(c::Py_tp_str, unary(str))
    .methods(methods())
    .attributes(attributes())
    .build(&TYPE)?;
    let imports = imports::get();
    let queue = public_class("Queue", &[&native, &imports.queue_class], Some(&TYPE), &PUBLIC)?;
    OVERRIDABLE.set(super::overridable()?);
    let bases = [&queue, &imports.priority_queue_class];
    let priority = public_class("PriorityQueue", &bases, None, &PUBLIC_PRIORITY)?;
    let lifo = public_class("LifoQueue", &[&queue, &imports.lifo_queue_class], None, &PUBLIC_LIFO)?;
    Ok([("Queue", queue), ("PriorityQueue", priority), ("LifoQueue", lifo)])
}
