"""Child processes: subprocess_exec, subprocess_shell.

Lives here: the coroutines, their arguments and what they log.
Does not live here: the transport (child.py), asyncio.subprocess's streams.
Thread: the loop's own.
Invariant: a start that was cancelled leaves no running child.
"""

import asyncio
import subprocess
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from .child import SubprocessTransport
from .pipes import Pipes


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
            self,
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
