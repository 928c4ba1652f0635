"""Batches: calls of the size that a service takes, several at once, each text once, and failures with their place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storycore
from storycore.errors import StorycoreError, Throttled, Unavailable
from storycore.hooks import hookimpl
from storycore.layers.batching import BatchedEmbedder
from storycore.memory.config import MemoryEmbedderConfig
from storycore.memory.embedder import MemoryEmbedder
from storycore.plugins import Adapter
from storycore.ports.capabilities import Capabilities
from storycore.ports.embeddings import Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Vector


class Service(MemoryEmbedder):
    """An embedder with limits, which tells of its requests and refuses the texts that it is told to."""

    def __init__(self, *, batch: int | None = None, calls: int | None = None) -> None:
        super().__init__(8)
        self.limits = {"embedder.batch": batch, "embedder.calls": calls}
        self.requests: list[list[str]] = []
        self.under_way = self.most = 0
        self.refused: dict[str, StorycoreError] = {}
        self._opened = True

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(limits={name: limit for name, limit in self.limits.items() if limit is not None})

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.requests.append(list(texts))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            for text in texts:
                if text in self.refused:
                    raise self.refused[text]
            return await super().embed(texts, purpose=purpose)
        finally:
            self.under_way -= 1


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(
    texts=st.lists(st.sampled_from("abcdefghijklmnop"), max_size=40),
    batch=st.one_of(st.none(), st.integers(1, 12)),
    calls=st.one_of(st.none(), st.integers(1, 5)),
)
def test_batches_change_nothing_but_the_requests(texts: list[str], batch: int | None, calls: int | None) -> None:
    """Vectors and order are those of one call; no text is asked for twice, no request is too long, none too many."""
    service = Service(batch=batch, calls=calls)

    async def main() -> tuple[list[Vector], list[Vector]]:
        async with MemoryEmbedder(8) as plain:
            expected = await plain.embed(texts, purpose="document")
        return expected, await BatchedEmbedder(service).embed(texts, purpose="document")

    expected, found = asyncio.run(main())
    assert expected == found
    assert len({id(vector) for vector in found}) == len(texts)
    asked = [text for request in service.requests for text in request]
    assert sorted(asked) == sorted(set(texts))
    assert max(map(len, service.requests), default=0) <= (batch or 16)
    assert service.most <= (calls or 1)


async def test_several_requests_go_at_once() -> None:
    """As many as the service says, and one after the other where it says nothing."""
    texts = [str(i) for i in range(30)]
    service, quiet = Service(batch=2, calls=4), Service(batch=2)
    for each in (service, quiet):
        await BatchedEmbedder(each).embed(texts, purpose="document")
    assert (service.most, quiet.most) == (4, 1)


async def test_a_failing_request_names_the_positions_of_its_texts() -> None:
    """The error is the service's own; its note tells which texts of the call it concerns, repeated ones included."""
    service = Service(batch=2)
    service.refused["d"] = refusal = Unavailable("the service is down")
    with pytest.raises(Unavailable) as caught:
        await BatchedEmbedder(service).embed(["a", "b", "c", "d", "c", "e"], purpose="document")
    assert caught.value is refusal
    assert refusal.__notes__ == ["Of 6 texts to embed, this concerns those at the positions 2, 3, 4."]
    assert service.requests == [["a", "b"], ["c", "d"]]


async def test_many_positions_are_not_all_named() -> None:
    """Twenty are enough to find them."""
    service = Service(batch=30)
    service.refused["0"] = refusal = Throttled("slow down", retry_after_seconds=3.0)
    with pytest.raises(Throttled):
        await BatchedEmbedder(service).embed([str(i) for i in range(31)], purpose="document")
    assert refusal.__notes__[0].endswith("18, 19 ….")


async def test_a_failure_ends_the_requests_under_way() -> None:
    """When one has failed for good nothing goes on behind the caller's back."""
    service = Service(batch=1, calls=3)
    service.refused["1"] = Unavailable("down")
    with pytest.raises(Unavailable):
        await BatchedEmbedder(service).embed([str(i) for i in range(20)], purpose="document")
    assert service.under_way == 0
    assert len(service.requests) <= 6


async def test_a_cancelled_call_ends_its_requests() -> None:
    """Who gives up leaves nothing running."""
    service = Service(batch=1, calls=3)
    waiting = asyncio.create_task(BatchedEmbedder(service).embed([str(i) for i in range(20)], purpose="document"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert service.under_way == 0
    assert len(service.requests) <= 6


class _Plugin:
    """An adapter whose embedder takes three texts a request."""

    @hookimpl
    def storycore_adapters(self) -> list[Adapter]:
        return [
            Adapter(
                name="acme",
                ports={PortName.EMBEDDER: f"{__name__}:open_embedder"},
                config=MemoryEmbedderConfig,
                summary="",
            )
        ]


_MADE: list[Service] = []


def open_embedder(config: MemoryEmbedderConfig, env: Environment) -> Service:
    """Make the service of the plugin's adapter."""
    _MADE.append(Service(batch=3, calls=2))
    return _MADE[-1]


async def test_retry_repeats_the_failing_request_alone() -> None:
    """In a store the layers of a profile stand inside the batches: one request of three is sent again, not all."""
    layers = [{"use": "retry", "base_seconds": 0.001}]
    overrides = {"embedder": {"adapter": "acme", "layers": layers}}
    async with storycore.open("memory", overrides=overrides, plugins=[_Plugin()]) as store:
        await store.embedder.open()
        service = _MADE[-1]
        service.refused["g"] = Unavailable("down")
        waiting = asyncio.create_task(store.embedder.embed(list("abcdefghi"), purpose="document"))
        while ["g", "h", "i"] not in service.requests:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        service.refused.clear()
        assert len(await waiting) == 9
    assert sorted(map(tuple, service.requests)) == [tuple("abc"), tuple("def"), tuple("ghi"), tuple("ghi")]
    assert store.metrics.as_dict()["embedder"]["embed"]["calls"] == 3
