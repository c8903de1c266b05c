//! The list of `_rulip.EventLoop`'s methods; their bodies live in the topics.

use pyo3::ffi as c;

use super::{run, schedule, tasks, watch_fd};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, allocate};
use crate::ffi::object::Attached;
use crate::ffi::spec::{TypeSpec, own_methods};
use crate::ffi::trampoline::{fast, hash, init, new, noargs, onearg, property, setattr};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::loop_state::LoopState;
use crate::task::registry;
use crate::transport::{
    datagram_slots, file_sending, listener, pipe_slots, slots as transport_slots,
};
use crate::watcher::Side;

type This = Ref<LoopState>;

/// Makes the type.
pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<LoopState>(
        c"rulip._rulip.EventLoop",
        c"The native half of rulip.Loop (mirrors asyncio.AbstractEventLoop).",
    )
    .subclassable()
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, LoopState::new()?)))
    .slot(c::Py_tp_init, init(initialise))
    .slot(c::Py_tp_hash, hash(hash_of))
    .slot(c::Py_tp_setattro, setattr(note_attribute))
    .methods([
        fast(c"call_soon", c"call_soon($self, callback, *args, context=None)\n--\n\nSchedule a callback for the next turn.", schedule::call_soon),
        fast(c"call_soon_threadsafe", c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nLike call_soon(), from any thread.", schedule::call_soon_threadsafe),
        fast(c"call_later", c"call_later($self, delay, callback, *args, context=None)\n--\n\nSchedule a callback for `delay` seconds from now.", schedule::call_later),
        fast(c"call_at", c"call_at($self, when, callback, *args, context=None)\n--\n\nSchedule a callback for the loop time `when`, in seconds.", schedule::call_at),
        onearg(c"_timer_handle_cancelled", c"Told by timers of another making; ours leave the schedule themselves.", |_: &This, _: &Obj| {
            Ok(Obj::none())
        }),
        onearg(c"_add_callback", c"Queue an existing Handle.", schedule::add_callback),
        noargs(c"time", c"Return the loop's time: seconds on the monotonic clock.", |_: &This| {
            value::float(rulip_engine::sys::clock::now().as_secs())
        }),
        noargs(c"create_future", c"Return a new Future of this loop.", tasks::create_future),
        fast(c"create_task", tasks::METHOD_DOC, tasks::create_task),
        fast(c"set_task_factory", c"set_task_factory($self, factory)\n--\n\nSet what create_task() calls, or None.", |this: &This, args: &Args<'_>| {
            let [factory] = args.bind("set_task_factory", [c"factory"], 1)?;
            factory.map_or_else(|| Ok(Obj::none()), |factory| tasks::set_task_factory(this, factory))
        }),
        noargs(c"get_task_factory", c"Return the task factory, or None.", |this: &This| Ok(this.task_factory.get_or_none())),
        noargs(c"get_debug", c"Return whether debug mode is on.", |this: &This| Ok(Obj::bool(this.debug.get()))),
        fast(c"set_debug", c"set_debug($self, enabled)\n--\n\nSwitch debug mode.", |this: &This, args: &Args<'_>| {
            let [enabled] = args.bind("set_debug", [c"enabled"], 1)?;
            this.debug.set(enabled.map_or(Ok(false), Obj::is_true)?);
            Ok(Obj::none())
        }),
        noargs(c"stop", c"Stop after the current turn.", |this: &This| {
            this.stopping.set(true);
            Ok(Obj::none())
        }),
        noargs(c"is_running", c"Return whether the loop runs.", |this: &This| Ok(Obj::bool(this.running.get()))),
        noargs(c"is_closed", c"Return whether the loop was closed.", |this: &This| Ok(Obj::bool(this.closed.get()))),
        noargs(c"_check_closed", c"Raise if the loop was closed.", |this: &This| {
            this.check_closed().map(|()| Obj::none())
        }),
        noargs(c"_run", c"Run turns until stop().", run::run),
        noargs(c"_shutdown", c"Let go of everything and become closed.", run::shutdown),
        noargs(c"_doorbell", c"A descriptor that wakes the loop, for signal.set_wakeup_fd().", run::doorbell),
        fast(c"_add_reader", c"Watch a descriptor for reading.", |this: &This, args: &Args<'_>| watch_fd::add(this, Side::Reader, args)),
        fast(c"_add_writer", c"Watch a descriptor for writing.", |this: &This, args: &Args<'_>| watch_fd::add(this, Side::Writer, args)),
        onearg(c"_remove_reader", c"Stop watching for reading.", |this: &This, fd: &Obj| watch_fd::remove(this, Side::Reader, fd)),
        onearg(c"_remove_writer", c"Stop watching for writing.", |this: &This, fd: &Obj| watch_fd::remove(this, Side::Writer, fd)),
        onearg(c"_ensure_fd_no_transport", c"Raise if a transport uses the descriptor.", watch_fd::ensure_no_transport),
        fast(c"add_reader", c"add_reader($self, fd, callback, *args)\n--\n\nCall a callback whenever the descriptor can be read.", |this: &This, args: &Args<'_>| checked_add(this, Side::Reader, args)),
        fast(c"add_writer", c"add_writer($self, fd, callback, *args)\n--\n\nCall a callback whenever the descriptor can be written.", |this: &This, args: &Args<'_>| checked_add(this, Side::Writer, args)),
        fast(c"remove_reader", c"remove_reader($self, fd)\n--\n\nStop watching for reading; return whether it was watched.", |this: &This, args: &Args<'_>| checked_remove(this, Side::Reader, "remove_reader", args)),
        fast(c"remove_writer", c"remove_writer($self, fd)\n--\n\nStop watching for writing; return whether it was watched.", |this: &This, args: &Args<'_>| checked_remove(this, Side::Writer, "remove_writer", args)),
        fast(c"_make_socket_transport", c"Make a stream transport of a connected socket.", transport_slots::make_socket_transport),
        fast(c"_make_datagram_transport", c"Make a datagram transport of a socket.", datagram_slots::make),
        fast(c"_make_read_pipe_transport", c"Make a transport that reads from a pipe.", pipe_slots::make_reader),
        fast(c"_make_write_pipe_transport", c"Make a transport that writes to a pipe.", pipe_slots::make_writer),
        fast(c"_send_file", c"Begin to send a file to a socket or a stream transport.", file_sending::send_file),
        fast(c"_make_tls_protocol", c"Make the protocol of a TLS connection, and its transport.", crate::tls::slots::make_tls_protocol),
        fast(c"_accept", c"Accept connections on a listening socket.", accept),
        onearg(c"_stop_accept", c"Stop accepting on a listening socket.", |this: &This, sock: &Obj| {
            Ok(Obj::bool(listener::stop(this, listener::number_of(sock)?)))
        }),
    ])
    .attributes([
        property(c"slow_callback_duration", c"Seconds after which debug mode reports a callback.", |this: &This| {
            value::float(this.slow_callback_duration.get())
        }, |this: &This, value: Option<&Obj>| {
            this.slow_callback_duration.set(value.map_or(Ok(0.1), value::as_f64)?);
            Ok(())
        }),
        property(c"_thread_id", c"The identity of the running thread, or None.", thread_id, |this: &This, value: Option<&Obj>| {
            let ident = match value.filter(|value| !value.is_none()) {
                Some(value) => u64::try_from(value::as_i64(value)?).unwrap_or(0),
                None => 0,
            };
            this.thread_ident.set(ident);
            Ok(())
        }),
    ])
    .build(LoopState::type_cell())
}

/// A subclass that brings its own `time`, `call_soon` and so on has them honoured.
fn initialise(this: &This, _args: &Obj, _kwargs: Option<&Obj>) -> Res<()> {
    let names = crate::names::get();
    let class = this.as_obj().type_obj();
    let replaced = |name: &Obj| -> Res<bool> {
        let theirs = class.attr(name)?;
        let public = PUBLIC_METHODS.is_set() && PUBLIC_METHODS.get().iter().any(|m| m.is(&theirs));
        Ok(!public && !theirs.is(&LoopState::type_cell().obj().attr(name)?))
    };
    this.time_replaced.set(replaced(&names.time)?);
    this.create_task_replaced.set(replaced(&names.create_task)?);
    this.call_soon_replaced.set(replaced(&names.call_soon)?);
    this.call_at_replaced.set(replaced(&names.call_at)?);
    this.waiting_replaced.set(
        this.call_at_replaced.get()
            || replaced(&names.call_later)?
            || replaced(&names.create_future)?,
    );
    Ok(())
}

/// `_set_loop_class(cls)`: the public class, before anybody could change it.
pub(crate) fn set_public_class(args: &Args<'_>) -> Res<Obj> {
    if let [class] = args.positional() {
        own_methods(class, LoopState::type_cell())?;
        let methods = watched().iter().map(|name| class.attr(name)).collect::<Res<_>>()?;
        PUBLIC_METHODS.set(methods);
    }
    Ok(Obj::none())
}

/// The methods that others of ours stand in for, unless somebody replaces them.
fn watched() -> [&'static Obj; 6] {
    let names = crate::names::get();
    [
        &names.time,
        &names.create_task,
        &names.call_soon,
        &names.call_at,
        &names.call_later,
        &names.create_future,
    ]
}

/// What they are in the public class.
static PUBLIC_METHODS: Attached<Vec<Obj>> = Attached::new();

/// The same for what is set on the instance; once it is deleted the class decides again.
fn note_attribute(this: &This, name: &Obj, value: Option<&Obj>) -> Res<()> {
    let names = crate::names::get();
    if !value::is_str(name) {
        return Ok(());
    }
    let Some(watched) = watched().into_iter().find(|watched| watched.is(name)) else {
        return Ok(());
    };
    if value.is_none() {
        return initialise(this, name, None);
    }
    if watched.is(&names.time) {
        this.time_replaced.set(true);
    } else if watched.is(&names.create_task) {
        this.create_task_replaced.set(true);
    } else if watched.is(&names.call_soon) {
        this.call_soon_replaced.set(true);
    } else {
        this.waiting_replaced.set(true);
        if watched.is(&names.call_at) {
            this.call_at_replaced.set(true);
        }
    }
    Ok(())
}

/// Identity; and whoever looks the loop up finds its current task.
fn hash_of(this: &This) -> Res<isize> {
    registry::publish(this)?;
    Ok((this.as_obj().as_ptr() as usize).rotate_right(4).cast_signed())
}

fn thread_id(this: &This) -> Res<Obj> {
    match this.thread_ident.get() {
        0 => Ok(Obj::none()),
        ident => value::uint(ident),
    }
}

fn checked_add(this: &This, side: Side, args: &Args<'_>) -> Res<Obj> {
    let by_name = args.keywords().find(|(name, _)| value::text_is(name, c"fd"));
    if let Some(file) = args.positional().first().or_else(|| by_name.map(|(_, file)| file)) {
        this.as_obj().method1(&crate::names::get().ensure_fd_no_transport, file)?;
    }
    watch_fd::add(this, side, args)?;
    Ok(Obj::none())
}

fn checked_remove(this: &This, side: Side, function: &str, args: &Args<'_>) -> Res<Obj> {
    let [file] = args.bind(function, [c"fd"], 1)?;
    let Some(file) = file else { return Ok(Obj::bool(false)) };
    this.as_obj().method1(&crate::names::get().ensure_fd_no_transport, file)?;
    watch_fd::remove(this, side, file)
}

/// `_accept(sock, protocol_factory, backlog, server)`.
fn accept(this: &This, args: &Args<'_>) -> Res<Obj> {
    let [sock, factory, backlog, server] = args.positional() else {
        return Err(Raised::type_error(
            "_accept() takes a socket, a protocol factory, a backlog and a server",
        ));
    };
    this.check_closed()?;
    let backlog = usize::try_from(value::as_i64(backlog)?).unwrap_or(1);
    let server = Some(server.clone()).filter(|server| !server.is_none());
    listener::Listener::start(this, sock, factory, backlog, server)?;
    Ok(Obj::none())
}
