"""What the smoke tests share: a certificate, servers, programs of their own.

Lives here: fixtures. Does not live here: the loop, which sitecustomize.py puts into every process.
Thread: pytest's main one.
Invariant: whatever is started is ended; a program that is not installed skips a test, saying so.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import servers

PATIENCE = 60.0


class Certificate:
    """A certificate for 127.0.0.1 and localhost, and contexts that use it."""

    def __init__(self, folder: Path) -> None:
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.authority = folder / "authority.pem"
        issued.private_key_pem.write_to_path(self.key)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self.certificate, append=True)
        authority.cert_pem.write_to_path(self.authority)

    @property
    def pair(self) -> tuple[Path, Path]:
        return self.certificate, self.key

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def postgres(certificate: Certificate) -> Iterator[dict[str, str]]:
    try:
        with servers.postgres(certificate.pair) as found:
            yield found
    except servers.MissingServer as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def redis_server(certificate: Certificate) -> Iterator[dict[str, str]]:
    try:
        with servers.redis(tls=certificate.pair) as found:
            yield found
    except servers.MissingServer as exc:
        pytest.skip(str(exc))


@pytest.fixture
def python(tmp_path: Path):
    """`python(*arguments)`: run an interpreter in a folder of the test; its standard output."""

    def run(*arguments: object, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run
