"""Tools that make loops of their own: pytest's plug-ins, IPython and its kernel.

Thread: pytest's main one; the tools are processes of their own.
"""

from __future__ import annotations

import textwrap

import pytest


def write(path, code: str) -> None:
    path.write_text(textwrap.dedent(code))


def test_pytest_asyncio(python, tmp_path):
    pytest.importorskip("pytest_asyncio")
    write(
        tmp_path / "test_it.py",
        """
        import asyncio
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def number():
            await asyncio.sleep(0)
            yield 42

        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def shared():
            return asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_a(number):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0.001))
            assert number == 42

        @pytest.mark.asyncio(loop_scope="module")
        async def test_b(shared):
            assert shared is asyncio.get_running_loop()
        """,
    )
    options = ("-p", "no:cacheprovider", "-W", "error")
    options += ("-o", "asyncio_default_fixture_loop_scope=function")
    assert "2 passed" in python("-m", "pytest", *options, "test_it.py")


def test_pytest_aiohttp(python, tmp_path):
    pytest.importorskip("pytest_aiohttp")
    write(
        tmp_path / "test_it.py",
        """
        from aiohttp import web

        async def test_hello(aiohttp_client):
            async def hello(request):
                return web.Response(text="hello")
            app = web.Application()
            app.router.add_get("/", hello)
            client = await aiohttp_client(app)
            answer = await client.get("/")
            assert await answer.text() == "hello"
        """,
    )
    options = ("-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    assert "1 passed" in python("-m", "pytest", *options, "test_it.py")


def test_ipython(python):
    pytest.importorskip("IPython")
    code = "import asyncio\nprint('slept', await asyncio.sleep(0.01, 7))"
    output = python("-m", "IPython", "--no-banner", "--colors=NoColor", "--quick", "-c", code)
    assert "slept 7" in output


def test_ipykernel(tmp_path, monkeypatch):
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    try:
        printed = []

        def hear(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        code = """
            import asyncio
            task = asyncio.create_task(asyncio.sleep(0.01, 'done'))
            print(await task)
            server = await asyncio.start_server(print, '127.0.0.1', 0)
            server.close()
            child = await asyncio.create_subprocess_exec('true')
            print(await child.wait(), type(asyncio.get_running_loop()).__module__.split('.')[0])
        """
        reply = client.execute_interactive(textwrap.dedent(code), timeout=60, output_hook=hear)
        assert reply["content"]["status"] == "ok", reply
        lines = "".join(printed).split()
        assert lines[:2] == ["done", "0"]
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def test_unittest(python, tmp_path):
    write(
        tmp_path / "test_it.py",
        """
        import asyncio, unittest

        class Case(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                self.value = await asyncio.sleep(0, 1)
            async def test_it(self):
                self.assertEqual(self.value, 1)
        """,
    )
    python("-W", "error", "-m", "unittest", "test_it")
