"""Rows that somebody else wrote into the cache's file: never executed, never followed, a miss, and removed."""

from __future__ import annotations

import os
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import diskcache
import pytest
from storycore_diskcache._disk import BytesDisk, ForeignRow

from storycore.ports.lifecycle import PortName
from storycore.testing.cache_examples import item
from storycore.testing.harness import Harness


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.CACHE, "diskcache", {}, tmp_path)


def change(harness: Harness, statement: str, *values: object) -> None:
    """Run a statement on the cache's file as another program would."""
    with sqlite3.connect(harness.path / "cache" / "cache.db") as connection:
        connection.execute(statement, values)
    connection.close()


def rows_of(harness: Harness) -> int:
    connection = sqlite3.connect(harness.path / "cache" / "cache.db")
    (count,) = connection.execute("SELECT COUNT(*) FROM Cache WHERE substr(key, 1, 1) != x'6d'").fetchone()
    connection.close()
    return int(count)


@pytest.mark.parametrize("where", ["value", "file"])
async def test_a_pickled_value_is_never_loaded(harness: Harness, where: str) -> None:
    """The row is a miss for every read, its bomb does not go off, and the row is gone afterwards."""
    target, store = harness.path / "exploded", await harness.started()
    await store.put([item("k", b"x" * (50_000 if where == "file" else 1)), item("other")])
    bomb = pickle.dumps(Bomb(target))
    if where == "value":
        change(harness, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", bomb, b"vk")
    else:
        (file,) = (harness.path / "cache").glob("??/??/*.val")
        file.write_bytes(bomb)
        change(harness, "UPDATE Cache SET mode = 4 WHERE key = ?", b"vk")
    assert await store.get(["k", "other"]) == [None, b"v"]
    assert not target.exists()
    assert rows_of(harness) == 1
    await store.put([item("k", b"new")])
    assert await store.get(["k"]) == [b"new"]
    await store.close()


async def test_a_pickled_key_is_removed_when_the_cache_is_opened(harness: Harness) -> None:
    """Rows with pickled keys are no rows of ours."""
    store = await harness.started()
    target = harness.path / "exploded"
    bomb = pickle.dumps(Bomb(target))
    change(harness, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 4, ?)", bomb, bomb)
    assert list((await store.keys()).keys) == []
    await store.close()
    store = await harness.started()
    assert (rows_of(harness), target.exists()) == (0, False)
    await store.close()


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "aa/bb/../../../../secret", "cache.db"])
async def test_a_file_elsewhere_is_neither_read_nor_deleted(harness: Harness, name: str) -> None:
    """A row may name only files that diskcache itself would make."""
    secret = harness.path / "secret"
    secret.write_bytes(b"secret")
    store = await harness.started()
    await store.put([item("k")])
    change(harness, "UPDATE Cache SET mode = 2, value = NULL, filename = ? WHERE key = ?", name, b"vk")
    assert await store.get(["k"]) == [None]
    await store.put([item("k", b"x" * 50_000)])
    change(harness, "UPDATE Cache SET filename = ? WHERE key = ?", name, b"vk")
    await store.invalidate(["k"])
    await store.put([item("k")])
    assert (secret.read_bytes(), Path("/etc/hostname").exists()) == (b"secret", True)
    assert await store.get(["k"]) == [b"v"]
    await store.close()


@pytest.mark.parametrize(
    "damage", ["value = 'text'", "value = 7", "value = NULL", "tag = 'soon'", "tag = NULL", "mode = 3", "mode = 99"]
)
async def test_a_row_of_another_form_is_a_miss(harness: Harness, damage: str) -> None:
    """Whatever a row says that ours never say, its key is absent and can be put again."""
    store = await harness.started()
    await store.put([item("k")])
    change(harness, f"UPDATE Cache SET {damage} WHERE key = ?", b"vk")
    assert await store.get(["k"]) == [None]
    assert await store.invalidate(["k"]) == 0
    await store.put([item("k", b"new")])
    assert await store.get(["k"]) == [b"new"]
    await store.close()


def test_diskcache_itself_cannot_unpickle_with_this_disk(tmp_path: Path) -> None:
    """Also through the raw client nothing is pickled or unpickled."""
    cache = diskcache.Cache(str(tmp_path / "c"), disk=BytesDisk)
    for key, value in (("text", b"v"), (b"k", "text"), (b"k", {"a": 1}), ((1, 2), b"v")):
        with pytest.raises(ForeignRow):
            cache.set(key, value)
    cache.set(b"k", b"v")
    assert cache.get(b"k") == b"v"
    cache.close()
