"""Units of work: together or not at all, on what was read, with answers in the caller's words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
import pytest_asyncio
from pydantic import BaseModel, Field

from storycore.entities import Entity, Index, Key, Repository, Unique, Unit, entity, part
from storycore.errors import (
    AlreadyExists,
    ConditionFailed,
    InvalidArgument,
    NotFound,
    NotUnique,
    StorycoreError,
    TooLarge,
    TransactionConflict,
    VersionConflict,
)
from storycore.filters import F
from storycore.layers.around import Around, Operation
from storycore.ports.conditions import PRESENT
from storycore.ports.entities import EntityStore, Segment
from storycore.ports.lifecycle import PortName
from storycore.testing.faults import Fault, Faults
from storycore.testing.harness import Harness
from storycore.testing.servers import served

T = TypeVar("T")


class Account(BaseModel):
    account_id: str
    owner: str = "ada"
    balance: int = Field(default=0, ge=0)
    visits: int = 0
    labels: set[str] = Field(default_factory=set)
    slug: str | None = None


class Entry(BaseModel):
    account_id: str
    number: int
    amount: int


ACCOUNT = entity(
    Account,
    kind="account",
    key=Key(pk=("account", part.account_id), sk=("account",)),
    indexes=[Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.account_id,))],
    counters=("visits",),
    promoted=("labels",),
    unique=[Unique("slug")],
)
ENTRY = entity(Entry, kind="entry", key=Key(pk=("entries", part.account_id), sk=(part.number,)))
PLAIN = entity(
    Account,
    kind="plain",
    key=Key(pk=("plain", part.account_id), sk=("plain",)),
    counters=("visits",),
    promoted=("labels",),
)


class Hesitating:
    """Lets others run before and after each operation, so that memory is as interleaved as any store."""

    slot: ClassVar[int] = 50

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(0)
        result = await proceed()
        await asyncio.sleep(0)
        return result


@pytest.fixture(params=os.environ.get("STORYCORE_TEST_ENTITIES", "memory sqlite").split())
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """One more adapter, as dynamodb, takes two minutes: name it in STORYCORE_TEST_ENTITIES."""
    served_by = served(request.param, request.config)
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path, served=served_by)


@pytest.fixture
def faults() -> Faults:
    return Faults(PortName.ENTITIES, operations={"write"})


@pytest_asyncio.fixture
async def store(harness: Harness, faults: Faults) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    layered: EntityStore = faults.around(Around(PortName.ENTITIES, opened, [Hesitating()]))
    yield layered
    await opened.close()


@pytest.fixture
def unit(harness: Harness, store: EntityStore) -> Callable[..., Unit]:
    env = harness.env

    def make(token: str | None = None) -> Unit:
        return Unit(store, env, entities=[ACCOUNT, ENTRY], token=token)

    return make


@pytest.fixture
def accounts(harness: Harness, store: EntityStore) -> Repository[Account]:
    return Repository(ACCOUNT, store, harness.env, cursor_key=b"k" * 16)


@pytest.fixture
def plains(harness: Harness, store: EntityStore) -> Repository[Account]:
    return Repository(PLAIN, store, harness.env, cursor_key=b"k" * 16)


@pytest.fixture
def entries(harness: Harness, store: EntityStore) -> Repository[Entry]:
    return Repository(ENTRY, store, harness.env, cursor_key=b"k" * 16)


Make = Callable[..., Unit]


async def test_everything_is_written_together(
    unit: Make, accounts: Repository[Account], entries: Repository[Entry]
) -> None:
    """Of several entities, by every verb, and the instances are ready to be written again."""
    await accounts.create(Account(account_id="gone", slug="old"))
    await accounts.create(Account(account_id="kept", balance=10))
    fresh, entry = Account(account_id="new", slug="old"), Entry(account_id="kept", number=1, amount=-5)
    async with unit() as u:
        kept = await u.get(ACCOUNT, "kept")
        kept.balance -= 5
        u.put(kept)
        deleted = u.delete(accounts, "gone")
        u.create(fresh)
        u.create(entry, of=entries)
        u.check_absent(ENTRY, account_id="kept", number=2)
    assert deleted.result is True
    assert await accounts.find("gone") is None
    assert (await accounts.get("kept")).balance == 5
    assert await entries.get(account_id="kept", number=1) == entry
    for instance in (kept, fresh):
        instance.owner = "eve"
        await accounts.put(instance)
    assert [account.account_id async for account in accounts.by_owner.iterate(owner="eve")] == ["kept", "new"]


async def test_an_exception_in_the_block_leaves_everything_as_it_is(
    unit: Make, accounts: Repository[Account], store: EntityStore
) -> None:
    """And the unit cannot be used again."""
    u = unit()
    with pytest.raises(ZeroDivisionError):
        async with u:
            u.create(Account(account_id="a"))
            raise ZeroDivisionError
    assert (await store.scan(Segment())).records in ([], ())
    with pytest.raises(InvalidArgument, match="over"):
        u.create(Account(account_id="b"))
    with pytest.raises(InvalidArgument, match="over"):
        u.patch(ACCOUNT, "a", add={"visits": 1})
    with pytest.raises(InvalidArgument, match="over"):
        async with u:
            pass


async def test_what_was_read_must_not_change_until_the_unit_is_written(
    unit: Make, accounts: Repository[Account]
) -> None:
    """Neither an instance nor its absence; the reasons stand behind those of the writes."""
    await accounts.create(Account(account_id="read"))
    for change in (
        lambda: accounts.patch("read", add={"visits": 1}),
        lambda: accounts.delete("read"),
    ):
        with pytest.raises(TransactionConflict, match=r"read of the account \('account#read'") as caught:
            async with unit() as u:
                assert await u.get(ACCOUNT, "read") is not None
                u.create(Account(account_id="new"))
                await change()
        assert {position: type(reason) for position, reason in caught.value.reasons.items()} == {1: VersionConflict}
    with pytest.raises(TransactionConflict) as caught:
        async with unit() as u:
            assert await u.find(ACCOUNT, "free") is None
            u.create(Account(account_id="new"))
            await accounts.create(Account(account_id="free"))
    assert {position: type(reason) for position, reason in caught.value.reasons.items()} == {1: AlreadyExists}
    with pytest.raises(TransactionConflict, match="delete of the account") as caught:
        async with unit() as u:
            assert await u.find(ACCOUNT, "late") is None
            pending = u.delete(ACCOUNT, "late")
            u.create(Account(account_id="new"))
            await accounts.create(Account(account_id="late"))
    assert {position: type(reason) for position, reason in caught.value.reasons.items()} == {0: AlreadyExists}
    with pytest.raises(InvalidArgument, match="not been written"):
        assert pending.result
    assert await accounts.find("new") is None


async def test_a_refusal_names_each_step_and_stamps_nothing(unit: Make, accounts: Repository[Account]) -> None:
    """The constraint, the entity and its key, by the position of the step; the instances remain as they were."""
    await accounts.create(Account(account_id="a", slug="taken"))
    await accounts.create(Account(account_id="b"))
    first, second = Account(account_id="c", slug="taken"), Account(account_id="b")
    with pytest.raises(TransactionConflict, match=r"creation of the account .*same slug.*1 more failed") as caught:
        async with unit() as u:
            u.patch(ACCOUNT, "a", add={"visits": 1})
            pending = u.create(first)
            u.create(second)
    reasons = caught.value.reasons
    assert {position: type(reason) for position, reason in reasons.items()} == {1: NotUnique, 2: AlreadyExists}
    assert (await accounts.get("a")).visits == 0
    with pytest.raises(InvalidArgument, match="not been written"):
        _ = pending.result
    first.slug = "free"
    await accounts.create(first)


async def test_what_was_read_and_is_written_must_not_change_either(
    unit: Make, accounts: Repository[Account], plains: Repository[Account]
) -> None:
    """Though the write itself would do without: counting, and a put of an instance that was never loaded."""
    for repository in (accounts, plains):
        await repository.create(Account(account_id="a"))
        writes: list[Callable[[Unit, Entity[Account]], object]] = [
            lambda u, entity: u.patch(entity, "a", add={"visits": 1}),
            lambda u, entity: u.put(Account(account_id="a"), of=entity),
            lambda u, entity: u.delete(entity, "a"),
        ]
        for write in writes:
            with pytest.raises(TransactionConflict):
                async with unit() as u:
                    await u.get(repository, "a")
                    write(u, repository.entity)
                    await repository.patch("a", add={"visits": 1})
        assert (await repository.get("a")).visits == 3


async def test_a_patch_is_counted_at_once_or_read_late(unit: Make, accounts: Repository[Account]) -> None:
    """Results are there behind the block; conditions, members of sets and index keys are looked after."""
    await accounts.create(Account(account_id="a", labels={"x"}))
    await accounts.create(Account(account_id="b", balance=3))
    async with unit() as u:
        counted = u.patch(ACCOUNT, "a", add={"visits": 1})
        u.patch(ACCOUNT, "a", add={"visits": 2}, include={"labels": ["y"]}, exclude={})
        moved = u.patch(ACCOUNT, "b", set={"owner": "eve"}, when=F.balance >= 3)
    assert (counted.result.visits, counted.result.labels) == (3, {"x", "y"})
    assert moved.result.owner == "eve"
    assert [account.account_id async for account in accounts.by_owner.iterate(owner="eve")] == ["b"]


async def test_a_patch_that_cannot_be_is_a_refusal(unit: Make, accounts: Repository[Account]) -> None:
    """Of what is missing, of what does not match; an invalid result is an invalid argument."""
    await accounts.create(Account(account_id="a", balance=3))
    refused: list[tuple[Callable[[Unit], object], type[StorycoreError]]] = [
        (lambda u: u.patch(ACCOUNT, "missing", add={"visits": 1}), NotFound),
        (lambda u: u.patch(ACCOUNT, "missing", set={"owner": "x"}), NotFound),
        (lambda u: u.patch(ACCOUNT, "a", set={"owner": "x"}, when=F.balance > 3), ConditionFailed),
        (lambda u: u.put(Account(account_id="missing"), when=PRESENT), NotFound),
        (lambda u: u.delete(ACCOUNT, "missing", when=PRESENT), NotFound),
    ]
    for change, reason in refused:
        with pytest.raises(TransactionConflict) as caught:
            async with unit() as u:
                u.create(Entry(account_id="e", number=1, amount=1))
                change(u)
        assert {position: type(found) for position, found in caught.value.reasons.items()} == {1: reason}
    with pytest.raises(InvalidArgument, match="balance"):
        async with unit() as u:
            u.patch(ACCOUNT, "a", set={"balance": -1})


async def test_the_second_write_of_a_key_is_joined_or_refused_at_once(
    unit: Make, accounts: Repository[Account]
) -> None:
    """A later put replaces; patches of other fields join; everything else is refused, and the unit goes on."""
    await accounts.create(Account(account_id="a"))
    await accounts.create(Account(account_id="b"))
    with pytest.raises(TransactionConflict):
        async with unit() as u:
            u.create(Account(account_id="a"))
            u.put(Account(account_id="a"))
    async with unit() as u:
        new = Account(account_id="new", balance=1)
        u.create(new)
        u.put(new.model_copy(update={"balance": 2}))
        u.put(new.model_copy(update={"balance": 3}))
        u.patch(ACCOUNT, "b", set={"owner": "eve"})
        for again in (
            lambda: u.patch(ACCOUNT, "new", add={"visits": 1}),
            lambda: u.delete(ACCOUNT, "new"),
            lambda: u.create(Account(account_id="new")),
            lambda: u.check_absent(ACCOUNT, "new"),
            lambda: u.put(Account(account_id="b")),
            lambda: u.delete(ACCOUNT, "b"),
            lambda: u.patch(ACCOUNT, "b", set={"owner": "bob"}),
            lambda: u.patch(ACCOUNT, "b", add={"visits": 1}, when=F.visits == 0),
        ):
            with pytest.raises(InvalidArgument):
                again()
        u.check_absent(ACCOUNT, "free")
        with pytest.raises(InvalidArgument, match="absent"):
            u.put(Account(account_id="free"))
        assert (await u.get(ACCOUNT, "new")).balance == 3
        with pytest.raises(InvalidArgument, match="patches"):
            await u.get(ACCOUNT, "b")
        u.delete(ACCOUNT, "a")
        assert await u.find(ACCOUNT, "a") is None
    assert (await accounts.get("new")).balance == 3
    assert (await accounts.get("b")).owner == "eve"


async def test_reads_of_a_unit_repeat_and_come_from_the_store(unit: Make, accounts: Repository[Account]) -> None:
    """A second read of a key gives the first answer; a unit that only reads sends nothing and is never refused."""
    await accounts.create(Account(account_id="a", balance=1))
    async with unit() as u:
        first = await u.get(ACCOUNT, "a")
        await accounts.patch("a", set={"balance": 2})
        assert (await u.get(accounts, account_id="a")) == first
        with pytest.raises(NotFound):
            await u.get(ACCOUNT, "missing")


async def test_the_hundred_and_first_write_is_refused_where_it_is_added(unit: Make) -> None:
    """Records, markers, checks and the token count; what fitted in is written."""
    async with unit("token") as u:
        assert await u.find(ACCOUNT, "read") is None
        for number in range(48):
            u.create(Account(account_id=f"a{number}", slug=f"s{number}"))
        u.create(Entry(account_id="e", number=1, amount=1))
        with pytest.raises(TooLarge) as caught:
            u.create(Account(account_id="late", slug="late"))
        assert (caught.value.limit, caught.value.actual) == (100, 101)
        u.check_absent(ENTRY, account_id="e", number=2)
        with pytest.raises(TooLarge):
            await u.find(ENTRY, account_id="e", number=3)
    async with unit() as u:
        assert await u.find(ACCOUNT, "a47") is not None
        assert await u.find(ACCOUNT, "late") is None


async def test_a_token_makes_a_unit_idempotent(unit: Make, accounts: Repository[Account]) -> None:
    """The same writes under it are done once; other writes are refused."""
    await accounts.create(Account(account_id="a"))
    for _ in range(2):
        async with unit("once") as u:
            counted = u.patch(ACCOUNT, "a", add={"visits": 1})
        assert counted.result.visits == 1
    with pytest.raises(InvalidArgument, match="token"):
        async with unit("once") as u:
            u.patch(ACCOUNT, "a", add={"visits": 2})


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_failing_store_leaves_instances_unstamped(
    unit: Make, accounts: Repository[Account], faults: Faults, fault: Fault
) -> None:
    """Whether it was written or not: the caller reads before writing again."""
    account = Account(account_id="a")
    faults.plan([fault])
    with pytest.raises((StorycoreError, asyncio.CancelledError)):
        async with unit() as u:
            u.create(account)
    again = await accounts.find("a")
    assert (again is not None) == fault.is_done
    if not fault.is_done:
        await accounts.create(account)


async def test_an_instance_of_an_unknown_or_ambiguous_model_needs_its_entity(unit: Make) -> None:
    """Which is said, with the cure."""

    class Stranger(BaseModel):
        account_id: str

    async with unit() as u:
        with pytest.raises(InvalidArgument, match="of="):
            u.create(Stranger(account_id="s"))
        assert await u.find(PLAIN, "p") is None
        with pytest.raises(InvalidArgument, match="of="):
            u.create(Account(account_id="p"))
        u.create(Account(account_id="p"), of=PLAIN)
        with pytest.raises(InvalidArgument, match="entity"):
            await u.find("plain", "p")  # type: ignore[arg-type]  # what a caller may get wrong


async def test_what_was_absent_late_is_deleted_once_somebody_has_created_it(
    unit: Make, accounts: Repository[Account], faults: Faults
) -> None:
    """The deletion of nothing is a check, so that the unit is true at one moment."""
    async with unit() as u:
        pending = u.delete(ACCOUNT, "none")
    assert pending.result is False
    async with unit() as u:
        pending = u.delete(ACCOUNT, "late")
        u.create(Account(account_id="new"))
        creation = asyncio.create_task(accounts.create(Account(account_id="late", slug="s")))
    await creation
    assert (pending.result, await accounts.find("late", consistent=True) is None) in ((True, True), (False, False))


@pytest.mark.parametrize("kind", [ACCOUNT, PLAIN], ids=lambda kind: kind.kind)
async def test_what_is_no_condition_is_refused_before_anything_is_read(
    unit: Make, store: EntityStore, harness: Harness, kind: Entity[Account]
) -> None:
    """Where a write is worked out from what was read, too; it is never taken for "whatever is there"."""
    repository = Repository(kind, store, harness.env, cursor_key=b"k" * 16)
    await repository.create(Account(account_id="a"))
    wrong: Any = "v1"
    with pytest.raises(InvalidArgument, match="A condition is"):
        await repository.put(Account(account_id="a"), when=wrong)
    with pytest.raises(InvalidArgument, match="A condition is"):
        await repository.delete("a", when=wrong)
    async with unit() as u:
        with pytest.raises(InvalidArgument, match="A condition is"):
            u.put(Account(account_id="a"), when=wrong, of=kind)
        with pytest.raises(InvalidArgument, match="A condition is"):
            u.delete(kind, "a", when=wrong)
    assert (await repository.get("a")).account_id == "a"
