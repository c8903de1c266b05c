"""A web server for the examples that fetch something, so that they need no network.

It is the standard library's blocking one, in threads of its own, on loopback, on ports that the
system chooses. It has a page `/`, flags `/flags/CODE.svg` except ZZ (404), and fails on XX (503).
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Address = tuple[str, int]


class Handler(BaseHTTPRequestHandler):
    """Answers GET, a moment later, and logs nothing."""

    def do_GET(self) -> None:
        """Send a page, a flag, or an error."""
        time.sleep(0.05)  # it is far away
        folder, _, name = self.path.rpartition("/")
        if self.path == "/":
            self.answer(HTTPStatus.OK, "text/html", f"<h1>{self.headers['Host']}</h1>\n")
        elif folder == "/flags" and name == "xx.svg":
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", "come back later\n")
        elif folder == "/flags" and name != "zz.svg":
            flag = f'<svg xmlns="http://www.w3.org/2000/svg"><text y="20">{name[:2]}</text></svg>\n'
            self.answer(HTTPStatus.OK, "image/svg+xml", flag)
        else:
            self.answer(HTTPStatus.NOT_FOUND, "text/plain", "no such page\n")

    def answer(self, status: HTTPStatus, content_type: str, text: str) -> None:
        """Send a whole response."""
        body = text.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the example's own output is what matters."""


@contextmanager
def web_servers(given: list[str], *local: str) -> Iterator[list[Address]]:
    """Yield the addresses `given` as HOST or HOST:PORT; if none are, serve on the `local` ones."""
    with ExitStack() as stack:
        addresses = [(host, int(port or 80)) for host, _, port in (a.partition(":") for a in given)]
        for host in () if given else local:
            server = stack.enter_context(ThreadingHTTPServer((host, 0), Handler))
            thread = Thread(target=server.serve_forever, args=(0.05,), name=f"server {host}")
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            addresses.append((host, server.server_port))
        yield addresses
