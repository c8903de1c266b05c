"""Every setting of the collector: its name, default, meaning, and what must hold among them.

Here: the table of settings and the checks across settings.
Not here: reading flags, the environment and files (settings.py), syntax of values (values.py).
Thread: any. Invariant: a Config that exists has passed all checks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from . import values
from .sinks.base import KINDS
from .values import Address, SinkUrl


class ConfigError(Exception):
    """The configuration cannot be used; says which setting, where it was set, and why."""


def setting(default: str, parse: Callable[[str], Any], text: str) -> Any:
    """A field of Config, with its default as it would be written."""
    return field(
        default_factory=lambda: parse(default),
        metadata={"default": default, "parse": parse, "help": text},
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings, parsed."""

    listen: tuple[Address, ...] = setting(
        "127.0.0.1:5514", values.addresses, "addresses for senders, separated by commas"
    )
    sink: SinkUrl = setting(
        "sqlite:logcollector.db",
        values.sink,
        "where lines go: sqlite:FILE, postgresql://, mysql:// or nats:// URL",
    )
    ack: str = setting(
        "commit",
        values.one_of("commit", "spool", "none"),
        "answer ok after the sink has committed, the spool is synced, or on receipt (lossy)",
    )
    writers: int = setting("0", values.count, "connections to the sink; 0: by sink and cores")
    max_line: int = setting("64KiB", values.size, "longest line; longer ones are refused")
    invalid: str = setting(
        "keep",
        values.one_of("keep", "replace"),
        "lines with NUL or invalid UTF-8: keep the bytes beside the text, or the text only",
    )
    tls_cert: str = setting("", values.text, "certificate chain (PEM); switches TLS on")
    tls_key: str = setting("", values.text, "private key (PEM), if not in the certificate's file")
    tls_client_ca: str = setting("", values.text, "accept only clients this CA vouches for (PEM)")
    max_connections: int = setting("4096", values.positive, "connections at a time")
    max_connections_per_peer: int = setting("0", values.count, "from one address; 0: no limit")
    line_timeout: float = setting("30s", values.duration, "for a started line to arrive")
    idle_timeout: float = setting("0", values.duration, "without a line; 0: no limit")
    queue_lines: int = setting("200000", values.positive, "queued of all connections, lines")
    queue_bytes: int = setting("64MiB", values.size, "queued of all connections, bytes")
    connection_lines: int = setting("20000", values.positive, "queued of one connection, lines")
    connection_bytes: int = setting("4MiB", values.size, "queued of one connection, bytes")
    batch_lines: int = setting("5000", values.positive, "a batch is complete at so many lines")
    batch_bytes: int = setting("1MiB", values.size, "or at so many bytes")
    linger: float = setting("5ms", values.duration, "or after so long, if all writers are busy")
    sink_timeout: float = setting("30s", values.duration, "for one attempt to store a batch")
    retry_longest: float = setting("5s", values.duration, "longest pause between attempts")
    spool: str = setting("", values.text, "folder of the local spool")
    spool_bytes: int = setting("1GiB", values.size, "size of the spool at most")
    spool_segment: int = setting("16MiB", values.size, "size of one file of the spool")
    drain: float = setting("10s", values.duration, "time to store what is queued at the end")
    http: Address | None = setting(
        "127.0.0.1:9614", values.optional_address, "address of the pages and metrics, or off"
    )
    recent_bytes: int = setting("1MiB", values.size, "recent lines kept for the page")
    nats_stream: str = setting("LOGS", values.text, "name of the JetStream stream")
    nats_replicas: int = setting("1", values.positive, "replicas of the JetStream stream")
    loop: str = setting(
        "auto",
        values.one_of("auto", "rulip", "asyncio", "uvloop"),
        "event loop; auto: rulip if it is installed, else asyncio",
    )
    log_level: str = setting(
        "info", values.one_of("debug", "info", "warning", "error"), "the collector's own log"
    )
    log_format: str = setting("text", values.one_of("text", "json"), "one line per event")

    def __post_init__(self) -> None:
        if self.ack == "spool" and not self.spool:
            raise ConfigError("ack: 'spool' needs the setting 'spool', the folder to use")
        if self.tls_key and not self.tls_cert:
            raise ConfigError("tls_key: needs tls_cert")
        if self.tls_client_ca and not self.tls_cert:
            raise ConfigError("tls_client_ca: needs tls_cert")
        for name in ("tls_cert", "tls_key", "tls_client_ca"):
            path = getattr(self, name)
            if path and not os.access(path, os.R_OK):
                raise ConfigError(f"{name}: cannot read {path!r}")
        if self.connection_bytes > self.queue_bytes:
            raise ConfigError("connection_bytes: more than queue_bytes")
        if self.connection_lines > self.queue_lines:
            raise ConfigError("connection_lines: more than queue_lines")
        if self.batch_lines > self.queue_lines or self.batch_bytes > self.queue_bytes:
            raise ConfigError("batch_lines, batch_bytes: a batch does not fit into the queue")
        if self.max_line > self.connection_bytes:
            raise ConfigError("max_line: more than connection_bytes")
        if self.spool_segment * 4 > self.spool_bytes:
            raise ConfigError("spool_segment: at most a quarter of spool_bytes")
        if self.batch_bytes + (1 << 20) > self.spool_segment:
            raise ConfigError("spool_segment: at least 1 MiB more than batch_bytes")
        most = KINDS[self.sink.scheme].most_writers
        if self.writers > most:
            raise ConfigError(f"writers: at most {most} for {self.sink.scheme}")

    @property
    def writer_count(self) -> int:
        """How many writers there are."""
        kind = KINDS[self.sink.scheme]
        cores = len(os.sched_getaffinity(0))
        return self.writers or kind.writers or min(max(2, cores), 8)

    @property
    def memory_bound(self) -> int:
        """What queues and connections may take at most, beside the program itself (bytes).

        Queued blocks, each once more as the driver's copy of a batch; of each connection an
        unfinished line and its objects; the recent lines.
        """
        batches = self.writer_count * (self.batch_bytes + self.connection_bytes) * 4
        connections = self.max_connections * (2 * self.max_line + 16 * 1024)
        return self.queue_bytes + batches + connections + 2 * self.recent_bytes


def names() -> list[str]:
    """The names of all settings, in order."""
    return [entry.name for entry in fields(Config)]
