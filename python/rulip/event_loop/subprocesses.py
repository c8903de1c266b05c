"""Child processes: subprocess_exec, subprocess_shell.

Lives here: starting one, and cancelling that.
Does not live here: arguments and what is logged of them (asyncio's own coroutines, which know the
loop by three private names), the transport (child.py), asyncio.subprocess's streams.
Thread: the loop's own.
Invariant: a start that was cancelled leaves no running child.
"""

import asyncio
from typing import Any

from .child import SubprocessTransport
from .pipes import Pipes


class Subprocesses(Pipes):
    """Child processes."""

    # Checking the arguments and logging them is the same on every loop. Tools that look for
    # blocking calls forgive starting a process to these functions, known by file and name.
    subprocess_shell = asyncio.BaseEventLoop.subprocess_shell
    subprocess_exec = asyncio.BaseEventLoop.subprocess_exec
    _log_subprocess = asyncio.BaseEventLoop._log_subprocess  # type: ignore[attr-defined]

    @property
    def _debug(self) -> bool:
        """What they ask."""
        return self.get_debug()

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
