"""A newcomer's path, with the distributions in a folder: install, run, serve, uninstall.

Here: what wheel and source distribution hold; a wheel in an empty environment without compilers on
its PATH, under a program and under uvicorn; what is left after `pip uninstall`; a wheel made from
the source distribution elsewhere. Not here: how they are built (`make wheel`).
Thread: the main one; everything else is a process of its own.
Invariant: nothing outside the temporary folder is written, and every step says what it found.

    python tests/packaging/newcomer.py dist [--no-sdist]
"""

from __future__ import annotations

import argparse
import email
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0  # seconds, for anything but a build
BUILD_PATIENCE = 3600.0
PYTHONS = {"3.11", "3.12", "3.13", "3.14", "3.15"}
COMPILERS = ("cargo", "rustc", "cc", "gcc", "clang")
#: The quick profile: that it builds is the question, not how fast it runs.
SDIST_PROFILE = "quick"

APP = """
import asyncio

async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()

async def main():
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\\n")
        print((await reader.readline()).decode().strip(), type(asyncio.get_running_loop()))
        writer.close()
        await writer.wait_closed()

asyncio.run(main())
"""
WHERE = """
import importlib.metadata, importlib.resources, rulip
assert rulip.__version__ == importlib.metadata.version("rulip")
assert importlib.resources.files("rulip").joinpath("py.typed").is_file()
async def main():
    return rulip.__file__
print(rulip.run(main()))
"""
ASGI = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    name = type(asyncio.get_running_loop()).__module__
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": name.encode()})
"""


class Failure(Exception):
    """A step found something else than it should; the text says what."""


def expect(held: bool, what: str) -> None:
    """Say that it holds, or fail."""
    if not held:
        raise Failure(what)
    print(f"ok: {what}", flush=True)


def call(*command: object, patience: float = PATIENCE, **options: object) -> str:
    """Run a program to a good end; what it wrote."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, check=False,
        **options,
    )  # fmt: skip
    if done.returncode:
        text = f"{' '.join(map(str, command))}: exit status {done.returncode}"
        raise Failure(f"{text}\n{done.stdout}{done.stderr}")
    return done.stdout


