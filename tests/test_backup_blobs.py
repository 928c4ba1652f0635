"""Blobs in backups: short and long contents, unchanged ones once, and damage that names the blob."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.making import make_backup
from storycore.backup.manifest import Manifest
from storycore.backup.restoring import Selection, plan_restore, restore
from storycore.backup.sources.blobs import BlobSource
from storycore.backup.verifying import Level, Verification, verify_backup
from storycore.errors import AlreadyExists, Corrupt, Unavailable
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

ALL = Selection()
LONG = Random(7).randbytes(9 * 1024 * 1024)
CONTENTS = {
    "empty": b"",
    "notes/a.txt": b"short",
    "notes/edge.bin": LONG[: 64 * 1024],
    "notes/beyond.bin": LONG[: 64 * 1024 + 1],
    "films/frame.bin": LONG[: 4 * 1024 * 1024],
    "films/../längstes\u0301 /.bin": LONG,
    "spill/not/a body": b"a user's own",
}
SPILLED = f"spill/{'a' * 32}/{'b' * 32}/{'c' * 32}"


class World:
    """A blob store with blobs of all kinds, a second one that is empty, and an archive in the first."""

    def __init__(self, blobs: BlobStore, other: BlobStore, env: Environment) -> None:
        self.blobs, self.other, self.env = blobs, other, env
        self.archive = Archive(blobs, Passphrase("correct horse", 10), env)
        self.source = BlobSource(blobs, env, without=lambda: ["backups/"])
        self.target = BlobSource(other, env)

    async def backup(self, parent: Manifest | None = None) -> Manifest:
        chain = () if parent is None else await self.archive.chain(parent.id)
        return await make_backup(self.archive, [self.source], kind="manual", store="s", chain=chain)

    async def restored(self, manifest: Manifest, **settings: object) -> int:
        chain = await self.archive.chain(manifest.id)
        return (await restore(self.archive, chain, [self.target], ALL, **settings))["blobs"]  # type: ignore[arg-type]

    async def verified(self, manifest: Manifest, level: Level) -> Verification:
        at = self.env.clock.now()
        return await verify_backup(self.archive, manifest.id, level=level, at=at, random=Random(1))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    env = Environment(clock=ManualClock())
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env)))
            for _ in range(2)
        ]
        for key, content in CONTENTS.items():
            await one.put(key, content, when=ANY, content_type="text/x-own", metadata={"a": "1", "b": key[:2]})
        await one.put(SPILLED, b"a body", when=ANY)
        yield World(one, two, env)


async def content(blobs: BlobStore, key: str) -> bytes:
    async with await blobs.get(key) as reader:
        return await reader.read()


async def known(blobs: BlobStore) -> dict[str, tuple[object, ...]]:
    """Everything but the archive and spilled bodies, as a reader sees it."""
    found = [info for info in (await blobs.entries()).blobs if not info.key.startswith(("backups/", SPILLED))]
    return {i.key: (i.content_type, dict(i.metadata), i.sha256, await content(blobs, i.key)) for i in found}


async def test_what_is_restored_is_what_was_backed_up(world: World) -> None:
    """Content, type and metadata of blobs of any length; spilled bodies and the archive itself are left out."""
    made = await world.backup()
    assert await world.restored(made) == len(CONTENTS)
    assert await known(world.other) == await known(world.blobs)
    assert {key for key, _ in (await known(world.other)).items()} == set(CONTENTS)
    port = made.ports["blobs"]
    assert (port.items, port.consistency, len(port.contents)) == (len(CONTENTS), "fuzzy", 3)
    assert made.size_bytes > sum(map(len, [LONG, CONTENTS["films/frame.bin"]]))


async def test_an_increment_holds_what_changed(world: World) -> None:
    """Neither short nor long contents are stored again; type and metadata count as changes; what is gone goes."""
    full = await world.backup()
    await world.blobs.put("notes/a.txt", b"new", when=ANY)
    await world.blobs.put("notes/beyond.bin", LONG[: 64 * 1024 + 1], when=ANY, content_type="text/x-other")
    await world.blobs.delete(["films/frame.bin", "empty"])
    await world.blobs.put("films/new.bin", LONG[::-1][: 100 * 1024], when=ANY)
    increment = await world.backup(full)
    port = increment.ports["blobs"]
    assert sum(each.entries for each in port.changes) == 5
    assert (len(port.contents), port.items) == (2, len(CONTENTS) - 1)
    assert increment.size_bytes < 300 * 1024
    unchanged = await world.backup(increment)
    assert (unchanged.ports["blobs"].changes, unchanged.ports["blobs"].contents) == ((), ())
    assert await world.restored(unchanged) == len(CONTENTS) - 1
    assert await known(world.other) == await known(world.blobs)
    assert unchanged.ports["blobs"].digest == port.digest != full.ports["blobs"].digest


async def test_the_last_blob_that_goes_is_gone(world: World) -> None:
    """An increment over an empty store tells that nothing is left."""
    full = await world.backup()
    await world.blobs.delete([*CONTENTS])
    assert (await world.backup(full)).ports["blobs"].items == 0


async def test_the_same_state_has_the_same_digest_wherever_contents_lie(world: World) -> None:
    """A full backup, an increment, and a full backup of what was restored from it."""
    full = await world.backup()
    await world.blobs.put("films/new.bin", LONG[: 100 * 1024], when=ANY)
    increment = await world.backup(full)
    again = await world.backup()
    await world.restored(increment)
    other = Archive(world.other, Passphrase("another one", 10), world.env)
    source = BlobSource(world.other, world.env, without=lambda: ["backups/"])
    restored = await make_backup(other, [source], kind="manual", store="t")
    assert {each.ports["blobs"].digest for each in (increment, again, restored)} == {again.ports["blobs"].digest}


async def test_a_plan_and_the_modes_go_by_what_is_known_of_blobs(world: World) -> None:
    """Nothing is read to plan; ``skip`` leaves what is there, ``fail`` says so, ``replace`` removes the rest."""
    made = await world.backup()
    chain = await world.archive.chain(made.id)
    await world.other.put("notes/a.txt", b"mine", when=ANY)
    await world.other.put("extra", b"mine", when=ANY)
    await world.other.put(SPILLED, b"a body of the target", when=ANY)
    planned = (await plan_restore(world.archive, chain, [world.target], ALL))["blobs"]
    assert planned.added == {".": 1, "films": 2, "notes": 2, "spill": 1}
    assert (planned.replaced, planned.removed) == ({"notes": 1}, {".": 1})
    with pytest.raises(AlreadyExists):
        await world.restored(made, mode="merge")
    assert await world.restored(made, mode="merge", on_conflict="skip") == 0
    await world.other.delete([key for key in CONTENTS if key != "notes/a.txt"])
    assert await world.restored(made, mode="merge", on_conflict="skip") == len(CONTENTS) - 1
    assert await content(world.other, "notes/a.txt") == b"mine"
    await world.restored(made, mode="replace")
    assert await known(world.other) == await known(world.blobs)
    assert await content(world.other, SPILLED) == b"a body of the target"


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
async def test_damage_names_the_blob(world: World, damage: str) -> None:
    """A verification says whose content is lost, goes on, and a restore refuses to write half of it."""
    made = await world.backup()
    [info] = [each for each in made.ports["blobs"].contents if each.size_bytes > len(LONG)]
    name = f"backups/{made.id}/{info.name}"
    bytes_ = await content(world.blobs, name)
    if damage == "missing":
        await world.blobs.delete([name])
    else:
        cut = bytes_[:-20] if damage == "short" else bytes_[:5_000_000] + b"\0" + bytes_[5_000_001:]
        await world.blobs.put(name, cut, when=ANY)
    found = await world.verified(made, "full")
    assert len(found.problems) == 1
    assert "'films/../längstes\u0301 /.bin'" in found.problems[0]
    assert bool((await world.verified(made, "manifest")).problems) == (damage != "flipped")
    with pytest.raises(Corrupt, match="längstes"):
        await world.restored(made)
    assert await world.other.head("films/../längstes\u0301 /.bin") is None


async def test_an_interrupted_restore_is_completed_by_another(world: World) -> None:
    """Wherever it stops; what it has left is no reason to refuse the next one."""

    class Stopping(BlobSource):
        left = 3

        async def _put(self, entry, contents, *, overwrite):  # type: ignore[no-untyped-def]
            self.left -= 1
            if self.left < 0:
                raise Unavailable("The target has gone away.")
            return await super()._put(entry, contents, overwrite=overwrite)

    made = await world.backup()
    whole, world.target = world.target, Stopping(world.other, world.env)
    with pytest.raises(Unavailable):
        await world.restored(made)
    assert 0 < len(await known(world.other)) < len(CONTENTS)
    world.target = whole
    assert await world.restored(made) == len(CONTENTS)
    assert await known(world.other) == await known(world.blobs)


async def test_a_blob_that_goes_while_it_is_read_is_left_out(world: World) -> None:
    """It was listed, and is gone when its turn comes: the backup is that of a store without it."""

    class Vanishing(BlobSource):
        async def _whole(self, listed, sink):  # type: ignore[no-untyped-def]
            await world.blobs.delete(["notes/a.txt", "films/frame.bin"])
            return await super()._whole(listed, sink)

    full = await world.backup()
    await world.blobs.put("notes/a.txt", b"changed", when=ANY)
    world.source = Vanishing(world.blobs, world.env, without=lambda: ["backups/"])
    increment = await world.backup(full)
    assert increment.ports["blobs"].items == len(CONTENTS) - 1
    again = await world.backup(increment)
    assert again.ports["blobs"].items == len(CONTENTS) - 2


async def test_a_damaged_blob_of_the_store_is_told(tmp_path: Path) -> None:
    """A backup does not take in what is not what was put there; it fails, names the blob, and leaves nothing."""
    from storycore_files.blobs import open_blobs as open_files
    from storycore_files.config import FilesConfig

    env = Environment(clock=ManualClock())
    files: BlobStore = checked(PortName.BLOBS, open_files(FilesConfig(path=tmp_path / "blobs"), env))
    await files.ensure()
    async with files, checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env)) as place:
        await files.put("a.bin", LONG[:200_000], when=ANY)
        [path] = [each for each in (tmp_path / "blobs").rglob("*") if each.is_file() and each.stat().st_size > 199_999]
        held = bytearray(path.read_bytes())
        held[100_000] ^= 1
        path.write_bytes(held)
        archive = Archive(place, Passphrase("correct horse", 10), env)
        with pytest.raises(Corrupt, match=r"a\.bin"):
            await make_backup(archive, [BlobSource(files, env)], kind="manual", store="s")
        assert (await place.entries()).blobs == []


async def test_memory_does_not_grow_with_the_length_of_a_blob(tmp_path: Path) -> None:
    """40 MiB go into an archive of files and back into files in less than half of that."""
    from storycore_files.blobs import open_blobs as open_files
    from storycore_files.config import FilesConfig

    env, chunk = Environment(clock=ManualClock()), Random(3).randbytes(1024 * 1024)

    async def long() -> AsyncIterator[bytes]:
        for n in range(40):
            yield bytes([n]) + chunk

    def files(name: str) -> BlobStore:
        return checked(PortName.BLOBS, open_files(FilesConfig(path=tmp_path / name), env))

    for name in "abc":
        await files(name).ensure()
    async with files("a") as source, files("b") as place, files("c") as target:
        info = await source.put("long.bin", long(), when=ANY)
        archive = Archive(place, Passphrase("correct horse", 10), env)
        tracemalloc.start()
        try:
            made = await make_backup(archive, [BlobSource(source, env)], kind="manual", store="s")
            await restore(archive, [made], [BlobSource(target, env)], ALL)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        restored = await target.head("long.bin")
        assert restored is not None
        assert (restored.sha256, restored.size_bytes) == (info.sha256, 40 * (len(chunk) + 1))
        assert peak < 40 * 1024 * 1024, peak
        assert sha256(await content(target, "long.bin")).hexdigest() == info.sha256


async def test_a_restore_leaves_the_receiving_archive_alone(world: World) -> None:
    """A backup of another store may hold blobs under the names where the receiving store's own backups lie."""
    await world.other.put("backups/daily_20260101_020000_abcdef/key.json", b"another archive's", when=ANY)
    source = BlobSource(world.other, world.env)
    made = await make_backup(world.archive, [source], kind="manual", store="t")
    await world.blobs.put("backups/daily_20260101_020000_abcdef/key.json", b"this archive's", when=ANY)
    chain = await world.archive.chain(made.id)
    for mode, on_conflict in (("merge", "fail"), ("merge", "overwrite"), ("replace", "fail")):
        await restore(world.archive, chain, [world.source], ALL, mode=mode, on_conflict=on_conflict)  # type: ignore[arg-type]  # of a table
        async with await world.blobs.get("backups/daily_20260101_020000_abcdef/key.json") as reader:
            assert await reader.read() == b"this archive's"
    assert (await world.archive.manifest(made.id)).id == made.id
