"""Pacing: calls leave in order, at the rate that is set, whoever makes them; on time that passes for nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storycore
from storycore.errors import ConfigError, Throttled, Unavailable
from storycore.layers.around import OPERATIONS
from storycore.layers.deadline import Deadline
from storycore.layers.pacing import PaceSettings, Pacing
from storycore.layers.retry import Retrying, RetrySettings
from storycore.layers.stack import interceptor, stacked
from storycore.memory.embedder import MemoryEmbedder
from storycore.memory.reranker import MemoryReranker
from storycore.ports.embeddings import Embedder, Purpose
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import Vector
from storycore.testing.virtual_time import VirtualLoop

R = TypeVar("R")

GET = OPERATIONS[PortName.ENTITIES]["get"]


def on_virtual_time(main: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """The result of ``main`` on an event loop whose pauses cost nothing."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class Telling(MemoryEmbedder):
    """An embedder of one text that tells when it was asked, and fails on order."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(8)
        self.errors = list(errors)
        self.asked: list[tuple[float, str]] = []
        self._opened = True

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.asked += [(round(asyncio.get_running_loop().time(), 6), text) for text in texts]
        if self.errors:
            raise self.errors.pop(0)
        return []


def paced(inner: Embedder, **options: float) -> Any:
    """The embedder behind the layer ``pace``."""
    return stacked(PortName.EMBEDDER, inner, [interceptor("pace", options, Environment())])


def times(asked: Sequence[tuple[float, str]]) -> list[float]:
    return [time for time, _ in asked]


def test_calls_leave_at_the_rate_and_in_order() -> None:
    """Half a second each at 120 a minute: two at once, for a second's worth is free, then one every half second."""
    embedder = Telling()

    async def main() -> None:
        port = paced(embedder, requests_per_minute=120)
        await asyncio.gather(*(port.embed([str(i)], purpose="query") for i in range(6)))

    on_virtual_time(main)
    assert embedder.asked == [(0.0, "0"), (0.0, "1"), (0.5, "2"), (1.0, "3"), (1.5, "4"), (2.0, "5")]


def test_texts_are_counted_however_they_are_batched() -> None:
    """A batch larger than a second's worth goes when all before it is paid for, and is paid for afterwards."""
    embedder = Telling()

    async def main() -> None:
        port = paced(embedder, texts_per_minute=60)
        await port.embed(["a"] * 10, purpose="document")
        await port.embed(texts=["b"], purpose="document")
        await port.embed(["c", "d"], purpose="query")

    on_virtual_time(main)
    assert times(embedder.asked) == [0.0] * 10 + [10.0] + [11.0] * 2


def test_the_slower_of_two_rates_holds() -> None:
    """Requests and texts are counted side by side: 30 texts of a tenth of a second each, less nine that are free."""
    embedder = Telling()

    async def main() -> None:
        port = paced(embedder, requests_per_minute=60, texts_per_minute=600)
        for count in (1, 1, 30, 1):
            await port.embed(["x"] * count, purpose="query")

    on_virtual_time(main)
    assert sorted(set(times(embedder.asked))) == [0.0, 1.0, 2.0, 4.1]


def test_texts_to_rerank_and_other_calls_are_counted() -> None:
    """A reranker's texts are its second argument; a call of any other port counts as one."""

    async def main() -> list[float]:
        now = asyncio.get_running_loop().time
        found = []
        async with MemoryReranker() as inner:
            reranker: Reranker = stacked(  # type: ignore[assignment]  # Around has the port's operations at run time
                PortName.RERANKER, inner, [interceptor("pace", {"texts_per_minute": 60}, Environment())]
            )
            layer = Pacing(PaceSettings(texts_per_minute=60))
            with asyncio.get_running_loop().errand():  # type: ignore[attr-defined]  # of the virtual loop
                await reranker.rerank("river", ["a"] * 3)
            begun = now()
            await layer(GET, _nothing)
            await layer(GET, _nothing)
            found.append(round(now() - begun, 6))
        return found

    assert on_virtual_time(main) == [1.0]


async def _nothing() -> None:
    return None


def test_nobody_goes_before_the_service_says_so() -> None:
    """After a ``Throttled`` with seconds all callers wait for them, and the refusal itself is raised."""
    embedder = Telling(Throttled("slow down", retry_after_seconds=7.0))

    async def main() -> list[Any]:
        port = paced(embedder, requests_per_minute=6000)
        first = await asyncio.gather(port.embed(["a"], purpose="query"), return_exceptions=True)
        await asyncio.gather(*(port.embed([text], purpose="query") for text in "bc"))
        return first

    [refusal] = on_virtual_time(main)
    assert (Throttled, 7.0) == (type(refusal), refusal.retry_after_seconds)
    assert embedder.asked == [(0.0, "a"), (7.0, "b"), (7.0, "c")]


