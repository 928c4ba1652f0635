"""The Reranker suite catches every one of these rerankers: the reference with one fault each."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from storycore.memory.reranker import MemoryReranker
from storycore.ports.lifecycle import Health, PortName
from storycore.testing.reranking import RerankerSuite
from storycore.testing.trials import failure

FAULTS: list[type[MemoryReranker]] = []


def fault(cls: type[MemoryReranker]) -> type[MemoryReranker]:
    """Note a faulty reranker; its docstring says what is wrong with it."""
    FAULTS.append(cls)
    return cls


@fault
class LowerIsBetter(MemoryReranker):
    """Gives distances."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [1.0 - score for score in await super().rerank(query, texts)]


@fault
class BestFirst(MemoryReranker):
    """Gives the scores in their own order, not in that of the texts."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return sorted(await super().rerank(query, texts), reverse=True)


@fault
class ShortestFirst(MemoryReranker):
    """Sorts texts by length for speed and forgets to restore the order."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return await super().rerank(query, sorted(texts, key=len))


@fault
class EachTextOnce(MemoryReranker):
    """Repeated texts are scored and returned once."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return await super().rerank(query, list(dict.fromkeys(texts)))


@fault
class FirstHundredOnly(MemoryReranker):
    """Texts behind the hundredth are dropped, as a service's limit would."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return await super().rerank(query, texts[:100])


@fault
class RelativeToTheBest(MemoryReranker):
    """Scales scores by the best of the call."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        scores = await super().rerank(query, texts)
        best = max(scores, default=0.0) or 1.0
        return [score / best for score in scores]


@fault
class RelativeToTheCall(MemoryReranker):
    """A softmax over the texts of a call."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        scores = await super().rerank(query, texts)
        return [(1 + score) / (len(scores) + sum(scores)) for score in scores]


@fault
class DoesNotReadTheQuery(MemoryReranker):
    """Scores how good a text is, whatever was asked."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return await super().rerank("the river falls through the city", texts)


@fault
class RemembersTheFirstQuery(MemoryReranker):
    """A cache whose key is the text alone."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, float] = {}

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        for text, score in zip(texts, await super().rerank(query, texts), strict=True):
            self._known.setdefault(text, score)
        return [self._known[text] for text in texts]


@fault
class NotANumber(MemoryReranker):
    """A text without letters has no score."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        scores = await super().rerank(query, texts)
        return [s if any(map(str.isalpha, t)) else float("nan") for s, t in zip(scores, texts, strict=True)]


@fault
class LogitsOutOfBounds(MemoryReranker):
    """The logarithm of nothing."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [score or float("-inf") for score in await super().rerank(query, texts)]


@fault
class WholePercents(MemoryReranker):
    """Scores are whole numbers."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [round(100 * score) for score in await super().rerank(query, texts)]


@fault
class DropoutLeftOn(MemoryReranker):
    """A little noise in every call."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        noise = random.Random()
        return [score + noise.uniform(0, 0.01) for score in await super().rerank(query, texts)]


@fault
class AnotherModelAfterReopening(MemoryReranker):
    """Every session draws its own weights."""

    async def open(self) -> None:
        await super().open()
        self._weight = random.SystemRandom().uniform(1, 2)

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [score * self._weight for score in await super().rerank(query, texts)]


@fault
class OtherSeedInEachProcess(MemoryReranker):
    """Uses ``hash()``, whose seed differs between processes."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        by = hash("a process-wide seed") % 1000
        return [score + by for score in await super().rerank(query, texts)]


@fault
class NoTextsAreAnError(MemoryReranker):
    """An empty call raises."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [*(await super().rerank(query, [texts[0]])), *(await super().rerank(query, texts[1:]))]


@fault
class BlocksTheLoop(MemoryReranker):
    """Waits for its work in the event loop."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        time.sleep(0.002 * len(texts))
        return await super().rerank(query, texts)


@fault
class MixesCallers(MemoryReranker):
    """Calls at the same time meet in one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer: tuple[str, list[str]] = ("", [])

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        self._buffer = (query, list(texts))
        await asyncio.sleep(0)
        return await super().rerank(*self._buffer)


@fault
class SwallowsCancellation(MemoryReranker):
    """A cancelled call returns nothing instead of ending."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        try:
            return await super().rerank(query, texts)
        except asyncio.CancelledError:
            return []


@fault
class ChokesOnNul(MemoryReranker):
    """A NUL in a text raises a vendor's error."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        if any("\0" in text for text in (query, *texts)):
            raise RuntimeError("embedded null byte")
        return await super().rerank(query, texts)


@fault
class NamelessModel(MemoryReranker):
    """The model has no identity."""

    @property
    def model(self) -> str:
        return ""


@fault
class ModelIsKnownLate(MemoryReranker):
    """The name changes when the model is loaded."""

    @property
    def model(self) -> str:
        return super().model if self._opened else "not loaded"


@fault
class StaysOpen(MemoryReranker):
    """``close`` does nothing."""

    async def close(self) -> None:
        return None


@fault
class AlwaysHealthy(MemoryReranker):
    """Health does not look."""

    async def health(self, *, deep: bool = False) -> Health:
        return Health(True)


TESTS = sorted(
    (name for name, _ in inspect.getmembers(RerankerSuite, inspect.isfunction) if name.startswith("test_")),
    key=lambda name: ("process" in name, "event_loop" in name),  # the slowest last
)


async def _first_failure(cls: type[MemoryReranker], path: Path) -> str | None:
    for test in TESTS:
        place = path / test
        place.mkdir()
        problem = await failure(RerankerSuite, PortName.RERANKER, test, lambda env: cls(), place)
        if problem is not None:
            return problem
    return None


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
async def test_a_faulty_reranker_fails_the_suite(cls: type[MemoryReranker], tmp_path: Path) -> None:
    """At least one test of the suite fails on a reranker with this fault."""
    assert await _first_failure(cls, tmp_path) is not None, cls.__doc__


async def test_the_reference_passes_the_same_run(tmp_path: Path) -> None:
    """The run that catches the faults finds none in the reference, so that a catch means something."""
    assert await _first_failure(MemoryReranker, tmp_path) is None
