"""The public API in use, for type checkers alone: mypy and pyright read it, nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from pydantic import BaseModel

import storycore
from storycore import F, Index, InitReport, Key, Profile, Repository, Store, StorycoreError, entity, part
from storycore.backup.archive import Listing
from storycore.backup.keys import KeyFile
from storycore.backup.manifest import Manifest
from storycore.backup.outcomes import Created, ExportCreated, Imported, Pruned, Restored, Rotated
from storycore.backup.recorder import Sealed
from storycore.backup.restoring import PortChanges, Selection
from storycore.entities import (
    ChangeStream,
    Collection,
    Entity,
    EntityChange,
    Explanation,
    Pending,
    Query,
    Unit,
    UpgradeReport,
    Upserted,
)
from storycore.errors import Effect, NotFound, Retry, TransactionConflict, VersionConflict
from storycore.health import HealthReport, State
from storycore.hooks import hookimpl
from storycore.ingestion import Plan, Report
from storycore.jobs import Job, Outcome, Run, Runner, RunRecord
from storycore.memory.blobs import open_blobs
from storycore.memory.cache import open_cache
from storycore.memory.config import (
    MemoryBlobConfig,
    MemoryCacheConfig,
    MemoryConfig,
    MemoryEmbedderConfig,
    MemoryVectorConfig,
)
from storycore.memory.embedder import open_embedder
from storycore.memory.entities import open_entities
from storycore.memory.events import open_events
from storycore.memory.vectors import open_vectors
from storycore.plugins import Adapter, NoConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.cache import Cache
from storycore.ports.embeddings import Embedder
from storycore.ports.entities import EntityStore, Record
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink
from storycore.ports.filters import Filter
from storycore.ports.lifecycle import Health, PortName, Provision
from storycore.ports.pages import Cursor, Page
from storycore.ports.reranking import Reranker
from storycore.ports.vectors import VectorIndex
from storycore.profiles import load
from storycore.search import Hit, SearchPlan
from storycore.story import Session, Story, StoryStatus, StorySummary, User


class Note(BaseModel):
    """An application's own model."""

    note_id: str
    owner: str
    text: str = ""
    stars: int = 0
    written_at: datetime | None = None


NOTE = entity(
    Note,
    kind="note",
    key=Key(pk=("note", part.note_id), sk=("note",)),
    indexes=[Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.written_at,))],
    counters=("stars",),
)
assert_type(NOTE, Entity[Note])


class Short(BaseModel):
    """A smaller model of the same partition."""

    note_id: str


SHORT = entity(Short, kind="short", key=Key(pk=("note", part.note_id), sk=("short",)))


async def opening(profile: Profile) -> None:
    """A store is opened by name, path, profile or not at all."""
    async with storycore.open() as store:
        assert_type(store, Store)
    async with storycore.open("local", dir=Path("data"), overrides={"cache": "memory://"}) as store:
        assert_type(await store.init(), InitReport)
    async with storycore.open(profile, env=Environment()) as store:
        assert_type(store.profile, Profile)
    assert_type(load("memory"), Profile)


async def own_entities(store: Store) -> None:
    """A repository knows its model."""
    notes = store.repository(NOTE)
    assert_type(notes, Repository[Note])
    assert_type(await notes.create(Note(note_id="n1", owner="ada")), Note)
    assert_type(await notes.get(note_id="n1"), Note)
    assert_type(await notes.find("n1"), Note | None)
    assert_type(await notes.get_many(["n1", "n2"]), list[Note | None])
    assert_type(await notes.patch("n1", add={"stars": 1}, when=F.text == "x"), Note)
    page = await notes.by_owner.page(owner="ada", limit=20)
    assert_type(page, Page[Note])
    assert_type(page.cursor, Cursor | None)
    async for note in notes.scan():
        assert_type(note, Note)
    assert_type(await notes.delete("n1"), bool)
    assert_type(await notes.upsert(Note(note_id="n1", owner="ada"), add={"stars": 1}), Upserted[Note])
    note, created = await notes.upsert(Note(note_id="n1", owner="ada"))
    assert_type(note, Note)
    assert_type(created, bool)
    assert_type(await notes.restore("n1"), Note)
    assert_type(await notes.purge("n1"), bool)


async def walks_over_everything(store: Store) -> None:
    """A stream of changes knows the models of what it tells."""
    async with store.deadline(2.0):
        assert_type(await store.upgrade(NOTE, "story", dry_run=True), UpgradeReport)
    async with store.changes(kinds=[NOTE], group="indexer", start="oldest") as stream:
        assert_type(stream, ChangeStream[Note])
        async for change in stream:
            assert_type(change, EntityChange[Note])
            assert_type(change.instance, Note | None)
    assert_type(store.changes(), ChangeStream[Any])
    assert_type(store.changes(kinds=["story", NOTE]), ChangeStream[Any])


