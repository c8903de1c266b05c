//! `create_task`, the task factory, the eager one, a task class of somebody else's, `create_future`.

use std::ffi::CStr;

use crate::ffi::arguments::Args;
use crate::ffi::native::Native;
use crate::ffi::object::Attached;
use crate::ffi::spec::module_function;
use crate::ffi::trampoline::function;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::Future;
use crate::loop_state::LoopState;
use crate::task::Task;
use crate::{imports, names};

type This = Ref<LoopState>;

#[cfg(Py_3_13)]
pub(crate) const METHOD_DOC: &CStr = c"create_task($self, coro, *, name=None, context=None, eager_start=None)\n--\n\nSchedule a coroutine; return its Task.";
#[cfg(not(Py_3_13))]
pub(crate) const METHOD_DOC: &CStr = c"create_task($self, coro, *, name=None, context=None)\n--\n\nSchedule a coroutine; return its Task.";

#[cfg(Py_3_13)]
pub(crate) const FUNCTION_DOC: &CStr = c"create_task(coro, *, name=None, context=None, eager_start=None)\n--\n\nSchedule a coroutine in the running loop (mirrors asyncio.create_task).";
#[cfg(not(Py_3_13))]
pub(crate) const FUNCTION_DOC: &CStr = c"create_task(coro, *, name=None, context=None)\n--\n\nSchedule a coroutine in the running loop (mirrors asyncio.create_task).";

/// The keywords of a `create_task` call.
#[derive(Default)]
struct Keywords {
    name: Option<Obj>,
    context: Option<Obj>,
    eager_start: Option<Obj>,
    unknown: Option<Obj>,
}

impl Keywords {
    /// Before 3.13.3, `create_task()` takes a name and a context and nothing else.
    fn refuse_new_ones(&self) -> Res<()> {
        let name = match (&self.unknown, &self.eager_start) {
            (Some(unknown), _) => unknown.clone(),
            (None, Some(_)) => value::interned(c"eager_start")?,
            (None, None) => return Ok(()),
        };
        Err(crate::ffi::arguments::unexpected("create_task", &name))
    }
}

fn keywords(args: &Args<'_>) -> Keywords {
    let mut found = Keywords::default();
    for (name, item) in args.keywords() {
        let given = || Some(item).filter(|item| !item.is_none()).cloned();
        if value::text_is(&name, c"name") {
            found.name = given();
        } else if value::text_is(&name, c"context") {
            found.context = given();
        } else if value::text_is(&name, c"eager_start") {
            found.eager_start = given();
        } else if value::text_is(&name, c"coro") && args.positional().is_empty() {
            // The coroutine itself.
        } else {
            found.unknown = Some(name.clone());
        }
    }
    found
}

/// `create_task(coro, *, name=None, context=None, **kwargs)`.
#[inline]
pub(crate) fn create_task(this: &This, args: &Args<'_>) -> Res<Obj> {
    let by_name = || args.keywords().find(|(name, _)| value::text_is(name, c"coro"));
    let coro = match args.positional() {
        [coro] => coro,
        [] => match by_name() {
            Some((_, coro)) => coro,
            None => {
                return Err(Raised::type_error(
                    "create_task() missing 1 required positional argument: 'coro'",
                ));
            }
        },
        _ => {
            return Err(Raised::type_error(&format!(
                "create_task() takes 2 positional arguments but {} were given",
                args.positional().len() + 1
            )));
        }
    };
    this.check_closed()?;
    if this.task_factory.is_set() {
        return through_factory(this, coro, args);
    }
    if (this.task_class.is_set() || !this.running.get())
        && let Some(class) = current_task_class(this)?
    {
        return through_class(this, &class, coro, args);
    }
    if !args.has_keywords() {
        return Task::spawn(this, coro, None, None).map(Ref::into_obj);
    }
    let found = keywords(args);
    if found.unknown.is_none() && found.eager_start.is_none() {
        return Task::spawn(this, coro, found.name.as_ref(), found.context).map(Ref::into_obj);
    }
    create_with_new_keywords(this, coro, &found)
}

