"""Snapshots are a cache: whatever happens to them, the answers are those of the truth."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest

from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Match, VectorIndex, VectorItem, VectorQuery
from storycore.testing.harness import Harness

DIMENSION, COUNT = 32, 1500
CHANCE = np.random.default_rng(11)
CENTRES = CHANCE.normal(size=(30, DIMENSION))
ROWS = (CENTRES[np.arange(COUNT) % 30] + 0.3 * CHANCE.normal(size=(COUNT, DIMENSION))).astype(np.float32)
OPTIONS = {"dimension": DIMENSION, "codes_from": 1024, "search": "codes", "durability": "normal"}


def items(*, turned: bool = False) -> list[VectorItem]:
    rows = -ROWS if turned else ROWS
    return [VectorItem(f"i{n:04d}", array("f", row.tobytes()), {"n": n}) for n, row in enumerate(rows)]


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.VECTORS, "faiss", OPTIONS, tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db.cache"


async def nearest(index: VectorIndex) -> list[list[Match]]:
    queries = [VectorQuery(values=array("f", ROWS[n].tobytes()), top_k=5) for n in range(0, COUNT, 150)]
    return await index.query(queries)


async def filled(harness: Harness) -> list[list[Match]]:
    """Make an index with codes and a snapshot; gives what its queries find."""
    async with await harness.started() as index:
        await index.upsert(items())
        await index.optimize()
        return await nearest(index)


async def coded_rows(index: VectorIndex) -> int:
    return int((await index.stats()).detail["coded_rows"])


async def test_codes_are_there_when_the_index_opens(harness: Harness, cache: Path) -> None:
    """They are read from the snapshot; what was written behind it gets its own."""
    expected = await filled(harness)
    assert sorted(entry.suffix for entry in cache.iterdir()) == [".codes", ".json"]
    async with harness.make() as index:
        assert await coded_rows(index) == COUNT
        assert await nearest(index) == expected
        await index.upsert([VectorItem("new", array("f", ROWS[0].tobytes()))])
        await index.delete(ids=["i0000"])
    async with harness.make() as index:
        assert await coded_rows(index) == COUNT - 1
        [[first, *_], *_] = await nearest(index)
        assert (first.id, first.score) == ("new", pytest.approx(1.0))


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
async def test_a_snapshot_is_its_owners_alone(harness: Harness, cache: Path) -> None:
    """Nobody else may read it."""
    await filled(harness)
    assert {entry.stat().st_mode & 0o077 for entry in [cache, *cache.iterdir()]} == {0}


async def test_a_damaged_snapshot_is_passed_over(harness: Harness, cache: Path) -> None:
    """A bit that flipped anywhere, a piece that is missing, nothing at all: noted until a new one is written."""
    expected = await filled(harness)
    [file] = cache.glob("*.codes")
    whole = file.read_bytes()
    header = whole.index(b"\n")
    places = [0, 15, 16, 47, 48, header, header + 1, header + 9000, len(whole) // 2, len(whole) - 1]
    damaged = [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in places]
    cut = [whole[:length] for length in (0, 3, 16, 48, header + 1, len(whole) // 2, len(whole) - 1)]
    for content in [*damaged, *cut, whole + b"\0"]:
        file.write_bytes(content)
        async with harness.make() as index:
            is_noted = "passed over" in str((await index.stats()).detail.get("snapshot"))
            assert await nearest(index) == expected
            assert is_noted or file.read_bytes() != content


async def test_a_folder_in_its_place_is_noted(harness: Harness, cache: Path) -> None:
    """What cannot be read or written at all only costs time."""
    cache.write_text("not a folder")
    expected = await filled(harness)
    async with harness.make() as index:
        assert "not" in str((await index.stats()).detail["snapshot"])
        assert await nearest(index) == expected
        assert (await index.health()).ok


async def test_a_snapshot_of_other_vectors_is_not_used(harness: Harness, cache: Path, tmp_path: Path) -> None:
    """A file that was restored, and written to again, has other vectors in the same slots."""
    async with await harness.started():
        pass
    shutil.copy(tmp_path / "vectors.db", tmp_path / "backup.db")
    await filled(harness)
    for leftover in tmp_path.glob("vectors.db-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "vectors.db")
    kept = next(cache.glob("*.codes"))
    content = kept.read_bytes()
    async with harness.make() as index:
        await index.upsert(items(turned=True))
    kept.write_bytes(content)
    async with harness.make() as index:
        assert await coded_rows(index) in (0, COUNT)
        for n in range(0, COUNT, 150):
            query = VectorQuery(values=array("f", (-ROWS[n]).tobytes()), top_k=1)
            [[match]] = await index.query([query])
            assert (match.id, match.score) == (f"i{n:04d}", pytest.approx(1.0))


async def test_a_snapshot_from_the_future_is_not_used(harness: Harness, cache: Path, tmp_path: Path) -> None:
    """Before a restored file has grown again, nothing of the later snapshot is taken over."""
    async with await harness.started():
        pass
    shutil.copy(tmp_path / "vectors.db", tmp_path / "backup.db")
    await filled(harness)
    for leftover in tmp_path.glob("vectors.db-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "vectors.db")
    async with harness.make() as index:
        assert await nearest(index) == [[]] * 10


async def test_what_is_not_needed_is_removed(harness: Harness, cache: Path) -> None:
    """``optimize`` removes snapshots of namespaces that are gone, and what a crash has left."""
    await filled(harness)
    (cache / "abc.tmp").write_bytes(b"half")
    async with harness.make() as index:
        await index.optimize()
        assert sorted(entry.suffix for entry in cache.iterdir()) == [".codes", ".json"]
        await index.delete(all=True)
        await index.optimize()
        assert [entry.suffix for entry in cache.iterdir()] == [".json"]
        assert await index.query([VectorQuery(values=array("f", ROWS[0].tobytes()))]) == [[]]


KILLED = """
import asyncio, os, sys
from pathlib import Path
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

def killed(*_):
    os.kill(os.getpid(), 9)

async def main():
    harness = Harness(PortName.VECTORS, "faiss", {options!r}, Path(sys.argv[1]))
    async with harness.make() as index:
        setattr(os if sys.argv[2] == "fsync" else Path, sys.argv[2], killed)
        await index.optimize()

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
async def test_an_end_in_the_middle_of_a_snapshot_does_no_harm(
    harness: Harness, cache: Path, tmp_path: Path, moment: str
) -> None:
    """Killed with the snapshot half written, or written and not yet in place: the next open finds all of the truth."""
    async with await harness.started(codes_from=100_000) as index:
        await index.upsert(items())
    run = subprocess.run([sys.executable, "-c", KILLED.format(options=OPTIONS), str(tmp_path), moment], check=False)
    assert run.returncode == -9
    assert [entry.suffix for entry in cache.iterdir()] == [".tmp"]
    expected = await filled(harness)
    assert len(expected[0]) == 5
    assert sorted(entry.suffix for entry in cache.iterdir()) == [".codes", ".json"]
