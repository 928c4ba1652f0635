"""Upgrading live data: what an older declaration wrote is brought to the present form, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from storycore.entities import Entity, Index, Key, Repository, SoftDelete, Unique, entity, part
from storycore.entities.upgrading import Upgrader, UpgradeReport
from storycore.errors import InvalidArgument, InvalidCursor, NotUnique, Unavailable
from storycore.layers.checks import checked
from storycore.memory.entities import MemoryEntityStore
from storycore.ports import entities as port
from storycore.ports.entities import EntityStore, Put, Record, Write, Written
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

SEAL = b"a key of sixteen bytes and more"


class Old(BaseModel):
    id: str
    owner: str
    created_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    changed_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    deleted_at: datetime | None = None
    expires_at: datetime | None = None


class New(Old):
    language: str


KEY = Key(pk=("doc", part.id), sk=("doc",))
TIMES = ("created_at", "changed_at")
SOFT = SoftDelete("deleted_at", keep=timedelta(days=9))
V1 = entity(Old, kind="doc", key=KEY, timestamps=TIMES, soft_delete=SOFT)
V2 = entity(
    New,
    kind="doc",
    key=KEY,
    schema=2,
    upgrades={1: lambda data: {**data, "language": "en"}},
    indexes=[Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.id,))],
    promoted=("language",),
    timestamps=TIMES,
    soft_delete=SOFT,
)


class Place:
    """A store in memory with a clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.env = Environment(clock=self.clock)
        self.inner = MemoryEntityStore(self.env)
        self.store: EntityStore = checked(PortName.ENTITIES, self.inner)

    def repository(self, declared: Entity[Any]) -> Repository[Any]:
        return Repository(declared, self.store, self.env, cursor_key=SEAL)

    async def upgrade(self, *declared: Entity[Any], **options: Any) -> UpgradeReport:
        return await Upgrader(self.store, self.env, declared or (V2,)).run(**options)

    async def records(self) -> list[Record]:
        return list((await self.store.scan(port.Segment(), limit=1000)).records)


@pytest.fixture
async def place() -> Place:
    made = Place()
    await made.store.open()
    return made


async def filled(place: Place, count: int = 5) -> None:
    old = place.repository(V1)
    for i in range(count):
        await old.create(Old(id=f"d{i}", owner="ada"))
    place.clock.advance(timedelta(hours=1))


async def test_old_records_get_the_present_form_and_are_listed_by_a_new_index(place: Place) -> None:
    """Before, the new index is empty; afterwards it is complete, with the timestamps as they were."""
    await filled(place)
    documents = place.repository(V2)
    before = await documents.get("d3")
    assert [each async for each in documents.by_owner.iterate(owner="ada")] == []
    assert await place.upgrade() == UpgradeReport(checked=5, outdated=5, rewritten=5)
    found = [each async for each in documents.by_owner.iterate(owner="ada")]
    assert [each.id for each in found] == ["d0", "d1", "d2", "d3", "d4"]
    assert found[3] == before
    assert {record.fields["schema"] for record in await place.records()} == {V2.layout}


async def test_a_second_upgrade_writes_nothing(place: Place) -> None:
    """What is as it should be keeps its version."""
    await filled(place)
    await place.upgrade()
    versions = [record.version for record in await place.records()]
    assert await place.upgrade() == UpgradeReport(checked=5)
    assert [record.version for record in await place.records()] == versions


async def test_a_dry_run_counts_and_writes_nothing(place: Place) -> None:
    """The records are the same afterwards."""
    await filled(place)
    before = await place.records()
    assert await place.upgrade(dry_run=True) == UpgradeReport(checked=5, outdated=5)
    assert await place.records() == before


async def test_an_index_whose_rule_has_changed_is_outdated_without_a_new_layout(place: Place) -> None:
    """What an instance's index keys should be is worked out anew, for a rule in code has no name."""

    def declared(owner: str) -> Entity[Any]:
        only = Index("some", slot=1, pk=("some",), sk=(part.id,), when=lambda old: old.owner == owner)
        return entity(Old, kind="doc", key=KEY, indexes=[only])

    for i, owner in enumerate("abab"):
        await place.repository(declared("a")).create(Old(id=f"d{i}", owner=owner))
    assert await place.upgrade(declared("b")) == UpgradeReport(checked=4, outdated=4, rewritten=4)
    listed = place.repository(declared("b")).some
    assert [each.id async for each in listed.iterate()] == ["d1", "d3"]


