"""A Python that was built without OpenSSL runs everything but TLS.

Lives here: a process in which the ssl module can't be imported, on each loop.
Does not live here: TLS (test_tls.py).
"""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules["ssl"] = sys.modules["_ssl"] = None
import asyncio

served = []

async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()
    served.append(writer)

async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"line\\n")
    print(await reader.readline(), await reader.read())
    for upgrade in (
        lambda: asyncio.open_connection(host, port, ssl=True),
        lambda: asyncio.get_running_loop().start_tls(writer.transport, asyncio.Protocol(), None),
    ):
        try:
            await upgrade()
        except Exception as error:
            print(type(error).__name__, error)
    writer.close()
    while len(served) < 2:
        await asyncio.sleep(0)
    server.close()

{run}
"""
RUN = {
    "asyncio": "asyncio.run(main())",
    "loop": "import rulip; rulip.run(main())",
    "install": "import rulip; rulip.install(); asyncio.run(main())",
}


@pytest.mark.parametrize("loop", RUN)
def test_programs_run(loop):
    child = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", PROGRAM.format(run=RUN[loop])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.splitlines() == [
        "b'line\\n' b''",
        "RuntimeError stdlib ssl module not available",
        "RuntimeError Python ssl module is not available",
    ]
    assert child.stderr == ""


def test_bug_report_says_so():
    program = (
        "import runpy, sys; sys.modules['ssl'] = sys.modules['_ssl'] = None;"
        "sys.argv = ['rulip', '--info']; runpy.run_module('rulip', run_name='__main__')"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    lines = dict(line.split("  ", 1) for line in child.stdout.splitlines())
    assert lines["OpenSSL"].strip() == "none"
    assert lines["TLS data goes by"].strip() == "nothing"
