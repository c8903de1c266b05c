//! The Python face of `TaskGroup`.

use pyo3::ffi as c;

use super::{TaskGroup, dialect, exit, is_base_error};
use crate::ffi::arguments::{self, Args};
use crate::ffi::native::{Native, allocate, body_offset, class_of};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{
    fast, generic_dict, getter, init, new, noargs, onearg, property, unary,
};
use crate::ffi::{Obj, Raised, Ref, Res, value};

use crate::immediate::{Immediate, exception_given};
use crate::task::Task;
use crate::{imports, names};

type This = Ref<TaskGroup>;

/// Makes the type.
pub(crate) fn build() -> Res<Obj> {
    dialect::init()?;
    exit::build()?;
    let cancel = dialect::get().has_cancel.then(|| {
        noargs(c"cancel", c"Cancel the tasks, and what is left of the block.", |this: &This| {
            this.cancel()?;
            Ok(Obj::none())
        })
    });
    let create_task_doc = if dialect::get().hands_keywords_on {
        c"create_task($self, coro, **kwargs)\n--\n\nMake a task in this group and return it."
    } else {
        c"create_task($self, coro, *, name=None, context=None)\n--\n\nMake a task in this group and return it."
    };
    TypeSpec::new::<TaskGroup>(
        c"rulip._rulip.TaskGroup",
        c"TaskGroup()\n--\n\nTasks that end together (mirrors asyncio.TaskGroup).",
    )
    .subclassable()
    .weakrefs_at(body_offset::<TaskGroup>(std::mem::offset_of!(TaskGroup, weakrefs)))
    .dict_at(body_offset::<TaskGroup>(std::mem::offset_of!(TaskGroup, dict)))
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, TaskGroup::blank())))
    .slot(c::Py_tp_init, init(initialise))
    .slot(c::Py_tp_repr, unary(describe))
    .methods([
        noargs(c"__aenter__", c"Begin the group.", |this: &This| {
            let work = |this: &Obj, _: Option<&Obj>, _: Option<&Obj>| of(this)?.enter();
            Immediate::make(c"TaskGroup.__aenter__", work, this.to_obj(), None, None)
        }),
        fast(
            c"__aexit__",
            c"__aexit__($self, et, exc, tb)\n--\n\nWait for the tasks.",
            |this: &This, args: &Args<'_>| {
                let [exc_type, exc] = exception_given(args)?;
                exit::Exit::make(this, exc_type, exc)
            },
        ),
        fast(c"create_task", create_task_doc, create_task),
        noargs(c"_abort", c"Cancel the tasks.", |this: &This| {
            this.abort()?;
            Ok(Obj::none())
        }),
        onearg(c"_on_task_done", c"A task of the group is done.", |this: &This, task: &Obj| {
            this.finish_task(task)?;
            Ok(Obj::none())
        }),
        onearg(c"_is_base_error", c"Whether it is raised as it is.", |_: &This, exc: &Obj| {
            is_base_error(exc).map(Obj::bool)
        }),
    ])
    .methods(cancel)
    .attributes([
        getter(c"__class__", c"asyncio.TaskGroup", |this: &This| {
            class_of(this, &imports::get().task_group_class)
        }),
        getter(c"_loop", c"The loop it was entered on.", |this: &This| {
            Ok(this.loop_.get_or_none())
        }),
        getter(c"_parent_task", c"The task that entered.", |this: &This| {
            Ok(this.parent.get_or_none())
        }),
        getter(c"_tasks", c"The tasks that are not done, as a new set.", |this: &This| {
            this.members.to_set()
        }),
        getter(c"_errors", c"What the tasks failed with.", |this: &This| {
            if this.errors_gone.get() { Ok(Obj::none()) } else { this.errors() }
        }),
        getter(c"_base_error", c"What is raised as it is.", |this: &This| {
            Ok(this.base_error.get_or_none())
        }),
        getter(c"_on_completed_fut", c"What the parent waits for.", |this: &This| {
            Ok(this.on_completed.get_or_none())
        }),
        property(
            c"_entered",
            c"Whether the block was entered.",
            |this: &This| Ok(Obj::bool(this.entered.get())),
            |this: &This, value: Option<&Obj>| truth(value).map(|value| this.entered.set(value)),
        ),
        property(
            c"_exiting",
            c"Whether the block has ended.",
            |this: &This| Ok(Obj::bool(this.exiting.get())),
            |this: &This, value: Option<&Obj>| truth(value).map(|value| this.exiting.set(value)),
        ),
        property(
            c"_aborting",
            c"Whether the tasks were cancelled.",
            |this: &This| Ok(Obj::bool(this.aborting.get())),
            |this: &This, value: Option<&Obj>| truth(value).map(|value| this.aborting.set(value)),
        ),
        property(
            c"_parent_cancel_requested",
            c"Whether the group cancelled its parent.",
            |this: &This| Ok(Obj::bool(this.parent_cancel_requested.get())),
            |this: &This, value: Option<&Obj>| {
                truth(value).map(|value| this.parent_cancel_requested.set(value))
            },
        ),
        generic_dict(),
    ])
    .build(TaskGroup::type_cell())
}

