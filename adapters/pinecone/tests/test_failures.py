"""What the index makes of a service that is slow, wrong, full or away."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from storycore_pinecone.config import PineconeConfig
from storycore_pinecone.testing import Admin, server
from storycore_pinecone.vectors import PineconeVectorIndex, open_vectors

from storycore.errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    Effect,
    InvalidArgument,
    NotProvisioned,
    PartialFailure,
    SchemaConflict,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore.filters import F
from storycore.ports.environment import Environment
from storycore.ports.vectors import VectorItem, VectorQuery

Opened = Callable[..., Any]
_QUERY = VectorQuery(values=array("f", [1, 0]))
_PATIENT: Mapping[str, object] = {"retry_base_ms": 1}


def _index(settings: Mapping[str, object], **options: object) -> PineconeVectorIndex:
    config = PineconeConfig.model_validate({"index": "stories", "dimension": 2, **_PATIENT, **settings, **options})
    return open_vectors(config, Environment(random=random.Random(7)))


def _item(id_: str, **metadata: Any) -> VectorItem:
    return VectorItem(id_, array("f", [1, 0]), metadata)


@pytest_asyncio.fixture
async def opened(local_pinecone: Mapping[str, object], admin: Admin) -> AsyncIterator[Opened]:
    """Opens the index, which is made the first time; every one is closed at the end."""
    async with AsyncExitStack() as stack:

        async def opens(**options: object) -> PineconeVectorIndex:
            made = _index(local_pinecone, **options)
            await made.ensure()
            admin.forget_calls()
            return await stack.enter_async_context(made)

        yield opens


@pytest.mark.parametrize("status", [429, 500, 502, 503, 0])
async def test_a_request_is_repeated_until_it_succeeds(opened: Opened, admin: Admin, status: int) -> None:
    """Throttling, trouble of the service and cut connections are outlived, by writes and reads alike."""
    index = await opened()
    for operation in ("upsert", "query", "fetch", "delete"):
        admin.fail(operation, status=status, times=2)
    await index.upsert([_item("a"), _item("b")])
    assert [match.id for match in (await index.query([_QUERY]))[0]] == ["a", "b"]
    assert [item and item.id for item in await index.fetch(["b"])] == ["b"]
    await index.delete(ids=["a"])
    assert (await index.stats()).counts == {"default": 1}
    assert len(admin.calls("upsert")) == 3, "the SDK repeats nothing by itself"


async def test_a_request_that_took_effect_is_repeated_without_harm(opened: Opened, admin: Admin) -> None:
    """A lost answer to a write leads to the same write again."""
    index = await opened()
    for operation in ("upsert", "update", "delete"):
        admin.fail(operation, status=0, takes_effect=True)
    await index.upsert([_item("a", n=1), _item("b", n=2)])
    await index.update_where(F.n == 1, set={"n": 3})
    await index.delete(where=F.n == 2)
    assert [(match.id, match.metadata) for match in (await index.query([_QUERY]))[0]] == [("a", {"n": 3})]


async def test_throttling_that_does_not_end_says_how_long_to_wait(opened: Opened, admin: Admin) -> None:
    """After as many attempts as are allowed the error is ``Throttled``, with the service's own pause."""
    index = await opened(max_attempts=3, retry_seconds=0.2)
    admin.fail("query", status=429, times=0, retry_after=30)
    with pytest.raises(Throttled) as caught:
        await index.query([_QUERY])
    assert (caught.value.retry_after_seconds, caught.value.effect) == (30, Effect.NONE)
    assert len(admin.calls("query")) == 1, "a pause beyond the time that is allowed is not begun"


async def test_a_storm_spends_the_budget_and_no_more(opened: Opened, admin: Admin) -> None:
    """While nothing succeeds, repetitions end: the service gets at most the budget on top of what is asked."""
    index = await opened(max_attempts=4, retry_base_ms=0)
    admin.fail("query", status=503, times=0)
    outcomes = [await _failure(index) for _ in range(40)]
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert 40 <= len(admin.calls("query")) <= 40 + 50
    admin.heal()
    assert await index.query([_QUERY]) == [[]]


async def _failure(index: PineconeVectorIndex) -> StorycoreError:
    with pytest.raises(StorycoreError) as caught:
        await index.query([_QUERY])
    return caught.value


@pytest.mark.parametrize(("status", "effect"), [(503, Effect.UNKNOWN), (0, Effect.UNKNOWN), (429, Effect.NONE)])
async def test_a_failed_write_says_whether_it_may_have_happened(
    opened: Opened, admin: Admin, status: int, effect: Effect
) -> None:
    """Only what the service surely refused has no effect."""
    index = await opened(max_attempts=2)
    admin.fail("upsert", status=status, times=0)
    with pytest.raises(StorycoreError) as caught:
        await index.upsert([_item("a")])
    assert effect is caught.value.effect


async def test_a_late_answer_is_a_deadline(opened: Opened, admin: Admin) -> None:
    """A request has its own time; a read that is late has no effect."""
    index = await opened(timeout_seconds=0.05, max_attempts=2)
    admin.fail("query", status=200, latency_ms=400, times=0)
    with pytest.raises(DeadlineExceeded) as caught:
        await index.query([_QUERY])
    assert caught.value.effect is Effect.NONE


async def test_batches_that_fail_are_named_by_their_items(opened: Opened, admin: Admin) -> None:
    """Of many batches one is refused: the outcomes say of each item whether it was written."""
    index = await opened()
    admin.fail("upsert", status=400, record="i1500", times=0)
    items = [_item(f"i{n}") for n in range(2500)]
    with pytest.raises(PartialFailure) as caught:
        await index.upsert([*items, items[0]])
    failed = caught.value.errors
    assert (len(caught.value.outcomes), {*failed}) == (2501, {*range(1000, 2000)})
    assert {type(error) for error in failed.values()} == {InvalidArgument}
    assert (await index.stats()).total == 1500


