"""Child processes: subprocess_exec, subprocess_shell.

Lives here: starting through subprocess.Popen, and learning of the end through a pidfd.
Does not live here: the pipes' transports (pipes.py), asyncio.subprocess's streams.
Thread: the loop's own; where the kernel denies pidfds, a thread per child waits for it.
Invariant: no SIGCHLD handler, no child watcher; a signal goes to our child or to nobody; every
child is reaped once.
"""

import asyncio
import errno
import os
import select
import signal
import subprocess
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

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


class SubprocessTransport(BaseSubprocessTransport):
    """asyncio's subprocess transport, watching its child by itself."""

    # Set by the base class.
    _loop: Any
    _proc: "subprocess.Popen[bytes] | None"
    _returncode: int | None
    _pipes: dict[int, Any]
    _closed: bool
    _exit_waiters: Any

    # Names the child and nothing else until it is closed; None before and after.
    _pidfd: int | None = None

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        **kwargs: Any,
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
        self._proc = proc
        try:
            self._watch(proc)
        except BaseException:
            proc.kill()
            proc.wait()
            for pipe in (proc.stdin, proc.stdout, proc.stderr):
                if pipe is not None:
                    pipe.close()
            raise

    # -- the end of the child -----------------------------------------------------------

    def _watch(self, proc: "subprocess.Popen[bytes]") -> None:
        loop = self._loop
        try:
            self._pidfd = os.pidfd_open(proc.pid)
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
            returncode = _reap(proc)
            try:
                loop.call_soon_threadsafe(self._process_exited, returncode)
            except RuntimeError:
                # The loop was closed meanwhile.
                proc.returncode = returncode

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
        super()._process_exited(returncode)
        # Whoever waits for the process need not wait for those that inherited its pipes.
        waiters = self._exit_waiters
        if waiters is None:
            # 3.14 and later do the same.
            return
        self._exit_waiters = []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(returncode)

    # -- signals -------------------------------------------------------------------------

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child; nothing happens if it has ended."""
        self._check_proc()
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
                signal.pidfd_send_signal(self._pidfd, number)
            elif proc is not None and proc.returncode is None:
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
        for protocol in self._pipes.values():
            # A closed loop has dropped the pipes' transports; their __del__ closes the pipes.
            if protocol is not None and self._loop is not None and not self._loop.is_closed():
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

    def __del__(self) -> None:
        super().__del__()
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            os.close(pidfd)


def _describe(stream: Any) -> str:
    if stream == subprocess.PIPE:
        return "<pipe>"
    if stream == subprocess.STDOUT:
        return "<stdout>"
    return repr(stream)


def _check_text_options(
    universal_newlines: Any, bufsize: int, encoding: Any, errors: Any, text: Any
) -> None:
    """The pipes carry bytes, unbuffered."""
    if universal_newlines:
        raise ValueError("universal_newlines must be False")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False")
    if encoding is not None:
        raise ValueError("encoding must be None")
    if errors is not None:
        raise ValueError("errors must be None")


class Subprocesses(Pipes):
    """Child processes."""

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], Any],
        cmd: Any,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """Run a command line in the shell: (transport, protocol)."""
        if not isinstance(cmd, bytes | str):
            raise ValueError("cmd must be a string")
        if not shell:
            raise ValueError("shell must be True")
        _check_text_options(universal_newlines, bufsize, encoding, errors, text)
        return await self._run_child(
            f"run shell command {cmd!r}", protocol_factory, cmd, True, stdin, stdout, stderr, kwargs
        )

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], Any],
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """Run a program: (transport, protocol)."""
        if shell:
            raise ValueError("shell must be False")
        _check_text_options(universal_newlines, bufsize, encoding, errors, text)
        return await self._run_child(
            # Arguments may carry secrets: they are not logged.
            f"execute program {program!r}",
            protocol_factory,
            (program, *args),
            False,
            stdin,
            stdout,
            stderr,
            kwargs,
        )

    async def _run_child(
        self,
        action: str,
        protocol_factory: Callable[[], Any],
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        kwargs: dict[str, Any],
    ) -> tuple[Any, Any]:
        protocol = protocol_factory()
        if self.get_debug():
            self._log_start(action, stdin, stdout, stderr)
        transport = await self._make_subprocess_transport(
            protocol, args, shell, stdin, stdout, stderr, 0, **kwargs
        )
        if self.get_debug():
            logger.info("%s: %r", action, transport)
        return transport, protocol

    def _log_start(self, action: str, stdin: Any, stdout: Any, stderr: Any) -> None:
        parts = [action]
        if stdin is not None:
            parts.append(f"stdin={_describe(stdin)}")
        if stdout is not None and stderr == subprocess.STDOUT:
            parts.append(f"stdout=stderr={_describe(stdout)}")
        else:
            if stdout is not None:
                parts.append(f"stdout={_describe(stdout)}")
            if stderr is not None:
                parts.append(f"stderr={_describe(stderr)}")
        logger.debug(" ".join(parts))

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        ready = self.create_future()
        transport: Any = SubprocessTransport(
            self,  # type: ignore[arg-type]
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            ready,
            extra,
            **kwargs,
        )
        try:
            await ready
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            # Reaped, even if this is cancelled once more.
            await asyncio.shield(transport._wait())
            raise
        return transport
