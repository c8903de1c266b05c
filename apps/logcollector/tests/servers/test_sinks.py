"""What every database sink keeps to, on real servers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from collecting import Run, configure
from collector_processes import MariaDB, Postgres
from logcollector.block import Batch, Block
from logcollector.sinks.base import RefusedError, Sink, sink_factory

Database = Postgres | MariaDB
AWKWARD = [
    b"plain",
    b"",
    b"back\\slash \\N \\. \\n \\0",
    b"tab\there and \r inside",
    b"quotes ' '' \" ` %s %(x)s $1 {} ; -- #",
    "gr\u00fc\u00df \u20ac \U0001f600".encode(),
    b"x" * 60_000,
]


def sink(url: str, **settings: object) -> Sink:
    return sink_factory(configure(sink=url, **settings))()


def block(*lines: bytes, keyed: bool = False, raw: bool = False, peer: str = "10.1.2.3") -> Block:
    data = b"".join(line + b"\n" for line in lines)
    return Block(data, len(lines), time.time(), peer, keyed=keyed, raw=raw)


def lines(database: Database, url: str, column: str = "line") -> list[str]:
    hexed = f"encode(convert_to({column}, 'UTF8'), 'hex')"
    if isinstance(database, MariaDB):
        hexed = f"lower(hex({column}))"
    found = database.query(f"SELECT concat('>', {hexed}) FROM log ORDER BY id", url)
    return [bytes.fromhex(text[1:]).decode() for text in found.split("\n") if text]


def test_awkward_lines_come_back_as_they_went_in(run: Run, database: Database) -> None:
    url = database.fresh()

    async def main() -> None:
        store = sink(url)
        await store.open()
        await store.write_batch(Batch([block(*AWKWARD), block(b"other", peer="::1")]))
        await store.write_batch(Batch([block(b"no address", peer="")]))
        await store.health()
        await store.close()

    run(main())
    assert lines(database, url) == [line.decode() for line in (*AWKWARD, b"other", b"no address")]
    on_postgres = isinstance(database, Postgres)
    peer = "host(peer)" if on_postgres else "peer"
    peers = database.query(f"SELECT DISTINCT concat('>', {peer}) FROM log ORDER BY 1", url)
    assert set(peers.split("\n")) <= {">", "NULL", ">10.1.2.3", ">::1"}
    assert {">10.1.2.3", ">::1"} <= set(peers.split("\n"))
    seconds = (
        "extract(epoch FROM now() - received)"
        if on_postgres
        else "timestampdiff(SECOND, received, utc_timestamp())"
    )
    late = database.query(f"SELECT count(*) FROM log WHERE {seconds} NOT BETWEEN -1 AND 99", url)
    assert late == "0"


def test_one_batch_mixes_all_kinds(run: Run, database: Database) -> None:
    url = database.fresh()
    mixed = [
        block(b"a\\b", b"c"),
        block(b"nul\0 \\ x", b"caf\xe9 '", raw=True),
        block(b"@web:1 \\ first", b"@web:2 'second'", keyed=True),
        block(b"@web:3 \xff", keyed=True, raw=True),
    ]

    async def main() -> None:
        store = sink(url)
        await store.open()
        assert (await store.write_batch(Batch(mixed))).duplicates == 0
        assert (
            await store.write_batch(
                Batch([block(b"@web:2 again", b"@web:4 x", b"@web:4 y", keyed=True)])
            )
        ).duplicates == 2
        await store.close()

    run(main())
    assert sorted(lines(database, url)) == sorted(
        ["a\\b", "c", "nul\ufffd \\ x", "caf\ufffd '", "\\ first", "'second'", "\ufffd", "x"]
    )
    encoded = "encode(raw, 'hex')" if isinstance(database, Postgres) else "lower(hex(raw))"
    raw = database.query(f"SELECT {encoded} FROM log WHERE raw IS NOT NULL", url)
    assert sorted(raw.split()) == sorted([b"nul\0 \\ x".hex(), b"caf\xe9 '".hex(), b"\xff".hex()])


def test_without_keeping_raw_bytes(run: Run, database: Database) -> None:
    url = database.fresh()

    async def main() -> None:
        store = sink(url, invalid="replace")
        await store.open()
        await store.write_batch(Batch([block(b"caf\xe9", raw=True)]))
        await store.close()

    run(main())
    assert database.query("SELECT count(*), count(raw) FROM log", url).split(
        "|" if isinstance(database, Postgres) else "\t"
    ) == ["1", "0"]


def test_a_batch_is_stored_once_however_often_it_comes(run: Run, database: Database) -> None:
    url = database.fresh()

    async def main() -> None:
        first, second = sink(url), sink(url)
        await asyncio.gather(first.open(), second.open())
        batch = Batch([block(b"a", b"b")])
        # Two connections at a time, as when an attempt was given up and is still under way.
        await asyncio.gather(first.write_batch(batch), second.write_batch(batch))
        await first.write_batch(batch)
        later = Batch([block(b"c")])
        later.forget = [batch.id]
        await first.write_batch(later)
        await first.close()
        await second.close()

    run(main())
    assert lines(database, url) == ["a", "b", "c"]
    assert database.query("SELECT count(*) FROM logcollector_batch", url) == "1"


def test_refused_lines_leave_nothing_and_can_be_buried(run: Run, database: Database) -> None:
    url = database.fresh()

    async def main() -> None:
        store = sink(url)
        await store.open()
        await store.write_batch(Batch([block(b"first")]))
        database.query("ALTER TABLE log ADD CONSTRAINT rule CHECK (line NOT LIKE '%poison%')", url)
        bad = Batch([block(b"fine", b"poison \xff\0", raw=True)])
        with pytest.raises(RefusedError):
            await store.write_batch(bad)
        fine, poison = bad.halves()
        await store.write_batch(fine)
        for _ in range(2):
            await store.write_dead(poison, "it's \\ \u20ac refused")
        await store.close()

    run(main())
    assert lines(database, url) == ["first", "fine"]
    shown = "encode(line, 'hex'), reason" if isinstance(database, Postgres) else "hex(line), reason"
    dead = database.query(f"SELECT {shown} FROM log_dead", url)
    assert dead.lower().startswith(b"poison \xff\0".hex())
    assert dead.count("\n") == 0
    assert "\u20ac refused" in dead


def test_the_schema_is_made_once_by_many_and_migrated(run: Run, database: Database) -> None:
    url = database.fresh()

    async def main() -> None:
        sinks = [sink(url) for _ in range(4)]
        await asyncio.gather(*[store.open() for store in sinks])
        await asyncio.gather(*[store.write_batch(Batch([block(b"x")])) for store in sinks])
        for store in sinks:
            await store.close()
        # As the first version of the program left it.
        database.query("DROP TABLE log_dead", url)
        database.query("DELETE FROM logcollector_schema", url)
        database.query("INSERT INTO logcollector_schema VALUES (1)", url)
        store = sink(url)
        await store.open()
        await store.write_dead(Batch([block(b"y")]), "no reason")
        await store.close()
        database.query("INSERT INTO logcollector_schema VALUES (99)", url)
        newer = sink(url)
        with pytest.raises(Exception, match="version 99"):
            await newer.open()
        await newer.close()

    run(main())
    assert database.query("SELECT count(*) FROM log", url) == "4"


def test_days_have_partitions(run: Run, postgres: Postgres) -> None:
    url = postgres.fresh()

    async def main() -> None:
        store = sink(url)
        await store.open()
        old = block(b"long ago")
        old.received = 1_000_000_000.0
        edge = block(b"edge")
        edge.received = 1_000_080_000.0  # midnight, UTC
        await store.write_batch(Batch([old, edge]))
        await store.close()

    run(main())
    found = postgres.query("SELECT tableoid::regclass, line FROM log ORDER BY received", url)
    assert found == "log_20010909|long ago\nlog_20010910|edge"


def test_a_sink_that_is_not_there(run: Run) -> None:
    async def main() -> None:
        for url in (
            "postgresql://x@127.0.0.1:1/x",
            "mysql://x@127.0.0.1:1/x",
            "nats://127.0.0.1:1",
        ):
            store: Any = sink(url)
            with pytest.raises(Exception, match=r".") as caught:
                await store.open()
            assert isinstance(caught.value, OSError) or "Unavailable" in type(caught.value).__name__
            await store.close()

    run(main())
