"""A link between two network namespaces that loses, delays, reorders and doubles packets.

    python lossy_link.py NAMESPACE NAMESPACE SEED

Here: the relay between two TUN devices, 10.213.0.1 in the first namespace and 10.213.0.2 in the
second. Not here: what runs over the link (test_lossy_link.py).
Needs root. One process, asyncio's own loop.
Invariant: a packet is passed on whole or not at all. It prints "ready", and ends when its standard
input does.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import random
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
CLONE_NEWNET = 0x40000000
MOST = 2048

LOST = 0.03
DOUBLED = 0.02
DELAY = 0.008
JITTER = 0.006


def tun(namespace: str, address: str) -> int:
    """The packets of a new device in that namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(there, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"lossy", IFF_TUN | IFF_NO_PI))
    for command in (f"addr add {address}/24 dev lossy", "link set lossy up", "link set lo up"):
        subprocess.run(["ip", *command.split()], check=True)
    if libc.setns(home, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(there)
    os.close(home)
    return device


def pass_on(packet: bytes, to: int) -> None:
    try:
        os.write(to, packet)
    except BlockingIOError:
        pass  # a full queue loses it


async def main(first: str, second: str, seed: str) -> None:
    loop = asyncio.get_running_loop()
    pick = random.Random(seed)
    ends = tun(first, "10.213.0.1"), tun(second, "10.213.0.2")

    def arrived(at: int, to: int) -> None:
        try:
            packet = os.read(at, MOST)
        except BlockingIOError:
            return
        if pick.random() < LOST:
            return
        for _ in range(2 if pick.random() < DOUBLED else 1):
            loop.call_later(DELAY + pick.random() * JITTER, pass_on, packet, to)

    for at, to in (ends, ends[::-1]):
        loop.add_reader(at, arrived, at, to)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
