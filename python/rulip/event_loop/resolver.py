"""The resolver's threads: blocking look-ups apart from the user's executor.

Lives here: the pool, its queue and its limit.
Does not live here: which look-ups need a thread (names.py).
Thread: submit(), abandon() and close() on the loop's; look-ups on 'rulip-resolver' threads.
Invariant: at most `limit` look-ups that somebody waits for run at a time; an abandoned one
(the C library can't be interrupted) frees its slot at once and its thread ends with it.
"""

import collections
import contextlib
import threading
from collections.abc import Callable
from typing import Any

THREAD_NAME = "rulip-resolver"


class Lookup:
    """One call for a resolver thread, and whom to tell."""

    __slots__ = ("abandoned", "args", "call", "report", "running")

    def __init__(
        self,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        report: Callable[[Any, BaseException | None], None],
    ) -> None:
        self.call = call
        self.args = args
        self.report = report
        self.running = False
        self.abandoned = False


class ResolverPool:
    """Threads for look-ups, made on demand, ended by close()."""

    def __init__(self, limit: int = 16, most_threads: int = 96) -> None:
        self.limit = limit
        #: With those stuck in abandoned look-ups: an outage must not cost a thread per look-up.
        self.most_threads = most_threads
        self._changed = threading.Condition(threading.Lock())
        self._waiting: collections.deque[Lookup] = collections.deque()
        # Threads that take look-ups: all but those stuck in an abandoned one.
        self._threads = 0
        # Threads that ended their life's work but not their last look-up.
        self._stuck = 0
        self._idle = 0
        self._made = 0
        self._closed = False

    def submit(self, lookup: Lookup) -> None:
        """Queue a look-up; start a thread if none is idle and the limit allows one."""
        with self._changed:
            self._waiting.append(lookup)
            self._changed.notify()
            try:
                self._start_thread_if_needed()
            except RuntimeError:
                # The system gives no more threads: those there are will do, if any.
                if self._threads == 0:
                    self._waiting.remove(lookup)
                    raise

    def abandon(self, lookup: Lookup) -> None:
        """Nobody waits for this look-up any more. Call replace_stuck() afterwards."""
        with self._changed:
            if lookup.abandoned:
                return
            lookup.abandoned = True
            if lookup.running:
                self._threads -= 1
                self._stuck += 1
            else:
                try:
                    self._waiting.remove(lookup)
                except ValueError:
                    # Taken and finished: its report is on the way.
                    return

    def replace_stuck(self) -> None:
        """Start a thread in place of one that is stuck, if look-ups wait for it."""
        with self._changed, contextlib.suppress(RuntimeError):
            if not self._closed:
                self._start_thread_if_needed()

    def close(self) -> None:
        """Let idle threads end, drop what waits; running look-ups end unheard."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _start_thread_if_needed(self) -> None:
        if self._threads >= self.limit or self._idle >= len(self._waiting):
            return
        if self._threads + self._stuck >= self.most_threads:
            return
        # A daemon: a look-up that stalls must not keep the process from ending.
        name = f"{THREAD_NAME}_{self._made}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._made += 1
        self._threads += 1

    def _take(self) -> Lookup | None:
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closed:
                self._changed.wait()
            self._idle -= 1
            if self._closed:
                return None
            lookup = self._waiting.popleft()
            lookup.running = True
            return lookup

    def _serve(self) -> None:
        while (lookup := self._take()) is not None:
            result, failure = None, None
            try:
                result = lookup.call(*lookup.args)
            except BaseException as exc:
                failure = exc
            with self._changed:
                lookup.running = False
                abandoned = lookup.abandoned
                if abandoned:
                    self._stuck -= 1
                    if self._threads < self.limit and self._waiting:
                        # No other thread could be started: this one is free again.
                        self._threads += 1
                        continue
                heard = not (abandoned or self._closed)
            if heard:
                lookup.report(result, failure)
            if abandoned:
                # The slot was given to another thread when it was abandoned.
                return
            # Keep nothing alive while idle.
            del lookup, result, failure
