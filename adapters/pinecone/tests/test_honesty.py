"""What an error says has happened, what a read before a write sees, and what two processes make of each other."""

from __future__ import annotations

import random
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from storycore_pinecone.config import PineconeConfig
from storycore_pinecone.testing import Admin
from storycore_pinecone.vectors import PineconeVectorIndex, open_vectors

from storycore.errors import ConfigError, Effect, NotFound, StaleRead, Throttled, TooLarge
from storycore.filters import F
from storycore.ports.environment import Environment
from storycore.ports.vectors import VectorItem, VectorQuery

Opened = Callable[..., Any]
_QUERY = VectorQuery(values=array("f", [1, 0]))


def _index(settings: Mapping[str, object], **options: object) -> PineconeVectorIndex:
    values = {"index": "stories", "dimension": 2, "retry_base_ms": 1, "max_attempts": 2, **settings, **options}
    return open_vectors(PineconeConfig.model_validate(values), Environment(random=random.Random(7)))


def _item(id_: str, **metadata: Any) -> VectorItem:
    return VectorItem(id_, array("f", [1, 0]), metadata)


@pytest_asyncio.fixture
async def opened(local_pinecone: Mapping[str, object], admin: Admin) -> AsyncIterator[Opened]:
    """Opens the index, which is made the first time; every one is closed at the end."""
    async with AsyncExitStack() as stack:

        async def opens(**options: object) -> PineconeVectorIndex:
            made = _index(local_pinecone, **options)
            await made.ensure()
            return await stack.enter_async_context(made)

        yield opens


# Effects.


async def test_a_delete_that_is_done_in_part_is_in_doubt(opened: Opened, admin: Admin) -> None:
    """Of three requests one is refused for good: "nothing was written" would be a lie."""
    index = await opened()
    items = [_item(f"i{n:04}") for n in range(2500)]
    await index.upsert(items)
    admin.fail("delete", status=429, times=0, record="i1500")
    with pytest.raises(Throttled) as caught:
        await index.delete(ids=[item.id for item in items])
    assert ((await index.stats()).total, caught.value.effect) == (1000, Effect.UNKNOWN)


async def test_a_delete_of_all_that_could_not_forget_the_types_is_in_doubt(opened: Opened, admin: Admin) -> None:
    """The items are gone and the types are not; the same call again mends that."""
    index = await opened()
    await index.upsert([_item("a", x=1)])
    admin.fail("fetch", status=429, times=0, namespace="__storycore__")
    with pytest.raises(Throttled) as caught:
        await index.delete(all=True)
    assert ((await index.stats()).total, caught.value.effect) == (0, Effect.UNKNOWN)
    admin.heal()
    await index.delete(all=True)
    await index.upsert([_item("a", x="t")])


async def test_a_rewrite_that_is_done_in_part_is_in_doubt(opened: Opened, admin: Admin) -> None:
    """Keys are removed a thousand items at a time; the second thousand fails, then the first."""
    index = await opened()
    await index.upsert([_item(f"r{n:04}", k=1, old=True) for n in range(1500)])
    for record, effect, left in (("r1200", Effect.UNKNOWN, 500), ("r1300", Effect.NONE, 500)):
        admin.fail("upsert", status=429, times=0, record=record)
        with pytest.raises(Throttled) as caught:
            await index.update_where(F.old == True, unset=["old"])  # noqa: E712
        admin.heal()
        assert effect is caught.value.effect
        assert left == (await index.delete(where=F.old.exists(), dry_run=True)).count


async def test_merged_metadata_that_is_too_large_says_so(opened: Opened) -> None:
    """The service calls it a bad request; for the port it is ``TooLarge``, with the item's name."""
    index = await opened()
    await index.upsert([_item("big", t="x" * 40_000, k=1), _item("small", k=1)])
    for unset in ([], ["k"]):
        with pytest.raises(TooLarge, match="'big'") as caught:
            await index.update_where(F.k == 1, set={"u": "y" * 2_000}, unset=unset)
        assert caught.value.effect is Effect.NONE
    assert [sorted(item.metadata) for item in (await index.scan()).items] == [["k", "t"], ["k"]]


# Reads before writes.


async def test_an_item_is_stored_anew_from_what_was_last_written(opened: Opened, admin: Admin) -> None:
    """Removing a key reads the item first: not a state from before this index's own last write."""
    index = await opened()
    await index.upsert([_item("a", x=1, old=True)])
    admin.turn(visible_after_reads=3)
    await index.upsert([_item("a", x=2, old=True)])
    await index.update("a", unset=["old"])
    await index.upsert([_item("b", x=3, old=True)])
    await index.update_where(F.x == 3, unset=["old"])
    admin.settle()
    assert {item.id: item.metadata for item in (await index.scan()).items} == {"a": {"x": 2}, "b": {"x": 3}}


