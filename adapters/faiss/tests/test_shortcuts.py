"""Short cuts: metadata in memory, searches on the event loop, threads that take work. No answer differs by them."""

from __future__ import annotations

import asyncio
import random
import threading
from array import array
from pathlib import Path

import pytest
from storycore_faiss.crew import Crew
from storycore_faiss.metadata import MetadataRows

from storycore.errors import Corrupt
from storycore.filters import F
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Match, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness


def _items(count: int) -> list[VectorItem]:
    chance = random.Random(count)
    return [
        VectorItem(f"i{n:04d}", array("f", [chance.gauss(0, 1) for _ in range(8)]), {"n": n, "text": "x" * (n % 90)})
        for n in range(count)
    ]


async def _answers(index: VectorIndex, items: list[VectorItem]) -> list[list[Match]]:
    asked = [VectorQuery(values=item.values, where=F.n < 200) for item in items[:5]]
    asked += [VectorQuery(values=items[0].values, include_metadata=False), VectorQuery(id="i0001")]
    asked += [VectorQuery(values=items[0].values, include_values=True, min_score=0.2)]
    one_by_one = [(await index.query([query]))[0] for query in [*asked, *asked]]
    assert one_by_one == [*await index.query(asked), *await index.query(asked)]
    return one_by_one


@pytest.mark.parametrize("kept", [0, 40, 1000])
@pytest.mark.parametrize("count", [150, 1500])
async def test_what_is_kept_in_memory_changes_no_answer(kept: int, count: int, tmp_path: Path) -> None:
    """With no metadata, some and all of it in memory answers are those of the reference, also after an update."""
    items = _items(count)
    settings = {"dimension": 8, "metric": "cosine"}
    faiss = Harness(PortName.VECTORS, "faiss", {**settings, "kept_metadata": kept}, tmp_path)
    memory = Harness(PortName.VECTORS, "memory", settings, tmp_path)
    async with await faiss.started() as index, await memory.started() as oracle:
        for each in (index, oracle):
            await each.upsert(items)
            await each.update("i0003", set={"text": "y" * 70})
            await each.delete(ids=["i0002"])
        found, expected = await _answers(index, items), await _answers(oracle, items)
        assert [[(m.id, m.metadata, m.values) for m in line] for line in found] == [
            [(m.id, m.metadata, m.values) for m in line] for line in expected
        ]


async def test_a_search_on_the_event_loop_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    """A file that was overwritten while it was open is ``Corrupt`` also where no thread is asked."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 8}, tmp_path)
    items = _items(20)
    async with await harness.started() as index:
        await index.upsert(items)
        query = VectorQuery(values=items[0].values)
        assert len((await index.query([query]))[0]) == 10
        await index.optimize()
        with (tmp_path / "vectors.db").open("r+b") as file:
            file.write(b"no database" * 64)
        with pytest.raises(Corrupt, match="not an SQLite file"):
            await index.query([query])


async def test_a_search_on_the_event_loop_sees_what_another_index_wrote(tmp_path: Path) -> None:
    """Where memory is behind the file no short cut is taken."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 8}, tmp_path)
    [first, second] = _items(2)
    async with await harness.started() as index, harness.make() as other:
        await index.upsert([first])
        query = VectorQuery(values=second.values)
        for expected in ([first], [second, first]):
            for _ in range(2):
                [matches] = await index.query([query])
                assert [match.id for match in matches] == [item.id for item in expected]
            await other.upsert([second])


def test_long_metadata_is_left_in_the_file() -> None:
    """What is longer than the limit is not there, and the rows say that they are not whole."""
    rows = MetadataRows(4)
    rows.extend([b"{}", b'{"a"'])
    assert (rows.whole, rows[0], rows[1]) == (True, b"{}", b'{"a"')
    rows.extend([b'{"long":1}', b"{}"])
    assert (rows.whole, rows[2], rows[3]) == (False, b"", b"{}")


async def test_a_crew_does_what_it_is_given_and_raises_what_is_raised() -> None:
    """Results and errors come back; cancelled work that has not begun is not done; closing waits for the rest."""
    crew, gate, done = Crew(1, "test"), threading.Event(), list[str]()
    with pytest.raises(ZeroDivisionError):
        await crew.run(lambda: 1 // 0)
    assert await crew.run(threading.current_thread) is not threading.current_thread()
    held = asyncio.ensure_future(crew.run(gate.wait))
    dropped = asyncio.ensure_future(crew.run(lambda: done.append("dropped")))
    last = asyncio.ensure_future(crew.run(lambda: done.append("last")))
    await asyncio.sleep(0)
    dropped.cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.to_thread(crew.close)
    await asyncio.gather(held, last)
    assert done == ["last"]
