"""Generations: searches see one state each, and wait neither for writers nor for upkeep."""

from __future__ import annotations

import asyncio
import sys
import threading
from array import array
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap
from storycore_faiss.candidates import Candidates, FilterCache
from storycore_faiss.rows import Blocks

from storycore.filters import F
from storycore.ports.filters import Filter
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorItem, VectorQuery
from storycore.testing.harness import Harness

DIMENSION = 16
CHANCE = np.random.default_rng(31)
CENTRES = CHANCE.normal(size=(20, DIMENSION))


def batch(generation: int, size: int = 400) -> list[VectorItem]:
    """The same ids every time, with vectors and metadata that say which time it was."""
    rows = (CENTRES[np.arange(size) % 20] + 0.3 * CHANCE.normal(size=(size, DIMENSION))).astype(np.float32)
    return [
        VectorItem(f"i{n:04d}", array("f", row.tobytes()), {"generation": generation}) for n, row in enumerate(rows)
    ]


def query(generation: int | None = None, **options: object) -> VectorQuery:
    where = None if generation is None else F.generation == generation
    return VectorQuery(values=array("f", CENTRES[0].astype(np.float32).tobytes()), where=where, top_k=30, **options)  # type: ignore[arg-type]  # a table of options


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    options = {"dimension": DIMENSION, "codes_from": 1024, "search": "codes", "durability": "normal"}
    return Harness(PortName.VECTORS, "faiss", options, tmp_path)


async def test_searches_see_whole_writes_while_everything_is_replaced(harness: Harness) -> None:
    """Every answer is of one generation, never mixed and never short, while rows die, shelves are compacted and
    codes are made over and over."""
    async with await harness.started() as index:
        await index.upsert(batch(0))
        done, seen = asyncio.Event(), set[int]()

        async def search() -> None:
            while not done.is_set():
                [matches] = await index.query([query()])
                generations = {int(str(match.metadata["generation"])) for match in matches}
                assert (len(matches), len(generations)) == (30, 1)
                seen.update(generations)

        searches = [asyncio.create_task(search()) for _ in range(3)]
        for generation in range(1, 25):
            await index.upsert(batch(generation))
            await asyncio.sleep(0)
            if generation % 8 == 0:
                await index.optimize()
        done.set()
        await asyncio.gather(*searches)
        assert len(seen) > 3
        [matches] = await index.query([query()])
        assert {match.metadata["generation"] for match in matches} == {24}


async def test_upkeep_aside_keeps_memory_small(harness: Harness) -> None:
    """Dead rows are dropped without anybody asking, while the items go on being replaced."""
    async with await harness.started(codes_from=1500) as index:
        for generation in range(12):
            await index.upsert(batch(generation, size=2000))
            [matches] = await index.query([query(generation)])
            assert len(matches) == 30
        for _ in range(200):
            await index.query([query()])
            if int((await index.stats()).detail["dead_rows"]) <= 1024:
                break
            await asyncio.sleep(0.02)
        detail = (await index.stats()).detail
        assert (int(detail["dead_rows"]) <= 1024, detail.get("upkeep")) == (True, None)


async def test_a_closing_index_does_not_wait_for_all_of_its_upkeep(harness: Harness) -> None:
    """Closing in the middle of upkeep ends it early; opening again finds everything."""
    async with await harness.started(codes_from=1024) as index:
        await index.upsert(batch(0, size=4000))
        await index.query([query()])
    assert [t.name for t in threading.enumerate() if t.name.startswith("storycore-faiss")] == []
    async with harness.make() as index:
        assert (await index.stats()).total == 4000


WRITER = """
import asyncio, sys
from pathlib import Path
from storycore.testing.harness import Harness
sys.path.insert(0, sys.argv[2])
from test_generations import OPTIONS, batch

async def main():
    async with Harness("vectors", "faiss", OPTIONS, Path(sys.argv[1])).make() as index:
        for generation in range(1, 13):
            await index.upsert(batch(generation))
            if generation % 4 == 0:
                await index.optimize()

asyncio.run(main())
"""

OPTIONS = {"dimension": DIMENSION, "codes_from": 1024, "search": "codes", "durability": "normal"}


async def test_one_process_searches_while_another_writes(harness: Harness, tmp_path: Path) -> None:
    """What another process writes shows whole and in order, through its compactions, with codes of its own."""
    async with await harness.started() as index:
        await index.upsert(batch(0) + [VectorItem(f"{i.id}-kept", i.values, {"kept": True}) for i in batch(0, 1200)])
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)
        )
        seen = [0]
        while writer.returncode is None or seen[-1] < 12:
            [matches] = await index.query([query(exact=True)])
            found = {int(str(m.metadata["generation"])) for m in matches if "generation" in m.metadata}
            assert (len(matches), len(found) <= 1) == (30, True)
            seen.extend(found)
            [all_] = await index.query([VectorQuery(values=query().values, where=F.generation >= 0, top_k=400)])
            assert len(all_) == 400
            await asyncio.sleep(0.005)
            if writer.returncode is None:
                try:
                    await asyncio.wait_for(writer.wait(), 0.001)
                except TimeoutError:
                    continue
        assert writer.returncode == 0
        assert (seen == sorted(seen), seen[-1]) == (True, 12)


def test_lines_stay_where_they_are_while_more_come() -> None:
    """Adding never moves what is there, and every line is found again, however it was added."""
    lines = CHANCE.normal(size=(5000, 3)).astype(np.float32)
    blocks = Blocks(3, np.float32, 10)
    places = []
    for low in range(0, 5000, 97):
        blocks.append(lines[low : low + 97])
        places.append(next(iter(blocks.run(0, 1)))[1].__array_interface__["data"])
    assert len(set(places)) == 1
    assert np.array_equal(np.concatenate([part for _, part in blocks.run(0, 5000)]), lines)
    assert np.array_equal(np.concatenate([part for _, part in blocks.run(300, 4001)]), lines[300:4001])
    some = CHANCE.integers(0, 5000, 700)
    assert np.array_equal(blocks.take(some), lines[some])
    ascending = np.unique(some)
    split = [block[numbers] for _, block, numbers in blocks.split(ascending)]
    assert np.array_equal(np.concatenate(split), lines[ascending])


def test_filters_that_are_equal_in_python_are_told_apart() -> None:
    """``x == 1`` and ``x == True`` have the same hash; what one leaves is never given for the other."""
    cache, asked = FilterCache(), list[Filter]()

    def make(where: Filter) -> BitMap:
        asked.append(where)
        return BitMap([len(asked)])

    one, true = F.x == 1, F.x == True  # noqa: E712 - the filter of that name
    assert [list(cache.get(where, make).rows) for where in (one, true, one, true)] == [[1], [2], [1], [2]]
    for n in range(100):
        cache.get(F.x == n, make)
    assert len(cache._kept) <= 32


def test_candidates_are_ascending_and_behind_a_row() -> None:
    """What FAISS takes is in order, each row once; what codes do not cover is found behind them."""
    candidates = Candidates(BitMap([5, 1, 9, 70_000]))
    assert candidates.numbers.tolist() == [1, 5, 9, 70_000]
    assert candidates.from_row(6).tolist() == [9, 70_000]
    assert candidates.from_row(70_001).tolist() == []
    assert candidates.among(np.array([9, -1, 3, 5], np.int64)).tolist() == [5, 9]