async def units(store: Store) -> None:
    """A unit knows the models of what it reads and writes; a transaction gives what its function gives."""
    async with store.unit(token="once") as u:
        assert_type(u, Unit)
        assert_type(await u.get(NOTE, "n1"), Note)
        assert_type(await u.find(store.repository(NOTE), note_id="n1"), Note | None)
        assert_type(u.create(Note(note_id="n1", owner="ada")), Pending[Note])
        patched = u.patch(NOTE, "n1", add={"stars": 1})
        assert_type(u.delete(NOTE, "n1"), Pending[bool])
    assert_type(patched.result, Note)

    async def change(u: Unit) -> int:
        return (await u.get(NOTE, "n1")).stars

    assert_type(await store.transaction(change, retries=5), int)


async def queries(store: Store) -> None:
    """A query keeps its model through every step; a collection knows the models of its entities."""
    query = store.repository(NOTE).query("by_owner", owner="ada")
    assert_type(query, Query[Note])
    assert_type(query.where(F.stars > 1).reverse().limit(3), Query[Note])
    assert_type(await query.page(max_read=100), Page[Note])
    assert_type(await query.first(), Note | None)
    assert_type(await query.one(), Note)
    assert_type(await query.count(), int)
    assert_type(query.project(Short), Query[Short])
    assert_type(await query.records().to_list(), list[Record])
    assert_type(await query.explain(item_bytes=2000), Explanation)
    assert_type(store.repository(NOTE).explain.get("n1"), Explanation)
    both = store.collection(NOTE, SHORT)
    assert_type(both, Collection[Note | Short])
    async for item in both.query(note_id="n1").reverse():
        assert_type(item, Note | Short)
    assert_type(await both.query(note_id="n1").split(NOTE, SHORT), tuple[list[Note], list[Short]])


async def story_domain(store: Store) -> None:
    """The repositories of the story domain know their models."""
    user = await store.users.save(User(email="ada@example.com", username="ada"))
    assert_type(user, User)
    assert_type(await store.users.get(user.user_id), User)
    session = Session(user_id=user.user_id)
    assert_type(await store.sessions.save(session), Session)
    story = await store.stories.save(Story(user_id=user.user_id, title="The falls", content="It drops."))
    assert_type(story, Story)
    assert_type(await store.stories.update_status(story.story_id, StoryStatus.PUBLISHED), Story)
    assert_type(await store.stories.by_user(user.user_id, status=StoryStatus.PUBLISHED, limit=20), Page[Story])
    async for summary in store.stories.summaries(user.user_id):
        assert_type(summary, StorySummary)


async def searching(store: Store) -> None:
    """Documents in, passages out."""
    assert_type(await store.ingest("docs"), Report)
    assert_type(await store.plan_ingest(Path("docs")), Plan)
    hits = await store.search("river trade", top_k=5, where=(F.source_type == "news") & ~F.year.exists())
    assert_type(hits, list[Hit])
    assert_type(hits[0].score, float)
    assert_type(hits[0].parts.dense_rank, int | None)
    await store.search("river trade", mode="words", namespace=["a", "b"], rerank=20, diversity=0.5, weights=(1, 2))
    assert_type(await store.search.explain("river trade", timed=True, mode="dense", min_score=0.5), SearchPlan)
    assert_type(store.reranker, Reranker | None)
    assert_type(await store.health(deep=True), HealthReport)
    assert_type((await store.health("ready")).state, State)
    assert_type((await store.health())["entities"], Health)
    assert_type(await store.drift(), dict[str, Provision])
    assert_type(store.infrastructure("terraform", existing=True), dict[str, object])


async def caching(store: Store) -> None:
    """A region gives back its model, or nothing; a cached function keeps its signature."""
    region = store.cache.region("note:{note_id}", Note, ttl=timedelta(minutes=10), tags=("owner:ada",))

    async def read(note_id: str) -> Note:
        return Note(note_id=note_id, owner="ada")

    assert_type(await region.get_or_load(note_id="n1", load=read), Note | None)

    @store.cache.cached("length:{text}", ttl=300)
    async def length(text: str) -> int:
        return len(text)

    assert_type(await length("river"), int)


