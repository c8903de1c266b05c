"""Ask three hosts at once for their front page, and print the headers as they come in.

Streams in one thread: HTTP/1.0 is written by hand, each answer is read line by line up to the
blank line after its headers. Without hosts, three servers of our own answer on this machine.
"""

import argparse
import asyncio

from local_server import Address, web_servers


async def wget(address: Address) -> None:
    """Print the headers that one host sends for its front page."""
    host = address[0]
    print(f"wget {host}...")
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        await writer.drain()
        while True:
            line = await reader.readline()
            if line in (b"\r\n", b""):
                break
            print(f"{host} header > {line.decode('latin-1').rstrip()}")
    finally:
        writer.close()  # the body is left unread


async def main(addresses: list[Address]) -> None:
    """All hosts at once; one that cannot be reached does not stop the others."""
    results = await asyncio.gather(*map(wget, addresses), return_exceptions=True)
    for (host, _), result in zip(addresses, results, strict=True):
        print(f"{host}: {result or 'done'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the headers of a few hosts' front pages")
    parser.add_argument("hosts", nargs="*", help="HOST[:PORT] ... (default: three of our own)")
    with web_servers(parser.parse_args().hosts, "127.0.0.1", "127.0.0.2", "127.0.0.3") as web:
        asyncio.run(main(web))
