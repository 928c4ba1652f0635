"""Exports of backups: what leaves in another layout comes back as it was, into any store, and damage is named."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.keys import Passphrase
from storycore.backup.outside import Outside
from storycore.backup.places import BlobPlace, FolderPlace
from storycore.backup.restoring import Selection
from storycore.backup.scratch import LONG_BODIES
from storycore.backup.service import Backups
from storycore.backup.sources.entities import EntitySource
from storycore.errors import (
    AlreadyExists,
    ConditionFailed,
    ConfigError,
    Corrupt,
    InvalidArgument,
    NotFound,
    NotProvisioned,
    SchemaMismatch,
)
from storycore.layers.checks import checked
from storycore.layers.spilled_bodies import Pointer, SpilledBodies
from storycore.layers.spilling import SpillingEntities
from storycore.memory.blobs import MemoryBlobStore, open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key, Put, Record, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Port, PortName
from storycore.profiles import PortSettings
from storycore.testing.backup_formats import items, records_for_exports
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness
from storycore.testing.properties import for_all

FORMAT = "dynamodb-json"
BEGUN = datetime(2026, 11, 23, 4, tzinfo=UTC)
LONG = b"x" * 700_000


class World:
    """A store with blobs and backups."""

    def __init__(self, adapter: str, path: Path) -> None:
        options = {"path": str(path / "entities.db")} if adapter == "sqlite" else {}
        self.clock = ManualClock(BEGUN)
        self.env = Environment(clock=self.clock)
        harness = Harness(PortName.ENTITIES, adapter, options, path)
        harness.clock = self.clock
        self._harness = harness
        self.blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), self.env))
        self.elsewhere: Port | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[World]:
        """The same, open."""
        async with await self._harness.started() as self.bare, self.blobs:
            self.store: EntityStore = SpillingEntities(self.bare, self.blobs, self.env, LONG_BODIES)
            self.source = EntitySource(self.store, self.env)
            archive = Archive(self.blobs, Passphrase("correct horse", 10), self.env)
            self.backups = Backups(
                archive,
                [self.source],
                self.env,
                store="kit",
                scratch=_no_scratch,
                blobs=self.blobs,
                outside=Outside(another=self._another),
            )
            yield self

    def _another(self, port: PortName, settings: PortSettings) -> Port:
        if self.elsewhere is None or settings.url != "s3://exports":
            raise ConfigError(f"There is no {settings.url}.", path=str(port))
        return self.elsewhere

    async def put(self, *puts: Put) -> None:
        """Write some records."""
        await self.store.write(puts)

    async def state(self) -> list[bytes]:
        """All records but for their versions, and but for the store's own."""
        page = await self.store.scan(Segment(), limit=1000)
        return items([record for record in page.records if record.kind != "spill_place"])

    async def exported(self, to: object, **settings: Any) -> Any:
        """Export what is there now."""
        self.clock.advance(timedelta(seconds=1))
        await self.backups.create(full=True)
        return await self.backups.exports.create(to=to, format=FORMAT, **settings)  # type: ignore[arg-type]  # any place

    async def restored(self, source: object, **settings: Any) -> Any:
        """Bring an export in."""
        return await self.backups.exports.restore(source, format=FORMAT, **settings)  # type: ignore[arg-type]  # any place


def _no_scratch(*_: object) -> Any:
    raise AssertionError("nothing here restores into a scratch store")


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with World(request.param, tmp_path).opened() as world:
        yield world


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "other").mkdir()
    async with World("sqlite", tmp_path / "other").opened() as world:
        yield world


def note(name: str, body: bytes = b"{}", kind: str = "note", **more: Any) -> Put:
    """A put under a key of its own."""
    return Put(key=Key(f"p{name[-1]}", name), kind=kind, body=body, **more)


def changed(folder: Path, ending: str, change: Any) -> Path:
    """Change the one file whose name ends so, or remove it."""
    [path] = [path for path in folder.rglob("*") if path.name.endswith(ending)]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    return path


async def test_any_state_comes_back(tmp_path: Path) -> None:
    """Exported from memory and imported into SQLite, and the other way round: the same records."""
    turns = iter(range(1000))

    async def check(records: Sequence[Record]) -> None:
        folder = tmp_path / str(next(turns))
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
        pair = ("memory", "sqlite") if len(records) % 2 else ("sqlite", "memory")
        async with World(pair[0], folder / "a").opened() as one, World(pair[1], folder / "b").opened() as two:
            await one.put(*map(_put_of, records))
            await one.exported(folder / "out")
            await two.restored(folder / "out")
            assert await two.state() == await one.state()

    drawn = st.lists(records_for_exports(), min_size=1, max_size=4, unique_by=lambda record: record.key)
    await for_all(check, examples=8, records=drawn)


