"""Values of settings as people write them: sizes, durations, addresses, sinks.

Here: text to value; a text that cannot be one raises ValueError with the reason.
Not here: which settings there are (config.py), where they come from (settings.py).
Thread: any. Invariant: pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class SinkUrl:
    """The address of a sink; printing it leaves the password out."""

    url: str

    @property
    def scheme(self) -> str:
        """What kind of sink it is."""
        return self.url.partition(":")[0]

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        if parts.password is None:
            return self.url
        netloc = parts.netloc.replace(f":{parts.password}@", ":***@")
        return urlunsplit(parts._replace(netloc=netloc))

    __repr__ = __str__


def text(value: str) -> str:
    """Any text."""
    return value


def boolean(value: str) -> bool:
    """true or false."""
    lowered = value.lower()
    if lowered in ("true", "yes", "on", "1"):
        return True
    if lowered in ("false", "no", "off", "0"):
        return False
    raise ValueError("expected true or false")


def count(value: str) -> int:
    """A whole number, not negative."""
    if not re.fullmatch(r"[0-9][0-9_]*", value):
        raise ValueError("expected a whole number")
    return int(value)


def positive(value: str) -> int:
    """A whole number above zero."""
    number = count(value)
    if number == 0:
        raise ValueError("must be at least 1")
    return number


def size(value: str) -> int:
    """A number of bytes: 65536, 64KiB, 4M."""
    match = re.fullmatch(r"([0-9]+)\s*([kmg]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise ValueError("expected a size like 65536, 64KiB or 4MiB")
    number = int(match[1]) * _UNITS[match[2]]
    if number == 0:
        raise ValueError("must be at least 1")
    return number


def duration(value: str) -> float:
    """Seconds: 5ms, 30s, 2m, 1h, 7d, or a plain number of seconds."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(us|ms|s|m|h|d|)", value.strip().lower())
    if match is None:
        raise ValueError("expected a duration like 5ms, 30s or 2m")
    return float(match[1]) * _TIMES[match[2]]


def address(value: str) -> Address:
    """host:port, [v6]:port, or :port for every interface."""
    host, separator, port = value.strip().rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets: [::1]:5514")
    return Address(host, int(port))


def addresses(value: str) -> tuple[Address, ...]:
    """One or more addresses, separated by commas."""
    return tuple(address(part) for part in value.split(","))


def optional_address(value: str) -> Address | None:
    """An address, or off."""
    return None if value in ("off", "") else address(value)


def sink(value: str) -> SinkUrl:
    """sqlite:FILE, postgresql://..., mysql://..., nats://..."""
    from .sinks.base import KINDS

    scheme, separator, rest = value.partition(":")
    if not separator or scheme not in KINDS:
        raise ValueError(f"expected a URL that begins with one of: {', '.join(KINDS)}")
    if scheme == "sqlite" and not rest.lstrip("/"):
        raise ValueError("expected sqlite:FILE")
    if scheme != "sqlite" and not rest.startswith("//"):
        raise ValueError(f"expected {scheme}://...")
    return SinkUrl(value)


def one_of(*choices: str) -> type:
    """A parser for one of these words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"expected one of: {', '.join(choices)}")
        return value

    return parse  # type: ignore[return-value]