async def test_records_of_other_kinds_are_not_looked_at(place: Place) -> None:
    """Neither those of other entities nor what services keep."""
    await place.store.write([Put(key=port.Key("x", "y"), kind="other", body=b"no JSON")])
    assert await place.upgrade() == UpgradeReport()


async def test_deleted_instances_are_upgraded_and_stay_deleted(place: Place) -> None:
    """As long as they would have been, and they come back in the present form."""
    await filled(place, 2)
    await place.repository(V1).delete("d1")
    before = {record.key: record.expires_at for record in await place.records()}
    assert (await place.upgrade()).rewritten == 2
    assert {record.key: record.expires_at for record in await place.records()} == before
    documents = place.repository(V2)
    assert await documents.find("d1") is None
    assert (await documents.restore("d1")).language == "en"
    assert await place.upgrade() == UpgradeReport(checked=2)


async def test_an_expiry_stays_and_a_declared_one_is_given(place: Place) -> None:
    """A record that was to end ends; one whose field says so ends too once the declaration knows."""
    soon = place.clock.now() + timedelta(hours=5)
    await place.repository(V1).create(Old(id="d0", owner="ada", expires_at=soon))
    [record] = await place.records()
    kept = record.expires_at
    await place.upgrade(V2)
    assert [record.expires_at for record in await place.records()] == [kept] == [None]
    ending = entity(New, kind="doc", key=KEY, schema=2, upgrades=V2.upgrades, ttl="expires_at", promoted=("language",))
    await place.upgrade(ending)
    await place.upgrade(V2)
    assert [record.expires_at for record in await place.records()] == [soon]


async def test_a_new_unique_value_is_claimed_for_what_is_there_and_doubles_are_told(place: Place) -> None:
    """The first holder keeps it; the other is named, and found again by the next upgrade."""
    await filled(place, 2)
    await place.repository(V1).create(Old(id="d9", owner="bob"))
    unique = entity(Old, kind="doc", key=KEY, timestamps=TIMES, unique=[Unique("owner")])
    report = await place.upgrade(unique)
    assert (report.rewritten, report.failed, [type(f.error) for f in report.failures]) == (2, 1, [NotUnique])
    with pytest.raises(NotUnique):
        await place.repository(unique).create(Old(id="d10", owner="bob"))
    [failure] = report.failures
    await place.store.write([port.Delete(key=failure.key)])
    assert await place.upgrade(unique) == UpgradeReport(checked=2)


async def test_values_whose_holders_an_older_program_removed_are_freed(place: Place) -> None:
    """It knows nothing of them, and takes the record alone; those that are held stay."""
    unique = entity(Old, kind="doc", key=KEY, timestamps=TIMES, unique=[Unique("owner")])
    older = entity(Old, kind="doc", key=KEY, timestamps=TIMES)
    await place.repository(unique).save_batch([Old(id=f"d{i}", owner=f"o{i}") for i in range(4)])
    await place.repository(older).delete("d1")
    await place.repository(older).put(Old(id="d2", owner="bob"))
    with pytest.raises(NotUnique):
        await place.repository(unique).create(Old(id="d5", owner="o1"))
    assert (await place.upgrade(unique, dry_run=True)).freed == 2
    assert (await place.upgrade(unique)).freed == 2
    assert (await place.upgrade(unique)).freed == 0
    for owner in ("o1", "o2"):
        await place.repository(unique).create(Old(id=f"new-{owner}", owner=owner))
    for owner in ("o0", "o3", "bob"):
        with pytest.raises(NotUnique):
            await place.repository(unique).create(Old(id="late", owner=owner))


async def test_what_cannot_be_read_is_told_and_stops_nobody(place: Place) -> None:
    """A damaged record stays as it is; the others are done."""
    await filled(place, 3)
    [damaged] = await place.store.get([port.Key("doc#d1", "doc")])
    assert damaged is not None
    await place.store.write([Put(key=damaged.key, kind="doc", fields=damaged.fields, body=b"{broken")])
    report = await place.upgrade()
    assert (report.rewritten, report.failed, report.failures[0].key) == (2, 1, damaged.key)
    assert "Restore it from a backup" in report.failures[0].error.message


