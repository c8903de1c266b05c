"""A service that uses every core: N processes, each with its own loop, all on one port.

With `reuse_port` each of them listens by itself, and the kernel spreads new connections over all.
A client then proves that every one answers. `--threads` runs N threads in place of N processes,
each with its own loop too: on a free-threaded Python those use every core as well.
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import sys
import threading
from collections import Counter


async def serve(port: int, parent: socket.socket) -> None:
    """One worker: answer each connection with our name, until the parent says stop."""
    name = f"process {os.getpid()}, thread {threading.get_native_id()}".encode()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port, reuse_port=True) as server:
        parent.send(b"%d" % server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().sock_recv(parent, 4)


def work(port: int, parent: socket.socket) -> None:
    """What each process, or thread, does."""
    parent.setblocking(False)
    asyncio.run(serve(port, parent))


async def ask(port: int) -> str:
    """Connect once; return the name of the worker that answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    name = await reader.read()
    writer.close()
    return name.decode()


async def ask_often(port: int, times: int) -> Counter[str]:
    """Connect many times, 25 at once; count the answers of each worker."""
    answers: Counter[str] = Counter()
    for _ in range(times // 25):
        answers.update(await asyncio.gather(*(ask(port) for _ in range(25))))
    return answers


def main(workers: int, threads: bool) -> bool:
    """Start the workers, ask them, stop them; say whether all have answered."""
    kind = threading.Thread if threads else multiprocessing.get_context("fork").Process
    members, links, port = [], [], 0  # port 0: the first worker takes a free one
    for _ in range(workers):
        ours, theirs = socket.socketpair()
        links += [ours, theirs]
        members.append(kind(target=work, args=(port, theirs), daemon=True))
        members[-1].start()
        port = int(ours.recv(5))
    answers = asyncio.run(ask_often(port, 50 * workers))
    for ours, member in zip(links[::2], members, strict=True):
        ours.send(b"stop")
        member.join()
    for link in links:
        link.close()
    for name, count in sorted(answers.items()):
        print(f"{name}: {count} answers")
    print(f"{len(answers)} of {workers} workers answered")
    return len(answers) == workers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="one port, every core")
    parser.add_argument("--workers", type=int, default=max(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--threads", action="store_true", help="threads, not processes")
    args = parser.parse_args()
    sys.exit(not main(args.workers, args.threads))