async def test_batches_are_cut_by_bytes_too(opened: Opened, admin: Admin) -> None:
    """200 items of 30 KB are no single request of 2 MB."""
    index = await opened()
    assert (await index.upsert([_item(f"i{n}", text="x" * 30_000) for n in range(200)])).written == 200
    sizes = [call["bytes"] for call in admin.calls("upsert") if call["namespace"] != "__storycore__"]
    assert len(sizes) == 4
    assert max(sizes) <= 2_000_000


async def test_more_than_an_answer_holds_is_fetched_in_a_second_step(opened: Opened, admin: Admin) -> None:
    """Metadata that would make an answer larger than 4 MB comes item by item, and none is missing."""
    index = await opened()
    await index.upsert([_item(f"i{n:03}", text="x" * 30_000) for n in range(200)])
    for top_k in (200, 5000):
        [matches] = await index.query([VectorQuery(values=array("f", [1, 0]), top_k=top_k, include_values=True)])
        assert [match.id for match in matches] == [f"i{n:03}" for n in range(200)]
        assert {(len(str(match.metadata["text"])), match.values and len(match.values)) for match in matches} == {
            (30_000, 2)
        }
    assert len(admin.calls("query")) == 3


async def test_a_fetch_asks_for_no_more_than_an_answer_holds(opened: Opened, admin: Admin) -> None:
    """20 vectors of 20 000 numbers are more than 4 MB, so they come in two answers."""
    index = await opened(dimension=20_000)
    items = [VectorItem(f"i{n:02}", array("f", [n + 1]) * 20_000) for n in range(20)]
    await index.upsert(items)
    assert items == await index.fetch([item.id for item in items])
    assert [len(call["ids"]) for call in admin.calls("fetch")] == [16, 4]


@pytest.mark.parametrize("operation", ["delete", "update", "fetch_by_metadata"])
@pytest.mark.parametrize("status", [400, 501])
async def test_what_the_service_lacks_is_done_item_by_item(
    opened: Opened, admin: Admin, operation: str, status: int
) -> None:
    """An index without deletes, updates or fetches by filter gives the same results."""
    index = await opened()
    await index.upsert([_item(f"i{n}", n=n, old=True) for n in range(5)])
    admin.fail(operation, status=status, times=1)
    assert (await index.delete(where=F.n >= 3, dry_run=True)).count == 2
    await index.update_where(F.n < 2, set={"new": "yes"})
    await index.update_where(F.n < 1, unset=["old"])
    await index.delete(where=F.n >= 3)
    found = {item.id: item.metadata for item in (await index.scan()).items}
    assert found == {
        "i0": {"n": 0, "new": "yes"},
        "i1": {"n": 1, "old": True, "new": "yes"},
        "i2": {"n": 2, "old": True},
    }


async def test_a_wrong_key_is_denied(local_pinecone: Mapping[str, object], admin: Admin) -> None:
    """The message says what to check, and does not show the key."""
    index = _index({**local_pinecone, "api_key": "not-the-key"})
    for step in (index.ensure, index.open):
        with pytest.raises(AccessDenied) as caught:
            await step()
        assert "not-the-key" not in str(caught.value)
    assert admin.calls("create_index") == []


async def test_no_key_is_a_config_error(local_pinecone: Mapping[str, object]) -> None:
    """Without a key nothing is asked, whatever the environment has."""
    with pytest.raises(ConfigError, match="PINECONE_API_KEY"):
        await _index({**local_pinecone, "api_key": None}).open()


async def test_an_index_that_was_deleted_meanwhile_is_not_provisioned(opened: Opened, sdk: Any) -> None:
    """Its requests have nowhere to go, which is told as such."""
    index = await opened()
    sdk.indexes.delete("stories", timeout=-1)
    with pytest.raises(NotProvisioned):
        await index.upsert([_item("a")])
    assert (await index.health()).ok is False


async def test_a_server_that_dies_is_unavailable_and_one_that_is_back_serves() -> None:
    """Nothing hangs while it is away, and no new opening is needed when it is back."""
    with server() as settings:
        index = _index(settings, max_attempts=2)
        await index.ensure()
        await index.open()
        await index.upsert([_item("a")])
    port = int(str(settings["endpoint_url"]).rpartition(":")[2])
    with pytest.raises(Unavailable) as caught:
        await index.upsert([_item("b")])
    assert caught.value.effect in (Effect.NONE, Effect.UNKNOWN)
    assert (await index.health()).ok is False
    with server(port=port, api_key=str(settings["api_key"])):
        await index.ensure()
        await index.upsert([_item("b")])
        assert [item and item.id for item in await index.fetch(["a", "b"])] == [None, "b"]
        await index.close()


async def test_a_cancelled_call_leaves_nothing_running(opened: Opened, admin: Admin) -> None:
    """Cancelling ends the requests of all batches, and the index goes on."""
    index = await opened()
    admin.turn(latency_ms=200)
    call = asyncio.create_task(index.upsert([_item(f"i{n}") for n in range(5000)]))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert asyncio.all_tasks() == {asyncio.current_task()}
    admin.turn(latency_ms=0)
    assert (await index.upsert([_item("z")])).written == 1


async def test_a_type_is_not_fixed_by_a_write_that_is_refused(opened: Opened) -> None:
    """One conflicting field writes nothing, and the new ones of the same call stay free."""
    index = await opened()
    await index.upsert([_item("a", x=1)])
    with pytest.raises(SchemaConflict):
        await index.upsert([_item("b", x="t", y=1)])
    await index.upsert([_item("b", x=2, y="t")])
    assert (await index.stats()).counts == {"default": 2}
