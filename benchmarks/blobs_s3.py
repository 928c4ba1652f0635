"""Large blobs through the port beside boto3's transfer manager, on one S3 server in one run.

    python benchmarks/blobs_s3.py [--mib 128] [--rounds 5] [--json]

Both send and fetch the same bytes to and from the same server, turn by turn; the median of the rounds counts. Through
the port, in a bucket with versions and in one without, the content comes in pieces and goes out in pieces, is hashed
both ways and compared; the transfer manager uses its own settings, and hashes nothing that it fetches: "not hashed"
tells what that is worth. Reported are MiB a second, the ratio, the CPU
seconds of this process, and by how much the peak of memory grows in a process that does nothing else. ``--mib 1024`` is
the size to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

PIECE = bytes(range(256)) * 4096
PLACES: dict[str, dict[str, object]] = {
    "port": {"bucket": "storycore-bench", "versions": True},
    "port, no versions": {"bucket": "storycore-bench-plain"},
}


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


async def fetch(store: BlobStore, key: str, *, start: int = 0) -> None:
    """Read a blob to the end and keep nothing; what is not read from its first byte cannot be hashed."""
    async with await store.get(key, start=start) as reader:
        async for _ in reader:
            pass


async def measured(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Seconds by the wall and by the CPU."""
    cpu, began = time.process_time(), time.perf_counter()
    await work()
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


def _peak_mib() -> float:
    """Of this process alone; what getrusage tells begins with the peak of whoever started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def works(stores: Mapping[str, BlobStore], bucket: str, mib: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """What is measured, by name; each get reads what its put has written."""
    port, plain = stores["port"], stores["port, no versions"]
    client = port.native(object)
    return {
        "port put": lambda: port.put("a", pieces(mib), when=ANY),
        "port get": lambda: fetch(port, "a"),
        "port get, not hashed": lambda: fetch(port, "a", start=1),
        "boto3 upload_fileobj": lambda: asyncio.to_thread(client.upload_fileobj, Pieces(mib), bucket, "b"),
        "boto3 download_fileobj": lambda: asyncio.to_thread(client.download_fileobj, bucket, "b", Sink()),
        "port, no versions put": lambda: plain.put("a", pieces(mib), when=ANY),
        "port, no versions get": lambda: fetch(plain, "a"),
    }


@asynccontextmanager
async def opened(served: Mapping[str, object]) -> AsyncIterator[tuple[dict[str, BlobStore], str]]:
    """A store on a bucket with versions, one on a bucket without, and the name of the first bucket."""
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, BlobStore] = {}
        for name, options in PLACES.items():
            harness = Harness(PortName.BLOBS, "s3", {**options, "prefix": ""}, Path(folder), served=served)
            made[name] = await harness.started()
        yield made, str(PLACES["port"]["bucket"])
        for store in made.values():
            await store.close()


async def run(mib: int, rounds: int) -> dict[str, Any]:
    """Measure all, turn by turn; then each once more in a process of its own, for its memory."""
    with Plugins().adapter("s3").serving() as served:
        turns: dict[str, list[dict[str, float]]] = {}
        async with opened(served) as (stores, bucket):
            for _ in range(rounds):
                for name, work in works(stores, bucket, mib).items():
                    turns.setdefault(name, []).append(await measured(work))
        found = {name: _median(each, mib) for name, each in turns.items()}
        for name, row in found.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                row["peak_growth_mib"] = round(fresh.submit(_growth, dict(served), name, mib).result(), 1)
    return {"mib": mib, "rounds": rounds, **found}


def _growth(served: Mapping[str, object], name: str, mib: int) -> float:
    async def grown() -> float:
        async with opened(served) as (stores, bucket):
            for store in stores.values():
                await store.put("small", b"small", when=ANY)
                await fetch(store, "small")
            before = _peak_mib()
            await works(stores, bucket, mib)[name]()
            return _peak_mib() - before

    return asyncio.run(grown())


def _median(found: list[dict[str, float]], mib: int) -> dict[str, float]:
    return {
        "mib_per_second": round(mib / statistics.median(each["seconds"] for each in found), 1),
        "cpu_seconds": round(statistics.median(each["cpu_seconds"] for each in found), 2),
    }


def main() -> None:
    """Run it and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(run(options.mib, options.rounds))
    for port in ("port put", "port get", "port get, not hashed", "port, no versions put", "port, no versions get"):
        peer = "boto3 upload_fileobj" if port.endswith("put") else "boto3 download_fileobj"
        found[f"{port} ratio"] = round(found[port]["mib_per_second"] / found[peer]["mib_per_second"], 2)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        print(f"{name:24}", row)


if __name__ == "__main__":
    main()
