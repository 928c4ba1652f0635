"""The directory: private, shared, damaged, full, read-only, too large, or gone."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import diskcache
import pytest
from storycore_diskcache import _place, _store

from storycore.errors import NotProvisioned, StorageFull, Unavailable
from storycore.ports.cache import Acquired, Cache, Fill
from storycore.ports.lifecycle import PortName
from storycore.testing.cache_examples import LEASE, TTL, fill, item, lease_of
from storycore.testing.harness import Harness


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.CACHE, "diskcache", {}, tmp_path)


async def test_the_directory_is_its_owners_alone(harness: Harness) -> None:
    """It is made with mode 0700, by ``ensure`` and not by ``open``."""
    with pytest.raises(NotProvisioned):
        await harness.make().open()
    planned = await harness.make().ensure(dry_run=True)
    assert len(planned.actions) == 1
    assert not (harness.path / "cache").exists()
    store = await harness.started()
    assert stat.S_IMODE((harness.path / "cache").stat().st_mode) == 0o700
    assert store.native(diskcache.Cache).directory == str(harness.path / "cache")
    await store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
async def test_a_forked_child_does_not_wait_for_a_thread_it_does_not_have(harness: Harness) -> None:
    """In the child every call is ``Unavailable``, close is harmless, and the parent goes on."""
    store = await harness.started()
    await store.put([item("small")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(_in_child(store))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert await store.get(["small"]) == [item("small").value]
    await store.close()


def _in_child(store: Cache) -> int:
    """How many calls did something else than raise ``Unavailable``."""
    wrong = 0
    for call in (store.get(["small"]), store.put([item("small")])):
        try:
            call.send(None)
            wrong += 1
        except Unavailable:
            pass
    for ending in (store.health(), store.close()):
        try:
            ending.send(None)
            wrong += 1
        except StopIteration:
            pass
    return wrong


async def test_values_outlive_closing(harness: Harness) -> None:
    """A cache that is opened again is warm, and its counters go on."""
    store = await harness.started()
    await store.put([item("small"), item("large", b"x" * 100_000)])
    (number,) = await store.bump(["c"])
    await store.close()
    store = await harness.started()
    assert await store.get(["small", "large"]) == [b"v", b"x" * 100_000]
    assert await store.counters(["c"]) == [number]
    await store.close()


async def test_after_a_restart_of_the_machine_it_is_empty(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last invalidations may be lost with the power, so nothing from before is served."""
    store = await harness.started()
    await store.put([item("k")])
    lease = await lease_of(store, "l")
    await store.close()
    monkeypatch.setattr(_store, "boot_id", lambda: "another boot")
    store = await harness.started()
    assert await store.get(["k"]) == [None]
    assert not await fill(store, lease)
    await store.close()


@pytest.mark.parametrize("when", ["closed", "open"])
async def test_a_damaged_cache_is_set_aside(harness: Harness, when: str) -> None:
    """It begins anew and empty, serves at once, keeps the damaged file, and says so in its health."""
    store = await harness.started()
    await store.put([item(f"k{i}", b"x" * 2000) for i in range(50)])
    await store.put([item("large", b"x" * 100_000)])
    await store.close()
    database = harness.path / "cache" / "cache.db"
    if when == "open":
        store = await harness.started()
        await store.get(["k1"])
    with database.open("r+b") as file:
        file.seek(0)
        file.write(b"no database at all, but text" * 3000)
    if when == "closed":
        store = await harness.started()
    for _ in range(2):
        await store.get(["k1"])
    await store.put([item("k", b"new")])
    assert await store.get(["k", "large"]) == [b"new", None]
    health = await store.health(deep=True)
    assert (health.ok, "set aside" in health.detail, health.facts["times_begun_anew"]) == (True, True, 1)
    assert (harness.path / "cache" / "damaged" / "cache.db").exists()
    assert not list((harness.path / "cache").glob("??/??/*.val"))
    await store.close()


async def test_another_client_follows_to_the_new_file(harness: Harness) -> None:
    """When one sets the database aside, nobody else goes on with the old one."""
    one, two = await harness.started(), await harness.started()
    await one.put([item("k")])
    assert await two.get(["k"]) == [b"v"]
    _place.Place(harness.path / "cache").set_aside()
    assert await one.get(["k"]) == [None]
    await one.put([item("k", b"new")])
    assert await two.get(["k"]) == [b"new"]
    await one.close()
    await two.close()


async def test_a_full_disk_never_fails_a_read(harness: Harness) -> None:
    """Hits are served, by ``get`` and ``acquire``; what must write says ``StorageFull``, and nothing is half done."""
    store = await harness.started()
    await store.put([item("k")])
    await store.counters(["c"])
    await _limit_pages(store)
    with pytest.raises(StorageFull):
        await store.put([item(f"big{i}", b"x" * 30_000) for i in range(200)])
    assert await store.get(["k", "big0"]) == [b"v", None]
    assert await store.acquire(["k"], lease=LEASE) == [Acquired(value=b"v")]
    assert len(await store.counters(["c"])) == 1
    assert list((await store.keys()).keys) == ["k"]
    assert (await store.health()).ok
    assert await store.invalidate(["k"]) == 1
    await store.close()


async def _limit_pages(store: object) -> None:
    """Let SQLite have no further pages, which it reports as a full disk."""
    await store.inner._lane.alone(lambda s: s.client._sql("PRAGMA max_page_count = 1"))  # type: ignore[attr-defined]


