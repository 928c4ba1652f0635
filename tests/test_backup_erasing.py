"""What an erasure reaches: long contents too, and it tells which backups and recordings it concerns, and which not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

import storycore
from storycore.app import Store
from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.contents import read_content
from storycore.backup.keys import KeyFile
from storycore.backup.owners import OWNERS
from storycore.backup.scratch import scratch_with
from storycore.backup.service import Backups
from storycore.backup.sources import Reached, Sink, Source
from storycore.backup.sources.entities import EntitySource
from storycore.errors import ConfigError, Corrupt, InvalidArgument, Unavailable
from storycore.plugins import Plugins
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.story import User
from storycore.testing.clock import ManualClock

NAMES = ("ada", "bob")
PHOTO = {name: random.Random(name).randbytes(150_000) for name in (*NAMES, "nobody", "later")}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))


def settings(*, owner_keys: bool = True) -> dict[str, object]:
    """Of a profile's backups."""
    return {"backup": {"owner_keys": owner_keys}}


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """With two users, a long blob of each, and one that is nobody's."""
    env = Environment(clock=clock)
    async with storycore.open("memory", dir=tmp_path, overrides=settings(), env=env) as store:
        await store.init(warm_cache=False)
        for name in NAMES:
            await store.users.save(User(user_id=name, email=f"{name}@example.com", username=name))
            await store.blobs.put(f"photos/{name}", PHOTO[name], when=ANY, metadata={"user-id": name})
        await store.blobs.put("photos/nobody", PHOTO["nobody"], when=ANY)
        yield store


async def backed_up(store: Store, clock: ManualClock) -> tuple[str, str]:
    """A full backup, an increment with another long blob of Ada's, and a recording behind it."""
    full = (await store.backups.create()).backup_id
    clock.advance(60)
    await store.blobs.put("photos/ada2", PHOTO["later"], when=ANY, metadata={"user-id": "ada"})
    increment = (await store.backups.create()).backup_id
    clock.advance(60)
    await store.backups.record()
    await store.users.save(User(user_id="eve", email="eve@example.com", username="eve"))
    await store.users.update("ada", {"username": "lady_ada"})
    clock.advance(60)
    await store.backups.record()
    return full, increment


async def photos(store: Store, id_: str, folder: Path, clock: ManualClock) -> dict[str, bytes]:
    """Which blobs a backup gives back."""
    async with storycore.open("memory", dir=folder / id_, env=Environment(clock=clock)) as other:
        await other.init(warm_cache=False)
        await store.backups.restore(id_, into=other)
        found: dict[str, bytes] = {}
        for info in (await other.blobs.entries("photos/")).blobs:
            async with await other.blobs.get(info.key) as reader:
                found[info.key.removeprefix("photos/")] = await reader.read()
        return found


class Erasing(EntitySource):
    """Records during whose reading somebody is erased, once."""

    def __init__(self, source: Source, store: Store) -> None:
        assert isinstance(source, EntitySource)
        super().__init__(source._store, source._env)
        self._erases: Store | None = store

    async def read(self, sink: Sink) -> Reached:
        store, self._erases = self._erases, None
        if store is not None:
            await store.backups.erase("ada")
        return await super().read(sink)


def archive_of(store: Store) -> Archive:
    """As whoever holds the key file of the backups sees it."""
    return Archive(store.blobs, KeyFile(store.profile.backup_key_file), Environment())