async def test_an_upgrade_that_was_interrupted_goes_on_where_it_stopped(place: Place) -> None:
    """Nothing in front of that place is read again."""
    await filled(place, 10)
    told: list[UpgradeReport] = []

    class StopError(Exception):
        pass

    def stop(report: UpgradeReport) -> None:
        told.append(report)
        if len(told) == 2:
            raise StopError

    with pytest.raises(StopError):
        await place.upgrade(batch=3, progress=stop)
    rest = await place.upgrade(batch=3, resume=told[-1].resume)
    assert (told[-1].rewritten, rest.checked, rest.rewritten, rest.resume) == (6, 4, 4, None)


class Interrupting:
    """A store in which somebody else writes right before each write of the upgrade."""

    def __init__(self, inner: EntityStore, others: Sequence[Put]) -> None:
        self._inner = inner
        self._others = list(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        if self._others:
            await self._inner.write([self._others.pop(0)])
        return await self._inner.write(writes, atomic=atomic, token=token)


async def beaten(place: Place, times: int) -> tuple[UpgradeReport, Old]:
    """An upgrade during which a program of yesterday writes so many times."""
    await filled(place, 1)
    others: list[Put] = []
    for i in range(times):
        await place.repository(V1).put(Old(id="d0", owner=f"writer {i}"))
        [record] = await place.records()
        others.append(Put(key=record.key, kind="doc", fields=record.fields, body=record.body))
    racing: Any = Interrupting(place.store, others)
    report = await Upgrader(racing, place.env, [V2]).run()
    return report, await place.repository(V2).get("d0")


async def test_who_is_faster_is_not_overwritten_and_what_he_wrote_is_upgraded_too(place: Place) -> None:
    """The record is read again, for a program of yesterday may still be writing."""
    report, document = await beaten(place, 2)
    assert report == UpgradeReport(checked=1, outdated=1, rewritten=1)
    assert document.owner == "writer 1"
    [record] = await place.records()
    assert record.fields["schema"] == V2.layout


async def test_who_is_always_faster_is_left_alone(place: Place) -> None:
    """After three rounds the record is told as lost."""
    report, document = await beaten(place, 3)
    assert report == UpgradeReport(checked=1, outdated=1, lost=1)
    assert document.owner == "writer 2"


async def test_live_writers_lose_nothing_to_an_upgrade(place: Place) -> None:
    """Counting goes on while records are rewritten, and every count is there in the end."""

    class Counted(New):
        hits: int = 0

    counted = replace_counter(Counted)
    await filled(place, 4)
    documents = place.repository(counted)

    async def count(id: str) -> None:  # noqa: A002 - the parameter's name
        for _ in range(20):
            await documents.count(id, {"hits": 1})
            await asyncio.sleep(0)

    _, *_ = await asyncio.gather(place.upgrade(counted, batch=1), *(count(f"d{i}") for i in range(4)))
    assert [(await documents.get(f"d{i}")).hits for i in range(4)] == [20] * 4
    assert (await place.upgrade(counted)).outdated == 0


def replace_counter(model: type[New]) -> Entity[Any]:
    """The present declaration with a counter."""
    declared = entity(
        model, kind="doc", key=KEY, schema=2, upgrades=V2.upgrades, promoted=("language",), counters=("hits",)
    )
    return replace(declared, indexes=V2.indexes)


async def test_when_the_store_fails_the_upgrade_ends(place: Place) -> None:
    """Its error is the store's own."""
    await filled(place, 1)

    async def fail(*_: object, **__: object) -> list[Written]:
        raise Unavailable("down")

    racing: Any = Interrupting(place.store, [])
    racing.write = fail
    with pytest.raises(Unavailable, match="down"):
        await Upgrader(racing, place.env, [V2]).run()


async def test_the_rate_bounds_what_is_rewritten_in_a_second(place: Place) -> None:
    """Ten records at two hundred a second take at least a twentieth of one."""
    await filled(place, 10)
    begun = asyncio.get_running_loop().time()
    await place.upgrade(batch=5, per_second=200)
    assert asyncio.get_running_loop().time() - begun > 0.02


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch": 0}, InvalidArgument),
        ({"batch": 1001}, InvalidArgument),
        ({"batch": True}, InvalidArgument),
        ({"per_second": 0}, InvalidArgument),
        ({"per_second": "9"}, InvalidArgument),
        ({"per_second": -1.5}, InvalidArgument),
        ({"resume": "no cursor"}, InvalidCursor),
        ({"resume": "WzFd"}, InvalidCursor),
    ],
)
async def test_wrong_arguments_are_refused(place: Place, options: dict[str, Any], error: type[Exception]) -> None:
    """Before anything is read."""
    with pytest.raises(error):
        await place.upgrade(**options)
