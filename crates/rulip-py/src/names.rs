//! Every interned name that we look up: made once, compared by pointer ever after.
//!
//! Attached threads only. Not here: objects we import (`imports.rs`).

use crate::ffi::object::Attached;
use crate::ffi::{Obj, Res, value};

macro_rules! names {
    ($($(#[$when:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// The names, as interned str objects.
        pub(crate) struct Names { $($(#[$when])* pub(crate) $name: Obj,)* }

        impl Names {
            fn new() -> Res<Self> {
                Ok(Self { $($(#[$when])* $name: value::interned($text)?,)* })
            }
        }
    };
}

names! {
    abort = c"_abort",
    acquire = c"acquire",
    #[cfg(Py_3_14)]
    add = c"add",
    add_done_callback = c"add_done_callback",
    append = c"append",
    asyncgen_finalizer_hook = c"_asyncgen_finalizer_hook",
    asyncgen_firstiter_hook = c"_asyncgen_firstiter_hook",
    asyncio_future_blocking = c"_asyncio_future_blocking",
    attach = c"_attach",
    buffer_updated = c"buffer_updated",
    call_at = c"call_at",
    call_exception_handler = c"call_exception_handler",
    call_later = c"call_later",
    call_soon = c"call_soon",
    cancel = c"cancel",
    cancelled = c"cancelled",
    cancelling = c"cancelling",
    class_name = c"__name__",
    close = c"close",
    connection_lost = c"connection_lost",
    connection_made = c"connection_made",
    context = c"context",
    cr_await = c"cr_await",
    create_future = c"create_future",
    create_task = c"create_task",
    data_received = c"data_received",
    datagram_received = c"datagram_received",
    detach = c"_detach",
    #[cfg(Py_3_14)]
    discard = c"discard",
    do_handshake = c"do_handshake",
    done = c"done",
    done_callback = c"_done_callback",
    empty = c"empty",
    ensure_fd_no_transport = c"_ensure_fd_no_transport",
    eof_received = c"eof_received",
    error_received = c"error_received",
    exception = c"exception",
    exceptions = c"exceptions",
    fileno = c"fileno",
    force_close = c"_force_close",
    format_private = c"_format",
    full = c"full",
    future = c"future",
    get_buffer = c"get_buffer",
    get_debug = c"get_debug",
    get_extra_info = c"get_extra_info",
    get_loop = c"get_loop",
    get_loop_private = c"_get_loop",
    get_nowait = c"get_nowait",
    get_private = c"_get",
    handle = c"handle",
    ident = c"ident",
    init_private = c"_init",
    is_closing = c"is_closing",
    is_running = c"is_running",
    join = c"join",
    locked = c"locked",
    loop_ = c"_loop",
    message = c"message",
    msg = c"msg",
    notify = c"notify",
    on_task_done = c"_on_task_done",
    on_timeout = c"_on_timeout",
    pause_reading = c"pause_reading",
    pause_writing = c"pause_writing",
    peername = c"peername",
    pending = c"pending",
    pipe = c"pipe",
    pop = c"pop",
    popleft = c"popleft",
    protocol = c"protocol",
    put_nowait = c"put_nowait",
    put_private = c"_put",
    qsize = c"qsize",
    queue_private = c"_queue",
    read = c"read",
    release = c"release",
    remove = c"remove",
    result = c"result",
    resume_reading = c"resume_reading",
    return_when = c"return_when",
    resume_writing = c"resume_writing",
    set_exception = c"set_exception",
    set_name = c"set_name",
    set_result = c"set_result",
    signals_rang = c"_signals_rang",
    socket = c"socket",
    sockets = c"_sockets",
    sockname = c"sockname",
    source_traceback = c"source_traceback",
    sslcontext = c"sslcontext",
    task = c"task",
    task_class = c"Task",
    throw = c"throw",
    time = c"time",
    timeout = c"timeout",
    timer_handle_cancelled = c"_timer_handle_cancelled",
    transport = c"transport",
    uncancel = c"uncancel",
    unwrap = c"unwrap",
    value = c"value",
    wait = c"wait",
    wake_up_first = c"_wake_up_first",
    wake_up_next = c"_wake_up_next",
    wakeup = c"task_wakeup",
    wakeup_next = c"_wakeup_next",
    warning = c"warning",
    write = c"write",
}

static NAMES: Attached<Names> = Attached::new();

/// Makes them; once, at module initialisation.
pub(crate) fn init() -> Res<()> {
    if !NAMES.is_set() {
        NAMES.set(Names::new()?);
    }
    Ok(())
}

#[inline]
pub(crate) fn get() -> &'static Names {
    NAMES.get()
}