def project_version() -> str:
    """The one place that says it."""
    return tomllib.loads((PROJECT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def project() -> dict[str, Any]:
    """What pyproject.toml says of it."""
    described: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return described


def sole(found: list[Path], what: str) -> Path:
    """The only one there is."""
    if len(found) != 1:
        raise Failure(f"one {what} expected, found {[path.name for path in found]}")
    return found[0]


def wheels_for_this_python(folder: Path) -> list[Path]:
    """By tag, and by the C library that this interpreter is linked with."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    musl = not _has_glibc()
    machine = os.uname().machine
    return [
        path
        for path in folder.glob(f"rulip-*-{tag}-{tag}-*{machine}.whl")
        if ("musllinux" in path.name) == musl
    ]


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def wheel_files(wheel: Path) -> set[str]:
    """What is in it."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def check_wheel(wheel: Path) -> None:
    """Files and metadata of a wheel."""
    files = wheel_files(wheel)
    info = f"rulip-{project_version()}.dist-info"
    needed = {"rulip/__init__.py", "rulip/__main__.py", "rulip/_rulip.pyi", "rulip/py.typed"}
    needed |= {f"{info}/licenses/LICENSE-{name}" for name in ("MIT", "APACHE")}
    expect(needed <= files, "the wheel has package, stub, py.typed and both licences")
    natives = [name for name in files if name.endswith(".so")]
    expect(len(natives) == 1, f"the wheel has one extension module: {natives}")
    # rulip.libs/ is what a repaired wheel brings along of the C library's neighbours.
    places = ("rulip/", "rulip.libs/", f"{info}/")
    strays = {name for name in files if not name.startswith(places) or "__pycache__" in name}
    expect(not strays, "nothing else is in the wheel")
    with zipfile.ZipFile(wheel) as archive:
        check_metadata(archive.read(f"{info}/METADATA").decode())


def check_metadata(text: str) -> None:
    """Name, version, licence, Pythons and extras."""
    fields = email.message_from_string(text)
    expect(fields["Version"] == project_version(), "its version is Cargo.toml's")
    expect(fields["License-Expression"] == "MIT OR Apache-2.0", "the licence is an expression")
    licences = sorted(fields.get_all("License-File") or [])
    expect(licences == ["LICENSE-APACHE", "LICENSE-MIT"], "the licence's files are named")
    named = set(re.findall(r"^Classifier: .* :: (3\.\d+)$", text, re.MULTILINE))
    expect(named == PYTHONS, f"classifiers name {', '.join(sorted(PYTHONS))}")
    extras = set(fields.get_all("Provides-Extra") or [])
    expect(extras == set(project()["optional-dependencies"]), f"extras: {sorted(extras)}")
    needs = [name for name in fields.get_all("Requires-Dist") or [] if "extra ==" not in name]
    expect(not needs, "it needs no other package")


class Environment:
    """A virtual environment that is thrown away, and a PATH that ends at it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        call(sys.executable, "-m", "venv", folder)
        self.variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "CARGO", "RUST")) and name != "VIRTUAL_ENV"
        }
        self.variables["PATH"] = str(self.bin)

    def call(self, *command: object, cwd: Path | None = None) -> str:
        """Run one of its programs, in its folder or another."""
        program, *rest = command
        return call(self.bin / str(program), *rest, cwd=cwd or self.folder, env=self.variables)

    def files(self) -> set[str]:
        """All files and folders but what pip keeps of itself."""
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if "site-packages/pip/" not in str(path)
        }


def check_life_of(wheel: Path, folder: Path) -> None:
    """Install a wheel, use it, remove it."""
    environment = Environment(folder / "environment")
    found = [name for name in COMPILERS if shutil.which(name, path=environment.variables["PATH"])]
    expect(not found, "no compiler is on the PATH")
    environment.call("pip", "install", "--quiet", "uvicorn")
    before = environment.files()
    environment.call("pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    expect("No broken" in environment.call("pip", "check"), "pip check finds nothing broken")

    (folder / "app.py").write_text(APP)
    (folder / "server.py").write_text(ASGI)
    place = environment.call("python", "-c", WHERE, cwd=folder).strip()
    expect(place.startswith(f"{environment.folder}/"), "rulip.run() runs the installed rulip")
    said = environment.call("python", "-W", "error", "-m", "rulip", "app.py", cwd=folder).split()
    expect(said[0] == "hello" and "rulip" in said[-1], "python -m rulip runs an app")
    expect(serve(environment, folder).startswith("rulip."), "uvicorn serves on rulip")

    environment.call("pip", "uninstall", "--quiet", "--yes", "rulip")
    left = sorted(environment.files() - before)
    expect(not left, f"nothing is left after pip uninstall{': ' if left else ''}{' '.join(left)}")


def serve(environment: Environment, folder: Path) -> str:
    """Start uvicorn on rulip, ask it, stop it; what it answered."""
    command = [environment.bin / "uvicorn", "--loop", "rulip:new_event_loop", "--port", "0"]
    process = subprocess.Popen(
        [*map(str, command), "server:app"],
        cwd=folder, env=environment.variables, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stderr is not None
            log = ""
            for line in process.stderr:
                log += line
                if address := re.search(r"running on (http://[\d.:]+)", line):
                    break
            else:
                raise Failure(f"uvicorn did not start:\n{log}")
            with urllib.request.urlopen(address[1], timeout=PATIENCE) as answer:
                body = answer.read().decode()
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode not in (0, -signal.SIGTERM) or "Traceback" in log + rest:
        raise Failure(f"uvicorn ended with {process.returncode}:\n{log}{rest}")
    return body


def check_sdist(sdist: Path, wheel: Path, folder: Path) -> None:
    """A wheel made from the source distribution alone has the same files."""
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extractall(folder / "sdist", filter="data")
    strays = [name for name in names if re.search(r"\.so$|__pycache__|/target/", name)]
    expect(not strays, "the source distribution holds sources only")
    source = sole(list((folder / "sdist").iterdir()), "folder in the source distribution")
    check_metadata((source / "PKG-INFO").read_text())
    print("building a wheel from the source distribution (minutes)", flush=True)
    options = {**os.environ, "MATURIN_PEP517_ARGS": f"--profile {SDIST_PROFILE}"}
    call(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir",
        folder / "built", source, patience=BUILD_PATIENCE, cwd=folder, env=options,
    )  # fmt: skip
    built = sole(list((folder / "built").glob("*.whl")), "wheel built")
    same = {name for name in wheel_files(built) ^ wheel_files(wheel) if "sboms" not in name}
    expect(not same, f"a wheel made from it has the same files: {sorted(same)}")


def check_with_twine(distributions: list[Path], folder: Path) -> None:
    """What an index would say of the metadata."""
    tools = Environment(folder / "tools")
    tools.call("pip", "install", "--quiet", "twine")
    said = tools.call("twine", "check", "--strict", *distributions)
    expect(said.count("PASSED") == len(distributions), "twine check --strict passes")


def main() -> int:
    """Take every step; 0 when all went well."""
    parser = argparse.ArgumentParser(description="a newcomer's path with built distributions")
    parser.add_argument("folder", type=Path, help="where the wheel and the source distribution are")
    parser.add_argument("--no-sdist", action="store_true", help="the wheel only")
    options = parser.parse_args()
    dist = options.folder.resolve()
    with tempfile.TemporaryDirectory(prefix="rulip-newcomer-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        try:
            wheel = sole(wheels_for_this_python(dist), "wheel for this Python")
            print(f"wheel: {wheel.name}", flush=True)
            check_wheel(wheel)
            check_life_of(wheel, folder)
            if not options.no_sdist:
                sdist = sole(list(dist.glob("rulip-*.tar.gz")), "source distribution")
                check_with_twine([wheel, sdist], folder)
                check_sdist(sdist, wheel, folder)
        except (Failure, subprocess.TimeoutExpired) as exc:
            print(f"FAILED: {exc}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
