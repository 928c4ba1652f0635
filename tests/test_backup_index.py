"""The index of a backup: what a dict says, however many runs lie on disk; and a busy loop holds no backup up."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.backup import runs
from storycore.backup.archive import Archive
from storycore.backup.entries import Entry, key_mark, pack, unpacked
from storycore.backup.index import Index, Mark, item_mark, read_rows
from storycore.backup.keys import Passphrase
from storycore.backup.making import make_backup
from storycore.backup.runs import Runs
from storycore.backup.sources.entities import EntitySource
from storycore.errors import Corrupt, StorageFull
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.instants import micros
from storycore.ports.lifecycle import PortName

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ENDS = (None, micros(NOW) - 1, micros(NOW), micros(NOW) + 1)
MARKS = st.builds(
    lambda key, item, end: Mark(
        key_mark(b"%d" % key),
        None if item is None else item_mark(b"%d" % key, b"%d" % item),
        *(() if end is None else (end,)),
    ),
    st.integers(0, 60),
    st.none() | st.integers(0, 3),
    st.sampled_from(ENDS),
)
BATCHES = st.lists(st.lists(MARKS, max_size=30), max_size=8)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and blocks of a few rows, so that a few marks make many of them."""
    for name, rows in (("_RUN_ROWS", 7), ("_MERGED_ROWS", 8), ("_BLOCK_ROWS", 3), ("_MOST_SEARCHED", 2)):
        monkeypatch.setattr(runs, name, rows)


def state(model: dict[bytes, Mark]) -> tuple[int, str]:
    """The state of a model at that moment."""
    live = [mark for _, mark in sorted(model.items()) if mark.mark is not None and mark.expires_at > micros(NOW)]
    return len(live), sha256(b"".join(mark.key + (mark.mark or b"") for mark in live)).hexdigest()


def loaded(index: Index, *, changed_only: bool) -> list[Entry]:
    """The entries that an index gives."""
    return list(unpacked(chain.from_iterable(index.packed(changed_only=changed_only))))


@pytest.mark.usefixtures("small")
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(held=BATCHES, changed=BATCHES, seen=st.sets(st.integers(0, 60)))
def test_an_index_is_what_a_dict_says(
    tmp_path_factory: pytest.TempPathFactory, held: list[list[Mark]], changed: list[list[Mark]], seen: set[int]
) -> None:
    """State, changes, differences and what vanished, over any notes in any batches, and again after a load."""
    model, late = dict[bytes, Mark](), dict[bytes, Mark]()
    folder = tmp_path_factory.mktemp("index")
    with Index(folder / "one") as index, Index(folder / "two") as other:
        for batch in held:
            index.note(batch, changed=False)
            model |= {mark.key: mark for mark in batch}
        for batch in changed:
            index.note(batch, changed=True)
            late |= {mark.key: mark for mark in batch}
        model |= late
        there = {key for key, mark in model.items() if mark.mark is not None}
        met = {key_mark(b"%d" % each) for each in seen}
        index.saw([Mark(key, None) for key in sorted(met)])
        assert sorted(there - met) == list(chain.from_iterable(index.vanished()))
        keys = [key_mark(b"%d" % each) for each in range(61)]
        assert [key in there for key in keys] == [index.has(key) for key in keys]
        asked = [mark for batch in (*held, *changed) for mark in batch if mark.mark is not None]
        assert [model[mark.key].mark != mark.mark for mark in asked] == index.differing(asked)
        told = {entry.key: entry.item is not None for entry in loaded(index, changed_only=True)}
        assert {key: mark.mark is not None for key, mark in late.items()} == told
        assert index.state(NOW) == state(model)
        for part in index.packed(changed_only=False):
            other.load(read_rows(part))
        assert other.state(NOW) == state(model)
        assert [entry.key for entry in loaded(other, changed_only=False)] == sorted(there)


@pytest.mark.usefixtures("small")
def test_increments_lie_over_what_was_loaded_before(tmp_path: Path) -> None:
    """Rows that were loaded later win, in order or not, and what is gone there is gone."""
    first = [pack(Entry(key_mark(b"%d" % n), bytes(16))) for n in range(20)]
    gone, new = key_mark(b"3"), key_mark(b"4")
    with Index(tmp_path / "index") as index:
        index.load(read_rows(sorted(first)))
        index.load(read_rows([pack(Entry(gone, None)), pack(Entry(new, bytes(15) + b"x" + bytes(8)))]))
        assert (index.has(gone), index.has(key_mark(b"5"))) == (False, True)
        assert index.differing([Mark(new, bytes(16)), Mark(new, bytes(15) + b"x")]) == [True, False]
        assert index.state(NOW)[0] == 18


def test_what_is_no_mark_is_refused() -> None:
    """Keys and marks of another length are told as damage."""
    for entry in (Entry(b"short", bytes(16)), Entry(bytes(12), bytes(17)), Entry(bytes(12), b"")):
        with pytest.raises(Corrupt):
            read_rows([pack(entry)])


def test_a_temporary_folder_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot be written is ``StorageFull``, and names the cure."""
    monkeypatch.setattr(runs, "_RUN_ROWS", 1)
    with pytest.raises(StorageFull, match="TMPDIR"):
        Runs(tmp_path / "missing" / "file").put([(bytes(12), bytes(24))])


async def timed(archive: Archive, source: EntitySource) -> float:
    """Seconds that a full backup takes."""
    begun = time.perf_counter()
    made = await make_backup(archive, [source], kind="manual", store="s")
    assert made.items == 4000
    return time.perf_counter() - begun


async def test_a_busy_loop_does_not_hold_a_backup_up_item_by_item() -> None:
    """Beside a task that leaves the loop a tenth of the time a backup takes some times as long, not a wait an item."""
    env = Environment()
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    entities: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    async with blobs, entities:
        for start in range(0, 4000, 100):
            await entities.write([Put(key=Key("p", f"{start + n}"), kind="k", body=b"x" * 99) for n in range(100)])
        archive, source = Archive(blobs, Passphrase("correct horse", 10), env), EntitySource(entities, env)
        idle = min([await timed(archive, source) for _ in range(2)])
        is_over = False

        async def work() -> None:
            while not is_over:
                until = time.perf_counter() + 0.004
                while time.perf_counter() < until:
                    pass
                await asyncio.sleep(0.0005)

        task = asyncio.create_task(work())
        busy = await timed(archive, source)
        is_over = True
        await task
    assert busy < 12 * idle + 1.5
