//! The border between CPython and the rulip engine: the extension module `rulip._rulip`.
//!
//! The only crate that knows CPython. Layers, lowest first: `ffi` (what PyO3 lacks), `names`, `imports`, `error`;
//! then the hot types, which are one state machine in four modules, `handle`, `loop_state`, `future`,
//! `task`; then `locks`, `queues`, `tls`, `transport` and `streams`, which know each other; then `event_loop`. Everything runs attached to the interpreter, on the
//! thread that runs the loop unless a function says otherwise.
//!
//! Two rules: the engine never calls out, and nothing of ours is borrowed while Python runs or a
//! Python object is dropped.

#![deny(unsafe_code)]
#![allow(clippy::multiple_crate_versions, reason = "not ours to choose")]

pub(crate) mod coroutine;
pub(crate) mod error;
pub(crate) mod event_loop;
pub(crate) mod failpoints;
pub(crate) mod ffi;
pub(crate) mod future;
pub(crate) mod gather;
pub(crate) mod handle;
pub(crate) mod immediate;
pub(crate) mod imports;
pub(crate) mod locks;
pub(crate) mod loop_state;
pub(crate) mod names;
pub(crate) mod observers;
pub(crate) mod queues;
pub(crate) mod rare;
pub(crate) mod shield;
pub(crate) mod streams;
pub(crate) mod task;
pub(crate) mod taskgroup;
pub(crate) mod timeouts;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod waiting;
pub(crate) mod watcher;

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::prelude::*;

use ffi::trampoline::function;

/// The interpreter that imported us first: types and names are its objects.
static HOME: AtomicI64 = AtomicI64::new(-1);

/// Whether another interpreter of this process came before. Older Pythons do not ask us.
fn is_taken() -> bool {
    let id = ffi::gc::interpreter_id();
    HOME.compare_exchange(-1, id, Ordering::Relaxed, Ordering::Relaxed)
        .is_err_and(|home| home != id)
}

