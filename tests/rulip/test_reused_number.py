"""add_reader on a descriptor's number that was closed under the loop and came back.

Row of docs/compat.md: add_reader() on a number that was closed and reused.
Runs in the main thread.
Invariant: whoever asked for a number's events last gets the events of what it is now.
"""

from __future__ import annotations

import os
import socket

import pytest
from tests.loopback import Recorder, run_until, spin, within

pytestmark = pytest.mark.loops("rulip")


def replaced(old: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Close `old`; a fresh pair whose first socket has its number."""
    number = old.fileno()
    old.close()
    new, far = socket.socketpair()
    if new.fileno() != number:
        os.dup2(new.fileno(), number)
        new.close()
        new = socket.socket(fileno=number)
    new.setblocking(False)
    return new, far


@pytest.mark.parametrize("known", ["reader", "writer", "both"])
def test_the_new_owner_gets_its_events(loop, known):
    old, old_far = socket.socketpair()
    calls: list[str] = []
    if known in ("reader", "both"):
        loop.add_reader(old, calls.append, "old")
    if known in ("writer", "both"):
        loop.add_writer(old, calls.append, "old")
    spin(loop)
    calls.clear()
    new, far = replaced(old)
    with new, far, old_far:
        loop.add_reader(new, lambda: calls.append(new.recv(10)))
        if known != "reader":
            loop.remove_writer(new)
        far.send(b"hello")
        run_until(loop, lambda: calls)
        assert calls == [b"hello"]
        loop.add_writer(new, calls.append, "writable")
        spin(loop)
        assert calls[1:] == ["writable"]
        loop.remove_writer(new)
        assert loop.remove_reader(new) is True


def test_again_and_again(loop):
    sock, far = socket.socketpair()
    seen: list[bytes] = []
    for number in range(100):
        loop.add_reader(sock, lambda: None)
        far.close()
        sock, far = replaced(sock)
        loop.add_reader(sock, lambda sock=sock: seen.append(sock.recv(10)))
        far.send(b"%d" % number)
        run_until(loop, lambda number=number: len(seen) == number + 1)
    assert seen == [b"%d" % number for number in range(100)]
    loop.remove_reader(sock)
    sock.close()
    far.close()


def test_a_transport_on_a_number_that_is_still_watched(loop):
    """The owner closed its socket without remove_reader(): a transport may have the number."""
    old, old_far = socket.socketpair()
    loop.add_reader(old, lambda: None)
    new, far = replaced(old)

    async def main():
        try:
            transport, protocol = await loop.create_unix_connection(Recorder, sock=new)
        except RuntimeError:
            loop.remove_reader(new.fileno())
            transport, protocol = await loop.create_unix_connection(Recorder, sock=new)
        far.send(b"hello")
        await protocol.wait_received(5)
        transport.close()
        await within(protocol.lost)

    with far, old_far:
        loop.run_until_complete(main())
