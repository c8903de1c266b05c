"""Signal handlers of the loop.

Lives here: add_signal_handler, remove_signal_handler.
Does not live here: the wake-up descriptor (running.py).
Thread: the main one; Python runs signal handlers there and nowhere else.
Invariant: the interpreter's own handler puts ours in the ready queue, so a signal that Python
has seen is never lost, whatever the state of the wake-up descriptor.
"""

import contextlib
import contextvars
import errno
import functools
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from .executor import is_coroutine
from .names import Names


def _deliver(loop_ref: "weakref.ref[SignalHandlers]", signum: int, _frame: object) -> None:
    """What signal.signal() gets: it must not keep a forgotten loop alive."""
    loop = loop_ref()
    if loop is not None:
        loop._signal_received(signum)


def _check_signal(sig: Any) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _install(sig: int, handler: Any) -> None:
    try:
        signal.signal(sig, handler)
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise RuntimeError(f"sig {sig} cannot be caught") from exc
        raise


class SignalHandlers(Names):
    """Callbacks for signals, run as any other callback of the loop."""

    # Signal -> (callback, its arguments, the context of add_signal_handler()'s caller).
    _signal_handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]]

    def __init__(self) -> None:
        super().__init__()
        self._signal_handlers = {}

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call callback(*args) in the loop whenever the signal arrives."""
        if is_coroutine(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        self._check_signals_work_here()
        replaced = self._signal_handlers.get(sig)
        self._signal_handlers[sig] = (callback, args, contextvars.copy_context())
        try:
            _install(sig, functools.partial(_deliver, weakref.ref(self)))
            # System calls restart; the loop's wait is ended by the wake-up descriptor.
            signal.siginterrupt(sig, False)
        except BaseException:
            if replaced is None:
                del self._signal_handlers[sig]
            else:
                self._signal_handlers[sig] = replaced
            raise

    def _check_signals_work_here(self) -> None:
        """Signals belong to the main thread of the main interpreter."""
        if self._thread_id == threading.get_ident() == threading.main_thread().ident:
            # We run there: the wake-up descriptor is ours already.
            return
        try:
            outer = signal.set_wakeup_fd(self._doorbell(), warn_on_full_buffer=False)
            signal.set_wakeup_fd(outer)
        except (ValueError, OSError) as exc:
            raise RuntimeError(str(exc)) from exc

    def _signal_received(self, sig: int) -> None:
        entry = self._signal_handlers.get(sig)
        if entry is None or self.is_closed():
            return
        callback, args, context = entry
        if self._thread_id in (None, threading.get_ident()):
            self.call_soon(callback, *args, context=context)
        else:
            # The loop runs in another thread, perhaps blocked in its poller.
            self.call_soon_threadsafe(callback, *args, context=context)

    def _signals_rang(self, numbers: bytes, outer: int | None) -> None:
        """The signals whose numbers the interpreter wrote to the wake-up descriptor.

        Ours took the place of one that is set outside: its owner waits for them as well.

        Those that our own handlers saw are in the ready queue. A handler that signal.signal() has
        replaced since is called too: so does asyncio, which goes by the numbers alone.
        """
        if outer is not None:
            with contextlib.suppress(OSError):  # full, or closed: as the interpreter has it
                os.write(outer, numbers)
        for sig in numbers:
            if sig in self._signal_handlers and not self._is_heard(sig):
                self._signal_received(sig)

    def _is_heard(self, sig: int) -> bool:
        """Whether the interpreter calls us when the signal arrives."""
        handler = signal.getsignal(sig)
        return (
            isinstance(handler, functools.partial)
            and handler.func is _deliver
            and handler.args[0]() is self
        )

    def remove_signal_handler(self, sig: int) -> bool:
        """Restore the signal's default action; False if the loop had no handler for it."""
        _check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        _install(sig, default)
        return True

    def close(self) -> None:
        """Close the loop and give the signals back."""
        super().close()
        if not self._signal_handlers:
            return
        if sys.is_finalizing():
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, "
                f"skipping signal handlers removal",
                ResourceWarning,
                source=self,
            )
            self._signal_handlers.clear()
            return
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)