/// The native half of rulip.
#[pymodule(gil_used = true)]
fn _rulip(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if is_taken() {
        let text = "rulip runs in the interpreter that imported it first, and in no other one";
        return Err(pyo3::exceptions::PyImportError::new_err(text));
    }
    let exports = (|| {
        names::init()?;
        imports::init()?;
        streams::init()?;
        let (handle, timer_handle) = handle::slots::build()?;
        let future = future::slots::build()?;
        future::iter::build()?;
        let task = task::slots::build()?;
        #[cfg(not(Py_3_14))]
        ffi::special::build()?;
        ffi::coroutine_function::build()?;
        immediate::build()?;
        waiting::build()?;
        shield::build()?;
        timeouts::wait_for::build()?;
        transport::listener::build()?;
        transport::file_sending::build()?;
        let waiter = task::waiter::slots::build()?;
        let mut exports = locks::build()?;
        exports.extend(queues::slots::build()?);
        exports.extend([
            ("Handle", handle),
            ("TimerHandle", timer_handle),
            #[cfg(Py_3_14)]
            ("_ThreadSafeHandle", handle::threadsafe::build()?),
            ("Future", future),
            ("Task", task),
            ("_GatheringFuture", gather::slots::build()?),
            ("Sleep", task::sleep::build()?),
            ("Waiter", waiter),
            ("Transport", transport::slots::build()?),
            ("DatagramTransport", transport::datagram_slots::build()?),
            ("ReadPipeTransport", transport::pipe_slots::build_reader()?),
            ("WritePipeTransport", transport::pipe_slots::build_writer()?),
            ("TLSTransport", tls::slots::build_transport()?),
            ("TLSProtocol", tls::slots::build_protocol()?),
            ("StreamReader", streams::slots::build()?),
            ("StreamReaderProtocol", streams::protocol::build()?),
            ("StreamWriter", streams::writer::build()?),
            ("StreamRead", streams::read::build()?),
            ("StreamDrain", streams::drain::build()?),
            ("EventLoop", event_loop::methods::build()?),
            ("sleep", ffi::coroutine_function::function(function(
                c"sleep",
                c"sleep(delay, result=None)\n--\n\nA coroutine that completes after `delay` seconds (mirrors asyncio.sleep).",
                task::sleep::sleep,
            ))?),
            ("shield", ffi::spec::module_function(function(
                c"shield",
                c"shield(arg)\n--\n\nA future that ends as the given one, whose cancelling stops there (mirrors asyncio.shield).",
                shield::shield,
            ))?),
            ("TaskGroup", taskgroup::slots::build()?),
            ("Timeout", timeouts::slots::build()?),
            ("timeout", ffi::spec::module_function(function(
                c"timeout",
                c"timeout(delay)\n--\n\nA limit of `delay` seconds for a block (mirrors asyncio.timeout).",
                timeouts::slots::timeout,
            ))?),
            ("timeout_at", ffi::spec::module_function(function(
                c"timeout_at",
                c"timeout_at(when)\n--\n\nA limit at loop time `when` for a block (mirrors asyncio.timeout_at).",
                timeouts::slots::timeout_at,
            ))?),
            ("wait", ffi::coroutine_function::function(function(
                c"wait",
                c"wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\nA coroutine that waits for some or all of many futures (mirrors asyncio.wait).",
                waiting::wait,
            ))?),
            ("wait_for", if cfg!(Py_3_12) {
                ffi::coroutine_function::function(function(
                    c"wait_for",
                    c"wait_for(fut, timeout)\n--\n\nA coroutine that awaits with a limit in seconds (mirrors asyncio.wait_for).",
                    timeouts::wait_for::wait_for,
                ))?
            } else {
                // Before 3.12 it runs what it is given in a task of its own.
                imports::get().wait_for.clone()
            }),
            ("gather", ffi::spec::module_function(function(
                c"gather",
                c"gather(*coros_or_futures, return_exceptions=False)\n--\n\nA future of the results of many awaitables (mirrors asyncio.gather).",
                gather::gather,
            ))?),
            ("eager_task_factory", event_loop::tasks::build_eager_task_factory()?),
            ("create_task", ffi::spec::module_function(function(
                c"create_task",
                event_loop::tasks::FUNCTION_DOC,
                event_loop::tasks::create_task_in_running_loop,
            ))?),
            #[cfg(Py_3_14)]
            ("future_add_to_awaited_by", ffi::spec::module_function(function(
                c"future_add_to_awaited_by",
                c"future_add_to_awaited_by(fut, waiter, /)\n--\n\nRecord that `fut` is awaited on by `waiter` (mirrors asyncio's).",
                future::awaited_by::add,
            ))?),
            #[cfg(Py_3_14)]
            ("future_discard_from_awaited_by", ffi::spec::module_function(function(
                c"future_discard_from_awaited_by",
                c"future_discard_from_awaited_by(fut, waiter, /)\n--\n\nRecord that `fut` is no longer awaited on by `waiter` (mirrors asyncio's).",
                future::awaited_by::discard,
            ))?),
            ("_pending_tasks", ffi::spec::module_function(function(
                c"_pending_tasks",
                c"_pending_tasks(loop)\n--\n\nThe native tasks of a loop that are not done.",
                task::slots::pending_tasks,
            ))?),
            #[cfg(feature = "failpoints")]
            ("_arm", ffi::spec::module_function(function(
                c"_arm",
                c"_arm(place)\n--\n\nPanic there, the next time.",
                failpoints::arm,
            ))?),
            ("_flush_written", ffi::spec::module_function(function(
                c"_flush_written",
                c"_flush_written()\n--\n\nSend what this thread's running loop has gathered this turn.",
                event_loop::run::flush_written,
            ))?),
            ("_ring", ffi::spec::module_function(function(
                c"_ring",
                c"_ring(pid, fd)\n--\n\nA turn for the loop of a process that has its waker at this number.",
                event_loop::ring::ring,
            ))?),
            ("_pidfd_open", ffi::spec::module_function(function(
                c"_pidfd_open",
                c"_pidfd_open(pid)\n--\n\nA descriptor of a process (mirrors os.pidfd_open).",
                event_loop::pidfd::open,
            ))?),
            ("_pidfd_send_signal", ffi::spec::module_function(function(
                c"_pidfd_send_signal",
                c"_pidfd_send_signal(pidfd, signal)\n--\n\nA signal to the process of a descriptor (mirrors signal.pidfd_send_signal).",
                event_loop::pidfd::send_signal,
            ))?),
            ("_set_tls_classes", ffi::spec::module_function(function(
                c"_set_tls_classes",
                c"_set_tls_classes(transport_class, protocol_class)\n--\n\nThe classes that TLS transports and their protocols answer as their own.",
                tls::slots::set_public_classes,
            ))?),
            ("_set_loop_class", ffi::spec::module_function(function(
                c"_set_loop_class",
                c"_set_loop_class(cls)\n--\n\nThe class whose methods are the native ones.",
                event_loop::methods::set_public_class,
            ))?),
            ("_set_stream_classes", ffi::spec::module_function(function(
                c"_set_stream_classes",
                c"_set_stream_classes(reader, protocol, writer)\n--\n\nThe classes that replace no native method.",
                streams::slots::set_public_classes,
            ))?),
            ("_set_transport_class", ffi::spec::module_function(function(
                c"_set_transport_class",
                c"_set_transport_class(cls)\n--\n\nThe class that transports answer as their own.",
                transport::slots::set_public_class,
            ))?),
            ("_set_datagram_transport_class", ffi::spec::module_function(function(
                c"_set_datagram_transport_class",
                c"_set_datagram_transport_class(cls)\n--\n\nThe same for datagram transports.",
                transport::datagram_slots::set_public_class,
            ))?),
            ("_set_read_pipe_transport_class", ffi::spec::module_function(function(
                c"_set_read_pipe_transport_class",
                c"_set_read_pipe_transport_class(cls)\n--\n\nThe same for the reading ends of pipes.",
                transport::pipe_slots::set_reader_class,
            ))?),
            ("_set_write_pipe_transport_class", ffi::spec::module_function(function(
                c"_set_write_pipe_transport_class",
                c"_set_write_pipe_transport_class(cls)\n--\n\nThe same for the writing ends of pipes.",
                transport::pipe_slots::set_writer_class,
            ))?),
        ]);
        Ok(exports)
    })();
    let exports: Vec<(&str, ffi::Obj)> = exports.map_err(ffi::error::to_pyo3)?;
    for (name, object) in exports {
        module.add(name, ffi::error::into_pyo3(module.py(), object))?;
    }
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
