"""Whatever happens to a blob of the archive is found by reading it all, and told by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest, read_manifest
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.blobs import BlobSource
from storycore.backup.sources.entities import EntitySource
from storycore.errors import AccessDenied, Corrupt, SchemaMismatch, StorycoreError
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

Damage = Callable[[bytes, bytes, Random], bytes | None]
"""What is left of a blob's bytes, given those of another one too; ``None``: it is gone."""


def gone(data: bytes, other: bytes, random: Random) -> bytes | None:
    return None


def emptied(data: bytes, other: bytes, random: Random) -> bytes:
    return b""


def cut(data: bytes, other: bytes, random: Random) -> bytes:
    return data[: random.randrange(1, len(data))]


def cut_by_one(data: bytes, other: bytes, random: Random) -> bytes:
    return data[:-1]


def lengthened(data: bytes, other: bytes, random: Random) -> bytes:
    return data + b"\0"


def flipped(data: bytes, other: bytes, random: Random) -> bytes:
    place = random.randrange(len(data))
    return _flipped(data, place, random)


def exchanged(data: bytes, other: bytes, random: Random) -> bytes:
    return other


DAMAGES: Sequence[Damage] = (gone, emptied, cut, cut_by_one, lengthened, flipped, flipped, flipped, flipped, exchanged)


def opened(env: Environment) -> tuple[EntityStore, BlobStore]:
    """An empty store of two ports."""
    entities: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    return entities, blobs


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    env = Environment(clock=ManualClock(manifest.as_of))
    entities, blobs = opened(env)
    async with entities, blobs:
        yield [BlobSource(blobs, env), EntitySource(entities, env)]


class Chain:
    """A full backup, two increments, a recording, and everything that lies in the archive."""

    def __init__(self, place: BlobStore, archive: Archive, backups: Backups, held: dict[str, bytes]) -> None:
        self.place, self.archive, self.backups, self.held = place, archive, backups, held

    async def problems(self) -> list[str]:
        """What reading everything tells."""
        listing = await self.backups.list()
        found = list(listing.damaged.values())
        for id_ in sorted({name.split("/")[-1].removesuffix(".json") for name in self.held if "manifests/" in name}):
            try:
                found += (await self.backups.verify(id_, level="full")).problems
            except StorycoreError as exc:
                found.append(exc.message)
        return found + list(await self.backups.verify_recording())


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    clock = ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    entities, own = opened(env)
    place: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with entities, own, place:
        archive = Archive(place, Passphrase("correct horse", 10), env)
        sources = [BlobSource(own, env), EntitySource(entities, env)]
        backups = Backups(archive, sources, env, store="s", scratch=scratch, max_share=9.0)
        for turn in range(3):
            await entities.write([Put(key=Key("p", f"{turn}{n}"), kind="note", body=b"body%d" % n) for n in range(5)])
            await entities.write([Delete(key=Key("p", "00"))])
            await own.put(f"short{turn}", b"content %d" % turn, when=ANY)
            await own.put(f"long{turn}", Random(turn).randbytes(70_000), when=ANY)
            await backups.create()
            clock.advance(60)
            await backups.record()
        held = {}
        for info in (await place.entries("backups/", limit=1000)).blobs:
            async with await place.get(info.key) as reader:
                held[info.key] = await reader.read()
        yield Chain(place, archive, backups, {name: data for name, data in held.items() if "verified" not in name})


def _alike(name: str, names: Sequence[str]) -> str:
    """Another blob of the same sort, as near to this one as there is."""
    sort = name.rsplit("/", 1)[-1].rstrip("0123456789").partition("_")[0]
    others = [each for each in names if each != name]
    return next((each for each in others if each.rsplit("/", 1)[-1].startswith(sort)), others[0])


@pytest.mark.parametrize("damage", DAMAGES, ids=[f"{each.__name__}-{n}" for n, each in enumerate(DAMAGES)])
async def test_damage_to_any_blob_is_found_and_named(chain: Chain, damage: Damage) -> None:
    """Every manifest, key, object, content, segment and note of a chain, one after the other."""
    random = Random(DAMAGES.index(damage) + len(chain.held))
    assert await chain.problems() == []
    names = sorted(chain.held)
    assert {name.rsplit("/", 1)[-1][:6] for name in names} >= {"key.js", "tip.js", "blobs.", "entiti", "000000"}
    for name in names:
        left = damage(chain.held[name], chain.held[_alike(name, names)], random)
        if left is None:
            await chain.place.delete([name])
        else:
            await chain.place.put(name, left, when=ANY)
        problems = await chain.problems()
        if damage is not gone or not name.endswith("tip.json"):  # what it says is said by segments as well
            assert problems, f"{damage.__name__} of {name} was not found"
            assert any(_part(name) in problem for problem in problems), (name, problems)
        await chain.place.put(name, chain.held[name], when=ANY)
    assert await chain.problems() == []


def _part(name: str) -> str:
    """What a report has to say of a blob: its backup, and its own name where it holds items."""
    folder, _, own = name.removeprefix("backups/").rpartition("/")
    if folder == "manifests":
        return own.removesuffix(".json")
    if own.isdecimal():
        return f"Segment {int(own)} "
    if "content" in own:
        return "long"
    return folder.removeprefix("segments/") if own.endswith(".json") else own


async def test_a_recording_that_was_cut_off_is_found(chain: Chain) -> None:
    """Its note knows how many segments there were."""
    names = [name for name in sorted(chain.held) if "segments/" in name and name[-12:].isdecimal()]
    await chain.place.delete(names[-1:])
    assert [f"Segment {len(names)} " in problem for problem in await chain.problems()] == [True]


async def test_every_byte_of_a_manifest_and_of_a_key_counts(chain: Chain) -> None:
    """One bit changed anywhere in them is found, be it in what only people read."""
    archive, random = chain.archive, Random(5)
    name = next(each for each in sorted(chain.held) if "manifests/" in each)
    id_ = name.rsplit("/", 1)[-1].removesuffix(".json")
    key, data = await archive.key(id_), chain.held[name]
    assert read_manifest(data, key, name=id_).id == id_
    for place in range(len(data)):
        with pytest.raises((Corrupt, SchemaMismatch)):
            read_manifest(_flipped(data, place, random), key, name=id_)
    sealed = f"backups/{id_}/key.json"
    for place in range(len(chain.held[sealed])):
        await chain.place.put(sealed, _flipped(chain.held[sealed], place, random), when=ANY)
        with pytest.raises((Corrupt, AccessDenied), match=id_):
            await archive.key(id_)


def _flipped(data: bytes, place: int, random: Random) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]
