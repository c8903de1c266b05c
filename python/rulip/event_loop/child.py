"""A child process as a transport: its pipes, its end, the signals sent to it.

Lives here: starting through subprocess.Popen, and learning of the end through a pidfd.
Does not live here: the loop's methods (subprocesses.py), the pipes' transports (native),
asyncio.subprocess's streams.
Thread: the loop's own; where the kernel denies pidfds, a thread per child waits for its end.
Invariant: no SIGCHLD handler, no child watcher; a signal goes to our child or to nobody; every
child is reaped once, by the loop's thread.
"""

import asyncio
import errno
import functools
import os
import select
import signal
import subprocess
import threading
import warnings
from asyncio.futures import _set_result_unless_cancelled  # type: ignore[attr-defined]
from asyncio.log import logger
from typing import Any

from .._rulip import _pidfd_open, _pidfd_send_signal
from .pipes import Pipes

#: pidfd_open() is not there, or not allowed.
PIDFD_DENIED = (errno.ENOSYS, errno.EPERM, errno.EACCES)
#: What is reported when somebody else has reaped the child.
UNKNOWN_RETURNCODE = 255


def _exitcode(status: int) -> int:
    try:
        return os.waitstatus_to_exitcode(status)
    except ValueError:
        # Neither exited nor signalled: as it is, for the curious.
        return status


def _reap(proc: "subprocess.Popen[bytes]", flags: int = 0) -> int | None:
    """The return code of a child that has ended; None if it has not (with WNOHANG)."""
    if proc.returncode is not None:
        return proc.returncode
    try:
        pid, status = os.waitpid(proc.pid, flags)
    except ChildProcessError:
        logger.warning(
            "child process pid %d exit status already read:  will report returncode %d",
            proc.pid,
            UNKNOWN_RETURNCODE,
        )
        return UNKNOWN_RETURNCODE
    if pid == 0:
        return None
    return _exitcode(status)


