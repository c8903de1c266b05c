"""Fixtures: each test of the running collector runs on asyncio and on rulip.

Here: which loops, settings, database servers for a whole session (a missing program is a reason
to skip). Not here: the collector (collecting.py), how servers run (collector_processes.py).
Thread: pytest's main thread.
Invariant: a test that passed left no task behind; each gets an empty database of its own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from collecting import Run
from collector_processes import MariaDB, MissingProgramError, Postgres, Server
from logcollector import loops


@pytest.fixture(params=["asyncio", "rulip"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on the loop under test, for half a minute at most."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")

    def runner(main: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await main
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left

        loops.run(bounded(), request.param)

    return runner


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    """Settings of a small collector: a file in this test's folder, any free ports."""
    return {
        "sink": f"sqlite:{tmp_path}/lines.db",
        "listen": "127.0.0.1:0",
        "http": "127.0.0.1:0",
        "drain": "5s",
    }


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that servers' own users may enter; pytest's belong to one user alone."""
    with tempfile.TemporaryDirectory(prefix="logcollector-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(open_folder: Path) -> Iterator[Postgres]:
    try:
        server = Postgres(open_folder / "postgres")
    except MissingProgramError as error:
        pytest.skip(f"{error}: apt-get install postgresql")
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def mariadb(open_folder: Path) -> Iterator[MariaDB]:
    try:
        server = MariaDB(open_folder / "mariadb")
    except MissingProgramError as error:
        pytest.skip(f"{error}: apt-get install mariadb-server")
    yield server
    server.end()


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server