def test_each_attempt_of_retry_is_paced_and_none_is_made_twice() -> None:
    """Retry stands outside: it decides how often, the pace decides when."""
    embedder = Telling(Throttled("slow down", retry_after_seconds=2.0), Unavailable("down"))

    async def main() -> None:
        layers = [
            Retrying(RetrySettings(base_seconds=0.001), random.Random(1)),
            Pacing(PaceSettings(requests_per_minute=30)),
        ]
        await stacked(PortName.EMBEDDER, embedder, layers).embed(["a"], purpose="query")  # type: ignore[attr-defined]

    on_virtual_time(main)
    assert times(embedder.asked) == [0.0, 2.0, 4.0]


def test_who_is_cancelled_while_he_waits_has_taken_nothing() -> None:
    """The next in the queue takes his place."""
    embedder = Telling()

    async def main() -> None:
        port = paced(embedder, requests_per_minute=60)
        waiting = [asyncio.create_task(port.embed([text], purpose="query")) for text in "abcd"]
        await asyncio.sleep(0.25)
        waiting[1].cancel()
        waiting[2].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    on_virtual_time(main)
    assert embedder.asked == [(0.0, "a"), (1.0, "d")]


async def test_a_turn_beyond_the_deadline_is_refused_at_once() -> None:
    """Who cannot be served in time is told how long it would have taken, and takes nobody's turn."""
    port = paced(Telling(), requests_per_minute=1)
    await port.embed(["a"], purpose="query")
    async with Deadline(5.0):
        with pytest.raises(Throttled, match="deadline") as caught:
            await port.embed(["b"], purpose="query")
    assert 55.0 < (caught.value.retry_after_seconds or 0.0) <= 60.0


async def test_who_stands_behind_others_is_refused_at_once_too() -> None:
    """What those before him in the queue will take counts, and what they have given up does not."""
    port = paced(Telling(), texts_per_minute=60)
    queue = [asyncio.create_task(port.embed([text] * 3, purpose="document")) for text in "abc"]
    await asyncio.sleep(0)
    async with Deadline(5.0):
        with pytest.raises(Throttled, match="deadline") as caught:
            await port.embed(["d"], purpose="query")
    assert 7.0 < (caught.value.retry_after_seconds or 0.0) <= 9.0
    for waiting in queue:
        waiting.cancel()
    await asyncio.gather(*queue, return_exceptions=True)
    async with Deadline(2.5):
        with pytest.raises(Throttled, match="deadline") as caught:
            await port.embed(["d"], purpose="query")
    assert 2.5 < (caught.value.retry_after_seconds or 0.0) <= 3.0


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(
    rate=st.integers(6, 6000),
    calls=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50)), min_size=1, max_size=20),
)
def test_no_window_holds_more_than_the_rate(rate: int, calls: list[tuple[float, int]]) -> None:
    """Whenever calls come: what leaves within any time is at most its share, a second's worth and one batch more."""
    embedder = Telling()

    async def main() -> None:
        port = paced(embedder, texts_per_minute=rate)

        async def call(when: float, count: int) -> None:
            await asyncio.sleep(when)
            await port.embed(["x"] * count, purpose="document")

        await asyncio.gather(*(call(when, count) for when, count in calls))

    on_virtual_time(main)
    asked, largest = times(embedder.asked), max(count for _, count in calls)
    assert len(asked) == sum(count for _, count in calls)
    for first in range(0, len(asked), 7):
        for last in range(first, len(asked), 7):
            allowed = (asked[last] - asked[first]) * rate / 60 + max(1.0, rate / 60) + largest
            assert last - first + 1 <= allowed + 1e-3


@pytest.mark.parametrize(
    "options", [{}, {"requests_per_minute": 0}, {"texts_per_minute": float("inf")}, {"per_minute": 1}]
)
def test_a_pace_that_is_none_is_refused(options: dict[str, object]) -> None:
    """One rate at least, above zero and finite; anything else is a ``ConfigError`` that names the layer."""
    with pytest.raises(ConfigError, match="pace"):
        interceptor("pace", options, Environment())


async def test_a_profile_sets_the_pace_of_its_embedder() -> None:
    """``layers`` of the embedder take it, in its place between retry and timeout; a timeout outside is refused."""
    layers = ["retry", {"use": "pace", "requests_per_minute": 100_000}, "timeout"]
    async with storycore.open("memory", overrides={"embedder": {"adapter": "memory", "layers": layers}}) as store:
        assert len(await store.embedder.embed(["a", "b", "a"], purpose="query")) == 3
    wrong = {"embedder": {"adapter": "memory", "layers": layers[::-1]}}
    async with storycore.open("memory", overrides=wrong) as store:
        with pytest.raises(ConfigError, match="Retrying, Pacing, Timeout"):
            await store.embedder.embed(["a"], purpose="query")
