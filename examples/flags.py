"""Download many flags at once: a Semaphore bounds them, a thread pool saves them.

The loop's thread downloads; the default executor's threads only write files. Without a host the
flags come from a server on this machine, which has none for ZZ (404) and fails on XX (503).
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from local_server import Address, web_servers

CODES = "BD BR CD CN DE EG ET FR ID IN IR JP MX NG PH PK RU TR US VN XX ZZ".split()


class NotFoundError(Exception):
    """The server has no such flag."""


class FetchError(Exception):
    """A flag could not be had for another reason: see `__cause__`."""


async def get_flag(address: Address, code: str) -> bytes:
    """Fetch one flag over HTTP/1.0."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        request = f"GET /flags/{code.lower()}.svg HTTP/1.0\r\nHost: {address[0]}\r\n\r\n"
        writer.write(request.encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status = head.decode("latin-1").partition("\r\n")[0].partition(" ")[2]
    if status.startswith("404"):
        raise NotFoundError(code)
    if not status.startswith("200"):
        raise ConnectionError(status or "no answer")
    return body


async def download(address: Address, code: str, limit: asyncio.Semaphore, folder: Path) -> str:
    """Fetch and save one flag; return what became of it."""
    try:
        async with limit:
            image = await get_flag(address, code)
    except NotFoundError:
        return "not found"
    except OSError as exc:
        raise FetchError(f"no flag for {code}") from exc
    save = (folder / f"{code}.svg").write_bytes
    await asyncio.get_running_loop().run_in_executor(None, save, image)
    return "saved"


async def main(address: Address, folder: Path) -> None:
    """Download all flags under a progress bar, then count how it went."""
    limit, counts = asyncio.Semaphore(5), Counter[str]()
    for job in asyncio.as_completed([download(address, code, limit, folder) for code in CODES]):
        try:
            counts[await job] += 1
        except FetchError as exc:
            counts[f"{exc}: {exc.__cause__}"] += 1
        if sys.stdout.isatty():
            bar = "#" * counts.total()
            print(f"\r[{bar:{len(CODES)}}]", end=" ", flush=True)
    print(f"{counts.total()} flags")
    for status, count in sorted(counts.items()):
        print(f"{count:4} {status}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="download flags, five at a time")
    parser.add_argument("--host", nargs=1, default=[], help="HOST[:PORT] (default: our own)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with web_servers(args.host, "127.0.0.1") as addresses:
        asyncio.run(main(addresses[0], args.folder))