fn of(obj: &Obj) -> Res<&This> {
    This::downcast(obj).ok_or_else(|| Raised::type_error("a TaskGroup was expected"))
}

fn truth(value: Option<&Obj>) -> Res<bool> {
    match value {
        Some(value) => value.is_true(),
        None => Err(Raised::type_error("this attribute cannot be deleted")),
    }
}

fn initialise(_this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let given = value::tuple_items(args).len();
    if given > 0 {
        return Err(Raised::type_error(&format!(
            "TaskGroup.__init__() takes 1 positional argument but {} were given",
            given + 1
        )));
    }
    match kwargs.map(value::dict_items).unwrap_or_default().first() {
        Some((name, _)) => Err(arguments::unexpected("TaskGroup.__init__", name)),
        None => Ok(()),
    }
}

fn describe(this: &This) -> Res<Obj> {
    let mut text = String::from("<TaskGroup");
    if !this.members.is_empty() {
        text.push_str(&format!(" tasks={}", this.members.len()));
    }
    if this.has_errors()? {
        text.push_str(&format!(" errors={}", value::len(&this.errors()?)?));
    }
    if this.aborting.get() {
        text.push_str(" cancelling");
    } else if this.entered.get() {
        text.push_str(" entered");
    }
    text.push('>');
    value::str(&text)
}

/// The keywords of `create_task`, those that are None left out.
#[derive(Default)]
struct Keywords {
    coro: Option<Obj>,
    name: Option<Obj>,
    context: Option<Obj>,
    other: Option<Obj>,
}

fn keywords(args: &Args<'_>) -> Keywords {
    let mut found = Keywords::default();
    for (name, item) in args.keywords() {
        let given = || Some(item).filter(|item| !item.is_none()).cloned();
        if value::text_is(&name, c"name") {
            found.name = given();
        } else if value::text_is(&name, c"context") {
            found.context = given();
        } else if value::text_is(&name, c"coro") && args.positional().is_empty() {
            found.coro = Some(item.clone());
        } else {
            found.other = Some(name.clone());
        }
    }
    found
}

/// `create_task(coro, *, name=None, context=None)`, from 3.14 on with any keywords.
fn create_task(this: &This, args: &Args<'_>) -> Res<Obj> {
    let mut found = if args.has_keywords() { keywords(args) } else { Keywords::default() };
    let coro = match args.positional() {
        [coro] => coro.clone(),
        [] => match found.coro.take() {
            Some(coro) => coro,
            None => {
                return Err(Raised::type_error(
                    "TaskGroup.create_task() missing 1 required positional argument: 'coro'",
                ));
            }
        },
        more => {
            return Err(Raised::type_error(&format!(
                "TaskGroup.create_task() takes 2 positional arguments but {} were given",
                more.len() + 1
            )));
        }
    };
    if let Some(name) = &found.other
        && !dialect::get().hands_keywords_on
    {
        return Err(arguments::unexpected("TaskGroup.create_task", name));
    }
    this.check_open(&coro)?;
    if found.other.is_none()
        && let Some(loop_) = this.loop_.get_native()
        && loop_.makes_plain_tasks()
        && this.watches_natively()?
    {
        let task = Task::spawn(&loop_, &coro, found.name.as_ref(), found.context)?;
        this.adopt(&task);
        return Ok(task.into_obj());
    }
    let task = create_through_loop(this, &coro, args, &found)?;
    this.adopt_foreign(&task)?;
    Ok(task)
}

/// Through `loop.create_task()`, called as this Python calls it.
fn create_through_loop(this: &This, coro: &Obj, args: &Args<'_>, found: &Keywords) -> Res<Obj> {
    let (names, dialect) = (names::get(), dialect::get());
    let passed = value::dict()?;
    if dialect.hands_keywords_on {
        for (name, item) in args.keywords() {
            if !value::text_is(&name, c"coro") {
                value::dict_set(&passed, &name, item)?;
            }
        }
    } else {
        if dialect.hands_name_on {
            let name = found.name.clone().unwrap_or_else(Obj::none);
            value::dict_set(&passed, &value::interned(c"name")?, &name)?;
        }
        if let Some(context) = &found.context {
            value::dict_set(&passed, &names.context, context)?;
        }
    }
    let create = this.loop_.get_or_none().attr(&names.create_task)?;
    let task = create.call_tuple(&value::tuple(&[coro])?, Some(&passed))?;
    if !dialect.hands_keywords_on
        && !dialect.hands_name_on
        && let Some(name) = &found.name
    {
        crate::event_loop::tasks::set_name_afterwards(&task, name)?;
    }
    Ok(task)
}
