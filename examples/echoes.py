"""One echo service, three ways in: TCP, UDP and TLS side by side, and a client of each.

TCP and TLS run the same handler on streams; UDP is a protocol. `localhost.pem` beside this file is
a certificate for this machine's own use, and no secret.
"""

import argparse
import asyncio
import ssl
from pathlib import Path
from typing import cast

CERTIFICATE = Path(__file__).with_name("localhost.pem")
HOST = "127.0.0.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line back until the client has no more."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


class EchoDatagrams(asyncio.DatagramProtocol):
    """Sends each datagram back to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way out."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Echo."""
        self.transport.sendto(data, addr)


class Answers(asyncio.DatagramProtocol):
    """A client's side: keeps what comes back."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep an answer."""
        self.received.put_nowait(data)


async def ask_stream(name: str, port: int, lines: int, context: ssl.SSLContext | None) -> str:
    """Say many lines over TCP, or TLS; count those that come back as they were."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    same = 0
    for number in range(lines):
        line = f"{name} line {number}\n".encode()
        writer.write(line)
        same += await reader.readline() == line
    version = writer.get_extra_info("ssl_object")
    writer.close()
    await writer.wait_closed()
    return f"{name}: {same} of {lines} lines" + (f" over {version.version()}" if version else "")


async def ask_datagrams(port: int, count: int) -> str:
    """The same with datagrams. The next leaves when the last one is back: none is lost here."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Answers, remote_addr=(HOST, port))
    same = 0
    for number in range(count):
        data = b"datagram %d" % number
        transport.sendto(data)
        same += await asyncio.wait_for(protocol.received.get(), 10) == data
    transport.close()
    return f"UDP: {same} of {count} datagrams"


async def main(lines: int) -> None:
    """Serve all three, ask all three at once."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(CERTIFICATE)
    client_side = ssl.create_default_context(cafile=CERTIFICATE)
    loop = asyncio.get_running_loop()
    datagrams, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=(HOST, 0))
    async with (
        await asyncio.start_server(echo, HOST, 0) as tcp,
        await asyncio.start_server(echo, HOST, 0, ssl=server_side) as tls,
    ):
        ports = [server.sockets[0].getsockname()[1] for server in (tcp, tls)]
        answers = await asyncio.gather(
            ask_stream("TCP", ports[0], lines, None),
            ask_stream("TLS", ports[1], lines, client_side),
            ask_datagrams(datagrams.get_extra_info("sockname")[1], lines),
        )
    datagrams.close()
    print(*answers, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="TCP, UDP and TLS echo side by side")
    parser.add_argument("--lines", type=int, default=1000)
    asyncio.run(main(parser.parse_args().lines))
