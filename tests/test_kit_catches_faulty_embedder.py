"""The Embedder suite catches every one of these embedders: the reference with one fault each."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from storycore.memory.embedder import MemoryEmbedder
from storycore.ports.capabilities import Capabilities
from storycore.ports.embeddings import EmbeddingSpec, Purpose
from storycore.ports.lifecycle import Health, PortName
from storycore.ports.vectors import Vector
from storycore.testing.embeddings import EmbedderSuite
from storycore.testing.trials import failure

FAULTS: list[type[MemoryEmbedder]] = []
DIMENSION = 256
"""The reference's default, with which the suite also asks another process."""


def fault(cls: type[MemoryEmbedder]) -> type[MemoryEmbedder]:
    """Note a faulty embedder; its docstring says what is wrong with it."""
    FAULTS.append(cls)
    return cls


def _scaled(vector: Sequence[float], factor: float) -> Vector:
    return array("f", [value * factor for value in vector])


def _turned(vector: Sequence[float], by: int) -> Vector:
    return array("f", [*vector[by:], *vector[:by]])


@fault
class NotOfUnitLength(MemoryEmbedder):
    """Vectors are twice as long."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [_scaled(vector, 2.0) for vector in await super().embed(texts, purpose=purpose)]


@fault
class DoublePrecision(MemoryEmbedder):
    """Vectors are float64."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [array("d", vector) for vector in await super().embed(texts, purpose=purpose)]


@fault
class PlainLists(MemoryEmbedder):
    """Vectors are lists."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [list(vector) for vector in await super().embed(texts, purpose=purpose)]  # type: ignore[misc]  # the fault


@fault
class OneNumberShort(MemoryEmbedder):
    """Vectors lack their last number."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [vector[:-1] for vector in await super().embed(texts, purpose=purpose)]


@fault
class NothingForPunctuation(MemoryEmbedder):
    """A text without letters gives a zero vector."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        vectors = await super().embed(texts, purpose=purpose)
        return [v if any(map(str.isalnum, t)) else _scaled(v, 0.0) for t, v in zip(texts, vectors, strict=True)]


@fault
class ShortestFirst(MemoryEmbedder):
    """Sorts texts by length for speed and forgets to restore the order."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed(sorted(texts, key=len), purpose=purpose)


@fault
class EachTextOnce(MemoryEmbedder):
    """Repeated texts are embedded and returned once."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed(list(dict.fromkeys(texts)), purpose=purpose)


@fault
class FirstHundredOnly(MemoryEmbedder):
    """Texts behind the hundredth are dropped, as a service's batch limit would."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed(texts[:100], purpose=purpose)


@fault
class PaddingIsSeen(MemoryEmbedder):
    """Short texts are padded to the longest of the batch, and the padding counts."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        longest = max(map(len, texts), default=0)
        return await super().embed([text.ljust(longest, "_") for text in texts], purpose=purpose)


@fault
class OtherSeedInEachProcess(MemoryEmbedder):
    """Uses ``hash()``, whose seed differs between processes."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        by = hash("a process-wide seed") % (self.spec.dimension - 1) + 1
        return [_turned(vector, by) for vector in await super().embed(texts, purpose=purpose)]


@fault
class AnotherModelAfterReopening(MemoryEmbedder):
    """Every session draws its own weights."""

    async def open(self) -> None:
        await super().open()
        self._by = random.SystemRandom().randrange(1, self.spec.dimension)

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [_turned(vector, self._by) for vector in await super().embed(texts, purpose=purpose)]


@fault
class DropoutLeftOn(MemoryEmbedder):
    """A little noise in every call."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        noise = random.Random()
        vectors = await super().embed(texts, purpose=purpose)
        return [array("f", [value + noise.uniform(0, 1e-4) for value in vector]) for vector in vectors]


@fault
class CachesWithoutCopying(MemoryEmbedder):
    """A cache hands out the vector that it keeps."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self._known: dict[str, Vector] = {}

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        for text, vector in zip(texts, await super().embed(texts, purpose=purpose), strict=True):
            self._known.setdefault(text, vector)
        return [self._known[text] for text in texts]