def _put_of(record: Record) -> Put:
    """A put that every store takes."""
    parts = {name: getattr(record, name) for name in ("key", "kind", "expires_at", "index_keys", "fields", "body")}
    return Put(**parts)


async def test_long_bodies_lie_beside_the_export(world: World, other: World, tmp_path: Path) -> None:
    """A body that no record holds comes back from there, from the store's blobs or a named place; else it is told."""
    await world.put(note("a1", LONG), note("a2", b"y" * 300_000), note("a3"))
    made = await world.exported(tmp_path / "out")
    assert (made.records, made.bodies, made.files, made.without) == (3, 2, 1, ())
    await other.restored(tmp_path / "out")
    assert await other.state() == await world.state()
    (tmp_path / "out" / "spill").rename(tmp_path / "spill")
    with pytest.raises(Corrupt, match=r"'a1'.*neither beside the export nor in the store's blobs"):
        await other.restored(tmp_path / "out", mode="merge", on_conflict="overwrite")
    await other.restored(tmp_path / "out", mode="merge", on_conflict="overwrite", bodies=tmp_path)
    for path in [path for path in (tmp_path / "spill").rglob("*") if path.is_file()]:
        await other.blobs.put(str(path.relative_to(tmp_path).as_posix()), path.read_bytes(), when=ANY)
    assert (await other.restored(tmp_path / "out", mode="replace")).written == 3
    assert await other.state() == await world.state()


async def test_a_damaged_body_is_told(world: World, other: World, tmp_path: Path) -> None:
    """Flipped, cut off or longer: the error names the record."""
    await world.put(note("a1", LONG))
    await world.exported(tmp_path / "out")
    [body] = [path for path in (tmp_path / "out/spill").rglob("*") if path.is_file() and path.name != "=key"]
    for content in (b"z" + LONG[1:], LONG[1:], LONG + b"x"):
        body.write_bytes(content)
        with pytest.raises(Corrupt, match=r"'a1'.*is damaged"):
            await other.restored(tmp_path / "out")


async def test_every_lost_body_is_named(world: World, tmp_path: Path) -> None:
    """By a verification, which goes on; what can be read is counted."""
    await world.put(note("a1", LONG), note("a2", LONG), note("a3"))
    await world.exported(tmp_path)
    for path in [path for path in (tmp_path / "spill").rglob("*") if path.is_file()]:
        path.unlink()
    found = await world.backups.exports.verify(tmp_path, format=FORMAT)
    assert (found.is_whole, found.records) == (False, 1)
    assert ["'a1'" in found.problems[0], "'a2'" in found.problems[1]] == [True, True]


async def test_spilled_names_are_those_of_a_store(world: World, tmp_path: Path) -> None:
    """What lies beside an export tells whose it is, and where all of them begin."""
    await world.put(note("a1", LONG))
    made = await world.exported(world.blobs)
    bodies = SpilledBodies(world.blobs, world.env, world.bare, made.name.replace("-", ""))
    prefix = await bodies.prefix()
    found = [blob for blob in (await world.blobs.entries(prefix or "")).blobs if bodies.is_body(blob.key)]
    assert [await bodies.key_of(blob) for blob in found] == [Key("p1", "a1")]
    pointer = Pointer(found[0].key, len(LONG), found[0].sha256)
    assert await bodies.fetch(Key("p1", "a1"), pointer) == LONG


async def test_a_part_of_a_backup_is_exported_and_imported(world: World, other: World, tmp_path: Path) -> None:
    """By kind, by user and by moment; what an import would change is told before."""
    await world.put(note("a1", fields={"user_id": "ada"}), note("a2"), note("b3", kind="story"))
    made = await world.exported(tmp_path / "ada", selection=Selection(user="ada"))
    assert made.records == 1
    assert (await world.exported(tmp_path / "all")).name != made.name
    stories = Selection(kinds=frozenset({"story"}))
    plan = await other.backups.exports.plan_restore(tmp_path / "all", format=FORMAT, selection=stories)
    assert plan["entities"].added == {"story": 1}
    await other.restored(tmp_path / "all", selection=stories)
    assert len(await other.state()) == 1
    with pytest.raises(InvalidArgument, match="of entities"):
        await world.backups.exports.create(
            to=tmp_path / "none", format=FORMAT, selection=Selection(ports=frozenset({"blobs"}))
        )
    assert (await world.exported(tmp_path / "few", selection=Selection(where=lambda *_: False))).records == 0


