"""The archive: a backup is there whole or not at all, wherever its making or its removal was interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storycore.backup import frames, objects
from storycore.backup.archive import Archive
from storycore.backup.catalogue import Catalogue
from storycore.backup.entries import Entry, capsules, pack, unpacked
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest, PortContent, sign_manifest
from storycore.backup.recordings import Recordings
from storycore.backup.states import States
from storycore.errors import AccessDenied, AlreadyExists, Corrupt, NotFound, SchemaMismatch, Unavailable
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEYS = Passphrase("correct horse", 10)
ENTRIES = [Entry(f"k{n}".encode(), None if n % 5 == 0 else b"item %d " % n * 9) for n in range(40)]


class Stopped(Forward[BlobStore]):
    """A blob store that fails at its n-th write or removal, and at all later ones, as when the process dies."""

    def __init__(self, inner: BlobStore, after: int) -> None:
        super().__init__(inner)
        self.left = after

    def __getattr__(self, name: str) -> Any:  # a verb of the port
        verb = getattr(self.inner, name)
        return self._counted(verb) if name in ("put", "delete") else verb

    def _counted(self, verb: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*args: object, **named: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Unavailable("the process is gone")
            return await verb(*args, **named)

        return call


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))


@pytest.fixture
def env(clock: ManualClock) -> Environment:
    return Environment(clock=clock)


@pytest.fixture
async def blobs(env: Environment) -> AsyncIterator[BlobStore]:
    store: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with store:
        yield store


async def make(archive: Archive, entries: Sequence[Entry] = ENTRIES, parent: str | None = None) -> Manifest:
    """A backup of one port."""
    draft = await archive.begin("manual", store="s", parent=parent)
    writer = draft.writer("entities")
    await writer.add(entries)
    content = PortContent(base=await writer.close(), items=len(entries), digest="", consistency="point")
    return await draft.commit({"entities": content}, as_of=datetime(2026, 11, 22, 1, tzinfo=UTC))


async def read(archive: Archive, id_: str) -> list[Entry]:
    """All entries of a backup, in order."""
    manifest, reader = await archive.manifest(id_), await archive.reader(id_)
    parts = manifest.ports["entities"].base
    return [entry for info in parts async for frame in reader.frames(info) for entry in frame]


async def names(blobs: BlobStore) -> list[str]:
    """Of all blobs."""
    return [info.key for info in (await blobs.entries()).blobs]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames and objects so small that forty entries need several."""
    monkeypatch.setattr(objects, "FRAME_BYTES", 300)
    monkeypatch.setattr(objects, "_OBJECT_BYTES", 900)
    assert frames.FRAME_BYTES > 300


@pytest.mark.usefixtures("small")
async def test_what_was_written_is_read_in_order(blobs: BlobStore, env: Environment) -> None:
    """Over several objects of several frames, with the numbers that the manifest tells."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    [listed] = (await archive.listing()).manifests
    assert (made, ENTRIES) == (listed, await read(archive, made.id))
    parts = made.ports["entities"].base
    assert len(parts) > 2 and all(part.frames > 1 for part in parts[:-1])
    assert sum(part.entries for part in parts) == len(ENTRIES)
    heads = [await blobs.head(f"backups/{made.id}/{part.name}") for part in parts]
    assert [(part.size_bytes, part.sha256) for part in parts] == [(h.size_bytes, h.sha256) for h in heads if h]


async def test_a_backup_of_nothing_is_a_backup(blobs: BlobStore, env: Environment) -> None:
    """No entries give no objects, and reading gives nothing."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive, [])
    assert (made.ports["entities"].base, await read(archive, made.id)) == ((), [])


@pytest.mark.usefixtures("small")
async def test_a_making_that_stops_anywhere_leaves_no_backup(
    blobs: BlobStore, env: Environment, clock: ManualClock
) -> None:
    """At every write: other backups are whole, this one does not exist, and a sweep later removes what it left."""
    whole = Archive(blobs, KEYS, env)
    before = await make(whole)
    kept = await names(blobs)
    for steps in range(100):
        broken = Archive(Stopped(blobs, steps), KEYS, env)
        try:
            done = await make(broken)
        except Unavailable:
            assert [each.id for each in (await whole.listing()).manifests] == [before.id]
            assert await whole.sweep() == []
            clock.advance(timedelta(days=2))
            await whole.sweep()
            assert kept == await names(blobs)
        else:
            break
    assert steps > 4
    assert {done.id, before.id} == {each.id for each in (await whole.listing()).manifests}
    assert await read(whole, before.id) == await read(whole, done.id) == ENTRIES


