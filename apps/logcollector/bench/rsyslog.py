"""rsyslog with ompgsql, set up for the same work: lines over TCP into the same table.

Here: its configuration and senders for it. Not here: figures (compare.py). Thread: the caller's.
Invariant: it gets the batch size and the number of workers the collector has; its plain TCP gives
no answers, so the end is when the table holds every line.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from collector_processes import Server, program

CONFIGURATION = """
module(load="imptcp" threads="2")
module(load="ompgsql")
global(workDirectory="{folder}" maxMessageSize="64k")
main_queue(queue.size="200000" queue.dequeueBatchSize="5000")
template(name="row" type="list" option.stdsql="on") {{
  constant(value="INSERT INTO log (received, peer, line) VALUES ('")
  property(name="timegenerated" dateFormat="rfc3339")
  constant(value="', '") property(name="fromhost-ip")
  constant(value="', '") property(name="rawmsg") constant(value="')")
}}
input(type="imptcp" port="{port}" address="127.0.0.1" socketBacklog="128" ruleset="store")
ruleset(name="store") {{
  action(type="ompgsql" server="127.0.0.1" port="{postgres}" db="{database}" uid="postgres"
         pass="" template="row" queue.type="LinkedList" queue.size="200000"
         queue.dequeueBatchSize="5000" queue.workerThreads="2")
}}
"""


class Rsyslog(Server):
    """A running rsyslogd."""

    def __init__(self, folder: Path, postgres: int, database: str) -> None:
        super().__init__(folder)
        program("rsyslogd")
        (folder / "rsyslog.conf").write_text(
            CONFIGURATION.format(
                folder=folder, port=self.port, postgres=postgres, database=database
            )
        )

    def command(self) -> list[str]:
        pid, configuration = f"{self.folder}/pid", f"{self.folder}/rsyslog.conf"
        return [program("rsyslogd"), "-n", "-i", pid, "-f", configuration]


def push(port: int, senders: int, lines: int, stored: Callable[[], int]) -> float:
    """Send so many lines of 200 bytes from so many connections; seconds until all are stored."""
    each = lines // senders
    began = time.monotonic()

    def send(number: int) -> None:
        head = b"<13>1 - host push%d - - - " % number
        with socket.create_connection(("127.0.0.1", port)) as peer:
            for first in range(0, each, 500):
                last = min(first + 500, each)
                peer.sendall(
                    b"".join(
                        [
                            (head + b"%012d " % n).ljust(199, b"x") + b"\n"
                            for n in range(first, last)
                        ]
                    )
                )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (count := stored()) < each * senders:
        if time.monotonic() - began > 300:
            raise TimeoutError(f"{count} of {each * senders} lines after 300 s")
        time.sleep(0.1)
    return time.monotonic() - began
