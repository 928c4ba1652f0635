"""Bodies in the blob store: what is written can be read, whatever fails in between, and nothing is left for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

import storycore
from storycore.entities import Index, Unique, entity, part
from storycore.entities import Key as Template
from storycore.errors import (
    AlreadyExists,
    ConfigError,
    Corrupt,
    FeedGap,
    InvalidArgument,
    PartialFailure,
    TooLarge,
    TransactionConflict,
    Unavailable,
    VersionConflict,
)
from storycore.layers.checks import checked
from storycore.layers.spill_sweep import SweepReport
from storycore.layers.spilled_bodies import POINTER_FIELD
from storycore.layers.spilling import SpillingEntities
from storycore.memory.blobs import MemoryBlobStore
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.blobs import BlobCondition, BlobInfo
from storycore.ports.conditions import ABSENT, ANY, Matches, Version
from storycore.ports.entities import Delete, Key, Patch, Put, QueryPlan, Record, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import Content, Story, StoryStatus, StoryStyle, User
from storycore.story.models.story import count_words
from storycore.testing.clock import ManualClock

HOUR = timedelta(hours=1)
LONG = b"x" * 5000


class Blobs(MemoryBlobStore):
    """Blobs in memory that can fail, and that count what is read."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.fails = False
        self.reads = 0

    async def put(
        self,
        key: str,
        data: bytes | AsyncIterable[bytes],
        *,
        when: BlobCondition,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        sha256: str | None = None,
    ) -> BlobInfo:
        if self.fails:
            raise Unavailable("The blob store is down.")
        return await super().put(key, data, when=when, content_type=content_type, metadata=metadata, sha256=sha256)

    async def get(self, key, *, start=0, length=None):  # type: ignore[no-untyped-def]  # as the port's
        self.reads += 1
        return await super().get(key, start=start, length=length)


