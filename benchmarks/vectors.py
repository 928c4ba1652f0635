"""The vector index on FAISS through its port, beside FAISS, hnswlib, USearch, Chroma, LanceDB, sqlite-vec and Qdrant.

    uv run --with-requirements benchmarks/peers/vectors.txt python benchmarks/vectors.py [--items 100000]
        [--dimension 384] [--passages 24000] [--queries 300] [--peers faiss,chroma] [--keep FOLDER] [--json]

Clustered unit vectors, and with ``--passages`` embeddings of passages from Python's sources; ten results a query, one
caller. "1 %" is a filter that keeps a hundredth of the items, "elsewhere" one whose items are not near the query. Each
index is made in one process and opened and searched in a second, so that memory and time are its own; ``--keep`` leaves
what was made for the next run. Graphs are searched as far as 99 % of the nearest takes. Every answer is compared with
the exact one. Times are CPU time of all threads, and medians of wall time; a kind of search ends after ``--seconds``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from vectors_data import SHARES, TOP_K, Corpus, Where, answers, real, synthetic, wheres
from vectors_engines import GRID, Engine, FaissFlat, Storycore
from vectors_peers import PEERS

ENGINES: dict[str, type[Engine]] = {"storycore": Storycore, "faiss": FaissFlat, **PEERS}
_ENOUGH, _TUNING, _LEAST = 0.99, 100, 10
_BATCH, _ADDITIONS, _HUNDRED = 50, 10, 100


async def timed(call: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Seconds of a call by the clock and of the processor."""
    started, spent = time.perf_counter(), time.process_time()
    await call()
    return {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - spent}


async def searched(engine: Engine, asked: list[Where], exact: Any, seconds: float) -> dict[str, float]:
    """Milliseconds of a query and the recall, over as many queries as the time allows."""
    targets = np.ascontiguousarray(engine.corpus.queries)
    walls, hits, there, spent = [], 0, 0, 0.0
    await _found(engine, targets[0], asked[0])
    ends = time.perf_counter() + seconds
    for target, where, best in zip(targets, asked, exact.tolist(), strict=True):
        started, used = time.perf_counter(), time.process_time()
        found = await _found(engine, target, where)
        spent += time.process_time() - used
        walls.append(time.perf_counter() - started)
        expected = {row for row in best if row >= 0}
        hits, there = hits + len(expected.intersection(found)), there + len(expected)
        if time.perf_counter() > ends and len(walls) >= _LEAST:
            break
    count = len(walls)
    return {
        "wall_ms": statistics.median(walls) * 1000,
        "cpu_ms": spent / count * 1000,
        "recall": hits / there,
        "queries": count,
    }


async def measured(engine: Engine, place: Path, seconds: float) -> dict[str, Any]:
    """Everything that is measured of an index that was made."""
    gc.collect()
    before = _resident()
    report: dict[str, Any] = {"open": await timed(engine.open)}
    report["memory_bytes"] = _resident() - before
    unfiltered = list(wheres(engine.corpus, "no filter"))
    if engine.tuned:
        report["width"] = await _tuned(engine, unfiltered, answers(place, "no filter"))
    report["search"] = {}
    for name in (*SHARES, "elsewhere"):
        try:
            asked = list(wheres(engine.corpus, name))
            report["search"][name] = await searched(engine, asked, answers(place, name), seconds)
        except NotImplementedError:
            report["search"][name] = None
    if isinstance(engine, Storycore):
        report["batch_cpu_ms"] = await _batched(engine)
        report["glue_ms"] = await _glue(engine)
    report["memory_bytes"] = max(report["memory_bytes"], _resident() - before)
    report["add_100_ms"] = await _added(engine)
    await engine.close()
    return report


async def _found(engine: Engine, target: Any, where: Where) -> list[int]:
    found = engine.search(target, where)
    return list(await found if inspect.isawaitable(found) else found)


async def _tuned(engine: Engine, asked: list[Where], exact: Any) -> int:
    targets = np.ascontiguousarray(engine.corpus.queries[:_TUNING])
    width = GRID[0]
    for width in GRID:
        engine.width(width)
        found = [await _found(engine, target, where) for target, where in zip(targets, asked, strict=False)]
        hits = sum(len(set(some).intersection(best)) for some, best in zip(found, exact.tolist(), strict=False))
        if hits >= _ENOUGH * TOP_K * len(targets):
            break
    return width


async def _batched(engine: Storycore) -> float:
    """Milliseconds of CPU time for each query of a call with many."""
    queries = [engine.query(target, None) for target in np.ascontiguousarray(engine.corpus.queries[:_BATCH])]
    rounds = [await timed(lambda: engine.index.query(queries)) for _ in range(5)]
    return min(each["cpu_s"] for each in rounds) / len(queries) * 1000


