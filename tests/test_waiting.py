"""Waiting: a search that names a write is repeated until the index has seen it, and not for longer than it says."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

from storycore.errors import Effect, StaleRead
from storycore.layers.around import OPERATIONS
from storycore.layers.checks import checked
from storycore.layers.deadline import Deadline, Deadlines
from storycore.layers.metrics import Metrics
from storycore.layers.retry import Retrying, RetrySettings
from storycore.layers.stack import interceptor, stacked
from storycore.layers.timeout import Timeout
from storycore.layers.waiting import Waiting
from storycore.memory.vectors import MemoryVectorIndex
from storycore.ports.capabilities import Capabilities, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import (
    IndexSpec,
    Match,
    TextQuery,
    Upserted,
    VectorIndex,
    VectorItem,
    VectorQuery,
    WriteToken,
)

ONE = array("f", [1.0, 0.0])


class Lagging(MemoryVectorIndex):
    """An index that shows a write only at the given look after it."""

    def __init__(self, looks: int = 3) -> None:
        super().__init__(IndexSpec(2))
        self.looks = looks
        self.looked = 0

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, guarantees=Guarantees(read_after_write=False))

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        self._look(queries)
        return await super().query(queries)

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        self._look(queries)
        return [[] for _ in queries]

    def _look(self, queries: Sequence[VectorQuery | TextQuery]) -> None:
        self.looked += 1
        if self.looked < self.looks and any(query.at_least for query in queries):
            raise StaleRead("not yet")


@pytest_asyncio.fixture
async def lagging() -> AsyncIterator[Lagging]:
    async with Lagging() as index:
        yield index


def waiting(index: Lagging) -> VectorIndex:
    found: VectorIndex = checked(PortName.VECTORS, stacked(PortName.VECTORS, index, []))
    return found


async def written(index: VectorIndex) -> Upserted:
    return await index.upsert([VectorItem("a", ONE)])


def asked(token: WriteToken | None, wait: float = 5.0) -> VectorQuery:
    return VectorQuery(values=ONE, at_least=token, wait=wait)


async def test_a_search_that_came_too_early_is_repeated(lagging: Lagging) -> None:
    """The caller sees the write, and nothing of the looks that did not."""
    index = waiting(lagging)
    token = (await written(index)).token
    [[match]] = await index.query([asked(token)])
    assert (match.id, lagging.looked) == ("a", 3)


async def test_a_search_by_words_waits_too(lagging: Lagging) -> None:
    """Both kinds of search say how long they may wait."""
    index = stacked(PortName.VECTORS, lagging, [])
    token = (await written(waiting(lagging))).token
    assert await index.search_text([TextQuery(text="x", at_least=token)]) == [[]]  # type: ignore[attr-defined]  # the port's
    assert lagging.looked == 3


async def test_a_wait_that_is_over_is_a_stale_read(lagging: Lagging) -> None:
    """The wait bounds the time; the last look is at its end, so that nothing is missed."""
    lagging.looks = 1000
    index = waiting(lagging)
    token = (await written(index)).token
    begun = time.perf_counter()
    with pytest.raises(StaleRead):
        await index.query([asked(token, wait=0.04)])
    assert 0.04 <= time.perf_counter() - begun < 1
    assert 3 <= lagging.looked <= 5


async def test_no_wait_is_one_look(lagging: Lagging) -> None:
    """With 0 the index is asked once, also where the profile retries."""
    token = (await written(lagging)).token
    again = Retrying(RetrySettings(base_seconds=0.001), Environment().random)
    index = checked(PortName.VECTORS, stacked(PortName.VECTORS, lagging, [again]))
    with pytest.raises(StaleRead) as caught:
        await index.query([asked(token, wait=0)])
    assert (lagging.looked, caught.value.effect) == (1, Effect.NONE)


async def test_the_shortest_wait_of_a_call_holds(lagging: Lagging) -> None:
    """Queries are answered together; one that names no write has no say."""
    index = waiting(lagging)
    token = (await written(index)).token
    with pytest.raises(StaleRead):
        await index.query([asked(token), asked(token, wait=0), asked(None, wait=0)])
    assert len(await index.query([asked(token), asked(None, wait=0)])) == 2


async def test_other_errors_are_not_repeated(lagging: Lagging) -> None:
    """Only a read that came too early is worth another look."""
    index = waiting(lagging)
    lagging.looks = 0
    token = (await written(index)).token
    await lagging.close()
    with pytest.raises(Exception, match="not open"):
        await index.query([asked(token)])
    assert lagging.looked == 1


async def test_a_cancelled_wait_ends_at_once(lagging: Lagging) -> None:
    """Cancelling reaches the pause; nobody looks any more."""
    lagging.looks = 1000
    index = waiting(lagging)
    token = (await written(index)).token
    task = asyncio.create_task(index.query([asked(token)]))
    await asyncio.sleep(0.015)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    looked = lagging.looked
    await asyncio.sleep(0.03)
    assert looked == lagging.looked


async def test_no_pause_lasts_beyond_the_deadline(lagging: Lagging) -> None:
    """Within a deadline the stale read is told while there is time to tell it."""
    lagging.looks = 1000
    index = checked(PortName.VECTORS, stacked(PortName.VECTORS, lagging, [Deadlines()]))
    token = (await written(index)).token
    async with Deadline(0.03):
        with pytest.raises(StaleRead):
            await index.query([asked(token)])


async def test_a_local_index_never_pauses() -> None:
    """Where every write is seen once it has returned, waiting could not help, and there is no layer."""
    async with MemoryVectorIndex(IndexSpec(2)) as index:
        assert stacked(PortName.VECTORS, index, []) is index
        begun = time.perf_counter()
        with pytest.raises(StaleRead):
            await stacked(PortName.VECTORS, index, [Metrics()]).query([asked(WriteToken("99"))])  # type: ignore[attr-defined]  # the port's
        assert time.perf_counter() - begun < 1


async def test_it_stands_between_metrics_and_retry(lagging: Lagging) -> None:
    """A wait is one call for whoever counts, and each look has the retries and the time limit of its own."""
    assert Metrics.slot < Waiting.slot < Retrying.slot < Timeout.slot
    metrics = Metrics()
    limit = interceptor("timeout", {"read_seconds": 0.02}, Environment())
    layers = [metrics, interceptor("retry", {}, Environment()), limit]
    index = checked(PortName.VECTORS, stacked(PortName.VECTORS, lagging, layers))
    token = (await written(index)).token
    await index.query([asked(token)])
    assert (metrics.as_dict()["vectors"]["query"]["calls"], lagging.looked) == (1, 3)


async def test_what_is_no_search_is_left_alone() -> None:
    """Nothing but searches names writes."""
    layer = Waiting()
    reads = OPERATIONS[PortName.VECTORS]

    async def call() -> str:
        return "done"

    kept = [name for name, operation in reads.items() if layer.surround(operation, call) is call]
    assert sorted(reads.keys() - set(kept)) == ["query", "search_text"]
    assert await layer(reads["fetch"], call) == "done"