class Place:
    """An entity store whose bodies spill beyond 1000 bytes, with its parts at hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        env = Environment(clock=self.clock)
        self.blobs = Blobs(env)
        self.records = MemoryEntityStore(env)
        inner = checked(PortName.ENTITIES, self.records)
        self.store = SpillingEntities(inner, checked(PortName.BLOBS, self.blobs), env, {"doc": 1000, "note": None})

    async def open(self) -> None:
        await self.blobs.open()
        await self.records.open()

    async def bodies(self) -> list[str]:
        """The names of all bodies, without marks."""
        page = await self.blobs.entries("spill/")
        return [blob.key for blob in page.blobs if not blob.key.endswith((".gone", "=key"))]

    async def body(self, sk: str = "a") -> bytes | None:
        """What a reader gets."""
        [record] = await self.store.get([Key("p", sk)])
        return None if record is None else record.body


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    await made.open()
    yield made
    await made.store.close()
    await made.blobs.close()


def put(sk: str = "a", body: bytes = LONG, kind: str = "doc", **parts: object) -> Put:
    return Put(key=Key("p", sk), kind=kind, body=body, **parts)  # type: ignore[arg-type]  # a put's own parts


async def test_a_long_body_lies_in_the_blob_store_and_reads_as_ever(place: Place) -> None:
    """The record in the entity store is small; whoever asks through the layer gets it whole, however he asks."""
    [written] = await place.store.write([put(fields={"n": 1}, index_keys={1: Key("i", "s")})])
    [stored] = await place.records.get([Key("p", "a")])
    assert stored is not None
    assert (stored.body, set(stored.fields)) == (b"", {"n", POINTER_FIELD})
    [got] = await place.store.get([Key("p", "a")])
    [queried] = (await place.store.query(QueryPlan(pk="p"))).records
    [listed] = (await place.store.query(QueryPlan(pk="i", slot=1))).records
    [scanned] = [record for record in (await place.store.scan(Segment())).records if record.kind == "doc"]
    [change] = [change for change in (await place.store.changes()).changes if change.kind == "doc"]
    assert got == queried == listed == scanned == change.record == written.record
    assert got is not None
    assert (got.body, got.fields) == (LONG, {"n": 1})


@pytest.mark.parametrize(
    ("kind", "size", "blobs"), [("doc", 1000, 0), ("doc", 1001, 1), ("note", 5000, 0), ("x", 5000, 0)]
)
async def test_only_what_is_longer_than_its_kinds_threshold_spills(
    place: Place, kind: str, size: int, blobs: int
) -> None:
    """The threshold itself stays; kinds without one keep their bodies."""
    await place.store.write([put(body=b"b" * size, kind=kind)])
    assert (len(await place.bodies()), await place.body()) == (blobs, b"b" * size)


async def test_a_kind_without_a_threshold_keeps_the_limit_of_a_record(place: Place) -> None:
    """The layer is not a way around 400 KiB for those who did not ask for it."""
    with pytest.raises(TooLarge):
        await place.store.write([put(body=b"b" * 500_000, kind="note")])
    with pytest.raises(TooLarge):
        await place.store.write([put("n", body=b"b", kind="note"), Patch(key=Key("p", "o"), body=b"b" * 500_000)])


async def test_without_bodies_no_blob_is_read(place: Place) -> None:
    """A summary costs nothing more than before, and shows nothing of the pointer."""
    await place.store.write([put(fields={"n": 1})])
    [record] = (await place.store.query(QueryPlan(pk="p", bodies=False))).records
    assert (record.body, record.fields, place.blobs.reads) == (b"", {"n": 1}, 0)


async def test_a_patch_can_bring_a_long_body_and_take_it_away(place: Place) -> None:
    """The kind of the stored record decides; a counter goes on whatever its body does."""
    await place.store.write([put(body=b"short", fields={"n": 1})])
    [grown] = await place.store.write([Patch(key=Key("p", "a"), body=LONG, add={"n": 1})])
    [counted] = await place.store.write([Patch(key=Key("p", "a"), add={"n": 1})])
    [shrunk] = await place.store.write([Patch(key=Key("p", "a"), body=b"short", add={"n": 1})])
    records = [written.record for written in (grown, counted, shrunk)]
    assert [(r.body, r.fields) for r in records if r is not None] == [
        (LONG, {"n": 2}),
        (LONG, {"n": 3}),
        (b"short", {"n": 4}),
    ]
    [stored] = await place.records.get([Key("p", "a")])
    assert stored is not None
    assert stored.fields == {"n": 4}


async def test_an_atomic_write_of_long_bodies_counts_only_its_pointers(place: Place) -> None:
    """Eight MiB in one call are no more than the records that point to them."""
    await place.store.write([put(f"{i:02d}", body=b"b" * 400_000) for i in range(20)], atomic=True)
    assert len(await place.bodies()) == 20
    assert await place.body("07") == b"b" * 400_000


async def test_a_refused_write_leaves_no_body_behind(place: Place) -> None:
    """Its own fresh bodies are removed, and nobody else's."""
    await place.store.write([put(body=LONG)])
    with pytest.raises(AlreadyExists):
        await place.store.write([put(body=b"y" * 5000, when=ABSENT)])
    with pytest.raises(TransactionConflict):
        await place.store.write([put("b"), put("a", body=b"y" * 5000, when=Matches(Version(99)))], atomic=True)
    assert (len(await place.bodies()), await place.body(), await place.body("b")) == (1, LONG, None)


async def test_what_the_port_refuses_is_refused_before_anything_is_uploaded(place: Place) -> None:
    """A wrong key or a repeated one costs no blob."""
    place.blobs.fails = True
    for wrong in ([put(), put()], [put(sk="")], [put(index_keys={99: Key("i", "s")})], [put(when=None)]):
        with pytest.raises(InvalidArgument):
            await place.store.write(wrong)


