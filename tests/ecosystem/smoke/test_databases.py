"""asyncpg, psycopg and redis-py against real servers, over plain and TLS connections.

Thread: pytest's main one; the servers are processes of their own.
"""

from __future__ import annotations

import asyncio

import pytest


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_asyncpg(postgres, certificate, tls):
    asyncpg = pytest.importorskip("asyncpg")

    async def main():
        options = {
            "host": postgres["PGHOST"],
            "port": int(postgres["PGPORT"]),
            "user": "postgres",
            "ssl": certificate.client() if tls else False,
        }
        async with asyncpg.create_pool(**options, min_size=2, max_size=4) as pool:
            in_use = await pool.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            assert in_use is tls
            rows = await asyncio.gather(
                *(pool.fetchval("select $1::int * 2", number) for number in range(50))
            )
            assert rows == [2 * number for number in range(50)]
            async with pool.acquire() as connection:
                heard: asyncio.Queue[str] = asyncio.Queue()
                await connection.add_listener("news", lambda *args: heard.put_nowait(args[3]))
                await pool.execute("notify news, 'told'")
                assert await asyncio.wait_for(heard.get(), 10) == "told"
                await connection.reset()
                await connection.execute("create temporary table big (n int, t text)")
                records = [(number, "x" * 100) for number in range(5000)]
                assert await connection.copy_records_to_table("big", records=records) == "COPY 5000"
                async with connection.transaction():
                    seen = [row["n"] async for row in connection.cursor("select n from big")]
                assert sorted(seen) == list(range(5000))
            with pytest.raises(asyncio.TimeoutError):
                await pool.execute("select pg_sleep(30)", timeout=0.2)
            assert await pool.fetchval("select 1") == 1

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_psycopg(postgres, certificate, tls):
    psycopg = pytest.importorskip("psycopg")

    async def main():
        address = (
            f"host={postgres['PGHOST']} port={postgres['PGPORT']} user=postgres dbname=postgres "
        )
        address += (
            f"sslmode=verify-full sslrootcert={certificate.authority}" if tls else "sslmode=disable"
        )

        async def double(number):
            async with await psycopg.AsyncConnection.connect(address) as connection:
                cursor = await connection.execute("select %s * 2", (number,))
                return (await cursor.fetchone())[0]

        assert await asyncio.gather(*map(double, range(8))) == [2 * number for number in range(8)]
        async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
            assert connection.pgconn.ssl_in_use is tls
            await connection.execute("create temporary table big (n int)")
            async with connection.cursor() as cursor:
                async with cursor.copy("copy big from stdin") as copy:
                    for number in range(2000):
                        await copy.write_row((number,))
                await cursor.execute("select count(*), sum(n) from big")
                assert await cursor.fetchone() == (2000, 1999000)
            task = asyncio.create_task(connection.execute("select pg_sleep(30)"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, psycopg.errors.QueryCanceled)):
                await task

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_redis(redis_server, certificate, tls):
    redis = pytest.importorskip("redis.asyncio")

    async def main():
        options = {"port": int(redis_server["PORT"])}
        if tls:
            options = {
                "port": int(redis_server["TLS_PORT"]),
                "ssl": True,
                "ssl_ca_certs": str(certificate.authority),
            }
        client = redis.Redis(host="127.0.0.1", **options)
        async with client:
            await client.flushdb()
            # Set, not counted up: the client repeats what a slow connection seems to have lost.
            await asyncio.gather(*(client.set(f"n{n}", n) for n in range(50)))
            found = await client.mget([f"n{n}" for n in range(50)])
            assert [int(n) for n in found] == list(range(50))
            async with client.pipeline() as pipeline:
                for number in range(1000):
                    pipeline.set(f"key{number}", "x" * 1000)
                assert await pipeline.execute() == [True] * 1000
            assert await client.mget("key0", "key999") == [b"x" * 1000] * 2
            async with client.pubsub() as pubsub:
                await pubsub.subscribe("news")
                await client.publish("news", "told")
                while (message := await pubsub.get_message(timeout=10))["type"] != "message":
                    pass
                assert message["data"] == b"told"
            waiting = asyncio.create_task(client.blpop("nothing", timeout=30))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.ping()

    asyncio.run(main())
