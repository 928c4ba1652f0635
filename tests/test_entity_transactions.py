"""Transactions: units of many tasks at once leave what one after the other would have left."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
import pytest_asyncio
from pydantic import BaseModel, Field

import storycore
from storycore.entities import Key, Repository, Unique, Unit, entity, part
from storycore.entities.transactions import run_again
from storycore.errors import (
    InvalidArgument,
    NotUnique,
    Retry,
    TransactionConflict,
)
from storycore.layers.around import Around, Operation
from storycore.ports.conditions import Matches
from storycore.ports.entities import EntityStore
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served

T = TypeVar("T")


class Account(BaseModel):
    account_id: str
    balance: int = Field(default=0, ge=0)
    visits: int = 0
    labels: set[str] = Field(default_factory=set)
    slug: str | None = None


ACCOUNT = entity(
    Account,
    kind="account",
    key=Key(pk=("account", part.account_id), sk=("account",)),
    counters=("visits",),
    promoted=("labels",),
    unique=[Unique("slug")],
)


class Hesitating:
    """Lets others run before and after each operation, so that memory is as interleaved as any store."""

    slot: ClassVar[int] = 50

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(0)
        result = await proceed()
        await asyncio.sleep(0)
        return result


class Calls:
    """Notes the operations of a store."""

    slot: ClassVar[int] = 10

    def __init__(self) -> None:
        self.names: list[str] = []

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        self.names.append(operation.name)
        return await proceed()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture(params=os.environ.get("STORYCORE_TEST_ENTITIES", "memory sqlite").split())
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """One more adapter, as dynamodb, takes two minutes: name it in STORYCORE_TEST_ENTITIES."""
    served_by = served(request.param, request.config)
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path, served=served_by)


@pytest_asyncio.fixture
async def store(harness: Harness, calls: Calls) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    layered: EntityStore = Around(PortName.ENTITIES, opened, [calls, Hesitating()])
    yield layered
    await opened.close()


@pytest.fixture
def unit(harness: Harness, store: EntityStore) -> Callable[..., Unit]:
    env = harness.env

    def make(token: str | None = None) -> Unit:
        return Unit(store, env, entities=[ACCOUNT], token=token)

    return make


@pytest.fixture
def accounts(harness: Harness, store: EntityStore) -> Repository[Account]:
    return Repository(ACCOUNT, store, harness.env, cursor_key=b"k" * 16)


Make = Callable[..., Unit]


async def test_unique_values_can_change_hands_in_one_unit(unit: Make, accounts: Repository[Account]) -> None:
    """Two accounts exchange theirs; a new one takes over from one that leaves; two cannot claim the same."""
    await accounts.create(Account(account_id="a", slug="x"))
    await accounts.create(Account(account_id="b", slug="y"))
    async with unit() as u:
        u.patch(ACCOUNT, "a", set={"slug": "y"})
        u.patch(ACCOUNT, "b", set={"slug": "x"})
    assert ((await accounts.get("a")).slug, (await accounts.get("b")).slug) == ("y", "x")
    async with unit() as u:
        u.create(Account(account_id="c", slug="y"))
        u.delete(ACCOUNT, await u.get(ACCOUNT, "a"))
    for slug in ("x", "y"):
        with pytest.raises(NotUnique):
            await accounts.create(Account(account_id="d", slug=slug))
    with pytest.raises(TransactionConflict, match="same slug"):
        async with unit() as u:
            u.create(Account(account_id="e", slug="z"))
            u.create(Account(account_id="f", slug="z"))
    assert await accounts.find("e") is None


async def test_a_refusal_that_is_there_to_stay_is_not_tried_again(
    unit: Make, accounts: Repository[Account], calls: Calls
) -> None:
    """The write is sent once, and a key is read once."""
    await accounts.create(Account(account_id="a", slug="taken"))
    calls.names.clear()
    with pytest.raises(TransactionConflict):
        async with unit() as u:
            assert [await u.find(ACCOUNT, "a") is not None for _ in range(3)] == [True] * 3
            await u.find(ACCOUNT, "b")
            u.patch(ACCOUNT, "a", add={"visits": 1})
            u.create(Account(account_id="b", slug="taken"))
    assert calls.names == ["get", "get", "write"]


async def test_a_put_over_what_was_never_loaded_gives_its_values_back(
    unit: Make, accounts: Repository[Account]
) -> None:
    """The unit reads what it has to know when it ends."""
    await accounts.create(Account(account_id="a", slug="x"))
    async with unit() as u:
        u.put(Account(account_id="a", slug="y"))
        u.delete(ACCOUNT, "missing")
    await accounts.create(Account(account_id="b", slug="x"))
    [record] = await accounts.store.get([accounts.address("a")])
    assert record is not None
    async with unit() as u:
        u.put(Account(account_id="a", slug="z"), when=Matches(record.version))
    await accounts.create(Account(account_id="c", slug="y"))
    with pytest.raises(NotUnique):
        await accounts.create(Account(account_id="d", slug="z"))


async def test_unread_patches_are_made_again_while_others_are_faster(unit: Make, accounts: Repository[Account]) -> None:
    """What only the unit itself has read is no reason to refuse it."""
    await accounts.create(Account(account_id="a"))

    async def label(name: str) -> None:
        async with unit() as u:
            u.patch(ACCOUNT, "a", include={"labels": {name}})

    await asyncio.gather(*(label(str(number)) for number in range(8)))
    assert (await accounts.get("a")).labels == {str(number) for number in range(8)}


async def test_transfers_in_transactions_keep_the_sum(
    unit: Make, accounts: Repository[Account], harness: Harness
) -> None:
    """Many tasks move amounts between accounts; nothing is lost or made, and nobody reads half of a transfer."""
    names = ["a", "b", "c"]
    await accounts.save_batch([Account(account_id=name, balance=100) for name in names])

    async def move(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(4):
            source, target = chance.sample(names, 2)
            amount = chance.randrange(1, 10)

            async def change(u: Unit, source: str = source, target: str = target, amount: int = amount) -> int:
                giver, taker = await u.get(ACCOUNT, source), await u.get(ACCOUNT, target)
                giver.balance -= amount
                taker.balance += amount
                u.put(giver)
                u.put(taker)
                return amount

            assert await run_again(unit, change, harness.env, retries=50) == amount

    await asyncio.gather(*(move(seed) for seed in range(5)))
    assert sum([account.balance async for account in accounts.scan()]) == 300


async def test_two_that_read_each_others_write_cannot_both_succeed(unit: Make, accounts: Repository[Account]) -> None:
    """Reads take part in the condition, so that no skew is left."""
    await accounts.save_batch([Account(account_id="a", balance=1), Account(account_id="b", balance=1)])

    async def leave(own: str, other: str) -> bool:
        try:
            async with unit() as u:
                mine = await u.get(ACCOUNT, own)
                if (await u.get(ACCOUNT, other)).balance:
                    mine.balance = 0
                    u.put(mine)
                await asyncio.sleep(0.01)
        except TransactionConflict:
            return False
        return True

    assert sorted(await asyncio.gather(leave("a", "b"), leave("b", "a"))) == [False, True]


async def test_a_transaction_runs_again_only_where_that_can_help(
    unit: Make, accounts: Repository[Account], harness: Harness
) -> None:
    """After somebody was faster, so often as is allowed; not after what is there to stay, nor after another error."""
    runs = 0

    async def overtaken(u: Unit) -> int:
        nonlocal runs
        runs += 1
        account = await u.get(ACCOUNT, "a")
        u.put(account)
        if runs < 3:
            await accounts.patch("a", add={"visits": 1})
        return runs

    await accounts.create(Account(account_id="a", slug="taken"))
    assert await run_again(unit, overtaken, harness.env, retries=2) == 3
    runs = 0
    with pytest.raises(TransactionConflict):
        await run_again(unit, overtaken, harness.env, retries=1)

    async def taken(u: Unit) -> None:
        nonlocal runs
        runs += 1
        u.create(Account(account_id="b", slug="taken"))

    runs = 0
    with pytest.raises(TransactionConflict) as caught:
        await run_again(unit, taken, harness.env, retries=5)
    assert (runs, caught.value.reasons[0].retry) == (1, Retry.NEVER)
    with pytest.raises(InvalidArgument):
        await run_again(unit, taken, harness.env, retries=-1)


async def test_a_store_gives_units_and_transactions_behind_its_cache() -> None:
    """A committed unit is what the next cached read sees, and its own reads pass the cache by."""
    async with storycore.open("memory", overrides={"caching": {"entities": True}}) as store:
        accounts = store.repository(ACCOUNT)
        await accounts.create(Account(account_id="a", slug="x"))
        assert (await accounts.get("a")).balance == 0
        past_the_cache = Repository(ACCOUNT, store.ports[PortName.ENTITIES], store.env, cursor_key=b"k" * 16)
        await past_the_cache.patch("a", set={"balance": 3})
        assert (await accounts.get("a")).balance == 0
        async with store.unit() as u:
            account = await u.get(ACCOUNT, "a")
            assert account.balance == 3
            account.balance = 7
            u.put(account)
        assert (await accounts.get("a")).balance == 7

        async def change(u: Unit) -> str:
            u.patch(accounts, "a", set={"slug": "y"})
            u.create(Account(account_id="b", slug="x"))
            return "done"

        assert await store.transaction(change) == "done"
        assert [found.slug if found else None for found in await accounts.get_many(["a", "b"])] == ["y", "x"]


def test_a_sync_store_gives_units_and_transactions() -> None:
    """With plain functions, which run in the caller's thread and again after a conflict."""
    with storycore.open_sync("memory") as store:
        accounts = store.repository(ACCOUNT)
        with store.unit() as u:
            created = u.create(Account(account_id="a", slug="x"), of=accounts)
        assert created.result.slug == "x"
        with pytest.raises(ZeroDivisionError), store.unit() as u:
            u.create(Account(account_id="b"))
            raise ZeroDivisionError
        assert accounts.find("b") is None
        runs: list[int] = []

        def change(u: Unit) -> int:
            account = u.get(ACCOUNT, "a")
            assert isinstance(account, Account)
            account.balance += 1
            u.put(account)
            if not runs:
                accounts.patch("a", add={"visits": 1})
            runs.append(account.balance)
            return account.balance

        assert store.transaction(change) == 1
        assert (len(runs), accounts.get("a").visits) == (2, 1)
        with pytest.raises(TransactionConflict):
            store.transaction(lambda u: u.create(Account(account_id="c", slug="x")))


