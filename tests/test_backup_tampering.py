"""Tampering: whoever can write where backups lie, and has no key, neither passes for them nor breaks what is told."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest, PortContent
from storycore.errors import AccessDenied, ConfigError, Corrupt, StorageFull, StorycoreError, Unavailable
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


@pytest.fixture
def env() -> Environment:
    """Time stands still."""
    return Environment(clock=ManualClock(datetime(2026, 11, 1, 2, tzinfo=UTC)))


@pytest.fixture
async def blobs(env: Environment) -> AsyncIterator[BlobStore]:
    """Where the backups lie."""
    async with checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env)) as store:
        yield store


async def make(archive: Archive) -> Manifest:
    """A backup of one entry."""
    draft = await archive.begin("daily", store="s")
    writer = draft.writer("entities")
    await writer.add([Entry(b"k", b"item")])
    content = PortContent(base=await writer.close(), items=1, digest="00", consistency="point")
    return await draft.commit({"entities": content}, as_of=datetime(2026, 11, 1, 2, tzinfo=UTC))


async def manifest_of(blobs: BlobStore, id_: str) -> dict[str, Any]:  # Any: JSON
    """What lies in the place of a manifest."""
    async with await blobs.get(f"backups/manifests/{id_}.json") as reader:
        found: dict[str, Any] = orjson.loads(await reader.read())
        return found


async def put_manifest(blobs: BlobStore, id_: str, content: object) -> None:
    """Put something in the place of a manifest."""
    await blobs.put(f"backups/manifests/{id_}.json", orjson.dumps(content), when=ANY)


async def test_a_manifest_under_another_name_is_none(blobs: BlobStore, env: Environment) -> None:
    """A copy of a manifest is damaged, and does not make its backup appear twice."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    await put_manifest(blobs, "daily_20990101_020000_abcdef", await manifest_of(blobs, made.id))
    listing = await archive.listing()
    assert [each.id for each in listing.manifests] == [made.id]
    assert made.id in listing.damaged["daily_20990101_020000_abcdef"]


async def test_a_backup_replayed_under_a_newer_name_does_not_open(blobs: BlobStore, env: Environment) -> None:
    """Not with the key of the old one moved along, nor with the new name written into its manifest."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    newer = "daily_20990101_020000_abcdef"
    found = await manifest_of(blobs, made.id)
    found["manifest"]["id"] = newer
    await put_manifest(blobs, newer, found)
    async with await blobs.get(f"backups/{made.id}/key.json") as reader:
        await blobs.put(f"backups/{newer}/key.json", await reader.read(), when=ANY)
    with pytest.raises(StorycoreError):
        await archive.manifest(newer)


async def test_a_seal_of_any_characters_is_damage(blobs: BlobStore, env: Environment) -> None:
    """And no error of the library that compares seals."""
    archive = Archive(blobs, KEYS, env)
    made = await make(archive)
    await put_manifest(blobs, made.id, await manifest_of(blobs, made.id) | {"seal": "é" * 64})
    with pytest.raises(Corrupt, match="was changed"):
        await archive.manifest(made.id)


async def test_keys_are_in_no_repr(blobs: BlobStore, env: Environment) -> None:
    """What opens a backup does not come into logs and tracebacks by the place where it is used."""
    place = (await Archive(blobs, KEYS, env).begin("daily", store="s")).place
    assert repr(place.key) not in repr(place)
    assert "horse" not in f"{KEYS!r}{Archive(blobs, KEYS, env)!r}"


async def test_a_passphrase_is_what_was_typed(env: Environment) -> None:
    """Keyboards that compose an accent in one character or in two give the same key; what is no text is refused."""
    composed, parted = Passphrase("caf\u00e9 au lait", 10), Passphrase("cafe\u0301 au lait", 10)
    sealed = await composed.wrap(b"k" * 32, context={})
    assert await parted.unwrap(sealed, context={}) == b"k" * 32
    with pytest.raises(ConfigError, match="UTF-8"):
        Passphrase("\udcff" * 9)


class Unremovable(Forward[BlobStore]):
    """A blob store that nothing can be removed from."""

    def __getattr__(self, name: str) -> Any:  # a verb of the port
        return self._refused if name == "delete" else getattr(self.inner, name)

    async def _refused(self, keys: Sequence[str]) -> None:
        raise Unavailable(f"The blob store does not answer about {keys}.")


async def test_an_error_is_not_hidden_by_cleaning_up(blobs: BlobStore, env: Environment) -> None:
    """What ended a backup is told, though nothing of it could be removed; a sweep does it later."""
    draft = await Archive(Unremovable(blobs), KEYS, env).begin("daily", store="s")
    with pytest.raises(StorageFull):
        try:
            raise StorageFull("There is no room.")
        finally:
            await draft.abandon()
    assert await Archive(blobs, KEYS, env).unfinished(since=env.clock.now()) == [draft.id]


async def test_a_rotation_reaches_every_key_that_opens(blobs: BlobStore, env: Environment) -> None:
    """Of backups of a newer version and of those that are being made, too; a lost key is told and stops nothing."""
    archive, new = Archive(blobs, KEYS, env), Passphrase("battery staple", 10)
    newer, lost, whole = [(await make(archive)).id for _ in range(3)]
    draft = await archive.begin("daily", store="s")
    await put_manifest(blobs, newer, await manifest_of(blobs, newer) | {"format": 99})
    await blobs.put(f"backups/{lost}/key.json", b"x", when=ANY)
    done, left = await archive.sealed_keys.rotate_all(archive.ids, new)
    assert (sorted(done), list(left)) == (sorted([newer, whole, draft.id]), [lost])
    for id_ in done:
        assert len(await Archive(blobs, new, env).key(id_)) == 32
    with pytest.raises(AccessDenied):
        await archive.key(whole)


async def test_a_rotation_that_opens_nothing_says_so(blobs: BlobStore, env: Environment) -> None:
    """With a wrong old key nothing is sealed, and nobody takes it for done."""
    made = await make(Archive(blobs, KEYS, env))
    wrong = Archive(blobs, Passphrase("wrong horse", 10), env)
    with pytest.raises(AccessDenied):
        await wrong.sealed_keys.rotate_all(wrong.ids, Passphrase("battery staple", 10))
    assert (await Archive(blobs, KEYS, env).manifest(made.id)).id == made.id


async def test_full_backups_of_many_processes_share_a_salt(blobs: BlobStore, env: Environment) -> None:
    """One derivation opens them all; a salt that somebody planted is taken over by nobody."""
    planted = "daily_20990101_020000_abcdef"
    made = [await make(Archive(blobs, Passphrase(KEYS.phrase, 10), env)) for _ in range(3)]
    await put_manifest(blobs, planted, {})
    sealed = {"provider": "passphrase", "wrapped": base64.b64encode(bytes([10]) + b"s" * 60).decode()}
    await blobs.put(f"backups/{planted}/key.json", orjson.dumps({"sealed": [sealed]}), when=ANY)
    made.append(await make(Archive(blobs, Passphrase(KEYS.phrase, 10), env)))
    salts = []
    for each in made:
        async with await blobs.get(f"backups/{each.id}/key.json") as reader:
            wrapped = base64.b64decode(orjson.loads(await reader.read())["sealed"][0]["wrapped"])
            salts.append(wrapped[1:17])
    assert len({*salts[:3]}) == 1
    assert b"s" * 16 not in salts