async def test_a_spoiled_write_does_not_spoil_its_batch(harness: Harness) -> None:
    """Of writes that share a transaction, only the one that has no space fails."""
    store = await harness.started()
    await store.put([item("k0"), item("k1"), item("k2")])
    await _limit_pages(store)
    calls = [store.invalidate(["k0"]), store.put([item("big", b"x" * 30_000)]), store.invalidate(["k1"])]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [outcomes[0], type(outcomes[1]), outcomes[2]] == [1, StorageFull, 1]
    assert await store.get(["k0", "k1", "k2", "big"]) == [None, None, b"v", None]
    await store.close()


async def test_a_write_that_fails_leaves_no_file_behind(harness: Harness) -> None:
    """What was written beside the database before the transaction failed is removed, and nothing else."""
    store = await harness.started()
    large = b"x" * 100_000
    await store.put([item("stays", large)])
    await _limit_pages(store)
    with pytest.raises(StorageFull):
        await store.put([item("a", large), *(item(f"b{i}", b"x" * 30_000) for i in range(200))])
    assert len(list((harness.path / "cache").glob("??/??/*.val"))) == 1
    assert await store.get(["stays", "a"]) == [large, None]
    await store.close()


async def test_requests_side_by_side_are_answered_as_if_one_after_the_other(harness: Harness) -> None:
    """What is done together in one batch leaves what the last of them said, and each gets his own answer."""
    async with await harness.started() as store:
        large = b"x" * 100_000
        writes = [store.put([item("a", large), item("b")]), store.put([item("b", b"2")]), store.put([item("a", b"3")])]
        await asyncio.gather(*writes, store.put([item("c", large)]))
        found = await asyncio.gather(store.get(["a", "b"]), store.get([]), store.get(["b", "none", "b"]))
        assert found == [[b"3", b"2"], [], [b"2", None, b"2"]]
        asked = await asyncio.gather(*(store.acquire([key], lease=LEASE) for key in ("a", "n", "n", "m")))
        assert [(one.value, one.lease is not None) for (one,) in asked] == [
            (b"3", False),
            (None, True),
            (None, False),
            (None, True),
        ]
        mine, others = asked[1][0].lease, asked[3][0].lease
        assert mine is not None and others is not None
        fills = [Fill(mine, b"5", TTL), Fill(mine, b"6", TTL), Fill(replace(others, token=mine.token), b"7", TTL)]
        assert await asyncio.gather(*(store.fill([fill]) for fill in fills)) == [[True], [False], [False]]
        assert await store.get(["n", "m"]) == [b"5", None]
        await store.put([item("c")])
        assert not list((harness.path / "cache").glob("??/??/*.val"))


async def test_it_stays_near_its_size_limit(tmp_path: Path) -> None:
    """The values that were stored longest ago go, their files too; counters stay."""
    harness = Harness(PortName.CACHE, "diskcache", {"size_limit_bytes": 1024 * 1024}, tmp_path)
    store = await harness.started()
    counter = await store.counters(["c"])
    for i in range(200):
        await store.put([item(f"k{i:03}", bytes(20_000 if i % 2 else 60_000))])
    health = await store.health()
    assert int(health.facts["size_bytes"]) < 2.2 * 1024 * 1024
    kept = list((await store.keys()).keys)
    assert (kept[-1], "k000" in kept) == ("k199", False)
    assert len(kept) >= 10
    files = list((tmp_path / "cache").glob("??/??/*.val"))
    assert len(files) == sum(int(key[1:]) % 2 == 0 for key in kept)
    assert await store.counters(["c"]) == counter
    await store.close()


async def test_expired_values_make_room(harness: Harness) -> None:
    """After their end they leave the file as writes go on, without being read."""
    store = await harness.started()
    await store.put([item(f"old{i}", b"x" * 50_000, timedelta(seconds=1)) for i in range(20)])
    harness.clock.advance(1)
    for i in range(20):
        await store.put([item(f"new{i}")])
    assert not list((harness.path / "cache").glob("??/??/*.val"))
    await store.close()


async def test_a_deleted_directory_is_made_again(harness: Harness) -> None:
    """Whoever deletes the cache's files has cleared it."""
    store = await harness.started()
    await store.put([item("k")])
    for file in (harness.path / "cache").iterdir():
        file.unlink()
    assert await store.get(["k"]) == [None]
    await store.put([item("k", b"2")])
    assert await store.get(["k"]) == [b"2"]
    await store.close()


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that any user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


_AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from storycore_diskcache.cache import open_cache
from storycore_diskcache.config import DiskcacheConfig
from storycore.ports.environment import Environment
if os.geteuid() == 0:
    os.setuid(65534)
async def main():
    store = open_cache(DiskcacheConfig(path=Path(sys.argv[1])), Environment())
    try:
        await store.ensure()
        await store.open()
        print("opened")
    except Exception as exc:
        print(type(exc).__name__)
asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("what", ["a new directory", "a read-only cache"])
async def test_a_read_only_directory_is_access_denied(open_place: Path, what: str) -> None:
    """For a user who may not write there, ``ensure`` or ``open`` says ``AccessDenied``."""
    path = open_place / "cache"
    if what == "a read-only cache":
        store = await Harness(PortName.CACHE, "diskcache", {"path": str(path)}, open_place).started()
        await store.close()
        for file in (path, *path.iterdir()):
            file.chmod(0o555)
    else:
        open_place.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("AccessDenied", "")
