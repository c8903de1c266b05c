"""A spinner beside a slow coroutine, as it was written in 2014, for Python 3.4.

    python -m rulip --legacy examples/legacy/spinner.py

`async` was a name, generators were coroutines, a loop was there before anything ran.
"""

import argparse
import asyncio
import itertools
import sys


@asyncio.coroutine
def spin(message):
    """Draw a frame every 0.1 s until cancelled."""
    write, flush = sys.stdout.write, sys.stdout.flush
    shown = ''
    for frame in itertools.cycle('|/-\\'):
        shown = '%s %s' % (frame, message)
        if sys.stdout.isatty():
            write(shown + '\x08' * len(shown))
            flush()
        try:
            yield from asyncio.sleep(.1)
        except asyncio.CancelledError:
            break
    if sys.stdout.isatty():
        write(' ' * len(shown) + '\x08' * len(shown))
    print('spinner: cancelled at its yield from')


@asyncio.coroutine
def slow_function(seconds):
    """Pretend to wait for a long time."""
    yield from asyncio.sleep(seconds)
    return 42


@asyncio.coroutine
def supervisor(seconds):
    """Run both."""
    spinner = asyncio.async(spin('thinking!'))
    result = yield from slow_function(seconds)
    spinner.cancel()
    yield from asyncio.wait([spinner])
    return result


@asyncio.coroutine
def sleeper(name, seconds, loop):
    """One of three that sleep together."""
    yield from asyncio.sleep(seconds, loop=loop)
    return name


def main(seconds):
    """Two rounds on one loop: the spinner, then bare coroutines given to wait()."""
    loop = asyncio.get_event_loop()
    result = loop.run_until_complete(supervisor(seconds))
    print('answer:', result)
    began = loop.time()
    sleepers = [sleeper(name, seconds, loop) for name in 'ABC']
    done, pending = loop.run_until_complete(asyncio.wait(sleepers))
    together = loop.time() - began < 2.5 * seconds
    print('slept:', sorted(task.result() for task in done), 'together:', together)
    loop.close()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='a spinner as in 2014')
    parser.add_argument('--seconds', type=float, default=3.0)
    main(parser.parse_args().seconds)
