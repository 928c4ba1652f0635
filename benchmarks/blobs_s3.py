"""Large blobs through the port beside boto3's transfer manager, on one S3 server in one run.

    python benchmarks/blobs_s3.py [--mib 128] [--rounds 3] [--json]

Both send and fetch the same bytes to and from the same server, turn by turn, and the best of the rounds counts. Through
the port, in a bucket with versions, the content comes in pieces and goes out in pieces, is hashed both ways and
compared; the transfer manager uses its own settings. Reported are MiB a second, the ratio, the CPU seconds of this
process, and by how much the peak of its memory grew in the first round. ``--mib 1024`` is the size to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

PIECE = bytes(range(256)) * 4096


class Pieces:
    """A file-like source of so many mebibytes, for the transfer manager."""

    def __init__(self, mib: int) -> None:
        self._rest = mib * len(PIECE)

    def read(self, size: int = -1) -> bytes:
        """At most one piece; the end is nothing."""
        size = self._rest if size < 0 else min(size, self._rest)
        self._rest -= size
        return (PIECE * (size // len(PIECE) + 1))[:size]


class Sink:
    """A file-like target that keeps nothing."""

    def __init__(self) -> None:
        self._at = 0

    def seek(self, at: int) -> int:
        """Go where the next piece belongs."""
        self._at = at
        return at

    def tell(self) -> int:
        """Where that is."""
        return self._at

    def seekable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:
        """Drop a piece."""
        self._at += len(data)
        return len(data)


async def pieces(mib: int) -> AsyncIterator[bytes]:
    """As many mebibytes, one by one."""
    for _ in range(mib):
        yield PIECE


async def fetch(store: BlobStore, key: str) -> None:
    """Read a blob to the end and keep nothing."""
    async with await store.get(key) as reader:
        async for _ in reader:
            pass


async def measured(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Seconds by the wall and by the CPU, and how far the peak of memory rose, in MiB."""
    before, cpu, began = _peak_mib(), time.process_time(), time.perf_counter()
    await work()
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_growth_mib": _peak_mib() - before,
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def run(mib: int, rounds: int) -> dict[str, Any]:
    """Measure all four, turn by turn; the port goes first, so that the growth of memory is its own."""
    adapter = Plugins().adapter("s3")
    with adapter.serving() as served, tempfile.TemporaryDirectory() as folder:
        harness = Harness(
            PortName.BLOBS,
            "s3",
            {"bucket": "storycore-bench", "versions": True},
            Path(folder),
            served=served,
        )
        store = await harness.started()
        client, bucket = store.native(object), str(harness.settings()["bucket"])
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "port put": lambda: store.put("a", pieces(mib), when=ANY),
            "port get": lambda: fetch(store, "a"),
            "boto3 upload_fileobj": lambda: asyncio.to_thread(client.upload_fileobj, Pieces(mib), bucket, "b"),
            "boto3 download_fileobj": lambda: asyncio.to_thread(client.download_fileobj, bucket, "b", Sink()),
        }
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                turns[name].append(await measured(work))
        await store.close()
    return {"mib": mib, "rounds": rounds, **{name: _best(found, mib) for name, found in turns.items()}}


def _best(found: list[dict[str, float]], mib: int) -> dict[str, float]:
    best = min(found, key=lambda each: each["seconds"])
    return {
        "mib_per_second": round(mib / best["seconds"], 1),
        "cpu_seconds": round(best["cpu_seconds"], 2),
        "peak_growth_mib": round(found[0]["peak_growth_mib"], 1),
    }


def main() -> None:
    """Run it and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(run(options.mib, options.rounds))
    for port, peer in (("port put", "boto3 upload_fileobj"), ("port get", "boto3 download_fileobj")):
        found[f"{port} ratio"] = round(found[port]["mib_per_second"] / found[peer]["mib_per_second"], 2)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        print(f"{name:24}", row)


if __name__ == "__main__":
    main()