async def test_of_a_batch_that_fails_in_part_the_rest_is_whole(place: Place) -> None:
    """Each outcome tells of its own write, with the body that was written; refused bodies are gone."""
    await place.store.write([put("a")])
    with pytest.raises(PartialFailure) as caught:
        await place.store.write([put("a", body=b"y" * 5000, when=ABSENT), put("b", body=b"z" * 5000)])
    refused, done = caught.value.outcomes
    assert isinstance(refused, AlreadyExists)
    assert done.record.body == b"z" * 5000  # type: ignore[attr-defined]  # it was written
    assert (len(await place.bodies()), await place.body("a"), await place.body("b")) == (2, LONG, b"z" * 5000)


async def test_when_the_blob_store_fails_nothing_is_written(place: Place) -> None:
    """The body comes first, so there is no record that points to nothing."""
    await place.store.write([put(body=LONG)])
    place.blobs.fails = True
    with pytest.raises(Unavailable):
        await place.store.write([put(body=b"y" * 5000)])
    assert await place.body() == LONG


async def test_a_token_repeats_a_write_with_long_bodies(place: Place) -> None:
    """The same call gives the first result; another body under the same token is refused, and harms nothing."""
    [first] = await place.store.write([put()], atomic=True, token="t1")
    [again] = await place.store.write([put()], atomic=True, token="t1")
    with pytest.raises(InvalidArgument, match="token"):
        await place.store.write([put(body=b"y" * 5000)], atomic=True, token="t1")
    assert (again, await place.body()) == (first, LONG)


async def test_the_pointers_name_is_kept_for_the_layer(place: Place) -> None:
    """Nobody can point a record at a blob of his choice."""
    for write in (
        put(fields={POINTER_FIELD: "x"}),
        Patch(key=Key("p", "a"), set={POINTER_FIELD: "x"}),
        Patch(key=Key("p", "a"), unset=frozenset({POINTER_FIELD})),
    ):
        with pytest.raises(InvalidArgument, match="kept for records"):
            await place.store.write([write])


async def test_a_missing_body_is_corrupt_and_names_key_and_blob(place: Place) -> None:
    """Silence would be worse: the record is there and cannot be read."""
    await place.store.write([put()])
    [name] = await place.bodies()
    await place.blobs.delete([name])
    with pytest.raises(Corrupt, match=f"'p', 'a'.*{name}"):
        await place.body()


async def test_a_body_that_was_exchanged_is_corrupt(place: Place) -> None:
    """The pointer knows the digest of what was written."""
    await place.store.write([put()])
    [name] = await place.bodies()
    await place.blobs.put(name, b"z" * 5000, when=ANY)
    with pytest.raises(Corrupt, match="not what was written"):
        await place.body()