async def test_an_item_that_was_just_written_is_there_to_be_changed(opened: Opened, admin: Admin) -> None:
    """Before an item is said to be missing, reads have to show what this index wrote."""
    index = await opened()
    admin.turn(visible_after_reads=3)
    await index.upsert([_item("a", x=1)])
    await index.update("a", set={"x": 2})
    with pytest.raises(NotFound):
        await index.update("b", set={"x": 2})
    admin.settle()
    assert [item.metadata for item in (await index.scan()).items] == [{"x": 2}]


@pytest.mark.slow
async def test_a_rewrite_does_not_go_on_from_an_old_state(opened: Opened, admin: Admin) -> None:
    """While reads stay behind, nothing is stored."""
    index = await opened()
    await index.upsert([_item("a", x=1, old=True)])
    admin.turn(visible_after_ms=60_000)
    await index.upsert([_item("a", x=2, old=True)])
    with pytest.raises(StaleRead) as caught:
        await index.update("a", unset=["old"])
    assert caught.value.effect is Effect.NONE
    admin.settle()
    assert [item.metadata for item in (await index.scan()).items] == [{"x": 2, "old": True}]


async def test_a_rewrite_goes_on_where_the_service_tells_no_places(opened: Opened, admin: Admin) -> None:
    """Without places in the log there is nothing to wait for."""
    admin.turn(lsn_headers="none")
    index = await opened()
    await index.upsert([_item("a", x=1, old=True)])
    await index.update("a", unset=["old"])
    assert [item.metadata for item in (await index.scan()).items] == [{"x": 1}]


async def test_reads_of_a_namespace_that_the_service_does_not_know_are_empty(opened: Opened, admin: Admin) -> None:
    """Whether the service answers them with nothing or with 404: also those of the adapter's own namespace."""
    index = await opened()
    for operation in ("query", "fetch", "list", "fetch_by_metadata"):
        admin.fail(operation, status=404, message="Namespace not found", times=0)
    assert await index.query([_QUERY]) == [[]]
    assert await index.fetch(["a"]) == [None]
    assert (await index.list_ids()).ids == []
    assert (await index.scan(where=F.x == 1)).items == []
    assert (await index.upsert([_item("a", x=1)])).written == 1
    admin.fail("update", status=501, times=0)
    assert (await index.delete(where=F.x == 1, dry_run=True)).count == 0


@pytest.mark.slow
async def test_an_update_of_more_than_one_request_changes_is_whole(opened: Opened) -> None:
    """One request changes 100 000 records; what is left is changed too."""
    index = await opened()
    await index.upsert([_item(f"i{n:06}", k=1) for n in range(100_010)])
    await index.update_where(F.k == 1, set={"done": True})
    assert (await index.delete(where=~F.done.exists(), dry_run=True)).count == 0


# Two processes.


async def test_types_that_another_process_forgot_do_not_decide_filters(opened: Opened) -> None:
    """A negated comparison depends on the field's type, which may be another one since the last look."""
    one, other = await opened(), await opened()
    below = VectorQuery(values=array("f", [1, 0]), where=~(F.x > 5))
    await one.upsert([_item("a", x=9)])
    assert await one.query([below]) == [[]]
    await other.delete(all=True)
    await other.upsert([_item("a", x="text")])
    assert [match.id for match in (await one.query([below]))[0]] == ["a"]


async def test_a_namespace_that_another_program_named_default_is_not_counted(opened: Opened, sdk: Any) -> None:
    """The port's default namespace is the service's unnamed one; the other cannot be reached."""
    index = await opened()
    await index.upsert([_item("a")])
    with sdk.index(host=sdk.indexes.describe("stories").host) as foreign:
        foreign.upsert(vectors=[("x", [1.0, 0.0]), ("y", [1.0, 0.0])], namespace="default")
    assert (await index.stats()).counts == {"default": 1}


# What no address and no key can be.


@pytest.mark.parametrize("option", ["endpoint_url", "index_url"])
@pytest.mark.parametrize("url", ["http://", "ftp://host", "http://[::1", "http://127.0.0.1:99999", ""])
async def test_what_is_no_address_is_a_config_error(
    local_pinecone: Mapping[str, object], option: str, url: str
) -> None:
    """The error names the option, before anything is asked."""
    with pytest.raises(ConfigError, match=option) as caught:
        await _index({**local_pinecone, option: url}).open()
    assert caught.value.path == option


@pytest.mark.parametrize("key", ["käse-secret", "secret\n", "se\r\ncret"])
async def test_what_is_no_key_is_a_config_error(local_pinecone: Mapping[str, object], key: str) -> None:
    """A line break that came with the key from a file is told, and the key is not."""
    index = _index({**local_pinecone, "api_key": key})
    for step in (index.ensure, index.open):
        with pytest.raises(ConfigError, match="PINECONE_API_KEY") as caught:
            await step()
        assert key not in str(caught.value)
