"""Layers: what retry, timeout, metrics, readonly and deferred opening do around a port."""

from __future__ import annotations

import asyncio
import copy
import inspect
import random
from array import array
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from storycore.errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    Effect,
    NotFound,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore.layers.around import OPERATIONS, Operation
from storycore.layers.deferred import Deferred
from storycore.layers.metrics import Metrics
from storycore.layers.retry import Retrying, RetrySettings
from storycore.layers.stack import interceptor, stacked
from storycore.layers.timeout import Timeout, TimeoutSettings
from storycore.memory.blobs import MemoryBlobStore, open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.memory.vectors import MemoryVectorIndex
from storycore.ports.blobs import BlobStore
from storycore.ports.cache import Cache
from storycore.ports.conditions import ANY
from storycore.ports.embeddings import Embedder
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink
from storycore.ports.filters import Exists
from storycore.ports.lifecycle import Port, PortName
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import IndexSpec, TextQuery, VectorIndex, VectorQuery

READ = OPERATIONS[PortName.ENTITIES]["get"]
WRITE = OPERATIONS[PortName.ENTITIES]["write"]
EMIT = OPERATIONS[PortName.EVENTS]["emit"]


class Failing:
    """An operation that fails with the given errors, one after the other, and then succeeds."""

    def __init__(self, *errors: StorycoreError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def retrying(attempts: int = 4) -> Retrying:
    return Retrying(RetrySettings(attempts=attempts, base_seconds=0.0001, cap_seconds=0.001), random.Random(1))


@pytest.mark.parametrize(
    ("operation", "error", "calls"),
    [
        (READ, Unavailable("down"), 2),
        (READ, DeadlineExceeded("slow"), 2),
        (WRITE, Unavailable("down"), 2),
        (EMIT, DeadlineExceeded("slow"), 2),
        (READ, Throttled("slow down", retry_after_seconds=0.0001), 2),
    ],
)
async def test_what_a_pause_can_help_is_repeated(operation: Operation, error: StorycoreError, calls: int) -> None:
    call = Failing(error)
    assert await retrying()(operation, call) == "done"
    assert call.calls == calls


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (READ, NotFound("gone")),
        (WRITE, DeadlineExceeded("slow")),
        (WRITE, Unavailable("cut", effect=Effect.UNKNOWN)),
        (WRITE, Unavailable("cut", effect=Effect.APPLIED)),
    ],
)
async def test_what_a_repetition_cannot_help_is_raised_at_once(operation: Operation, error: StorycoreError) -> None:
    call = Failing(error)
    with pytest.raises(type(error)):
        await retrying()(operation, call)
    assert call.calls == 1


async def test_retrying_gives_up_with_the_last_error() -> None:
    call = Failing(*(Unavailable(f"down {n}") for n in range(5)))
    with pytest.raises(Unavailable, match="down 2"):
        await retrying(attempts=3)(READ, call)
    assert call.calls == 3


@pytest.mark.parametrize(("operation", "effect"), [(READ, Effect.NONE), (WRITE, Effect.UNKNOWN)])
async def test_a_hanging_operation_ends_with_what_is_known_of_its_effect(operation: Operation, effect: Effect) -> None:
    layer = Timeout(TimeoutSettings(read_seconds=0.01, write_seconds=0.01))
    with pytest.raises(DeadlineExceeded) as caught:
        await layer(operation, lambda: asyncio.sleep(10))
    assert caught.value.effect is effect


async def test_a_timeout_inside_the_operation_is_not_taken_for_the_layers_own() -> None:
    async def own_timeout() -> None:
        raise TimeoutError("the vendor's")

    with pytest.raises(TimeoutError, match="the vendor's"):
        await Timeout(TimeoutSettings())(READ, own_timeout)


async def test_retry_around_timeout_repeats_a_hanging_read() -> None:
    hangs = iter([10.0, 0.0])
    timeout = Timeout(TimeoutSettings(read_seconds=0.01))

    async def attempt() -> None:
        await timeout(READ, lambda: asyncio.sleep(next(hangs)))

    await retrying()(READ, attempt)
    assert next(hangs, None) is None


