"""The vector index on FAISS through the port, against FAISS alone over the same vectors.

    python benchmarks/vectors_faiss.py [--items 20000] [--queries 200] [--json]

Clustered unit vectors of 384 numbers, ten results a query, one caller. Filters keep 50 %, 10 %, 1 % and 0.1 % of the
items; "elsewhere" is a filter that keeps 1 % of them, none near the query. The peer is ``IndexFlatIP`` with an
``IDSelectorArray`` that is ready-made; the index has to find the matching items itself. Every answer is compared with
the exact one. Times are CPU time, of all threads, and medians of wall time, because other work on the machine only
adds to it. Glue is what a query takes when there is next to nothing to search. Memory is what opening adds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from storycore_faiss import FaissConfig
from storycore_faiss.vectors import open_vectors

from storycore.filters import F
from storycore.layers.checks import checked
from storycore.ports.environment import Environment
from storycore.ports.filters import Filter, MetadataValue
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Match, VectorIndex, VectorItem, VectorQuery

DIMENSION, TOP_K, CLUSTERS, SHAPES, TENANTS = 384, 10, 1000, 100, 100
SHARES: dict[str, int] = {"no filter": 1000, "50 %": 500, "10 %": 100, "1 %": 10, "0.1 %": 1}
Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]


def unit_vectors(count: int, seed: int) -> tuple[Matrix, Rows]:
    """Unit vectors around common centres, spread in 32 directions that clusters share; and each one's cluster."""
    fixed = np.random.default_rng(7)
    centres = fixed.normal(size=(CLUSTERS, DIMENSION))
    directions = fixed.normal(size=(SHAPES, 32, DIMENSION)) / np.sqrt(32)
    chance = np.random.default_rng(seed)
    cluster = chance.integers(0, CLUSTERS, count)
    near = 0.9 * centres[cluster] + 0.25 * chance.normal(size=(count, DIMENSION))
    spread = chance.normal(size=(count, 32))
    for shape in range(SHAPES):
        own = cluster % SHAPES == shape
        near[own] += spread[own] @ directions[shape]
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32), cluster


def item(row: int, values: Matrix, tenant: int) -> VectorItem:
    """The item of a row; ``r`` is spread evenly over 0 to 999."""
    metadata: dict[str, MetadataValue] = {"r": row * 7919 % 1000, "tenant": tenant, "source": f"docs/{row % 200}.md"}
    return VectorItem(f"i{row:07d}", array("f", values.tobytes()), metadata)


async def timed(call: Callable[[], Awaitable[Any]]) -> tuple[float, float, Any]:
    """Milliseconds of a call by the clock and of the processor, and its result."""
    started, spent = time.perf_counter(), time.process_time()
    result = await call()
    return (time.perf_counter() - started) * 1000, (time.process_time() - spent) * 1000, result


async def filled(index: VectorIndex, items: Matrix, tenants: Rows) -> None:
    """Write all items in calls of 500, and wait until upkeep has made what makes searches fast."""
    for first in range(0, len(items), 500):
        rows = range(first, min(first + 500, len(items)))
        await index.upsert([item(row, items[row], int(tenants[row])) for row in rows])
    await index.optimize()


async def searched(
    index: VectorIndex, flat: faiss.IndexFlatIP, targets: Matrix, chosen: list[tuple[Filter | None, Rows | None]]
) -> dict[str, float]:
    """Milliseconds of index and FAISS alone, and the recall; ``chosen`` gives filter and rows for each target."""
    ours: list[float] = []
    answers: list[list[Match]] = []
    cpu, flat_cpu, hits = 0.0, 0.0, 0
    for target, (where, _) in zip(targets, chosen, strict=True):
        query = VectorQuery(values=array("f", target.tobytes()), top_k=TOP_K, where=where)
        wall, spent, [matches] = await timed(partial(index.query, [query]))
        ours.append(wall)
        cpu += spent
        answers.append(matches)
    for target, matches, (_, rows) in zip(targets, answers, chosen, strict=True):
        only = None if rows is None else _only(rows)
        started = time.process_time()
        _, [exact] = flat.search(target.reshape(1, -1), TOP_K, params=only)
        flat_cpu += (time.process_time() - started) * 1000
        hits += _hits(matches, exact)
    count = len(targets)
    return {
        "wall_ms": statistics.median(ours),
        "cpu_ms": cpu / count,
        "flat_cpu_ms": flat_cpu / count,
        "recall": hits / (TOP_K * count),
    }


def _only(rows: Rows) -> faiss.SearchParameters:
    return faiss.SearchParameters(sel=faiss.IDSelectorArray(rows))  # type: ignore[call-arg]  # its stub lacks keywords


