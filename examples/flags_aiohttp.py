"""The flag downloader once more, with aiohttp's client (`pip install aiohttp`).

As in flags.py: a Semaphore bounds the downloads, the default executor saves, 404 is told apart from
other errors, which are chained to their cause. Here one session keeps its connections.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from http import HTTPStatus
from pathlib import Path

import aiohttp
from local_server import web_servers

CODES = "BD BR CD CN DE EG ET FR ID IN IR JP MX NG PH PK RU TR US VN XX ZZ".split()


class FetchError(Exception):
    """A flag could not be had: see `__cause__`."""


async def get_flag(session: aiohttp.ClientSession, code: str) -> bytes | None:
    """Fetch one flag; None if there is none."""
    async with session.get(f"/flags/{code.lower()}.svg") as answer:
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        answer.raise_for_status()
        return await answer.read()


async def download(
    session: aiohttp.ClientSession, code: str, limit: asyncio.Semaphore, folder: Path
) -> HTTPStatus:
    """Fetch and save one flag; return what became of it."""
    try:
        async with limit:
            image = await get_flag(session, code)
    except aiohttp.ClientError as exc:
        raise FetchError(code) from exc
    if image is None:
        return HTTPStatus.NOT_FOUND
    save = (folder / f"{code}.svg").write_bytes
    await asyncio.get_running_loop().run_in_executor(None, save, image)
    return HTTPStatus.OK


async def main(base: str, folder: Path) -> None:
    """Download all flags under a progress bar, then count how it went."""
    limit, counts = asyncio.Semaphore(5), Counter[str]()
    async with aiohttp.ClientSession(base) as session:
        jobs = [download(session, code, limit, folder) for code in CODES]
        for job in asyncio.as_completed(jobs):
            try:
                status = await job
            except FetchError as exc:
                cause = exc.__cause__
                assert isinstance(cause, aiohttp.ClientResponseError)
                counts[f"no flag for {exc}: {cause.status} {cause.message}"] += 1
            else:
                counts["saved" if status is HTTPStatus.OK else "not found"] += 1
            if sys.stdout.isatty():
                bar = "#" * counts.total()
                print(f"\r[{bar:{len(CODES)}}]", end=" ", flush=True)
    print(f"{counts.total()} flags")
    for text, count in sorted(counts.items()):
        print(f"{count:4} {text}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="download flags with aiohttp, five at a time")
    parser.add_argument("--host", nargs=1, default=[], help="HOST[:PORT] (default: our own)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with web_servers(args.host, "127.0.0.1") as addresses:
        host, port = addresses[0]
        asyncio.run(main(f"http://{host}:{port}", args.folder))
