"""The NATS JetStream sink: lines travel as messages of many lines, each published once.

Here: the stream, dividing a batch into messages, waiting for the cluster's acknowledgements.
Not here: retrying (writers.py). Thread: the loop's; nats-py runs on it.
Invariant: a batch counts as stored when the stream has acknowledged every message of it. A message
carries an id that follows from the batch's, and a line with @id:seq is a message under that id: the
stream drops repetitions within its duplicate window (two minutes unless the stream says otherwise).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from ..block import Batch, Block
from ..config import Config
from .base import RefusedError, Stored, UnavailableError

WINDOW = 64  # messages waiting for an acknowledgement
DUPLICATES = 120.0  # seconds in which the stream recognises a message
LONGEST = 512 * 1024  # bytes of a message, unless the server takes less


class Message(NamedTuple):
    """What is published."""

    id: str
    payload: bytes
    headers: dict[str, str]
    keyed: bool


class JetStreamSink:
    """One connection to a NATS server or cluster."""

    def __init__(self, url: str, *, stream: str, replicas: int) -> None:
        self._servers = url.split(",")
        self._stream = stream
        self._subject = f"{stream}.lines"
        self._replicas = replicas
        self._client: Client | None = None
        self._context: JetStreamContext | None = None
        self._longest = LONGEST

    async def open(self) -> None:
        try:
            client = self._client = Client()  # close() is to find it, should this be cut short
            await client.connect(
                servers=self._servers,
                allow_reconnect=False,  # the writer does that, and knows what to repeat
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                connect_timeout=5,
                error_cb=_ignore,
            )
            self._context = client.jetstream(timeout=10)
            self._longest = min(LONGEST, client.max_payload - 4096)
            await self._ensure_stream(self._context)
        except (Error, OSError) as error:
            raise UnavailableError(str(error) or type(error).__name__) from error

    async def write_batch(self, batch: Batch) -> Stored:
        return Stored(await self._publish(self._subject, messages(batch, self._longest)))

    async def write_dead(self, batch: Batch, reason: str) -> None:
        dead = [
            Message(f"{batch.id}-dead", block.data, {"Reason": reason.replace("\n", " ")}, False)
            for block in batch.blocks
        ]
        await self._publish(f"{self._stream}.dead", iter(dead))

    async def close(self) -> None:
        client, self._client = self._client, None
        self._context = None
        if client is not None:
            try:
                async with asyncio.timeout(2):
                    await client.close()
            except (Error, OSError, TimeoutError):
                pass  # it is gone either way

    async def health(self) -> None:
        if self._client is None or not self._client.is_connected:
            raise UnavailableError("not connected")
        try:
            await self._client.flush(timeout=5)
        except (Error, OSError) as error:
            raise UnavailableError(str(error) or type(error).__name__) from error

    async def _ensure_stream(self, context: JetStreamContext) -> None:
        try:
            await context.stream_info(self._stream)
        except NotFoundError:
            await context.add_stream(
                StreamConfig(
                    name=self._stream,
                    subjects=[f"{self._stream}.>"],
                    storage=StorageType.FILE,
                    num_replicas=self._replicas,
                    duplicate_window=DUPLICATES,
                )
            )

    async def _publish(self, subject: str, waiting: Iterator[Message]) -> int:
        """Publish all of them, `WINDOW` at a time; returns how many lines were there already."""
        context = self._context
        if context is None:
            raise UnavailableError("not connected")
        duplicates = 0
        flying: set[asyncio.Task[int]] = set()
        try:
            for message in waiting:
                if len(flying) >= WINDOW:
                    done, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                    duplicates += sum([task.result() for task in done])
                flying.add(asyncio.create_task(publish(context, subject, message)))
            duplicates += sum(await asyncio.gather(*flying))
        except APIError as error:
            if error.code == 400 and "size" in (error.description or ""):
                raise RefusedError(str(error)) from error
            raise UnavailableError(str(error)) from error
        except (Error, OSError) as error:
            raise UnavailableError(str(error) or type(error).__name__) from error
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
        return duplicates


async def publish(context: JetStreamContext, subject: str, message: Message) -> int:
    """Publish one message and wait for its acknowledgement; 1 if it was a duplicate with a key."""
    headers = {"Nats-Msg-Id": message.id, **message.headers}
    answer = await context.publish(subject, message.payload, headers=headers)
    return 1 if message.keyed and answer.duplicate else 0


def messages(batch: Batch, longest: int) -> Iterator[Message]:
    """A batch as messages: blocks of lines, or single lines with keys."""
    number = 0
    for block in batch.blocks:
        headers = {"Received": repr(block.received), "Peer": block.peer}
        if block.keyed:
            for sender, seq, line in block.keyed_lines():
                yield Message(
                    f"{sender}:{seq}", line, {**headers, "Sender": sender, "Seq": str(seq)}, True
                )
            continue
        for part in parts(block, longest):
            yield Message(f"{batch.id}-{number}", part, headers, False)
            number += 1


def parts(block: Block, longest: int) -> Iterator[bytes]:
    """The lines of a block in pieces of at most `longest` bytes, each of whole lines."""
    data = block.data
    at = 0
    while len(data) - at > longest:
        end = data.rfind(b"\n", at, at + longest) + 1
        if not end:
            end = data.index(b"\n", at) + 1  # the server will say what it thinks of this line
        yield data[at:end]
        at = end
    yield data[at:] if at else data


async def _ignore(error: Exception) -> None:
    """The call that fails says so itself."""


def make(config: Config) -> JetStreamSink:
    """The sink the configuration names."""
    return JetStreamSink(config.sink.url, stream=config.nats_stream, replicas=config.nats_replicas)