@fault
class CacheForgetsThePurpose(MemoryEmbedder):
    """Gives other vectors for queries, and a cache that takes one purpose for the other."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self._known: dict[str, list[float]] = {}

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        shift = 1 if purpose == "query" else 0
        for text, vector in zip(texts, await super().embed(texts, purpose=purpose), strict=True):
            if purpose == "query" or text not in self._known:
                self._known[text] = list(_turned(vector, shift))
        return [array("f", self._known[text]) for text in texts]


@fault
class FirstSentenceOnly(MemoryEmbedder):
    """Sees forty characters and claims to see everything."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return await super().embed([text[:40] for text in texts], purpose=purpose)


@fault
class SeesMoreThanItClaims(MemoryEmbedder):
    """Claims to see sixteen tokens and sees everything."""

    @property
    def spec(self) -> EmbeddingSpec:
        return replace(super().spec, max_tokens=16)


@fault
class ClaimsToBeSemantic(MemoryEmbedder):
    """A hash that claims to know meaning."""

    @property
    def spec(self) -> EmbeddingSpec:
        return replace(super().spec, semantic=True)


@fault
class NamelessModel(MemoryEmbedder):
    """The model has no identity, so that an index would accept any other."""

    @property
    def spec(self) -> EmbeddingSpec:
        return replace(super().spec, model="")


@fault
class ModelIsKnownLate(MemoryEmbedder):
    """The spec changes when the model is loaded."""

    @property
    def spec(self) -> EmbeddingSpec:
        return super().spec if self._opened else replace(super().spec, model="not loaded")


@fault
class BlocksTheLoop(MemoryEmbedder):
    """Waits for its work in the event loop."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        time.sleep(0.005 * len(texts))
        return await super().embed(texts, purpose=purpose)


@fault
class MixesCallers(MemoryEmbedder):
    """Texts of calls at the same time meet in one buffer."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self._buffer: list[str] = []

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self._buffer = list(texts)
        await asyncio.sleep(0)
        return await super().embed(self._buffer, purpose=purpose)


@fault
class NoTextsAreAnError(MemoryEmbedder):
    """An empty call raises."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        return [*(await super().embed([texts[0]], purpose=purpose)), *(await super().embed(texts[1:], purpose=purpose))]


@fault
class SwallowsCancellation(MemoryEmbedder):
    """A cancelled call returns nothing instead of ending."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        try:
            return await super().embed(texts, purpose=purpose)
        except asyncio.CancelledError:
            return []


@fault
class NoRequestTakesATextAtAll(MemoryEmbedder):
    """The limit of a request is zero."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(limits={"embedder.batch": 0})


@fault
class OneRequestOnly(MemoryEmbedder):
    """What is beyond one request of eight texts gets the vectors of the first."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(limits={"embedder.batch": 8})

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        found = await super().embed(texts[:8], purpose=purpose)
        return [array("f", found[i % 8]) for i in range(len(texts))]


@fault
class ChokesOnNul(MemoryEmbedder):
    """A NUL in a text ends it, as in C; a text that begins with nothing else raises a vendor's error."""

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        if any("\0" in text for text in texts):
            raise RuntimeError("embedded null byte")
        return await super().embed(texts, purpose=purpose)


@fault
class StaysOpen(MemoryEmbedder):
    """``close`` does nothing."""

    async def close(self) -> None:
        return None


@fault
class AlwaysHealthy(MemoryEmbedder):
    """Health does not look."""

    async def health(self, *, deep: bool = False) -> Health:
        return Health(True)


TESTS = sorted(
    (name for name, _ in inspect.getmembers(EmbedderSuite, inspect.isfunction) if name.startswith("test_")),
    key=lambda name: "process" in name,  # the slowest last
)


async def _first_failure(cls: type[MemoryEmbedder], path: Path) -> str | None:
    for test in TESTS:
        place = path / test
        place.mkdir()
        problem = await failure(EmbedderSuite, PortName.EMBEDDER, test, lambda env: cls(DIMENSION), place)
        if problem is not None:
            return problem
    return None


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
async def test_a_faulty_embedder_fails_the_suite(cls: type[MemoryEmbedder], tmp_path: Path) -> None:
    """At least one test of the suite fails on an embedder with this fault."""
    assert await _first_failure(cls, tmp_path) is not None, cls.__doc__


async def test_the_reference_passes_the_same_run(tmp_path: Path) -> None:
    """The run that catches the faults finds none in the reference, so that a catch means something."""
    assert await _first_failure(MemoryEmbedder, tmp_path) is None