class Replaced(MemoryEntityStore):
    """Records are replaced, and their bodies swept, right after somebody has read them."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self.place: Place | None = None

    async def get(self, keys, *, consistent=True):  # type: ignore[no-untyped-def]  # as the port's
        found = await super().get(keys, consistent=consistent)
        if self.place is not None:
            place, self.place = self.place, None
            await place.store.write([put(body=b"new" * 1000)])
            await place.blobs.delete([(await place.bodies())[0]])
        return found


async def test_a_reader_who_comes_too_late_for_a_body_reads_the_record_again() -> None:
    """A record that was replaced meanwhile is read as it now is."""
    place = Place()
    ids = iter("abcdef")
    env = Environment(clock=place.clock, new_id=lambda: next(ids))
    place.records = Replaced(env)
    place.store = SpillingEntities(checked(PortName.ENTITIES, place.records), place.blobs, env, {"doc": 1000})
    await place.open()
    await place.store.write([put()])
    place.records.place = place
    assert await place.body() == b"new" * 1000


async def test_a_page_of_long_bodies_ends_before_it_is_too_much_to_hold(place: Place) -> None:
    """The walk goes on behind it, and nothing is left out or told twice."""
    for i in range(5):
        await place.store.write([put(f"{i}", body=bytes([i]) * 10_000_000, index_keys={1: Key("i", f"{9 - i}")})])
    for slot, pk in ((None, "p"), (1, "i")):
        found: list[Record] = []
        pages, after = 0, None
        while True:
            page = await place.store.query(QueryPlan(pk=pk, slot=slot, after=after))
            found, pages, after = [*found, *page.records], pages + 1, page.next
            if after is None:
                break
        assert (pages, sorted(record.body[0] for record in found)) == (2, [0, 1, 2, 3, 4])
    position, told = None, []
    while (page := await place.store.changes(position)).changes:  # type: ignore[assignment]  # another page
        told += page.changes  # type: ignore[attr-defined]  # of changes
        position = page.next
    assert [change.record.body[0] for change in told if change.kind == "doc"] == [0, 1, 2, 3, 4]


async def test_a_sweep_takes_what_nobody_points_to_after_its_grace(place: Place) -> None:
    """First it is marked, then removed; what has a record stays."""
    await place.store.write([put("a"), put("b")])
    await place.store.write([put("a", body=b"y" * 5000)])
    await place.store.write([Delete(key=Key("p", "b"))])
    assert await place.store.sweep() == SweepReport(checked=3, waiting=2)
    place.clock.advance(24 * HOUR)
    assert await place.store.sweep() == SweepReport(checked=3, waiting=2)
    place.clock.advance(2 * HOUR)
    assert await place.store.sweep() == SweepReport(checked=3, deleted=2)
    assert await place.store.sweep() == SweepReport(checked=1)
    assert [blob.size_bytes for blob in (await place.blobs.entries()).blobs] == [5000]
    assert await place.body("a") == b"y" * 5000


async def test_an_old_body_has_its_grace_from_when_it_was_replaced(place: Place) -> None:
    """The feed still tells of it, and a reader may be under way, however long ago it was written."""
    await place.store.write([put(fields={"n": 1})])
    place.clock.advance(1000 * HOUR)
    await place.store.sweep()
    await place.store.write([Patch(key=Key("p", "a"), add={"n": 1})])
    await place.store.write([put(body=b"y" * 5000)])
    await place.store.sweep()
    place.clock.advance(HOUR)
    assert await place.store.sweep() == SweepReport(checked=2, waiting=1)
    told = (await place.store.changes()).changes
    assert [change.record.body for change in told if change.kind == "doc"] == [LONG, LONG, b"y" * 5000]  # type: ignore[union-attr]  # all are puts


async def test_a_body_whose_record_is_not_yet_written_is_not_taken(place: Place) -> None:
    """A mark that came too early is taken off again, so that the body has its whole grace later."""
    await place.store.write([put()])
    [name] = await place.bodies()
    await place.blobs.put(f"{name}.gone", b"", when=ABSENT)
    place.clock.advance(100 * HOUR)
    assert await place.store.sweep() == SweepReport(checked=1)
    assert await place.body() == LONG
    await place.store.write([Delete(key=Key("p", "a"))])
    assert await place.store.sweep() == SweepReport(checked=1, waiting=1)


async def test_a_crash_between_body_and_record_leaves_what_the_sweep_takes(place: Place) -> None:
    """A cancelled write may have happened, so its body is left to the sweep."""
    gate = asyncio.Event()

    class Hanging(MemoryEntityStore):
        async def write(self, writes, *, atomic=False, token=None):  # type: ignore[no-untyped-def]  # as the port's
            if writes[0].kind == "doc":
                gate.set()
                await asyncio.Event().wait()
            return await super().write(writes, atomic=atomic, token=token)

    env = Environment(clock=place.clock)
    hanging = Hanging(env)
    await hanging.open()
    store = SpillingEntities(checked(PortName.ENTITIES, hanging), place.blobs, env, {"doc": 1000})
    task = asyncio.create_task(store.write([put()]))
    await gate.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(await place.bodies()) == 1
    await store.sweep()
    place.clock.advance(26 * HOUR)
    assert await store.sweep() == SweepReport(checked=1, deleted=1)


async def test_a_change_whose_body_is_no_longer_kept_is_a_gap(place: Place) -> None:
    """A reader of the feed hears that something is missing."""
    await place.store.write([put()])
    await place.store.write([put(body=b"short")])
    await place.blobs.delete(await place.bodies())
    page = await place.store.changes()
    assert [change.key.pk for change in page.changes] == ["!spill"]
    with pytest.raises(FeedGap, match="no longer kept"):
        await place.store.changes(page.next)


async def test_what_is_told_before_a_lost_body_is_told(place: Place) -> None:
    """A page ends there, so that only who is at the loss hears of it."""
    await place.store.write([put("a"), put("b", body=b"short")])
    before = await place.bodies()
    await place.store.write([put("c")])
    await place.blobs.delete([name for name in await place.bodies() if name not in before])
    page = await place.store.changes()
    assert [change.key.sk for change in page.changes] == ["place", "a", "b"]
    with pytest.raises(Corrupt, match="restore the blob"):
        await place.store.changes(page.next)


async def test_keys_that_fit_no_metadata_are_swept_too(place: Place) -> None:
    """A key of three thousand bytes stands in a blob of its own."""
    key = Key("p" * 2000, "ß" * 500)
    await place.store.write([Put(key=key, kind="doc", body=LONG)])
    assert await place.store.sweep() == SweepReport(checked=1)
    await place.store.write([Delete(key=key)])
    await place.store.sweep()
    place.clock.advance(26 * HOUR)
    assert await place.store.sweep() == SweepReport(checked=1, deleted=1)


async def test_two_entity_stores_that_share_a_blob_store_leave_each_others_bodies_alone(place: Place) -> None:
    """However alike their names and places are: each has an id of its own, from its first spilled body on."""
    other = Place()
    await other.open()
    other.store = SpillingEntities(other.records, place.blobs, Environment(clock=place.clock), {"doc": 1000})
    assert await other.store.sweep() == SweepReport()
    await place.store.write([put()])
    await asyncio.gather(*(other.store.write([put(sk, body=b"theirs" * 1000)]) for sk in "abc"))
    await other.store.write([Delete(key=Key("p", "a"))])
    for store, found in ((place.store, SweepReport(checked=1)), (other.store, SweepReport(checked=3, waiting=1))):
        assert await store.sweep() == found
    place.clock.advance(26 * HOUR)
    for store, found in ((place.store, SweepReport(checked=1)), (other.store, SweepReport(checked=3, deleted=1))):
        assert await store.sweep() == found
    again = SpillingEntities(other.records, place.blobs, Environment(clock=place.clock), {"doc": 1000})
    assert await again.sweep() == SweepReport(checked=2)
    assert await place.body() == LONG


async def test_racing_writers_and_sweeps_lose_nothing(place: Place) -> None:
    """Whatever is read is what one of them wrote, at every moment."""

    async def write(n: int) -> None:
        for i in range(15):
            await place.store.write([put(f"{n % 2}", body=f"{n}.{i}".encode() * 1000)])
            await asyncio.sleep(0)

    async def sweep() -> None:
        for _ in range(10):
            await place.store.sweep()
            place.clock.advance(26 * HOUR)
            await asyncio.sleep(0)

    async def read() -> None:
        for _ in range(30):
            for sk in ("0", "1"):
                body = await place.body(sk)
                assert body is None or body == body[: len(body) // 1000] * 1000
            await asyncio.sleep(0)

    await asyncio.gather(*(write(n) for n in range(4)), sweep(), read())
    assert None not in [await place.body("0"), await place.body("1")]


@pytest.mark.parametrize("spill", [True, 0, 1023, 400_000, 2.5, "1k"])
def test_a_threshold_is_a_sensible_number_of_bytes(spill: int) -> None:
    """A declaration says at once what is wrong with it."""
    with pytest.raises(ConfigError, match="spill"):
        entity(User, kind="user", key=Template(pk=("u", part.user_id), sk=("u",)), spill=spill)


@pytest.mark.parametrize("profile", ["memory", "local"])
async def test_a_story_of_five_megabytes_is_a_story_like_any_other(profile: str, tmp_path: Path) -> None:
    """Saved, read, counted, listed, summed up, revised and removed, with the cache in front."""
    text = "river " * 850_000
    async with storycore.open(profile, dir=tmp_path, overrides={"embedder": "memory://"}) as store:
        await store.init()
        long = Story(user_id="ada", session_id="s1", content=text, style=StoryStyle.SHORT_POST, title="long")
        saved = await store.stories.save(long)
        for consistent in (True, False, False):
            assert (await store.stories.get(saved.story_id, consistent=consistent)).content == text
        counted = await store.stories.add_metrics(saved.story_id, {"views": 2})
        await store.stories.update_status(saved.story_id, StoryStatus.PUBLISHED)
        [listed] = (await store.stories.by_user("ada")).items
        [summary] = [each async for each in store.stories.summaries("ada")]
        assert (counted.content, listed.content, summary.word_count) == (text, text, count_words(text))
        await store.contents.save(Content(content_id="c1", source="s", text=text[:2_000_000], ordinal=0))
        assert len((await store.contents.get("c1")).text) == 2_000_000
        found = {"checked": 3, "waiting": 1, "deleted": 0}
        held = (await store.blobs.entries()).blobs
        assert (await store.maintain(dry_run=True))["spilled"] == found
        assert (await store.blobs.entries()).blobs == held
        assert (await store.maintain())["spilled"] == found
        assert await store.stories.delete(saved.story_id) is True
        assert await store.stories.find(saved.story_id) is None


async def test_a_version_conflict_on_a_long_story_costs_nothing(tmp_path: Path) -> None:
    """The loser's text is not kept."""
    async with storycore.open("memory") as store:
        saved = await store.stories.save(
            Story(user_id="ada", session_id="s1", content="river " * 100_000, style=StoryStyle.SHORT_POST, title="t")
        )
        stale = await store.stories.get(saved.story_id)
        await store.stories.save(saved)
        with pytest.raises(VersionConflict):
            await store.stories.save(stale)
        assert len((await store.blobs.entries("spill/")).blobs) == 2


