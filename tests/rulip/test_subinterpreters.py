"""A second interpreter in the process: rulip either works there or says that it does not.

Not here: threads with loops of their own (tests/stress/test_threads.py).
Runs in a process of its own.
Invariant: no crash, and the main interpreter's loop goes on.
"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, importlib, sys
import rulip

for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name)
        break
    except ImportError:
        continue
else:
    print("works")
    raise SystemExit

CODE = '''
try:
    import rulip
except ImportError as exc:
    assert "interpreter" in str(exc), exc
else:
    async def main():
        return 5
    assert rulip.run(main()) == 5
'''

async def main():
    await asyncio.sleep(0)
    sub = interpreters.create()
    failed = interpreters.run_string(sub, CODE)
    interpreters.destroy(sub)
    await asyncio.sleep(0.001)
    return failed

failed = rulip.run(main())
assert failed is None, failed
print("works")
"""


def test_another_interpreter_does_no_harm():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout, done.returncode) == ("works\n", 0), done.stdout + done.stderr
