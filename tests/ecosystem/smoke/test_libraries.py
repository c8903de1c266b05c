"""Libraries that live on the loop in ways of their own: gRPC, messaging, tracing, dask.

Thread: pytest's main one; gRPC and dask bring threads.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from servers import free_port


def test_grpc():
    grpc = pytest.importorskip("grpc")

    async def upper(request, context):
        await asyncio.sleep(0)
        return request.upper()

    async def count(request, context):
        for number in range(int(request)):
            yield b"%d" % number

    async def main():
        server = grpc.aio.server()
        handlers = {
            "Upper": grpc.unary_unary_rpc_method_handler(upper),
            "Count": grpc.unary_stream_rpc_method_handler(count),
        }
        handler = grpc.method_handlers_generic_handler("Smoke", handlers)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/Smoke/Upper")
            texts = await asyncio.gather(*(call(b"text %d" % n) for n in range(50)))
            assert texts == [b"TEXT %d" % n for n in range(50)]
            numbers = [int(part) async for part in channel.unary_stream("/Smoke/Count")(b"20")]
            assert numbers == list(range(20))
        await server.stop(None)

    asyncio.run(main())


def test_aiofiles(tmp_path):
    aiofiles = pytest.importorskip("aiofiles")

    async def main():
        async with aiofiles.open(tmp_path / "file", "w") as file:
            await file.writelines(f"{number}\n" for number in range(1000))
        async with aiofiles.open(tmp_path / "file") as file:
            assert [int(line) async for line in file] == list(range(1000))

    asyncio.run(main())


def test_nats_against_a_server_of_ours():
    """The protocol's first words: INFO, CONNECT, PING, then a message there and back."""
    nats = pytest.importorskip("nats")

    async def serve(reader, writer):
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576}\r\n')
        subscriptions = {}
        while line := await reader.readline():
            word, *rest = line.split()
            if word == b"PING":
                writer.write(b"PONG\r\n")
            elif word == b"SUB":
                subscriptions[rest[0]] = rest[-1]
            elif word == b"PUB":
                payload = await reader.readexactly(int(rest[-1]) + 2)
                number = subscriptions[rest[0]]
                writer.write(b"MSG %s %s %s\r\n%s" % (rest[0], number, rest[-1], payload))
        writer.close()

    async def main():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = await nats.connect(f"nats://127.0.0.1:{port}")
            subscription = await client.subscribe("news")
            await client.publish("news", b"told")
            message = await subscription.next_msg(timeout=10)
            assert message.data == b"told"
            await client.close()

    asyncio.run(main())


def test_aio_pika_says_that_nobody_is_there():
    aio_pika = pytest.importorskip("aio_pika")

    async def main():
        with pytest.raises(OSError, match=r"."):
            await aio_pika.connect(f"amqp://127.0.0.1:{free_port()}/", timeout=5)

    asyncio.run(main())


def test_aiokafka_says_that_nobody_is_there():
    aiokafka = pytest.importorskip("aiokafka")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def main():
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=f"127.0.0.1:{free_port()}", request_timeout_ms=2000
        )
        with pytest.raises(aiokafka.errors.KafkaConnectionError):
            await producer.start()
        await producer.stop()

    asyncio.run(main())


def test_structlog_contextvars():
    structlog = pytest.importorskip("structlog")
    logged = []

    def keep(logger, name, event):
        logged.append((event["event"], event["request"]))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])

    async def handle(number):
        structlog.contextvars.bind_contextvars(request=number)
        await asyncio.sleep(0)
        await structlog.get_logger().ainfo("handled")
        loop = asyncio.get_running_loop()
        loop.call_soon(structlog.get_logger().info, "soon")
        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*map(handle, range(10)))

    asyncio.run(main())
    for event in ("handled", "soon"):
        assert sorted(number for name, number in logged if name == event) == list(range(10))


def test_opentelemetry_traces_asyncio(python, tmp_path):
    pytest.importorskip("opentelemetry.instrumentation.asyncio")
    (tmp_path / "traced.py").write_text("""if True:
        import asyncio, os
        os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = "work,sleep"
        os.environ["OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED"] = "true"
        from opentelemetry import trace
        from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        AsyncioInstrumentor().instrument(tracer_provider=provider)

        async def work(n):
            await asyncio.sleep(0)
            return n

        async def main():
            print(await asyncio.gather(work(1), work(2)))
            print(await asyncio.wait_for(work(3), 5))
            done, _ = await asyncio.wait([asyncio.create_task(work(4))])
            print([task.result() for task in done])
            async with asyncio.TaskGroup() as group:
                task = group.create_task(work(5))
            print(task.result())

        asyncio.run(main())
        names = {span.name for span in exporter.get_finished_spans()}
        print(any("work" in name for name in names))
        AsyncioInstrumentor().uninstrument()
    """)
    assert python("traced.py").split("\n")[:5] == ["[1, 2]", "3", "[4]", "5", "True"]


def test_dask_distributed():
    distributed = pytest.importorskip("distributed")

    async def main():
        async with (
            distributed.LocalCluster(
                n_workers=2, processes=False, asynchronous=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster, asynchronous=True) as client,
        ):
            futures = client.map(lambda number: number**2, range(50))
            assert await client.gather(futures) == [number**2 for number in range(50)]
            assert await client.submit(sum, futures) == sum(number**2 for number in range(50))

    asyncio.run(main())


def test_run_in_executor_hands_jobs_to_dask(python):
    pytest.importorskip("distributed")
    example = Path(__file__).parents[3] / "examples" / "dask_cluster.py"
    assert python(example, "--limit", "20000").splitlines() == [
        "2262 primes below 20000, in 20 parts",
        "the loop was free: True",
    ]
