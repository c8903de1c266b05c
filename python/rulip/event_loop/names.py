"""Names and addresses: getaddrinfo, getnameinfo.

Lives here: which look-ups can be answered at once, and the wait for those that can't.
Does not live here: the threads (resolver.py); connecting (connect.py).
Thread: the loop's own.
Invariant: a look-up on the loop's thread never reads a file or the network, and the answer
is always what the socket module gives.
"""

import functools
import re
import socket
from asyncio import base_events, unix_events
from asyncio.base_events import _ipaddr_info  # type: ignore[attr-defined]
from asyncio.log import logger
from collections.abc import Callable
from socket import inet_ntop, inet_pton
from typing import Any

from .executor import settle
from .resolver import Lookup, ResolverPool
from .running import Running

#: What getaddrinfo() takes for a literal address looks like this, scope and all; a few names
#: do, too ("cafe"), and are told apart by AI_NUMERICHOST.
LITERAL_HOST = re.compile(r"[0-9A-Fa-fxX.:]+(%[^%]*)?")
NUMERIC_NAMES = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

#: Sockets are made, and names looked up, by what asyncio's own modules call `socket`: whoever puts
#: another module there (a test, a proxy) has it used here, too.
STOCK: Any = base_events
STOCK_UNIX: Any = unix_events


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        try:
            return bytes(value).decode("ascii")
        except UnicodeDecodeError:
            return None
    return value


def _is_numeric_port(port: Any) -> bool:
    port = _as_text(port)
    if isinstance(port, str):
        return port.isascii() and port.isdecimal()
    return port is None or isinstance(port, int)


def _needs_no_lookup(host: Any, port: Any) -> bool:
    if not _is_numeric_port(port):
        return False
    host = _as_text(host)
    return (
        host is None
        or host == ""
        or (isinstance(host, str) and LITERAL_HOST.fullmatch(host) is not None)
    )


GETADDRINFO = socket.getaddrinfo
# Plain numbers: an enum's hash is a call into Python.
INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
#: (family of the address, what was asked for) -> the system's answer to that, but for the address;
#: empty, if it has to be asked each time.
_answers: dict[tuple[int, int, int, int], list[tuple[Any, ...]]] = {}


def _known_answer(host: Any, port: Any, family: int, type: int, proto: int) -> list[Any] | None:
    """getaddrinfo() of a literal address and a number, as the system answers it; None: ask.

    Which kinds of sockets there are it tells once for all addresses.
    """
    if host.__class__ is not str or port.__class__ is not int or not 0 <= port < 65536:
        return None
    try:
        if ":" in host:
            found = INET6
            host = inet_ntop(found, inet_pton(found, host))
            if "." in host:  # one of IPv4's, as which it may be wanted
                return None
            address: tuple[Any, ...] = (host, port, 0, 0)
        elif host[-1:].isdecimal():
            found = INET
            inet_pton(found, host)
            address = (host, port)
        else:
            return None
        asked = (found, family, type, proto)
        kinds = _answers.get(asked)
        if kinds is None:
            infos = GETADDRINFO(host, port, family, type, proto, socket.AI_NUMERICHOST)
            kinds = [info[:4] for info in infos]
            if any(canonical_name for *_, canonical_name in kinds):
                # musl tells it unasked, as it was written.
                kinds = []
            _answers[asked] = kinds
    except (OSError, ValueError):
        return None
    return [(*kind, address) for kind in kinds] or None


class Names(Running):
    """Look-ups that block nobody."""

    _resolver: ResolverPool | None

    def __init__(self) -> None:
        super().__init__()
        self._resolver = None

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """socket.getaddrinfo(), without blocking."""
        self._check_closed()
        if self.get_debug():
            lookup: Callable[..., Any] = self._getaddrinfo_debug
        else:
            lookup = STOCK.socket.getaddrinfo
            if flags == 0 and lookup is GETADDRINFO:
                answer = _known_answer(host, port, family, type, proto)
                if answer is not None:
                    return answer
        if _needs_no_lookup(host, port):
            # None stands for "any" or "this machine": no name to restrict to numbers.
            numeric = flags if host is None else flags | socket.AI_NUMERICHOST
            try:
                return lookup(host, port, family, type, proto, numeric)  # type: ignore[no-any-return]
            except socket.gaierror:
                if not host:
                    raise
                # A name after all, or an error that the true call words better.
        return await self._look_up(  # type: ignore[no-any-return]
            lookup, host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """socket.getnameinfo(), without blocking."""
        if flags & NUMERIC_NAMES == NUMERIC_NAMES:
            return socket.getnameinfo(sockaddr, flags)
        return await self._look_up(STOCK.socket.getnameinfo, sockaddr, flags)

    async def _look_up(self, call: Callable[..., Any], *args: Any) -> Any:
        self._check_closed()
        if self._resolver is None:
            self._resolver = ResolverPool()
        pool = self._resolver
        answer = self.create_future()
        lookup = Lookup(call, args, functools.partial(self._report_lookup, answer))
        pool.submit(lookup)
        try:
            return await answer
        finally:
            if answer.cancelled():
                pool.abandon(lookup)
                if not self.is_closed():
                    # A turn later, when look-ups cancelled with this one have left the queue.
                    self.call_soon(pool.replace_stuck)

    def _report_lookup(self, answer: Any, result: Any, exc: BaseException | None) -> None:
        """Runs on a resolver thread."""
        if isinstance(exc, StopIteration):
            # A future refuses it; only a patched look-up could raise it.
            exc = RuntimeError(f"look-up raised {exc!r}")
        try:
            self.call_soon_threadsafe(settle, answer, result, exc)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits.
            return

    def close(self) -> None:
        """Close the loop; look-ups that still run end unheard."""
        super().close()
        resolver, self._resolver = self._resolver, None
        if resolver is not None:
            resolver.close()

    def _getaddrinfo_debug(
        self, host: Any, port: Any, family: int, type: int, proto: int, flags: int
    ) -> list[Any]:
        options = {"family": family, "type": type, "proto": proto, "flags": flags}
        asked = ", ".join(
            [f"{host}:{port!r}", *(f"{name}={value!r}" for name, value in options.items() if value)]
        )
        logger.debug("Get address info %s", asked)
        start = self.time()
        found = STOCK.socket.getaddrinfo(host, port, family, type, proto, flags)
        took = self.time() - start
        report = f"Getting address info {asked} took {took * 1e3:.3f}ms: {found!r}"
        if took >= self.slow_callback_duration:
            logger.info(report)
        else:
            logger.debug(report)
        return found  # type: ignore[no-any-return]

    async def _ensure_resolved(
        self,
        address: Any,
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
        loop: Any,
    ) -> list[Any]:
        """Address infos of a (host, port, ...) address; getaddrinfo() is asked for names only."""
        host, port = address[:2]
        info = _ipaddr_info(host, port, family, type, proto, *address[2:])
        if info is not None:
            return [info]
        found = await loop.getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )
        return found  # type: ignore[no-any-return]