def test_a_result_is_not_there_before_the_unit_is_written() -> None:
    """It says so instead of being empty."""
    with storycore.open_sync("memory") as store, store.unit() as u:
        pending = u.create(Account(account_id="a"), of=ACCOUNT)
        with pytest.raises(InvalidArgument, match="not been written"):
            _ = pending.result


def test_a_sync_transaction_takes_a_plain_function() -> None:
    """One that has to be awaited is refused, instead of being forgotten."""

    async def change(u: Unit) -> None:
        u.create(Account(account_id="a"), of=ACCOUNT)

    with storycore.open_sync("memory") as store:
        for wrong in (lambda: store.transaction(change), lambda: store.transaction(lambda u: u, retries=-1)):
            with pytest.raises(InvalidArgument, match="plain function"):
                wrong()


@pytest.mark.parametrize("retries", [-1, "3", True, None])
async def test_wrong_retries_are_refused(retries: Any) -> None:
    """Before anything is run."""
    async with storycore.open("memory") as store:
        with pytest.raises(InvalidArgument, match="whole number from 0 on"):
            await store.transaction(lambda u: u.find(ACCOUNT, "a"), retries=retries)


async def test_a_transaction_of_a_plain_function_is_refused_and_writes_nothing() -> None:
    """It would be over before what it reads is there."""
    async with storycore.open("memory") as store:
        plain: Any = lambda u: u.create(Account(account_id="a"), of=ACCOUNT)  # noqa: E731 - what a caller would write
        with pytest.raises(InvalidArgument, match="async function"):
            await store.transaction(plain)
        assert await store.repository(ACCOUNT).find("a") is None
