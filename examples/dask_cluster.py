"""Jobs for a cluster: `run_in_executor()` hands them to dask, and the loop stays free meanwhile.

The cluster is a local one, its scheduler and workers on loops of their own; give `--scheduler` the
address of another. Needs dask: `pip install distributed`.
"""

import argparse
import asyncio

from distributed import Client, LocalCluster


def count_primes(first: int, last: int) -> int:
    """Work for a processor: how many primes there are in a range."""
    return sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        for number in range(max(2, first), last)
    )


async def tick(every: float) -> int:
    """Prove that the loop is free; the number of ticks when cancelled."""
    ticks = 0
    try:
        while True:
            await asyncio.sleep(every)
            ticks += 1
    except asyncio.CancelledError:
        return ticks


async def main(client: Client, limit: int, parts: int) -> None:
    """Count the primes below the limit, in parts."""
    loop = asyncio.get_running_loop()
    ticking = asyncio.create_task(tick(0.001))
    executor = client.get_executor()
    size = limit // parts
    counts = await asyncio.gather(
        *(
            loop.run_in_executor(executor, count_primes, part * size, (part + 1) * size)
            for part in range(parts)
        )
    )
    ticking.cancel()
    print(f"{sum(counts)} primes below {size * parts}, in {parts} parts")
    print(f"the loop was free: {await ticking > 0}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="primes, counted by a dask cluster")
    parser.add_argument("--scheduler", help="address (default: a local cluster)")
    parser.add_argument("--limit", type=int, default=200_000)
    parser.add_argument("--parts", type=int, default=20)
    args = parser.parse_args()
    if args.scheduler:
        with Client(args.scheduler) as there:
            asyncio.run(main(there, args.limit, args.parts))
    else:
        with (
            LocalCluster(n_workers=2, processes=False, dashboard_address=None) as cluster,
            Client(cluster) as there,
        ):
            asyncio.run(main(there, args.limit, args.parts))