def _hits(matches: list[Match], exact: Rows) -> int:
    assert len(matches) == TOP_K
    return len({match.id for match in matches} & {f"i{row:07d}" for row in exact.tolist()})


async def searches(index: VectorIndex, items: Matrix, tenants: Rows, queries: int) -> dict[str, Any]:
    """All kinds of searches, by name."""
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(items)
    targets, clusters = unit_vectors(queries, 2)
    r = np.arange(len(items)) * 7919 % 1000
    found = {}
    for name, below in SHARES.items():
        where, rows = (None, None) if below == 1000 else (F.r < below, np.flatnonzero(r < below))
        if rows is None or len(rows) >= TOP_K:
            found[name] = await searched(index, flat, targets, [(where, rows)] * queries)
    others = ((clusters + 37) % TENANTS).tolist()
    elsewhere: list[tuple[Filter | None, Rows | None]] = [
        (F.tenant == tenant, np.flatnonzero(tenants == tenant)) for tenant in others
    ]
    found["elsewhere"] = await searched(index, flat, targets, elsewhere)
    return found


async def measured(count: int, queries: int, folder: Path) -> dict[str, Any]:
    """Everything that is measured, by name."""
    items, clusters = unit_vectors(count, 1)
    config = FaissConfig(path=folder / "vectors.db", dimension=DIMENSION)
    report: dict[str, Any] = {"items": count}
    first = checked(PortName.VECTORS, open_vectors(config, Environment()))
    await first.ensure()
    async with first as index:
        report["build_ms"], report["build_cpu_ms"], _ = await timed(lambda: filled(index, items, clusters % TENANTS))
        report["search"] = await searches(index, items, clusters % TENANTS, queries)
        batches = [[item(count + n * 100 + i, items[i], i % TENANTS) for i in range(100)] for n in range(20)]
        report["durable_100_ms"] = statistics.median([(await timed(partial(index.upsert, b)))[0] for b in batches])
    report["glue_ms"] = await glue(folder, items)
    return report


def reopened(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The report with what opening again takes in a process of its own."""
    command = [sys.executable, __file__, "--open", str(folder / "vectors.db")]
    held = json.loads(subprocess.check_output(command))
    vectors = 4 * DIMENSION * (report["items"] + 2000)
    return {**report, **held, "memory_ratio": held["opened_bytes"] / vectors}


async def glue(folder: Path, items: Matrix) -> float:
    """Median milliseconds of a query over twenty items."""
    small = checked(
        PortName.VECTORS, open_vectors(FaissConfig(path=folder / "small.db", dimension=DIMENSION), Environment())
    )
    await small.ensure()
    async with small as index:
        await index.upsert([item(row, items[row], 0) for row in range(20)])
        query = VectorQuery(values=array("f", items[0].tobytes()), top_k=TOP_K)
        return statistics.median([(await timed(partial(index.query, [query])))[0] for _ in range(500)])


async def opened(path: Path) -> dict[str, float]:
    """What opening takes in a process of its own: seconds, and bytes of memory."""
    before = _resident()
    index = open_vectors(FaissConfig(path=path, dimension=DIMENSION), Environment())
    wall, cpu, _ = await timed(index.open)
    after = _resident()
    await index.close()
    return {"open_ms": wall, "open_cpu_ms": cpu, "opened_bytes": after - before}


def _resident() -> int:
    """Bytes of this process in memory, but for what is mapped from files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def shown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{report['items']} items of {DIMENSION}: built in {report['build_cpu_ms'] / 1000:.1f} CPU s, opened in "
        f"{report['open_ms'] / 1000:.2f} s ({report['open_cpu_ms'] / 1000:.2f} CPU s), memory "
        f"{report['memory_ratio']:.2f} of the vectors",
        f"100 more, durable: {report['durable_100_ms']:.1f} ms; glue: {report['glue_ms'] * 1000:.0f} us",
    ]
    for name, found in report["search"].items():
        ratio = found["flat_cpu_ms"] / found["cpu_ms"]
        lines.append(
            f"{name:>10}: {found['wall_ms']:.2f} ms, {found['cpu_ms']:.2f} CPU ms, FAISS flat "
            f"{found['flat_cpu_ms']:.2f} ({ratio:.1f}x), recall {found['recall']:.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if given.open:
        print(json.dumps(asyncio.run(opened(given.open))))
        return
    with tempfile.TemporaryDirectory() as folder:
        report = reopened(asyncio.run(measured(given.items, given.queries, Path(folder))), Path(folder))
    print(json.dumps(report, indent=2) if given.json else shown(report))


if __name__ == "__main__":
    main()