async def test_long_contents_go_with_their_owner(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    """Of a full backup and an increment; what belongs to others, or to nobody, comes back to the last byte."""
    full, increment = await backed_up(store, clock)
    before = {name: PHOTO[name] for name in (*NAMES, "nobody")}
    assert await photos(store, full, tmp_path, clock) == before
    assert await photos(store, increment, tmp_path, clock) == {**before, "ada2": PHOTO["later"]}
    await store.users.delete("ada")
    await store.backups.erase("ada")
    for id_ in (full, increment):
        assert await photos(store, id_, tmp_path / "after", clock) == {n: PHOTO[n] for n in ("bob", "nobody")}
        for level in ("full", "restore"):
            found = await store.backups.verify(id_, level=level)
            assert (found.problems, found.erased > 0) == ((), True)
    assert await store.backups.verify_recording() == []


async def test_no_key_that_is_left_opens_a_long_content_of_an_erased_user(store: Store, clock: ManualClock) -> None:
    """Neither that of the backup, nor those of other owners: of the objects only those of others can be read."""
    full, increment = await backed_up(store, clock)
    archive = archive_of(store)
    await store.backups.erase("ada")
    places = [await archive.place(id_) for id_ in (full, increment)]
    keyring, owners = archive.keyring(), await archive.place(OWNERS)
    bob, _ = await keyring.sealing(places[0], "bob")
    read: list[bytes] = []
    for place in places:
        for info in (await archive.manifest(place.backup)).ports["blobs"].contents:
            for key in (place.key, bob.key, owners.key):
                try:
                    read.append(b"".join([part async for part in read_content(replace(place, key=key), info)]))
                except Corrupt:
                    continue
    assert read == [PHOTO["bob"], PHOTO["nobody"]]


async def test_it_is_told_what_an_erasure_concerns(store: Store, clock: ManualClock) -> None:
    """Which backups and recordings hold something; a dry run destroys nothing, and a second time nothing is left."""
    full, increment = await backed_up(store, clock)
    await store.blobs.delete(["photos/bob"])
    clock.advance(60)
    planned = await store.backups.erase("ada", dry_run=True)
    assert (planned.had_key, planned.backups, planned.recordings) == (True, (increment, full), (increment,))
    assert (await store.backups.erase("ada")) == planned
    again = await store.backups.erase("ada")
    assert (again.had_key, again.backups, again.recordings, again.unread) == (False, (), (), {})
    of_bob = await store.backups.erase("bob", dry_run=True)
    assert (of_bob.backups, of_bob.recordings) == ((full,), ())
    with pytest.raises(InvalidArgument, match="id of the user"):
        await store.backups.erase("")


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_what_the_feed_still_tells_of_an_erased_user_meets_no_new_key(
    store: Store, clock: ManualClock, tmp_path: Path, is_recorded: bool
) -> None:
    """Neither a recording nor the next backup brings a state of the user from before."""
    await store.backups.create()
    if is_recorded:
        await store.backups.record()
    clock.advance(60)
    await store.users.update("ada", {"username": "lady_ada"})
    clock.advance(60)
    moment = clock.now()
    await store.users.delete("ada")
    await store.blobs.delete(["photos/ada"])
    clock.advance(60)
    assert len((await store.backups.erase("ada")).recordings) == is_recorded
    clock.advance(60)
    await store.backups.record()
    clock.advance(60)
    await store.backups.create()
    made = (await store.backups.list()).manifests
    assert [each.is_full for each in made] == ([False, True] if is_recorded else [False, True, True])
    assert not (await store.backups.erase("ada", dry_run=True)).had_key
    async with storycore.open("memory", dir=tmp_path / "then", env=Environment(clock=clock)) as other:
        await other.init(warm_cache=False)
        await store.backups.restore(at=moment, into=other)
        assert [await other.users.find(name) is not None for name in NAMES] == [False, True]


async def test_the_backup_behind_an_erasure_is_an_increment(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    """Also when somebody is erased every day; it holds what the store holds, and of the user what is still there."""
    await store.blobs.put("large", random.Random(1).randbytes(3_000_000), when=ANY)
    made = [await store.backups.create()]
    for day, name in enumerate(("ada", "bob", "ada")):
        clock.advance(86_400)
        await store.users.save(User(user_id=f"new{day}", email=f"new{day}@example.com", username=f"new{day}"))
        await store.backups.erase(name)
        clock.advance(60)
        made.append(await store.backups.create())
    assert [each.manifest.is_full for each in made] == [True, False, False, False]
    last = made[-1].manifest
    assert (await store.backups.verify(level="restore")).problems == ()
    assert (await store.backups.verify()).erased > 0
    assert await photos(store, last.id, tmp_path, clock) == {name: PHOTO[name] for name in (*NAMES, "nobody")}
    whole = (await store.backups.create(full=True)).manifest
    assert {name: port.digest for name, port in last.ports.items()} == {n: p.digest for n, p in whole.ports.items()}


async def test_an_increment_of_before_gives_nothing_of_the_erased_user(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    """Only those behind the erasure hold what is still there."""
    await store.blobs.put("large", random.Random(1).randbytes(3_000_000), when=ANY)
    full, increment = await backed_up(store, clock)
    await store.backups.erase("ada")
    clock.advance(60)
    later = (await store.backups.create()).manifest
    assert later.parent == increment
    left = {"bob": PHOTO["bob"], "nobody": PHOTO["nobody"]}
    assert [await photos(store, id_, tmp_path, clock) for id_ in (full, increment)] == [left, left]
    all_ = left | {"ada": PHOTO["ada"], "ada2": PHOTO["later"]}
    assert await photos(store, later.id, tmp_path, clock) == all_


async def test_who_was_erased_before_that_was_noted_makes_a_full_backup(store: Store, clock: ManualClock) -> None:
    """A note of an earlier version only says when; what the chain no longer gives back would be missed."""
    await store.backups.create()
    clock.advance(60)
    await store.backups.erase("ada")
    name = "backups/owners/erased.json"
    async with await store.blobs.get(name) as reader:
        noted = orjson.loads(await reader.read())
    await store.blobs.put(name, orjson.dumps({key: noted[key] for key in ("at", "seal")}), when=ANY)
    assert "not noted who" in (await store.backups.create()).reason
    for part, forged in (("keys", []), ("since", noted["at"]), ("at", "2020-01-01T00:00:00+00:00")):
        await store.blobs.put(name, orjson.dumps({**noted, part: forged}), when=ANY)
        assert "changed" in (await store.backups.create()).reason


async def test_an_erasure_ends_the_backup_that_is_being_made(store: Store, clock: ManualClock) -> None:
    """It may hold a state of the user from before under a new key; made again it does not."""
    sources = [Erasing(each, store) if each.name == "entities" else each for each in store.backups.sources]
    making = Backups(
        archive_of(store),
        sources,
        Environment(clock=clock),
        store="s",
        scratch=scratch_with(Plugins()),
        owner_of=owner_of,
    )
    await store.backups.create()
    with pytest.raises(Unavailable, match="make it again"):
        await making.create()
    assert len((await store.backups.list()).manifests) == 1
    await making.create()


async def test_a_damaged_note_of_the_last_erasure_makes_the_next_backup_a_full_one(store: Store) -> None:
    """It is told, and not guessed at."""
    await store.backups.create()
    await store.backups.erase("ada")
    await store.blobs.put("backups/owners/erased.json", b"{", when=ANY)
    assert "damaged" in (await store.backups.create()).reason


async def test_an_erasure_does_not_wait_for_a_recording_that_does_not_open(store: Store, clock: ManualClock) -> None:
    """A key of the recording that was exchanged is named, and the user is erased all the same."""
    _, increment = await backed_up(store, clock)
    name = f"backups/segments/{increment}/key.json"
    sealed = await content(store, name)
    await store.blobs.put(name, sealed.replace(b'"provider":"key', b'"provider":"kez'), when=ANY)
    done = await store.backups.erase("ada")
    assert (done.had_key, list(done.unread)) == (True, [increment])
    assert not (await store.backups.erase("ada", dry_run=True)).had_key


async def test_an_erasure_does_not_wait_for_what_is_damaged(store: Store, clock: ManualClock) -> None:
    """The backup is named with the reason, and is erased all the same."""
    full, increment = await backed_up(store, clock)
    await store.blobs.put(f"backups/{full}/owners-0001", b"x" * 50, when=ANY)
    assert any("owners-0001" in problem for problem in (await store.backups.verify(full)).problems)
    done = await store.backups.erase("ada")
    assert (done.had_key, done.backups, list(done.unread)) == (True, (increment,), [full])
    reader = await archive_of(store).reader(full)
    manifest = await store.backups.show(full)
    entries = [e for info in manifest.ports["blobs"].base async for frame in reader.frames(info) for e in frame]
    assert sorted(e.key for e in entries if e.item is not None) == [b"photos/bob", b"photos/nobody"]


async def test_where_owners_have_no_keys_that_is_told(tmp_path: Path, clock: ManualClock) -> None:
    """Before the setting an error, behind it the backups that it came too late for; the next backup is a full one."""
    env = Environment(clock=clock)
    async with storycore.open("memory", dir=tmp_path, overrides=settings(owner_keys=False), env=env) as plain:
        await plain.init(warm_cache=False)
        await plain.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
        old = (await plain.backups.create()).backup_id
        with pytest.raises(ConfigError, match="owner_keys = true"):
            await plain.backups.erase("ada")
        copies = [(i.key, await content(plain, i.key)) for i in (await plain.blobs.entries("backups/")).blobs]
    clock.advance(60)
    async with storycore.open("memory", dir=tmp_path, overrides=settings(), env=env) as store:
        await store.init(warm_cache=False)
        for name, data in copies:
            await store.blobs.put(name, data, when=ANY)
        await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
        made = await store.backups.create()
        assert (made.manifest.is_full, "without keys of owners" in made.reason) == (True, True)
        done = await store.backups.erase("ada")
        assert (done.backups, done.unsealed) == ((made.backup_id,), (old,))


async def content(store: Store, name: str) -> bytes:
    """Of a blob."""
    async with await store.blobs.get(name) as reader:
        return await reader.read()