class PipeProtocol(asyncio.Protocol):
    """Tells a subprocess's transport what happens on one of its pipes."""

    def __init__(self, process: "SubprocessTransport", fd: int) -> None:
        self.proc: SubprocessTransport | None = process
        self.fd = fd
        self.pipe: Any = None
        self.disconnected = False

    def connection_made(self, transport: Any) -> None:
        """The pipe can be used."""
        self.pipe = transport

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd} pipe={self.pipe!r}>"

    def data_received(self, data: bytes) -> None:
        """The child has written."""
        if self.proc is not None:
            self.proc._pipe_data_received(self.fd, data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The pipe is closed, by whichever side."""
        self.disconnected = True
        process, self.proc = self.proc, None
        if process is not None:
            process._pipe_connection_lost(self.fd, exc)

    def pause_writing(self) -> None:
        """The pipe to the child is full."""
        if self.proc is not None:
            self.proc._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The pipe to the child has room."""
        if self.proc is not None:
            self.proc._protocol.resume_writing()


class SubprocessTransport(asyncio.SubprocessTransport):
    """A running child process, or one that has ended."""

    # Set before anything can fail: the finalizer looks at them.
    _closed = True
    #: Names the child and nothing else until it is closed; None before and after.
    _pidfd: int | None = None
    _proc: "subprocess.Popen[bytes] | None" = None
    _pid: int | None = None
    _returncode: int | None = None
    #: What the protocol is told once its pipes are connected; None: they are.
    _waiting_calls: list[Any] | None = None

    def __init__(
        self,
        loop: Any,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        waiter: Any = None,
        extra: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(extra)
        self._loop = loop
        self._protocol = protocol
        self._exit_waiters: set[Any] | None = set()
        self._pipes: dict[int, PipeProtocol] = {}
        self._finished = False
        self._closed = False
        try:
            self._start(args, shell, stdin, stdout, stderr, bufsize, kwargs)
        except BaseException:
            self._closed = True
            raise
        if loop.get_debug():
            program = args if isinstance(args, bytes | str) else args[0]
            logger.debug("process %r created: pid %s", program, self._pid)
        if self._connectors_replaced():
            self._waiting_calls = []
            self._connecting = loop.create_task(self._connect_by_loop(waiter))
            return
        # Behind the pipes' own first callbacks.
        loop.call_soon(protocol.connection_made, self)
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter, None)

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        kwargs: dict[str, Any],
    ) -> None:
        proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )
        try:
            self._watch(proc)
            if not self._connectors_replaced():
                self._connect_pipes(proc)
        except BaseException:
            # Nobody would ever close or reap it.
            self._close_pidfd()
            proc.kill()
            proc.wait()
            for protocol in self._pipes.values():
                protocol.proc = None
                protocol.pipe.close()
            for pipe in (proc.stdin, proc.stdout, proc.stderr):
                if pipe is not None:
                    pipe.close()
            raise
        self._proc = proc
        self._pid = proc.pid
        self._extra["subprocess"] = proc  # type: ignore[attr-defined]

    def _connect_pipes(self, proc: "subprocess.Popen[bytes]") -> None:
        loop = self._loop
        for fd, pipe, make in (
            (0, proc.stdin, loop._make_write_pipe_transport),
            (1, proc.stdout, loop._make_read_pipe_transport),
            (2, proc.stderr, loop._make_read_pipe_transport),
        ):
            if pipe is not None:
                protocol = PipeProtocol(self, fd)
                protocol.pipe = make(pipe, protocol)
                self._pipes[fd] = protocol

    def _connectors_replaced(self) -> bool:
        """Whether somebody put other methods in the place of the loop's, or overrode them."""
        return any(
            getattr(getattr(self._loop, name), "__func__", None) is not getattr(Pipes, name)
            for name in ("connect_read_pipe", "connect_write_pipe")
        )

    async def _connect_by_loop(self, waiter: Any) -> None:
        """Connect the pipes by the loop's methods; what happens meanwhile is told afterwards."""
        loop, proc = self._loop, self._proc
        assert proc is not None
        pipes = (
            (0, proc.stdin, loop.connect_write_pipe),
            (1, proc.stdout, loop.connect_read_pipe),
            (2, proc.stderr, loop.connect_read_pipe),
        )
        try:
            for fd, pipe, connect in pipes:
                if pipe is not None:
                    make = functools.partial(PipeProtocol, self, fd)
                    transport, protocol = await connect(make, pipe)
                    protocol.pipe = transport
                    self._pipes[fd] = protocol
        except BaseException as exc:
            for fd, pipe, _ in pipes:
                if pipe is not None and fd not in self._pipes:
                    pipe.close()
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise
            if waiter is not None and not waiter.done():
                waiter.set_exception(exc)
            return
        loop.call_soon(self._protocol.connection_made, self)
        calls, self._waiting_calls = self._waiting_calls, None
        for call in calls or ():
            loop.call_soon(*call)
        self._try_finish()
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter, None)

    def _call(self, *call: Any) -> None:
        """Call the protocol soon; not before its connection_made()."""
        if self._waiting_calls is None:
            self._loop.call_soon(*call)
        else:
            self._waiting_calls.append(call)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._closed:
            info.append("closed")
        if self._pid is not None:
            info.append(f"pid={self._pid}")
        if self._returncode is not None:
            info.append(f"returncode={self._returncode}")
        elif self._pid is not None:
            info.append("running")
        else:
            info.append("not started")
        names = {0: "stdin", 1: "stdout", 2: "stderr"}
        info += [f"{names[fd]}={each.pipe}" for fd, each in self._pipes.items()]
        return f"<{' '.join(info)}>"

    # -- the end of the child ----------------------------------------------------------

    def _watch(self, proc: "subprocess.Popen[bytes]") -> None:
        loop = self._loop
        try:
            self._pidfd = _pidfd_open(proc.pid)
        except ProcessLookupError:
            # Ended and reaped already: SIGCHLD is ignored, or somebody waits for any child.
            loop.call_soon(self._child_ended, proc)
            return
        except OSError as exc:
            if exc.errno not in PIDFD_DENIED:
                raise
            self._watch_from_thread(proc)
            return
        try:
            loop._add_reader(self._pidfd, self._child_ended, proc)
        except BaseException:
            self._close_pidfd()
            raise

    def _watch_from_thread(self, proc: "subprocess.Popen[bytes]") -> None:
        """For kernels and sandboxes without pidfd_open()."""
        loop = self._loop

        def wait() -> None:
            try:
                # Not reaped here: until the loop's thread does that, the number is the child's.
                os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                pass
            try:
                loop.call_soon_threadsafe(self._child_ended, proc)
            except RuntimeError:
                # The loop was closed meanwhile.
                proc.returncode = _reap(proc)

        threading.Thread(target=wait, name=f"rulip-wait-{proc.pid}", daemon=True).start()

    def _child_ended(self, proc: "subprocess.Popen[bytes]") -> None:
        returncode = _reap(proc, os.WNOHANG)
        if returncode is None:
            return
        self._close_pidfd()
        self._process_exited(returncode)

    def _close_pidfd(self) -> None:
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            if self._loop is not None:
                self._loop._remove_reader(pidfd)
            os.close(pidfd)

    def _process_exited(self, returncode: int) -> None:
        if self._loop.get_debug():
            logger.info("%r exited with return code %r", self, returncode)
        self._returncode = returncode
        if self._proc is not None and self._proc.returncode is None:
            self._proc.returncode = returncode
        self._call(self._protocol.process_exited)
        self._try_finish()
        # Whoever waits for the process need not wait for those that inherited its pipes.
        waiters, self._exit_waiters = self._exit_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(returncode)

    async def _wait(self) -> int:
        """Wait for the child's end; return its return code."""
        if self._returncode is not None:
            return self._returncode
        waiter = self._loop.create_future()
        waiters = self._exit_waiters
        assert waiters is not None  # the return code is set when it goes
        waiters.add(waiter)
        try:
            returncode: int = await waiter
        finally:
            waiters.discard(waiter)
        return returncode

    # -- pipes -------------------------------------------------------------------------

    def _pipe_data_received(self, fd: int, data: bytes) -> None:
        self._call(self._protocol.pipe_data_received, fd, data)

    def _pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
        self._call(self._protocol.pipe_connection_lost, fd, exc)
        self._try_finish()

    def _try_finish(self) -> None:
        if self._returncode is None or self._finished or self._waiting_calls is not None:
            return
        if all(pipe.disconnected for pipe in self._pipes.values()):
            self._finished = True
            self._loop.call_soon(self._call_connection_lost, None)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._loop = None
            self._proc = None
            self._protocol = None

    # -- what asyncio.SubprocessTransport offers ----------------------------------------

    def set_protocol(self, protocol: Any) -> None:
        """Switch to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Return True if closing or closed."""
        return self._closed

    def get_pid(self) -> Any:
        """Return the child's number."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Return the return code, None while the child runs."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> Any:
        """Return the transport of stdin (0), stdout (1) or stderr (2), None where there is none."""
        pipe = self._pipes.get(fd)
        return None if pipe is None else pipe.pipe

    # -- signals -------------------------------------------------------------------------

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child; nothing happens if it has ended."""
        if self._proc is None:
            raise ProcessLookupError
        if self._returncode is None:
            self._signal(signal)

    def terminate(self) -> None:
        """Ask the child to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        proc = self._proc
        try:
            if self._pidfd is not None:
                try:
                    _pidfd_send_signal(self._pidfd, number)
                    return
                except OSError as exc:
                    # Denied by itself, or because the child is not ours to signal: kill() tells.
                    if exc.errno not in PIDFD_DENIED or self._has_ended():
                        raise
            if proc is not None and proc.returncode is None:
                os.kill(proc.pid, number)
        except ProcessLookupError:
            # Ended; the loop will hear of it.
            return

    # -- closing -------------------------------------------------------------------------

    def close(self) -> None:
        """Close the pipes and kill the child if it still runs."""
        if self._closed:
            return
        self._closed = True
        # A closed loop has dropped the pipes' transports; their finalizers close the pipes.
        if self._loop is not None and not self._loop.is_closed():
            for protocol in self._pipes.values():
                protocol.pipe.close()
        if self._proc is None or self._returncode is not None or self._has_ended():
            return
        if self._loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        try:
            self._proc.kill()
        except (ProcessLookupError, PermissionError):
            # Ended just now, or a setuid program, not ours to kill.
            return

    def _has_ended(self) -> bool:
        """Whether the child has ended, without reaping it."""
        if self._pidfd is None:
            return self._proc is None or self._proc.returncode is not None
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not self._closed:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.close()
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            os.close(pidfd)