async def test_modes_are_those_of_a_restore(world: World, other: World, tmp_path: Path) -> None:
    """Into what is not empty only by merging or replacing; the same import again completes."""
    await world.put(note("a1"), note("a2"))
    await world.exported(tmp_path)
    assert (await other.restored(tmp_path)).written == 2
    assert (await other.restored(tmp_path)).written == 2
    await other.put(note("a2", b"mine"), note("c9"))
    with pytest.raises(ConditionFailed):
        await other.restored(tmp_path)
    with pytest.raises(AlreadyExists):
        await other.restored(tmp_path, mode="merge")
    assert (await other.restored(tmp_path, mode="merge", on_conflict="skip")).written == 0
    plan = await other.backups.exports.plan_restore(tmp_path, format=FORMAT)
    changes = plan["entities"]
    assert (changes.replaced, changes.unchanged, changes.removed) == ({"note": 1}, {"note": 1}, {"note": 1})
    await other.restored(tmp_path, mode="replace")
    assert await other.state() == await world.state()


async def test_an_interrupted_import_is_completed(world: World, other: World, tmp_path: Path) -> None:
    """A file that went missing after the first was written: brought back, the same call completes."""
    await world.put(*(note(f"a{n}", b"%d" % n * 20_000) for n in range(4)))
    await world.exported(tmp_path)
    path = next(tmp_path.rglob("*.json.gz"))
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(Corrupt, match=path.name):
        await other.restored(tmp_path)
    assert await other.state() == []
    path.write_bytes(content)
    await other.restored(tmp_path)
    assert await other.state() == await world.state()


async def test_a_verification_names_everything(world: World, tmp_path: Path) -> None:
    """A whole export, one with a damaged file, and one whose files are gone."""
    await world.put(note("a1"), note("a2"))
    await world.exported(tmp_path)
    verify = world.backups.exports.verify
    whole = await verify(tmp_path, format=FORMAT)
    assert (whole.is_whole, whole.records) == (True, 2)
    path = changed(tmp_path, ".json.gz", lambda content: content[:-1] + b"?")
    damaged = await verify(tmp_path, format=FORMAT)
    assert (damaged.is_whole, damaged.records) == (False, 0)
    assert path.name in damaged.problems[0]
    assert "with 3 items by the manifest" in damaged.problems[0]
    changed(tmp_path, ".json.gz", None)
    with pytest.raises(Corrupt, match=path.name):
        await verify(tmp_path, format=FORMAT)