class Page(BaseModel):
    page_id: str
    slug: str
    text: str = ""
    deleted_at: datetime | None = None


PAGE_KEY = Template(pk=("page", part.page_id), sk=("page",))
PAGE = entity(
    Page,
    kind="page",
    key=PAGE_KEY,
    unique=[Unique("slug")],
    soft_delete="deleted_at",
    spill=2000,
)


async def test_a_lost_body_does_not_stop_an_upgrade() -> None:
    """It is a failure that names the blob; what lies beside it is upgraded."""
    plain = entity(Page, kind="page", key=PAGE_KEY, spill=2000)
    listed = entity(
        Page, kind="page", key=PAGE_KEY, spill=2000, indexes=[Index("by_slug", slot=1, pk=("s",), sk=(part.slug,))]
    )
    async with storycore.open("memory") as store:
        pages = store.repository(plain)
        await pages.save_batch([Page(page_id=f"p{n}", slug=f"s{n}", text="x" * 5000) for n in range(3)])
        before = [blob.key for blob in (await store.blobs.entries("spill/")).blobs]
        await pages.patch("p1", set={"text": "y" * 5000})
        lost = [blob.key for blob in (await store.blobs.entries("spill/")).blobs if blob.key not in before]
        await store.blobs.delete(lost)
        report = await store.upgrade(listed)
        assert (report.checked, report.rewritten, report.failed) == (3, 2, 1)
        assert lost[0] in report.failures[0].error.message
        found = store.repository(listed).by_slug.iterate()
        assert [page.page_id async for page in found] == ["p0", "p2"]


async def test_an_instance_whose_body_is_lost_can_be_purged() -> None:
    """With its unique value, living or deleted; it need not be readable."""
    async with storycore.open("memory") as store:
        pages = store.repository(PAGE)
        for is_deleted in (False, True):
            await pages.create(Page(page_id="p1", slug="falls", text="x" * 5000))
            if is_deleted:
                await pages.delete("p1")
            await store.blobs.delete([blob.key for blob in (await store.blobs.entries("spill/")).blobs])
            assert await pages.purge("p1") is True
        assert await pages.create(Page(page_id="p2", slug="falls"))
        assert await pages.purge("p1") is False