/// Keywords that came with 3.13.3, where everything is passed on.
fn create_with_new_keywords(this: &This, coro: &Obj, found: &Keywords) -> Res<Obj> {
    if let Some(unknown) = &found.unknown {
        return Err(crate::ffi::arguments::unexpected("create_task", unknown));
    }
    if imports::get().version < (3, 13, 3) {
        found.refuse_new_ones()?;
    }
    let eager = found.eager_start.as_ref().map_or(Ok(false), Obj::is_true)?;
    Task::spawn_perhaps_eagerly(this, coro, found.name.as_ref(), found.context.clone(), eager)
        .map(Ref::into_obj)
}

/// asyncio's loops make what `asyncio.tasks.Task` is. As long as that is asyncio's class or ours,
/// ours does; a class of somebody else's is theirs.
pub(crate) fn look_for_task_class(this: &This) -> Res<()> {
    let found = imports::get().tasks_module.attr_opt(&names::get().task_class)?;
    let theirs = found.filter(|class| {
        !class.is(&imports::get().task_class) && !class.is(&Task::type_cell().obj())
    });
    this.task_class.set(theirs);
    Ok(())
}

/// The same, looked for again while the loop does not run.
#[cold]
fn current_task_class(this: &This) -> Res<Option<Obj>> {
    if !this.running.get() {
        look_for_task_class(this)?;
    }
    Ok(this.task_class.get())
}

/// With the keywords that this Python's asyncio hands on.
#[cold]
fn through_class(this: &This, class: &Obj, coro: &Obj, args: &Args<'_>) -> Res<Obj> {
    let found = keywords(args);
    let passed = value::dict()?;
    value::dict_set(&passed, &value::interned(c"loop")?, this.as_obj())?;
    if imports::get().version >= (3, 13, 3) {
        for (name, item) in args.keywords() {
            if !value::text_is(&name, c"coro") {
                value::dict_set(&passed, &name, item)?;
            }
        }
        return class.call_tuple(&value::tuple(&[coro])?, Some(&passed));
    }
    found.refuse_new_ones()?;
    let name = found.name.unwrap_or_else(Obj::none);
    value::dict_set(&passed, &value::interned(c"name")?, &name)?;
    if let Some(context) = &found.context {
        value::dict_set(&passed, &names::get().context, context)?;
    }
    class.call_tuple(&value::tuple(&[coro])?, Some(&passed))
}

fn through_factory(this: &This, coro: &Obj, args: &Args<'_>) -> Res<Obj> {
    let found = keywords(args);
    if this.tasks_are_eager.get()
        && found.unknown.is_none()
        && (found.eager_start.is_none() || imports::get().version >= (3, 13, 3))
    {
        return eagerly(this, coro, &found);
    }
    let Some(factory) = this.task_factory.get() else { return Ok(Obj::none()) };
    // 3.13.3 began to pass everything on; before, other keywords were errors.
    if imports::get().version < (3, 13, 3) {
        found.refuse_new_ones()?;
        return through_old_factory(this, &factory, coro, &found);
    }
    let passed = value::dict()?;
    for (name, item) in args.keywords() {
        if !value::text_is(&name, c"coro") {
            value::dict_set(&passed, &name, item)?;
        }
    }
    factory.call_tuple(&value::tuple(&[this.as_obj(), coro])?, Some(&passed))
}

/// What our own eager factory makes of it.
fn eagerly(this: &This, coro: &Obj, found: &Keywords) -> Res<Obj> {
    let eager = found.eager_start.as_ref().map_or(Ok(true), Obj::is_true)?;
    Task::spawn_perhaps_eagerly(this, coro, found.name.as_ref(), found.context.clone(), eager)
        .map(Ref::into_obj)
}

/// `eager_task_factory(loop, coro, *, eager_start=True, **kwargs)`.
fn eager_task_factory(args: &Args<'_>) -> Res<Obj> {
    let [loop_, coro] = args.positional() else {
        return Err(Raised::type_error(&format!(
            "eager_task_factory() takes 2 positional arguments but {} were given",
            args.positional().len()
        )));
    };
    let found = keywords(args);
    if let Some(unknown) = &found.unknown {
        return Err(crate::ffi::arguments::unexpected("eager_task_factory", unknown));
    }
    match Ref::<LoopState>::downcast(loop_) {
        Some(native) => {
            native.check_closed()?;
            eagerly(native, coro, &found)
        }
        None => on_foreign_loop(loop_, coro, args, &found),
    }
}

