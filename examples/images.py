"""Download images with aiohttp's client: bodies go to files in 512-byte chunks, some URLs fail.

`gather(..., return_exceptions=True)` lets the others finish. Without URLs the images come from a
server on this machine, which lacks one of them and breaks off in the middle of another.
Needs aiohttp: `pip install aiohttp`.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

import aiohttp
from aiohttp import web

SIZES = {
    "small.png": 100,
    "exact.png": 5120,
    "large.png": 1_000_003,
    "gone.png": 0,
    "broken.png": 9999,
}
CHUNK = 512


async def download(session: aiohttp.ClientSession, url: str, folder: Path) -> int:
    """One image into a file; its size."""
    async with session.get(url) as answer:
        answer.raise_for_status()
        size = 0
        with (folder / url.rpartition("/")[2]).open("wb") as file:
            async for chunk in answer.content.iter_chunked(CHUNK):
                size += file.write(chunk)
    return size


async def send_image(request: web.Request) -> web.StreamResponse:
    """The local server's images: zeroes, as many as the name promises."""
    name = request.match_info["name"]
    if not SIZES.get(name):
        raise web.HTTPNotFound
    answer = web.StreamResponse(headers={"Content-Length": str(SIZES[name])})
    await answer.prepare(request)
    if name == "broken.png":
        await answer.write(bytes(SIZES[name] // 2))
        assert request.transport is not None
        request.transport.close()
    else:
        await answer.write(bytes(SIZES[name]))
    return answer


async def main(urls: list[str], folder: Path) -> None:
    """Download everything, then say what became of each."""
    app = web.Application()
    app.router.add_get("/{name}", send_image)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    if not urls:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls = [f"http://127.0.0.1:{runner.addresses[0][1]}/{name}" for name in SIZES]
    async with aiohttp.ClientSession() as session:
        downloads = (download(session, url, folder) for url in urls)
        results = await asyncio.gather(*downloads, return_exceptions=True)
    await runner.cleanup()
    for url, result in zip(urls, results, strict=True):
        name = url.rpartition("/")[2]
        if isinstance(result, aiohttp.ClientResponseError):
            print(f"{name}: {result.status} {result.message}")
        elif isinstance(result, aiohttp.ClientError):
            print(f"{name}: {type(result).__name__}")
        elif isinstance(result, BaseException):
            raise result
        else:
            print(f"{name}: {result:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="download images")
    parser.add_argument("urls", nargs="*", metavar="URL")
    parser.add_argument("--folder", type=Path, help="where to put them (default: nowhere to stay)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main(args.urls, args.folder or Path(temporary)))