@pytest.mark.usefixtures("small")
async def test_a_removal_that_stops_anywhere_is_finished_by_a_sweep(
    blobs: BlobStore, env: Environment, clock: ManualClock
) -> None:
    """The backup is whole, or gone at once; what is left of it goes later, and others stay."""
    whole = Archive(blobs, KEYS, env)
    before = await make(whole)
    kept = await names(blobs)
    for steps in range(100):
        doomed = await make(whole)
        try:
            await Archive(Stopped(blobs, steps), KEYS, env).remove(doomed.id)
        except Unavailable:
            listed = {each.id for each in (await whole.listing()).manifests}
            if doomed.id in listed:
                assert await read(whole, doomed.id) == ENTRIES
                await whole.remove(doomed.id)
            clock.advance(timedelta(days=2))
            await whole.sweep()
        assert kept == await names(blobs)
        if await _unbroken(blobs, env, steps):
            break
    assert await read(whole, before.id) == ENTRIES


async def _unbroken(blobs: BlobStore, env: Environment, steps: int) -> bool:
    """Whether a removal of a missing backup needs no more than ``steps`` calls."""
    stopped = Stopped(blobs, steps)
    try:
        await Archive(stopped, KEYS, env).remove("manual_20000101_000000_abcdef")
    except Unavailable:
        return False
    return True


async def test_a_missing_or_damaged_object_is_named_with_what_is_lost(blobs: BlobStore, env: Environment) -> None:
    """The error says which object of which backup, and how many entries."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    name = f"backups/{made.id}/entities-0001"
    async with await blobs.get(name) as reader:
        content = await reader.read()
    await blobs.put(name, content[:-3], when=ANY)
    with pytest.raises(Corrupt, match=rf"40 of 40 entries of entities-0001 in {made.id}"):
        await read(archive, made.id)
    await blobs.delete([name])
    with pytest.raises(Corrupt, match="not there any more"):
        await read(archive, made.id)


async def test_an_object_of_another_backup_is_not_taken(blobs: BlobStore, env: Environment) -> None:
    """A whole object that was put in the place of another is damage."""
    archive = Archive(blobs, KEYS, env)
    one, two = await make(archive), await make(archive)
    await blobs.copy(f"backups/{one.id}/entities-0001", f"backups/{two.id}/entities-0001", when=ANY)
    with pytest.raises(Corrupt):
        await read(archive, two.id)


async def test_a_changed_manifest_is_found_by_its_seal(blobs: BlobStore, env: Environment) -> None:
    """Whoever changes a manifest cannot seal it again; a listing, which has no key, still shows it."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    name = f"backups/manifests/{made.id}.json"
    async with await blobs.get(name) as reader:
        content = await reader.read()
    await blobs.put(name, content.replace(b'"items":40', b'"items":39'), when=ANY)
    assert [each.id for each in (await archive.listing()).manifests] == [made.id]
    with pytest.raises(Corrupt, match="changed"):
        await archive.manifest(made.id)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format":1}', b'{"format":1,"manifest":{},"seal":""}'])
async def test_a_damaged_manifest_does_not_hide_the_others(blobs: BlobStore, env: Environment, content: bytes) -> None:
    """The listing names it with the reason."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    await blobs.put("backups/manifests/daily_x.json", content, when=ANY)
    listing = await archive.listing()
    assert [each.id for each in listing.manifests] == [made.id]
    assert "damaged" in listing.damaged["daily_x"]


async def test_a_manifest_of_a_newer_version_is_refused(blobs: BlobStore, env: Environment) -> None:
    """Never guessed at: the error says which formats can be read."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    name = f"backups/manifests/{made.id}.json"
    newer = sign_manifest(made.model_copy(update={"format": 2}), await archive.key(made.id))
    await blobs.put(name, newer, when=ANY)
    with pytest.raises(SchemaMismatch, match="format 2"):
        await archive.manifest(made.id)
    assert "format 2" in (await archive.listing()).damaged[made.id]
    await blobs.put(name, newer.replace(b'{"format":2', b'{"format":3', 1), when=ANY)
    with pytest.raises(Corrupt, match="changed"):  # whoever has no key cannot let it claim to be newer
        await archive.manifest(made.id)


async def test_rotation_changes_who_can_read(blobs: BlobStore, env: Environment) -> None:
    """Afterwards the new passphrase opens the backup and the old one does not; the objects are the same bytes."""
    old, new = Archive(blobs, KEYS, env), Passphrase("battery staple", 10)
    made = await make(old)
    before = await blobs.head(f"backups/{made.id}/entities-0001")
    await old.sealed_keys.rotate(made.id, new)
    assert await read(Archive(blobs, new, env), made.id) == ENTRIES
    with pytest.raises(AccessDenied):
        await old.manifest(made.id)
    assert before == await blobs.head(f"backups/{made.id}/entities-0001")