async def backing_up(store: Store, elsewhere: Store) -> None:
    """A backup is made, looked at, proved, restored elsewhere, and let go; each step is a plain value."""
    seen: list[tuple[str, int]] = []
    created = await store.backups.create("daily", full=True, progress=lambda port, done: seen.append((port, done)))
    assert_type(created, Created)
    assert_type(created.backup_id, str)
    assert_type(await store.backups.list(), Listing)
    assert_type(await store.backups.show(), Manifest)
    assert_type((await store.backups.verify(level="restore")).is_whole, bool)
    only = Selection(kinds=frozenset({"story"}), user="ada", where=lambda port, entry: entry.item is not None)
    assert_type(
        await store.backups.plan_restore(at=datetime.now().astimezone(), selection=only), dict[str, PortChanges]
    )
    restored = await store.backups.restore(into=elsewhere, mode="merge", on_conflict="skip", selection=only)
    assert_type(restored, Restored)
    assert_type(restored.written, Mapping[str, int])
    assert_type(await store.backups.prune(dry_run=True, older_than=timedelta(days=2)), Pruned)
    assert_type(await store.backups.record(), Sealed)
    assert_type(await store.backups.verify_recording(), Sequence[str])
    assert_type((await store.backups.erase("ada", dry_run=True)).backups, tuple[str, ...])
    assert_type(await store.backups.rotate(KeyFile(Path("new.key"))), Rotated)


async def leaving(store: Store, elsewhere: Store) -> None:
    """A backup's entities leave in another layout and come in from it; each step is a plain value."""
    made = await store.backups.exports.create(to=Path("export"), format="dynamodb-json")
    assert_type(made, ExportCreated)
    assert_type((await store.backups.exports.verify("export", format="dynamodb-json")).problems, tuple[str, ...])
    place = "s3://exports?prefix=stories/"
    plan = await store.backups.exports.plan_restore(place, format="dynamodb-json", name=made.name, bodies=store.blobs)
    assert_type(plan, dict[str, PortChanges])
    done = await store.backups.exports.restore(place, format="dynamodb-json", into=elsewhere, mode="replace")
    assert_type(done, Imported)


async def by_the_clock(store: Store) -> None:
    """A decorated function stays what it is; runs, standings and histories are plain values."""

    @store.jobs.job("report", cron="0 6 * * MON", tz="Europe/Berlin", retries=3, retry_after=timedelta(minutes=5))
    async def report(run: Run) -> str:
        return f"{run.job} {run.attempt} {run.fence}"

    assert_type(await report(Run(job="report", due=None, attempt=1, fence=1)), str)
    store.jobs.add(Job(name="other", cron="* * * * *", work=report, catch_up="all", overlap="wait", attempts=2))
    heard: list[str] = []
    async with store.jobs.runner(poll=timedelta(seconds=5), heard=lambda record: heard.append(record.detail)) as runner:
        assert_type(runner, Runner)
        assert_type((await store.jobs.run("report")).outcome, Outcome)
    assert_type([(each.name, each.next) for each in await store.jobs.list()], list[tuple[str, datetime | None]])
    assert_type(await store.jobs.history("report", limit=10), Sequence[RunRecord])
    assert_type(await store.jobs.reset("report"), None)
    assert_type(store.jobs.names(), Sequence[str])


def conditions(filter_: Filter, error: StorycoreError) -> Filter:
    """Filters combine, errors say what is known."""
    combined: Filter = (filter_ & (F.year >= 2020)) | ~filter_
    assert_type(error.retry, Retry)
    assert_type(error.effect, Effect)
    if isinstance(error, VersionConflict):
        assert_type(error.current, int | str | None)
    if isinstance(error, TransactionConflict):
        assert_type(error.reasons, dict[int, StorycoreError])
    if isinstance(error, NotFound):
        assert_type(error.message, str)
    return combined


def the_reference_adapters_are_ports(env: Environment) -> tuple[object, ...]:
    """Each is what its protocol says."""
    entities: EntityStore = open_entities(MemoryConfig(), env)
    cache: Cache = open_cache(MemoryCacheConfig(), env)
    vectors: VectorIndex = open_vectors(MemoryVectorConfig(dimension=3), env)
    blobs: BlobStore = open_blobs(MemoryBlobConfig(), env)
    events: EventSink = open_events(MemoryConfig(), env)
    embedder: Embedder = open_embedder(MemoryEmbedderConfig(), env)
    return entities, cache, vectors, blobs, events, embedder


@hookimpl
def storycore_adapters() -> Sequence[Adapter]:
    """A plugin."""
    ports: Mapping[PortName, str] = {PortName.CACHE: "acme.cache:open_cache"}
    return [Adapter(name="acme", ports=ports, config=NoConfig)]
