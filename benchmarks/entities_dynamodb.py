"""Entities in DynamoDB: the CPU time of the client, against boto3 and the clients that people use instead.

    python benchmarks/entities_dynamodb.py [--rounds 3] [--seconds 0.5] [--tasks 1 64] [--json]
    uv run --with aiobotocore --with 'aiodynamo[aiohttp]' --with pynamodb --with pydynox \
        python benchmarks/entities_dynamodb.py

The server is a process of its own that repeats real answers at once, so that what is measured is the client: CPU time
of this process in one get, put, and query of 20 stories of 1.6 KB. There is no TLS. Rounds alternate between the
programs; the median counts, and the least and most are shown. storycore goes through its port, with all checks, in its
own layout, over its transport ``lean`` and once more over boto3; the others keep every field as an attribute, as their
users do. What is not installed is named.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import json
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from dynamodb_peers import OPENERS, PAGE, Call, Side, codecs
from dynamodb_replay import replaying
from storycore_dynamodb.testing import server

GOAL = 10
GOALS = {"get": 8, "put": 8, "query": 6}
OPERATIONS = tuple(GOALS)
Numbers = dict[str, dict[str, list[float]]]


async def taught(url: str, tasks: int, stack: AsyncExitStack) -> tuple[list[Side], list[str]]:
    """The programs, each of which has made the server learn its answers; and those that are not installed."""
    sides: list[Side] = []
    missing: list[str] = []
    for name, opener in OPENERS.items():
        try:
            side = await opener(url, tasks, stack)
        except ImportError:
            missing.append(name)
            continue
        for n in range(PAGE):
            await side.put(n)
        await side.get(0)
        await side.query(0)
        sides.append(side)
    return sides, missing


def cpu_seconds() -> float:
    """CPU time of this process so far, of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def cpu_per_call(call: Call, tasks: int, seconds: float) -> float:
    """CPU microseconds of one call by so many tasks at once."""
    done = 0
    gc.collect()
    begun, cpu = time.perf_counter(), cpu_seconds()

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() - begun < seconds:
            await call(number + done)
            done += 1

    await asyncio.gather(*(client(number) for number in range(tasks)))
    return (cpu_seconds() - cpu) / done * 1e6


async def measure(port: int, tasks: int, rounds: int, seconds: float) -> tuple[Numbers, list[str]]:
    """Program to operation to CPU microseconds by round; and what is not installed."""
    numbers: Numbers = {}
    async with AsyncExitStack() as stack:
        sides, missing = await taught(f"http://127.0.0.1:{port}", tasks, stack)
        _replay(port)
        for side in sides:  # what was learned before its own answers is forgotten with the first round
            await cpu_per_call(side.get, tasks, seconds / 5)
        for _ in range(rounds):
            for side in sides:
                for operation in OPERATIONS:
                    cpu = await cpu_per_call(getattr(side, operation), tasks, seconds)
                    numbers.setdefault(side.name, {}).setdefault(operation, []).append(cpu)
        return numbers, missing


def _replay(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/replay")
    connection.getresponse().read()
    connection.close()


def best_of(call: Callable[[], object], times: int = 7, number: int = 2000) -> float:
    """The least CPU microseconds of one call."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        for _ in range(number):
            call()
        found.append((time.process_time() - begun) / number * 1e6)
    return min(found)


def codec_times() -> dict[str, dict[str, float]]:
    """Codec to the microseconds in which it encodes and decodes a story."""
    return {name: {"encode": best_of(encode), "decode": best_of(decode)} for name, encode, decode in codecs()}


def ratio(numbers: Numbers, peer: str, operation: str) -> float:
    """How many times the CPU of storycore a peer needs."""
    return statistics.median(numbers[peer][operation]) / statistics.median(numbers["storycore"][operation])


def show(tasks: int, numbers: Numbers, missing: list[str]) -> None:
    """A table for people."""
    print(f"\n{tasks} tasks: CPU µs of one call, median [least..most], and how many times storycore's")
    for name, operations in numbers.items():
        cells = [
            f"{operation} {statistics.median(found):7.0f} [{min(found):.0f}..{max(found):.0f}] "
            f"{ratio(numbers, name, operation):5.2f}x"
            for operation, found in operations.items()
        ]
        print(f"{name:12}", "   ".join(cells))
    for operation, goal in GOALS.items():
        times = ratio(numbers, "boto3", operation)
        print(f"{operation}: 1/{times:.1f} of boto3's (goal 1/{goal}: {'' if times >= goal else 'not '}reached)")
    if missing:
        print("not installed, so left out:", ", ".join(missing))


def show_codecs(found: dict[str, dict[str, float]]) -> None:
    """The codecs, and whether the goal is reached."""
    print("\ncodec alone, a story of 1.6 KB, least CPU µs (goal: a tenth of boto3's)")
    for name, times in found.items():
        parts = {what: found["boto3"][what] / time for what, time in times.items()}
        cells = [
            f"{what} {time:6.1f} = 1/{parts[what]:.1f} {'reached' if parts[what] >= GOAL else ''}"
            for what, time in times.items()
        ]
        print(f"{name:15}", "   ".join(cells))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result: dict[str, Any] = {"codec": codec_times(), "tasks": {}}
    if not given.json:
        show_codecs(result["codec"])
    with server() as settings:
        for tasks in given.tasks:
            with replaying(int(str(settings["endpoint_url"]).rpartition(":")[2])) as port:
                numbers, missing = asyncio.run(measure(port, tasks, given.rounds, given.seconds))
            result["tasks"][tasks] = {"cpu_us": numbers, "missing": missing}
            if not given.json:
                show(tasks, numbers, missing)
    if given.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