async def test_a_backup_without_its_key_is_named(blobs: BlobStore, env: Environment) -> None:
    """A missing or damaged key is damage of that backup."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    await blobs.put(f"backups/{made.id}/key.json", b'{"wrapped":"!"}', when=ANY)
    with pytest.raises(Corrupt, match=made.id):
        await archive.reader(made.id)
    await blobs.delete([f"backups/{made.id}/key.json"])
    with pytest.raises(Corrupt, match="missing"):
        await archive.reader(made.id)


async def test_what_is_not_there_is_not_found(blobs: BlobStore, env: Environment) -> None:
    """Asking for a backup, or rotating its key; removing it is no error."""
    archive = Archive(blobs, KEYS, env)
    with pytest.raises(NotFound):
        await archive.manifest("daily_x")
    with pytest.raises(NotFound):
        await archive.sealed_keys.rotate("daily_x", KEYS)
    await archive.remove("daily_x")


async def test_a_backup_is_committed_once(blobs: BlobStore, env: Environment) -> None:
    """A second manifest under one id is refused."""
    archive = Archive(blobs, KEYS, env)
    draft = await archive.begin("manual", store="s")
    await draft.commit({}, as_of=env.clock.now())
    with pytest.raises(AlreadyExists):
        await draft.commit({}, as_of=env.clock.now())


async def test_an_abandoned_draft_leaves_nothing(blobs: BlobStore, env: Environment) -> None:
    """Neither its objects nor its key, nor one that was on its way."""
    archive = Archive(blobs, KEYS, env)
    draft = await archive.begin("manual", store="s")
    writer = draft.writer("entities")
    await writer.add([Entry(b"k", b"x" * frames.FRAME_BYTES)])
    await writer.abandon()
    await draft.abandon()
    assert await names(blobs) == []


def test_damaged_entries_are_corrupt() -> None:
    """A frame's content that is cut off or has an unknown kind of entry, also for who looks at capsules alone."""
    content = pack(Entry(b"key", b"item")) + pack(Entry(b"other", None))
    assert [Entry(b"key", b"item"), Entry(b"other", None)] == list(unpacked([content]))
    capsule = Entry(b"k", b"i", is_capsule=True)
    assert [None, None, capsule] == capsules([content + pack(capsule)])
    for damaged in [
        content[:-1],
        b"\x07" + content[1:],
        content[:3],
        pack(Entry(b"k", b"i")).replace(b"\x01", b"\x02", 1),
    ]:
        for pieces in ([damaged], [damaged[at : at + 1] for at in range(len(damaged))]):
            with pytest.raises(Corrupt):
                list(unpacked(pieces))
            with pytest.raises(Corrupt):
                capsules(pieces)


@pytest.mark.parametrize("size", [1, 2, 7, 9, 10, 64, 1000])
def test_entries_are_the_same_however_their_frame_is_cut(size: int) -> None:
    """Pieces of any size, smaller than an entry's head or larger than several entries, give the same entries."""
    entries = [
        *(Entry(b"key%d" % number, b"i" * number) for number in range(40)),
        Entry(b"long", b"x" * 5000, more=b"more"),
        Entry(b"gone", None),
        Entry(b"mark", None, is_marked=True),
        Entry(b"capsule", b"held" * 100, is_capsule=True),
    ]
    content = b"".join(map(pack, entries))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert entries == list(unpacked(iter(pieces)))
    assert [entry if entry.is_capsule else None for entry in entries] == capsules(iter(pieces))


async def test_the_newest_state_is_found_whoever_began_last(
    blobs: BlobStore, env: Environment, clock: ManualClock
) -> None:
    """A backup that took long holds a later state than many that began after it, and another store's is not meant."""
    archive = Archive(blobs, KEYS, env)
    states = States(archive, Recordings(archive, "s"), store="s")
    slow = await archive.begin("manual", store="s")
    for _ in range(40):
        clock.advance(timedelta(hours=1))
        for store in ("s", "t"):
            await (await archive.begin("manual", store=store)).commit({}, as_of=clock.now())
    made = await slow.commit({}, as_of=clock.now() + timedelta(minutes=1))
    assert (await states.newest())[0] == made
    assert (await states.named("latest"), await Catalogue(blobs, "backups/").committed() >= {made.id}) == (
        made.id,
        True,
    )