async def test_places_are_what_they_seem(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, an open store and a URL; what is none of them, or holds nothing, is told with the place's name."""
    await world.put(note("a1"))
    await world.exported(world.blobs)
    assert (await world.restored(world.blobs, mode="replace")).written == 1
    for where in ("files:///x", "s3://x", ""):
        with pytest.raises((InvalidArgument, ConfigError)):
            await world.backups.exports.create(to=where, format=FORMAT)
    with pytest.raises(NotFound, match=f"{tmp_path / 'nowhere'}: There is no finished export"):
        await world.restored(tmp_path / "nowhere")
    with pytest.raises(InvalidArgument, match="dynamodb-json"):
        await world.backups.exports.create(to=tmp_path, format="dynamo")


async def test_a_url_is_opened_made_and_closed(world: World) -> None:
    """A blob store that does not exist is made for an export, and not for an import; both let go of it."""
    closed: list[bool] = []

    class Bucket(MemoryBlobStore):
        """A store that has to be made."""

        made = False

        async def entries(self, *arguments: Any, **settings: Any) -> Any:
            if not Bucket.made:
                raise NotProvisioned("There is no bucket.")
            return await super().entries(*arguments, **settings)

        async def ensure(self, *, dry_run: bool = False) -> Any:
            Bucket.made = True
            return await super().ensure(dry_run=dry_run)

        async def close(self) -> None:
            closed.append(True)

    bucket = Bucket(world.env)
    await bucket.open()
    world.elsewhere = checked(PortName.BLOBS, bucket)
    await world.put(note("a1"))
    with pytest.raises(NotProvisioned):
        await world.restored("s3://exports")
    assert (await world.exported("s3://exports")).records == 1
    assert (await world.restored("s3://exports", mode="replace")).written == 1
    assert closed == [True] * 3
    with pytest.raises(NotFound) as told:
        await world.restored("s3://exports", name="x")
    assert told.value.message.startswith("s3://exports: There is no finished export x")
    with pytest.raises(InvalidArgument) as told_too:
        await world.restored("file:///x?secret_access_key=hunter2")
    assert "hunter2" not in told_too.value.message


async def test_what_belongs_to_an_erased_user_does_not_leave(tmp_path: Path) -> None:
    """It is left out and counted."""
    async with World("memory", tmp_path).opened() as world:
        archive = Archive(world.blobs, Passphrase("correct horse", 10), world.env)
        backups = Backups(archive, [world.source], world.env, store="kit", scratch=_no_scratch, owner_of=owner_of)
        await world.put(note("a1", fields={"user_id": "ada"}), note("a2"))
        made = await backups.create()
        await backups.erase("ada")
        done = await backups.exports.create(made.backup_id, to=tmp_path / "out", format=FORMAT)
        assert (done.records, done.erased) == (1, 1)


async def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    """A manifest of somebody else's cannot name a file outside the folder; files are read back as they were put."""
    place = FolderPlace(tmp_path / "in")
    for name in ("../x", "/etc/passwd", "a/../../x", "", "a\\b", "a\0"):
        with pytest.raises(InvalidArgument):
            await place.put(name, b"")
    await place.put("a/b", b"1" * 3_000_000)
    assert b"".join([piece async for piece in place.get("a/b")]) == b"1" * 3_000_000
    assert await place.names("a/") == ["a/b"]
    await place.remove(["a/b", "a/c"])
    assert await place.names() == []
    with pytest.raises(NotFound):
        await anext(place.get("a/b"))


async def test_what_a_folder_refuses_is_told(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidArgument, match="a file stands where a folder should be"):
        await FolderPlace(tmp_path / "file").put("a/b", b"1")


async def test_a_blob_store_is_a_place(world: World) -> None:
    """More names than a page has."""
    place = BlobPlace(world.blobs)
    await asyncio.gather(*(place.put(f"n/{n:04d}", b"%d" % n) for n in range(1001)))
    assert len(await place.names("n/")) == 1001
    await place.remove([])
    assert b"".join([piece async for piece in place.get("n/0007")]) == b"7"


# the layout as AWS writes it


def lines(*told: object) -> bytes:
    """Gzipped lines."""
    return gzip.compress(b"".join(json.dumps(each).encode() + b"\n" for each in told), mtime=0)


def item(name: str, body: str = "{}", **more: object) -> dict[str, object]:
    """An item of a table of storycore's, as DynamoDB shows it."""
    kept = {"_k": {"S": "note"}, "_v": {"N": "5"}, "_w": {"S": "w"}, "_at": {"N": "5"}, "_s": {"N": "99"}}
    return {"pk": {"S": "p"}, "sk": {"S": name}, "d": {"S": body}, **kept, **more}


MARK = {"pk": {"S": "\0storycore"}, "sk": {"S": "layout"}, "layout": {"N": "1"}, "holds": {"S": "entities"}}
TOKEN = {"pk": {"S": "\0storycore"}, "sk": {"S": "token#t"}, "results": {"B": "AAEC"}, "ttl": {"N": "1"}}


def aws_export(folder: Path, files: Mapping[str, bytes], counts: Sequence[int], **summary: object) -> Path:
    """An export as the documentation describes it: below a prefix, with multipart ETags."""
    root = folder / "2026-Nov/AWSDynamoDB"
    home = root / "01795406803692-a1b2c3d4"
    home.mkdir(parents=True)
    listed = []
    for (name, content), count in zip(files.items(), counts, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        proof = b64encode(md5(content, usedforsecurity=False).digest()).decode()
        key = f"2026-Nov/AWSDynamoDB/{name}"
        listed.append({"itemCount": count, "md5Checksum": proof, "etag": "af83-1", "dataFileS3Key": key})
    stated = {
        "version": "2020-06-30",
        "exportTime": "2026-11-23T04:00:00.028Z",
        "s3Bucket": "b",
        "s3Prefix": "2026-Nov",
        "manifestFilesS3Key": "2026-Nov/AWSDynamoDB/01795406803692-a1b2c3d4/manifest-files.json",
        "itemCount": sum(counts),
        "outputFormat": "DYNAMODB_JSON",
        **summary,
    }
    for name, text in (
        ("manifest-files", "\n".join(map(json.dumps, listed))),
        ("manifest-summary", json.dumps(stated, indent=3)),
    ):
        (home / f"{name}.json").write_text(text)
        (home / f"{name}.md5").write_bytes(b64encode(md5(text.encode(), usedforsecurity=False).digest()))
    (home / "_started").touch()
    return folder


HOME = "01795406803692-a1b2c3d4"


async def test_an_export_of_aws_is_read(other: World, tmp_path: Path) -> None:
    """With what the table keeps besides, an empty file, names behind a prefix; the export's own folder is enough."""
    binary = {**item("b"), "d": {"B": b64encode(b"\xff\0").decode()}, "tags": {"SS": ["x", "y"]}, "on": {"BOOL": True}}
    swept = item("gone", _gone={"BOOL": True})
    files = {
        f"{HOME}/data/one.json.gz": lines({"Item": MARK}, {"Item": TOKEN}, {"Item": item("a")}),
        f"{HOME}/data/two.json.gz": lines({"Item": binary}, {"Item": swept}),
        f"{HOME}/data/none.json.gz": b"",
    }
    aws_export(tmp_path, files, [3, 2, 0])
    expected = [
        Record(key=Key("p", "a"), kind="note", version=other_version(), body=b"{}"),
        Record(
            key=Key("p", "b"),
            kind="note",
            version=other_version(),
            body=b"\xff\0",
            fields={"tags": frozenset({"x", "y"}), "on": True},
        ),
    ]
    for where in (tmp_path, tmp_path / "2026-Nov" / "AWSDynamoDB" / HOME):
        assert (await other.restored(where, mode="replace")).written == 2
        assert await other.state() == items(expected)
    changed(tmp_path, "manifest-summary.md5", lambda _: b"AAAA")
    with pytest.raises(Corrupt, match="manifest-summary"):
        await other.restored(tmp_path)


def other_version() -> Any:
    """A version that nobody compares."""
    return 1


async def test_changes_go_over_the_state_before_them(other: World, tmp_path: Path) -> None:
    """An incremental export, whose files all exports share: puts and deletes; into nothing else it is refused."""
    await other.put(*(Put(key=Key("p", name), kind="note", body=b"{}") for name in ("a", "b", "c")))
    keys = {name: {"pk": {"S": "p"}, "sk": {"S": name}} for name in "abcd"}
    at = {"WriteTimestampMicros": {"N": "5"}}
    told = [
        {"Metadata": at, "Keys": keys["a"], "NewImage": item("a", "new"), "OldImage": item("a")},
        {"Metadata": at, "Keys": keys["b"], "OldImage": item("b")},
        {"Metadata": at, "Keys": keys["c"]},
        {"Metadata": at, "Keys": keys["d"], "NewImage": item("d")},
        {"Metadata": at, "Keys": {"pk": TOKEN["pk"], "sk": TOKEN["sk"]}, "NewImage": TOKEN},
        {"Metadata": at, "Keys": {"pk": TOKEN["pk"], "sk": TOKEN["sk"]}},
    ]
    aws_export(
        tmp_path,
        {"data/x.json.gz": lines(*told)},
        [6],
        exportTime=None,
        exportFromTime="2026-11-23T03:00:00Z",
        exportToTime="2026-11-23T04:00:00Z",
        exportType="INCREMENTAL_EXPORT",
    )
    plan = (await other.backups.exports.plan_restore(tmp_path, format=FORMAT))["entities"]
    assert (plan.added, plan.replaced, plan.removed) == ({"note": 1}, {"note": 1}, {"note": 2})
    for settings in ({}, {"mode": "replace"}, {"mode": "merge", "on_conflict": "skip"}):
        with pytest.raises(InvalidArgument, match="changes alone"):
            await other.restored(tmp_path, **settings)
    over: dict[str, Any] = {"mode": "merge", "on_conflict": "overwrite"}
    with pytest.raises(InvalidArgument, match="no part"):
        await other.restored(tmp_path, selection=Selection(user="ada"), **over)
    for _ in range(2):
        await other.restored(tmp_path, **over)
        assert {record.key.sk: record.body for record in (await other.store.scan(Segment())).records} == {
            "a": b"new",
            "d": b"{}",
        }
    await other.store.write([Delete(key=Key("p", "a"))])


@pytest.mark.parametrize(
    ("told", "error", "message"),
    [
        ({"Item": {"Id": {"N": "103"}, "Title": {"S": "Book"}}}, SchemaMismatch, "did not write.*Id, Title"),
        ({"Item": {"pk": {"S": "a"}, "sk": {"S": "b"}, "x": {"N": "1"}}}, SchemaMismatch, "did not write.*pk, sk, x"),
        ({"Item": {**MARK, "holds": {"S": "events"}}}, SchemaMismatch, "holds events"),
        ({"Item": {**MARK, "layout": {"N": "9"}}}, SchemaMismatch, "another layout"),
        ({"Item": item("a", m={"M": {}})}, Corrupt, "'a'.*not one that storycore wrote"),
        ({"Item": {**item("a"), "d": {"B": "?"}}}, Corrupt, "'a'.*Base64"),
        ({"Item": "x"}, Corrupt, "no item"),
        (["x"], Corrupt, "no JSON object"),
        ({}, Corrupt, "no item"),
    ],
)
async def test_what_is_not_ours_is_refused_in_a_sentence(
    other: World, tmp_path: Path, told: Any, error: type[Exception], message: str
) -> None:
    """Tables of other programs, of other layouts and of events, and lines that are nothing; nothing is written."""
    aws_export(tmp_path, {f"{HOME}/data/one.json.gz": lines(told)}, [1])
    with pytest.raises(error, match=message):
        await other.restored(tmp_path)
    assert await other.state() == []


@pytest.mark.parametrize(
    ("ending", "change", "message"),
    [
        ("manifest-files.json", None, "manifest-files.json is missing"),
        ("manifest-files.md5", None, "manifest-files.md5 is missing"),
        ("manifest-files.json", lambda content: content[:-9], "manifest-files.json"),
        ("one.json.gz", None, "1 of the export's 1 data files are missing, with 1 items"),
    ],
)
async def test_what_is_missing_is_named(other: World, tmp_path: Path, ending: str, change: Any, message: str) -> None:
    """Before anything is read."""
    aws_export(tmp_path, {f"{HOME}/data/one.json.gz": lines({"Item": item("a")})}, [1])
    changed(tmp_path, ending, change)
    with pytest.raises(Corrupt, match=message):
        await other.restored(tmp_path)


@pytest.mark.parametrize(
    ("content", "count", "summary", "message"),
    [
        (lines({"Item": item("a")}), 2, {}, "holds 1 items"),
        (lines({"Item": item("a")}), 1, {"itemCount": 7}, "counts 7 items"),
        (lines({"Item": item("a")}), 1, {"exportTime": "soon"}, "exportTime"),
        (lines({"Item": item("a")})[:-12], 1, {}, "no whole gzip file"),
        (b"plain", 1, {}, "no whole gzip file"),
        (gzip.compress(b"{", mtime=0), 1, {}, "no JSON"),
    ],
)
async def test_what_does_not_agree_is_told(
    other: World, tmp_path: Path, content: bytes, count: int, summary: Any, message: str
) -> None:
    """Counts, moments and contents that a right checksum does not save."""
    aws_export(tmp_path, {f"{HOME}/data/one.json.gz": content}, [count], **summary)
    with pytest.raises(Corrupt, match=message):
        await other.restored(tmp_path)


async def test_another_variety_is_refused(other: World, tmp_path: Path) -> None:
    """Ion is told with its cure; checksums under the documentation's name, and in hexadecimal digits, are read."""
    aws_export(tmp_path, {f"{HOME}/data/one.json.gz": lines({"Item": item("a")})}, [1], outputFormat="ION")
    with pytest.raises(InvalidArgument, match=r"ION.*DYNAMODB_JSON"):
        await other.restored(tmp_path)
    summary = next(tmp_path.rglob("manifest-summary.json"))
    summary.write_text(summary.read_text().replace("ION", "DYNAMODB_JSON"))
    summary.with_suffix(".md5").unlink()
    summary.with_suffix(".checksum").write_text(md5(summary.read_bytes(), usedforsecurity=False).hexdigest() + "\n")
    assert (await other.restored(tmp_path)).written == 1
