"""The queue to the embedder: batches fill while calls are under way, and an error reaches only those it concerns."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence

import pytest

from storycore.errors import InvalidArgument, Unavailable
from storycore.ingestion.embedding import EmbeddingQueue
from storycore.memory.embedder import MemoryEmbedder
from storycore.ports.embeddings import Purpose
from storycore.ports.vectors import Vector


class Slow(MemoryEmbedder):
    """Answers when told to; refuses poison, and is away for one text."""

    def __init__(self) -> None:
        super().__init__(8)
        self.calls: list[list[str]] = []
        self.go = asyncio.Event()

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.calls.append(list(texts))
        await self.go.wait()
        if "poison" in texts:
            raise InvalidArgument("Poison is not embedded.")
        if "away" in texts:
            raise Unavailable("The service is away.")
        return [array("f", [float(text)]) for text in texts]


def _numbers(vectors: Sequence[Vector]) -> list[int]:
    return [int(vector[0]) for vector in vectors]


async def test_texts_gather_while_calls_are_under_way() -> None:
    """What waits for a free call goes together with what came before, up to the size of a batch."""
    slow = Slow()
    async with EmbeddingQueue(slow, batch_size=3, calls=1) as queue:
        waiting = [asyncio.create_task(queue.embed([str(i)])) for i in range(8)]
        await asyncio.sleep(0)
        slow.go.set()
        assert list(range(8)) == [_numbers(await task)[0] for task in waiting]
    assert slow.calls == [["0"], ["1", "2", "3"], ["4", "5", "6"], ["7"]]


async def test_many_texts_take_several_calls_in_order() -> None:
    """A large document's vectors come back in the order of its texts."""
    slow = Slow()
    slow.go.set()
    async with EmbeddingQueue(slow, batch_size=4, calls=2) as queue:
        assert list(range(10)) == _numbers(await queue.embed([str(i) for i in range(10)]))
        assert await queue.embed([]) == []
    assert len(slow.calls) == 3


async def test_a_refused_text_does_not_take_its_neighbours_along() -> None:
    """A batch with a text that is refused is asked again one by one."""
    slow = Slow()
    async with EmbeddingQueue(slow, batch_size=9, calls=1) as queue:
        first = asyncio.create_task(queue.embed(["0"]))
        await asyncio.sleep(0)
        good, bad, also_good = (asyncio.create_task(queue.embed(texts)) for texts in (["1"], ["2", "poison"], ["3"]))
        await asyncio.sleep(0)
        slow.go.set()
        assert [_numbers(await task) for task in (first, good, also_good)] == [[0], [1], [3]]
        with pytest.raises(InvalidArgument, match="Poison"):
            await bad


async def test_a_failed_call_fails_all_its_texts_and_the_queue_goes_on() -> None:
    """An error that is not a text's own fault is told to everyone in the call; later calls are made."""
    slow = Slow()
    slow.go.set()
    async with EmbeddingQueue(slow, batch_size=2, calls=1) as queue:
        with pytest.raises(Unavailable):
            await queue.embed(["0", "away"])
        assert _numbers(await queue.embed(["1"])) == [1]


async def test_what_nobody_waits_for_is_not_asked() -> None:
    """Texts of a caller who gave up before their call began are dropped, and leaving ends what is under way."""
    slow = Slow()
    before = asyncio.all_tasks()
    async with EmbeddingQueue(slow, batch_size=2, calls=1) as queue:
        first = asyncio.create_task(queue.embed(["0"]))
        await asyncio.sleep(0)
        second = asyncio.create_task(queue.embed(["1"]))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        slow.go.set()
        assert _numbers(await first) == [0]
        slow.go.clear()
        third = asyncio.create_task(queue.embed(["2"]))
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await third
    assert before == asyncio.all_tasks()
    assert slow.calls == [["0"], ["2"]]
