"""Web frameworks and their servers: FastAPI, Starlette, Quart, Django, aiohttp; WebSockets.

Thread: pytest's main one; gunicorn runs as processes of its own.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap

import pytest

from servers import free_port

PATIENCE = 60.0


@contextlib.asynccontextmanager
async def served(app, **options):
    """An ASGI application under uvicorn, in this loop."""
    uvicorn = pytest.importorskip("uvicorn")
    port = free_port()
    config = uvicorn.Config(app, port=port, log_level="warning", loop="none", **options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await task


def test_fastapi_and_websockets():
    fastapi = pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    websockets = pytest.importorskip("websockets")
    app = fastapi.FastAPI()
    ended = []

    @app.get("/items/{number}")
    async def item(number: int):
        await asyncio.sleep(0.01)
        return {"number": number}

    @app.get("/threads")
    def in_a_thread():
        return {"thread": True}

    @app.post("/later")
    async def later(background: fastapi.BackgroundTasks):
        background.add_task(ended.append, "later")
        return {}

    async def echo(socket: fastapi.WebSocket):
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text.upper())

    app.add_api_websocket_route("/echo", echo)

    async def main():
        async with (
            served(app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            answers = await asyncio.gather(*(client.get(f"/items/{n}") for n in range(100)))
            assert [answer.json() for answer in answers] == [{"number": n} for n in range(100)]
            assert (await client.get("/items/x")).status_code == 422
            assert (await client.get("/threads")).json() == {"thread": True}
            assert (await client.post("/later")).status_code == 200
            while not ended:  # it runs once the answer is sent
                await asyncio.sleep(0.01)
            assert ended == ["later"]
            async with websockets.connect(f"ws://127.0.0.1:{port}/echo") as socket:
                for size in (1, 100, 70_000):
                    await socket.send("x" * size)
                    assert await socket.recv() == "X" * size

    asyncio.run(main())


def test_starlette_streams_and_its_test_client():
    pytest.importorskip("httpx")
    applications = pytest.importorskip("starlette.applications")
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    async def stream(request):
        async def parts():
            for number in range(100):
                yield f"{number}\n"
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    async def upload(request):
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return PlainTextResponse(str(size))

    app = applications.Starlette(
        routes=[Route("/stream", stream), Route("/upload", upload, methods=["POST"])]
    )
    with TestClient(app) as client:
        assert client.get("/stream").text.split() == [str(n) for n in range(100)]
        assert client.post("/upload", content=b"x" * 1_000_000).text == "1000000"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_aiohttp_server_and_client(certificate, tls, tmp_path):
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import web

    (tmp_path / "file").write_bytes(b"f" * 3_000_000)

    async def hello(request):
        await asyncio.sleep(0.05)
        return web.Response(text=f"hello {request.match_info['name']}")

    async def upload(request):
        return web.json_response({"size": len(await request.read())})

    async def echo(request):
        socket = web.WebSocketResponse(heartbeat=5)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def main():
        app = web.Application(client_max_size=10_000_000)
        app.router.add_get("/hello/{name}", hello)
        app.router.add_post("/upload", upload)
        app.router.add_get("/echo", echo)
        app.router.add_static("/files", tmp_path)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(
            runner, "127.0.0.1", 0, ssl_context=certificate.server() if tls else None
        )
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        base = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        connector = aiohttp.TCPConnector(ssl=certificate.client() if tls else False)
        async with aiohttp.ClientSession(base, connector=connector) as session:

            async def ask(name):
                async with session.get(f"/hello/{name}") as answer:
                    return await answer.text()

            texts = await asyncio.gather(*map(ask, range(200)))
            assert texts == [f"hello {n}" for n in range(200)]
            async with session.post("/upload", data=b"x" * 5_000_000) as answer:
                assert await answer.json() == {"size": 5_000_000}
            async with session.get("/files/file") as answer:
                size = 0
                async for chunk in answer.content.iter_chunked(512):
                    size += len(chunk)
                assert size == 3_000_000
            async with session.ws_connect("/echo") as socket:
                await socket.send_str("told")
                assert (await socket.receive()).data == "told"
            with pytest.raises(asyncio.TimeoutError):
                await session.get("/hello/x", timeout=aiohttp.ClientTimeout(total=0.01))
        await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_websockets(certificate, tls):
    websockets = pytest.importorskip("websockets")
    from websockets.asyncio.server import serve

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def main():
        context = certificate.server() if tls else None
        async with serve(echo, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            options = {"ssl": certificate.client()} if tls else {}

            async def talk(name):
                address = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"
                async with websockets.connect(address, **options) as socket:
                    for message in (name, b"x" * 200_000, "y" * 100_000):
                        await socket.send(message)
                        assert await socket.recv() == message
                    await (await socket.ping())

            await asyncio.gather(*(talk(f"client {n}") for n in range(20)))

    asyncio.run(main())


def test_quart_on_hypercorn():
    quart = pytest.importorskip("quart")
    httpx = pytest.importorskip("httpx")
    hypercorn = pytest.importorskip("hypercorn.asyncio")
    from hypercorn.config import Config

    app = quart.Quart("smoke")

    @app.get("/<name>")
    async def hello(name):
        return {"hello": name}

    async def main():
        stop = asyncio.Event()
        config = Config()
        config.bind = [f"127.0.0.1:{free_port()}"]
        config.accesslog = config.errorlog = None
        task = asyncio.create_task(hypercorn.serve(app, config, shutdown_trigger=stop.wait))
        async with httpx.AsyncClient(base_url=f"http://{config.bind[0]}") as client:
            for _ in range(200):
                with contextlib.suppress(httpx.ConnectError):
                    answer = await client.get("/world")
                    break
                await asyncio.sleep(0.05)
            assert answer.json() == {"hello": "world"}
            answers = await asyncio.gather(*(client.get(f"/{n}") for n in range(30)))
            assert [answer.json()["hello"] for answer in answers] == [str(n) for n in range(30)]
        stop.set()
        await asyncio.wait_for(task, 30)

    asyncio.run(main())


def test_django_asgi_handler():
    django = pytest.importorskip("django")
    httpx = pytest.importorskip("httpx")
    from django.conf import settings
    from django.http import HttpResponse, JsonResponse
    from django.urls import path

    async def later(request, number):
        await asyncio.sleep(0.01)
        return JsonResponse({"number": number})

    def in_a_thread(request):
        return HttpResponse(request.method)

    settings.configure(
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=type(
            "urls",
            (),
            {"urlpatterns": [path("later/<int:number>", later), path("sync", in_a_thread)]},
        ),
        SECRET_KEY="smoke",
    )
    django.setup()
    from django.core.asgi import get_asgi_application

    async def main():
        async with (
            served(get_asgi_application(), lifespan="off") as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            answers = await asyncio.gather(*(client.get(f"/later/{n}") for n in range(30)))
            assert [answer.json() for answer in answers] == [{"number": n} for n in range(30)]
            assert (await client.get("/sync")).text == "GET"

    asyncio.run(main())


@pytest.mark.parametrize("worker", ["uvicorn_worker.UvicornWorker", "aiohttp.GunicornWebWorker"])
def test_gunicorn_workers(tmp_path, worker):
    pytest.importorskip("gunicorn")
    pytest.importorskip(worker.partition(".")[0])
    httpx = pytest.importorskip("httpx")
    (tmp_path / "app.py").write_text(
        textwrap.dedent("""
        import os
        from aiohttp import web

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"%d" % os.getpid()})

        async def answer(request):
            return web.Response(text=str(os.getpid()))

        web_app = web.Application()
        web_app.router.add_get("/", answer)
    """)
    )
    port = free_port()
    name = "app:app" if "uvicorn" in worker else "app:web_app"
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        name,
        "-k",
        worker,
        "-w",
        "2",
        "-b",
        f"127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:

            async def main():
                async with httpx.AsyncClient() as client:
                    for _ in range(400):
                        with contextlib.suppress(httpx.TransportError):
                            first = await client.get(f"http://127.0.0.1:{port}/")
                            break
                        await asyncio.sleep(0.05)
                    assert first.text.isdigit()
                    assert int(first.text) != process.pid

            asyncio.run(main())
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
    assert process.returncode == 0, log
    assert "Traceback" not in log
