"""The vector index on FAISS through the port, against numpy brute force over the same vectors.

    python benchmarks/vectors_faiss.py [--items 20000] [--queries 200] [--json]

Clustered unit vectors of 384 numbers, ten results a query, one caller. Filters keep 10 %, 1 % and 0.1 % of the items;
numpy is given the mask ready-made, the index has to find the matching items itself. Every answer is compared with the
exact one. Times are medians, because other work on the machine only adds to them; the queries of the two alternate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from storycore_faiss import FaissConfig
from storycore_faiss.vectors import open_vectors

from storycore.filters import F
from storycore.layers.checks import checked
from storycore.ports.environment import Environment
from storycore.ports.filters import Filter, MetadataValue
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorIndex, VectorItem, VectorQuery

DIMENSION = 384
TOP_K = 10
CLUSTERS = 1000
SHARES: dict[str, int] = {"no filter": 1000, "10 %": 100, "1 %": 10, "0.1 %": 1}
Matrix = NDArray[np.float32]


def unit_vectors(count: int, seed: int) -> Matrix:
    """Unit vectors around common centres, shape (count, 384)."""
    centres = np.random.default_rng(7).normal(size=(CLUSTERS, DIMENSION))
    chance = np.random.default_rng(seed)
    near = centres[chance.integers(0, CLUSTERS, count)] + chance.normal(size=(count, DIMENSION))
    unit: Matrix = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    return unit


def brute_force(items: Matrix, target: Matrix, chosen: NDArray[np.int64] | None) -> list[int]:
    """The rows of the best items by numpy, best first."""
    scores = (items if chosen is None else items[chosen]) @ target
    count = min(TOP_K, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    rows = best[np.argsort(-scores[best], kind="stable")]
    return [int(row) for row in (rows if chosen is None else chosen[rows])]


async def timed(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Milliseconds of a call, and its result."""
    started = time.perf_counter()
    result = await call()
    return (time.perf_counter() - started) * 1000, result


async def filled(index: VectorIndex, items: Matrix) -> float:
    """Write all items in calls of 500; gives the seconds."""
    started = time.perf_counter()
    for first in range(0, len(items), 500):
        rows = range(first, min(first + 500, len(items)))
        await index.upsert([item(row, items[row]) for row in rows])
    return time.perf_counter() - started


def item(row: int, values: Matrix) -> VectorItem:
    """The item of a row; ``r`` is spread evenly over 0 to 999."""
    metadata: dict[str, MetadataValue] = {
        "r": row * 7919 % 1000,
        "source": f"docs/{row % 200}.md",
        "text": f"passage {row} " * 20,
    }
    return VectorItem(f"i{row:07d}", array("f", values.tobytes()), metadata)


async def searched(index: VectorIndex, items: Matrix, queries: Matrix, below: int) -> dict[str, float]:
    """Median milliseconds of index and numpy, and the share of exact answers."""
    where: Filter | None = None if below == 1000 else F.r < below
    rows = np.arange(len(items)) * 7919 % 1000
    chosen = None if below == 1000 else np.flatnonzero(rows < below)
    ours, theirs, right = [], [], 0
    for target in queries:
        query = VectorQuery(values=array("f", target.tobytes()), top_k=TOP_K, where=where)
        spent, [matches] = await timed(partial(index.query, [query]))
        ours.append(spent)
        started = time.perf_counter()
        exact = brute_force(items, target, chosen)
        theirs.append((time.perf_counter() - started) * 1000)
        right += {match.id for match in matches} == {f"i{row:07d}" for row in exact}
    return {
        "index_ms": statistics.median(ours),
        "numpy_ms": statistics.median(theirs),
        "exact": right / len(queries),
    }


async def measured(count: int, queries: int, folder: Path) -> dict[str, Any]:
    """Everything that is measured, by name."""
    items, targets = unit_vectors(count, 1), unit_vectors(queries, 2)
    config = FaissConfig(path=folder / "vectors.db", dimension=DIMENSION)
    report: dict[str, Any] = {"items": count}
    first = checked(PortName.VECTORS, open_vectors(config, Environment()))
    await first.ensure()
    async with first as index:
        report["fill_s"] = await filled(index, items)
        await index.query([VectorQuery(values=array("f", targets[0].tobytes()))])
        report["search"] = {name: await searched(index, items, targets, below) for name, below in SHARES.items()}
        batches = [[item(count + n * 100 + i, targets[i % queries]) for i in range(100)] for n in range(20)]
        writes = [(await timed(partial(index.upsert, batch)))[0] for batch in batches]
        report["durable_100_ms"] = statistics.median(writes)
    again = checked(PortName.VECTORS, open_vectors(config, Environment()))
    spent, _ = await timed(again.open)
    report["open_s"] = spent / 1000
    await again.close()
    return report


def shown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{report['items']} items of {DIMENSION}: written in {report['fill_s']:.1f} s",
        f"100 more, durable: {report['durable_100_ms']:.1f} ms; opened again in {report['open_s']:.2f} s",
    ]
    for name, found in report["search"].items():
        ratio = found["numpy_ms"] / found["index_ms"]
        lines.append(
            f"{name:>10}: {found['index_ms']:.2f} ms, numpy {found['numpy_ms']:.2f} ms ({ratio:.1f}x), "
            f"exact {found['exact']:.0%}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(measured(given.items, given.queries, Path(folder)))
    print(json.dumps(report, indent=2) if given.json else shown(report))


if __name__ == "__main__":
    main()