async def _glue(engine: Storycore) -> dict[str, float]:
    """Milliseconds of a query over twenty items, which leaves next to nothing to search."""
    folder, targets = engine.folder / "small", np.ascontiguousarray(engine.corpus.queries)
    folder.mkdir()
    small = Storycore(folder, replace(engine.corpus, items=targets[:20]))
    await small.build()
    await small.open()
    rounds = [await timed(lambda: small.index.query([small.query(targets[0], None)])) for _ in range(500)]
    await small.close()
    return {"wall": _middle(rounds, "wall_s"), "cpu": _middle(rounds, "cpu_s")}


def _middle(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in rounds) * 1000


async def _added(engine: Engine) -> float:
    vectors = np.ascontiguousarray(engine.corpus.queries[:_HUNDRED])
    first = len(engine.corpus.r)
    ends, walls = time.perf_counter() + 10, []
    for number in range(_ADDITIONS):
        walls.append((await timed(partial(engine.add, vectors, first + number * _HUNDRED)))["wall_s"])
        if time.perf_counter() > ends:
            break
    return statistics.median(walls) * 1000


def _resident() -> int:
    """Bytes of this process in memory, but for what is mapped from files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def child(name: str, place: Path, folder: Path, seconds: float, *, build: bool) -> dict[str, Any]:
    """One step with one index, in the process made for it."""
    import faiss

    faiss.omp_set_num_threads(1)
    engine = ENGINES[name](folder, Corpus.read(place))
    return asyncio.run(timed(engine.build) if build else measured(engine, place, seconds))


def compared(name: str, place: Path, keep: Path, seconds: float) -> dict[str, Any]:
    """Make an index unless it is there, and measure it in a process of its own."""
    kept = keep / f"{place.name}-{name}"
    note = kept / "built.json"
    if not note.exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        made = _run(name, place, kept, seconds, "--build")
        note.write_text(json.dumps(made))
    with tempfile.TemporaryDirectory(dir=keep) as folder:
        shutil.copytree(kept, folder, dirs_exist_ok=True)  # measuring adds items
        found = _run(name, place, Path(folder), seconds)
    return {"build": json.loads(note.read_text()), **found}


def _run(name: str, place: Path, folder: Path, seconds: float, *more: str) -> dict[str, Any]:
    print(f"{place.name}: {name} {' '.join(more)}", file=sys.stderr, flush=True)
    step = ["--engine", name, str(place), str(folder), "--seconds", str(seconds), *more]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, *step], stdout=subprocess.PIPE, check=False, env=alone)
    if done.returncode:
        raise SystemExit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def shown(title: str, vectors: int, report: dict[str, Any]) -> str:
    """One corpus for people: CPU milliseconds of a query, how many times those of storycore, and the recall."""
    lines = [title, f"{'':11}" + "".join(f"{name:>24}" for name in (*SHARES, "elsewhere"))]
    ours = report["storycore"]
    for name, found in report.items():
        cells = [_cell(found["search"][kind], ours["search"][kind]["cpu_ms"]) for kind in (*SHARES, "elsewhere")]
        lines.append(f"{name:11}" + "".join(f"{cell:>24}" for cell in cells))
    lines.append(f"{'':11}{'built':>12}{'opened':>18}{'memory':>12}{'+100 durable':>16}{'width':>8}")
    for name, found in report.items():
        opened = f"{found['open']['wall_s']:.2f} s, {found['open']['cpu_s']:.2f} CPU"
        lines.append(
            f"{name:11}{found['build']['cpu_s']:>8.1f} CPU{opened:>18}{found['memory_bytes'] / vectors:>11.2f}x"
            f"{found['add_100_ms']:>13.1f} ms{found.get('width', '-'):>8}"
        )
    lines.append(f"storycore: {ours['batch_cpu_ms']:.3f} CPU ms for each of {_BATCH} queries in a call")
    lines.append(f"storycore: {ours['glue_ms']['cpu'] * 1000:.0f} CPU us for a query over twenty items")
    return "\n".join(lines)


def _cell(found: dict[str, float] | None, ours: float) -> str:
    return f"{found['cpu_ms']:.2f} {found['cpu_ms'] / ours:.1f}x {found['recall']:.3f}" if found else "-"


def report(given: argparse.Namespace, keep: Path) -> None:
    """Measure all indexes on all corpora, and print."""
    names = ["storycore", *(name for name in given.peers.split(",") if name != "none")]
    places = [synthetic(keep, given.items, given.dimension, given.queries)]
    if given.passages:
        places.append(real(keep, given.passages, min(given.queries, 200)))
    found: dict[str, Any] = {}
    for place in places:
        found[place.name] = {name: compared(name, place, keep, given.seconds) for name in names}
        if not given.json:
            print(shown(place.name, np.load(place / "items.npy", mmap_mode="r").nbytes, found[place.name]), flush=True)
    if given.json:
        print(json.dumps(found, indent=2))


def main() -> None:
    """Take the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--passages", type=int, default=24_000, help="0: none")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--peers", default=",".join(name for name in ENGINES if name != "storycore"))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--engine", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        name, place, folder = given.engine
        print(json.dumps(child(name, Path(place), Path(folder), given.seconds, build=given.build)))
    elif given.keep:
        report(given, given.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(given, Path(folder))


if __name__ == "__main__":
    main()