async def test_metrics_count_calls_errors_and_cancellations() -> None:
    metrics = Metrics()
    await metrics(READ, Failing())
    with pytest.raises(NotFound):
        await metrics(READ, Failing(NotFound("gone")))
    task = asyncio.ensure_future(metrics(READ, lambda: asyncio.sleep(10)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    counted = metrics.as_dict()["entities"]["get"]
    assert (counted["calls"], counted["errors"]) == (3, 2)


async def test_readonly_lets_reads_through_and_refuses_writes() -> None:
    env = Environment()
    inner = open_blobs(MemoryBlobConfig(), env)
    async with stacked(PortName.BLOBS, inner, [interceptor("readonly", {}, env)]) as blobs:
        assert await blobs.head("a") is None  # type: ignore[attr-defined]  # an operation of the port
        with pytest.raises(AccessDenied, match="readonly"):
            await blobs.put("a", b"1", when=ANY)  # type: ignore[attr-defined]
        assert await inner.head("a") is None


@pytest.mark.parametrize(
    ("use", "options", "message"),
    [
        ("retri", {}, "Did you mean 'retry'"),
        ("retry", {"attempts": 0}, "attempts"),
        ("timeout", {"reed_seconds": 1}, "reed_seconds"),
        ("readonly", {"x": 1}, "no settings"),
    ],
)
def test_a_wrong_layer_is_named(use: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        interceptor(use, options, Environment())


@pytest.mark.parametrize("order", [["timeout", "retry"], ["retry", "readonly"], ["retry", "retry"]])
def test_layers_in_the_wrong_order_are_refused(order: list[str]) -> None:
    env = Environment()
    with pytest.raises(ConfigError):
        stacked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env), [interceptor(use, {}, env) for use in order])


async def test_a_deferred_port_is_built_and_opened_once_by_its_first_use() -> None:
    built: list[object] = []

    def build() -> object:
        built.append(blobs := open_blobs(MemoryBlobConfig(), Environment()))
        return blobs

    port = Deferred(PortName.BLOBS, build)  # type: ignore[arg-type]  # a blob store is a port
    assert not port.is_built
    results = await asyncio.gather(*(_head(port)() for _ in range(5)))
    assert (results, len(built)) == ([None] * 5, 1)
    await port.close()
    with pytest.raises(Unavailable, match="closed"):
        await _head(port)()


CONTRACTS: Mapping[PortName, type] = {
    PortName.ENTITIES: EntityStore,
    PortName.CACHE: Cache,
    PortName.VECTORS: VectorIndex,
    PortName.BLOBS: BlobStore,
    PortName.EVENTS: EventSink,
    PortName.EMBEDDER: Embedder,
    PortName.RERANKER: Reranker,
}


@pytest.mark.parametrize("port", PortName, ids=str)
def test_layers_know_every_operation_of_a_port(port: PortName) -> None:
    """Whatever a port promises beyond opening and closing goes through its layers, and nothing that it does not."""
    promised = {name for name, _ in inspect.getmembers(CONTRACTS[port], inspect.iscoroutinefunction)}
    in_common = {name for name, _ in inspect.getmembers(Port, inspect.iscoroutinefunction)}
    assert set(OPERATIONS[port]) == promised - in_common


async def test_a_readonly_index_searches_and_changes_nothing() -> None:
    """Searching by words and explaining are reads; an update by filter is a write."""
    layered: Any = stacked(
        PortName.VECTORS, MemoryVectorIndex(IndexSpec(2)), [interceptor("readonly", {}, Environment())]
    )
    async with layered as index:
        assert await index.search_text([TextQuery(text="mill")]) == [[]]
        assert (await index.explain(VectorQuery(values=array("f", [1, 0])))).way == "exact"
        with pytest.raises(AccessDenied):
            await index.update_where(Exists("x"), unset=["x"])


async def test_a_layered_port_can_be_copied() -> None:
    around = stacked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), Environment()), [Metrics()])
    async with around:
        assert await _head(copy.copy(around))() is None


class SlowToOpen(MemoryBlobStore):
    """A store that takes its time to open."""

    async def open(self) -> None:
        await asyncio.sleep(0.01)
        await super().open()


async def test_a_port_that_cannot_be_built_tells_its_own_error() -> None:
    """An ``AttributeError`` of the builder is not taken for a missing attribute of the port."""

    def build() -> MemoryBlobStore:
        raise AttributeError("the vendor's library is another one")

    port = Deferred(PortName.BLOBS, build)
    with pytest.raises(AttributeError, match="vendor"):
        await port.ensure()


async def test_a_deferred_port_that_closes_while_it_opens_ends_closed() -> None:
    inner = SlowToOpen(Environment())
    deferred = Deferred(PortName.BLOBS, lambda: inner)
    first = asyncio.create_task(_head(deferred)())
    await asyncio.sleep(0)
    await deferred.close()
    await asyncio.wait([first])
    assert not (await inner.health()).ok
    with pytest.raises(Unavailable, match="closed"):
        await _head(deferred)()


def _head(port: object) -> Callable[[], Awaitable[object]]:
    return lambda: port.head("a")  # type: ignore[attr-defined,no-any-return]  # an operation of the port
