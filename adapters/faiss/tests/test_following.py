"""Memory follows the file: other instances, dead rows, imports and threads."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import faiss
import pytest
from storycore_faiss.truth import REMEMBERED

from storycore.filters import F
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import crowd, found, item, search


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.VECTORS, "faiss", {"dimension": 4}, tmp_path)


async def test_two_instances_follow_each_other(harness: Harness) -> None:
    """What one writes the other finds at its next query: new, changed, removed, and written anew."""
    async with await harness.started() as one, harness.make() as two:
        await one.upsert([item("a", 1, x=1), item("b", 0, 1, x=1)])
        assert await found(two) == ["a", "b"]
        await two.update("a", set={"x": 2})
        await two.delete(ids=["b"])
        await two.upsert([item("b", 5, x=3), item("c", 1)])
        assert await found(one) == ["a", "b", "c"]
        assert await found(one, F.x == 1) == []
        assert [match.metadata for match in await search(one, id="b", top_k=10, where=F.x == 3)] == [{"x": 3}]


async def test_who_fell_behind_loads_everything_anew(harness: Harness) -> None:
    """``optimize`` forgets what ended; an instance that had not followed yet still sees exactly what is live."""
    async with await harness.started() as one, harness.make() as two:
        await one.upsert(crowd(40))
        assert len(await found(two)) == 40
        await one.upsert(crowd(40, seed=3))
        await one.delete(where=F.kind == "k0")
        await one.optimize()
        assert await search(two, 1, 2, top_k=100) == await search(one, 1, 2, top_k=100)
        await one.delete(all=True)
        await one.optimize()
        assert (await found(two), (await two.stats()).counts) == ([], {})


async def test_the_names_of_what_ended_do_not_pile_up(harness: Harness) -> None:
    """The file remembers a bounded number of ended slots; who slept through more still sees what is live."""
    async with await harness.started(durability="normal") as one, harness.make() as two:
        await one.upsert([item("kept"), item("a")])
        assert await found(two) == ["a", "kept"]
        for generation in range(2 * REMEMBERED + 10):
            await one.upsert([item("a", 1, generation=generation)])
        [remembered] = one.native(sqlite3.Connection).execute("SELECT count(*) FROM gone").fetchone()
        assert remembered <= 2 * REMEMBERED
        assert [match.metadata for match in await search(two)] == [{"generation": generation}, {}]


async def test_a_delete_by_filter_sees_what_another_wrote(harness: Harness) -> None:
    """The filter is answered on the file as it is, not on what this instance remembers."""
    async with await harness.started() as one, harness.make() as two:
        await one.upsert([item("a", x=1)])
        await two.upsert([item("b", x=1), item("c", x=2)])
        assert (await one.delete(where=F.x == 1)).count == 2
        assert await found(two) == ["c"]


async def test_dead_rows_do_not_pile_up(harness: Harness) -> None:
    """An item that is replaced for ever leaves no growing memory behind, without any upkeep."""
    async with await harness.started() as index:
        for generation in range(30):
            await index.upsert([item(f"i{n:03d}", n + 1, 1, generation=generation) for n in range(100)])
            assert len(await found(index, F.generation == generation)) == 100
        assert int((await index.stats()).detail["dead_rows"]) <= 1100


async def test_close_lets_running_calls_finish(harness: Harness) -> None:
    """Writes that were under way when the index was closed are kept, and no thread of it is left."""
    index = await harness.started()
    writes = [asyncio.create_task(index.upsert([item(f"i{n}")])) for n in range(20)]
    await asyncio.sleep(0)
    await index.close()
    assert [(await write).written for write in writes] == [1] * 20
    assert [t.name for t in threading.enumerate() if t.name.startswith("storycore-faiss")] == []
    async with harness.make() as index:
        assert len(await found(index)) == 20


async def test_opening_from_two_tasks_opens_once(harness: Harness) -> None:
    """Both tasks find the index open, and closing it leaves no thread behind."""
    index = await harness.started()
    await index.close()
    await asyncio.gather(index.open(), index.open())
    await index.upsert([item("a")])
    await index.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("storycore-faiss")] == []


async def test_a_cancelled_call_leaves_the_index_usable(harness: Harness) -> None:
    """``CancelledError`` passes through; what was cancelled is there whole or not at all."""
    async with await harness.started() as index:
        task = asyncio.create_task(index.upsert(crowd(200)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await index.upsert([item("after")])
        assert len(await found(index)) in (1, 201)


async def test_the_applications_own_faiss_keeps_its_threads(harness: Harness) -> None:
    """The index uses one thread per search without changing the setting for anybody else."""
    before = faiss.omp_get_max_threads()
    async with await harness.started() as index:
        await index.upsert(crowd(300))
        await search(index)
        assert faiss.omp_get_max_threads() == before


def test_importing_the_plugin_imports_no_library() -> None:
    """Discovery stays light: FAISS, numpy and roaring bitmaps are imported when an index is opened."""
    modules = "{'faiss', 'numpy', 'pyroaring'} & set(sys.modules)"
    code = f"import sys, storycore_faiss, storycore_faiss.vectors; print({modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
