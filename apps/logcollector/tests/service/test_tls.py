"""TLS, with and without client certificates."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from collecting import Run, collecting
from peers import Peer, rows, until

Settings = dict[str, object]

CONFIGURATION = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server and client, each a certificate and a key; and a client of another CA."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "conf").write_text(CONFIGURATION)
    for name, signer in (
        ("ca", None),
        ("server", "ca"),
        ("client", "ca"),
        ("stranger-ca", None),
        ("stranger", "stranger-ca"),
    ):
        kind = "leaf" if signer else "authority"
        sign = ["-CA", f"{signer}.pem", "-CAkey", f"{signer}.key"] if signer else []
        command = [openssl, "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
        command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(
            [*command, "-config", "conf", "-extensions", kind, *sign],
            check=True,
            capture_output=True,
            cwd=folder,
        )
    return folder


def tls(folder: Path, **more: str) -> Settings:
    """Settings of a collector with TLS."""
    return {"tls_cert": folder / "server.pem", "tls_key": folder / "server.key", **more}


def trusting(folder: Path, client: str | None = None) -> ssl.SSLContext:
    """A sender's context, maybe with a certificate."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client is not None:
        context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
    return context


def test_lines_over_tls(run: Run, settings: Settings, certificates: Path) -> None:
    async def main() -> None:
        lines = [f"line {n} {'x' * 500}" for n in range(2000)]
        async with collecting(settings, **tls(certificates)) as service:
            async with Peer(service, trusting(certificates)) as peer:
                peer.send("\n".join(lines).encode() + b"\n")
                assert await peer.answers(2000) == [b"ok\n"] * 2000
        assert rows(settings) == lines

    run(main())


def test_without_tls_nothing_is_taken(run: Run, settings: Settings, certificates: Path) -> None:
    async def main() -> None:
        async with collecting(settings, **tls(certificates)) as service:
            async with Peer(service) as peer:
                peer.send(b"in the clear\n" * 10)
                assert b"ok" not in await peer.rest()
            assert service.metrics.received_lines == 0

    run(main())


def test_client_certificates(run: Run, settings: Settings, certificates: Path) -> None:
    async def main() -> None:
        asked = tls(certificates, tls_client_ca=str(certificates / "ca.pem"))
        async with collecting(settings, **asked) as service:
            async with Peer(service, trusting(certificates, "client")) as peer:
                peer.send(b"known\n")
                assert await peer.answers(1) == [b"ok\n"]
            for unknown in (None, "stranger"):
                with pytest.raises((OSError, ssl.SSLError, asyncio.IncompleteReadError)):
                    async with Peer(service, trusting(certificates, unknown)) as peer:
                        peer.send(b"unknown\n")
                        await peer.reader.readexactly(1)
            await until(lambda: not service.receiver.connections)
            assert service.metrics.received_lines == 1
        assert rows(settings) == ["known"]

    run(main())


def test_a_stopping_collector_answers_over_tls(
    run: Run, settings: Settings, certificates: Path
) -> None:
    async def main() -> None:
        async with collecting(settings, **tls(certificates)) as service:
            peer = Peer(service, trusting(certificates))
            await peer.__aenter__()
            peer.send(b"last\n")
            await until(lambda: service.metrics.received_lines)
            service.stopping.set()
            assert await peer.rest() == b"ok\n"
            await peer.__aexit__()
        assert rows(settings) == ["last"]

    run(main())