fn on_foreign_loop(loop_: &Obj, coro: &Obj, args: &Args<'_>, found: &Keywords) -> Res<Obj> {
    let passed = value::dict()?;
    for (name, item) in args.keywords() {
        value::dict_set(&passed, &name, item)?;
    }
    value::dict_set(&passed, &value::interned(c"loop")?, loop_)?;
    let eager = found.eager_start.clone().unwrap_or_else(|| Obj::bool(true));
    value::dict_set(&passed, &value::interned(c"eager_start")?, &eager)?;
    Task::type_cell().obj().call_tuple(&value::tuple(&[coro])?, Some(&passed))
}

static EAGER: Attached<Obj> = Attached::new();

/// Makes `eager_task_factory`, which loops know again.
pub(crate) fn build_eager_task_factory() -> Res<Obj> {
    let made = module_function(function(
        c"eager_task_factory",
        c"eager_task_factory(loop, coro, *, eager_start=True, **kwargs)\n--\n\nA task factory whose tasks start at once (mirrors asyncio.eager_task_factory).",
        eager_task_factory,
    ))?;
    EAGER.set(made.clone());
    Ok(made)
}

fn through_old_factory(this: &This, factory: &Obj, coro: &Obj, found: &Keywords) -> Res<Obj> {
    let task = match &found.context {
        None => factory.call(&[this.as_obj(), coro])?,
        Some(context) => {
            let passed = value::dict()?;
            value::dict_set(&passed, &names::get().context, context)?;
            factory.call_tuple(&value::tuple(&[this.as_obj(), coro])?, Some(&passed))?
        }
    };
    if cfg!(Py_3_12) {
        // As asyncio: whatever the name is, even None.
        let name = found.name.clone().unwrap_or_else(Obj::none);
        if cfg!(Py_3_13) || found.name.is_some() {
            task.method1(&names::get().set_name, &name)?;
        }
        return Ok(task);
    }
    if let Some(name) = &found.name {
        set_name_afterwards(&task, name)?;
    }
    Ok(task)
}

/// Before 3.13 a task is named once it is made, if it can be.
pub(crate) fn set_name_afterwards(task: &Obj, name: &Obj) -> Res<()> {
    match task.attr_opt(&names::get().set_name)? {
        Some(set_name) => set_name.call1(name).map(drop),
        None => {
            let text = value::str(
                "Task.set_name() was added in Python 3.8, the method support will be mandatory for third-party task implementations since 3.13.",
            )?;
            let category = crate::task::builtin("DeprecationWarning")?;
            imports::get().warn.call(&[&text, &category, &value::int(3)?]).map(drop)
        }
    }
}

/// `set_task_factory(factory)`.
pub(crate) fn set_task_factory(this: &This, factory: &Obj) -> Res<Obj> {
    this.tasks_are_eager.set(EAGER.get().is(factory));
    if factory.is_none() {
        this.task_factory.set(None);
    } else if factory.is_callable() {
        this.task_factory.set(Some(factory.clone()));
    } else {
        return Err(Raised::type_error("task factory must be a callable or None"));
    }
    Ok(Obj::none())
}

/// `create_future()`.
#[inline]
pub(crate) fn create_future(this: &This) -> Res<Obj> {
    Ref::<Future>::create(this).map(Ref::into_obj)
}

/// `create_task(coro, *, name=None, context=None)`: in the running loop, without asking Python
/// which that is while it is ours and nobody replaced its `create_task`.
pub(crate) fn create_task_in_running_loop(args: &Args<'_>) -> Res<Obj> {
    if let (Some(loop_), [coro]) = (super::run::running(), args.positional())
        && !loop_.create_task_replaced.get()
    {
        let found = keywords(args);
        if found.unknown.is_none() && found.eager_start.is_none() && !loop_.task_class.is_set() {
            loop_.check_closed()?;
            if loop_.task_factory.is_set() {
                return through_factory(&loop_, coro, args);
            }
            return Task::spawn(&loop_, coro, found.name.as_ref(), found.context)
                .map(Ref::into_obj);
        }
    }
    let passed = value::dict()?;
    for (name, item) in args.keywords() {
        value::dict_set(&passed, &name, item)?;
    }
    imports::get().create_task.call_tuple(&value::tuple_of(args.positional())?, Some(&passed))
}
