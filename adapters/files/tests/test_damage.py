"""Damaged, foreign and missing files are told from blobs, and can be cured."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from storycore.errors import AlreadyExists, Corrupt, NotProvisioned, PartialFailure, SchemaMismatch
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import content_of
from storycore.testing.harness import Harness

CONTENT = b"0123456789" * 60_000


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.BLOBS, "files", {}, tmp_path)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[Any]:
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture
def root(harness: Harness) -> Path:
    return harness.path / "blobs"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def test_a_flipped_bit_of_the_content_is_found(store: Any, root: Path) -> None:
    """Reading it all, in pieces or at once, and copying it raise; a range of it can still be rescued."""
    await store.put("a/b", CONTENT, when=ANY)
    flip(root / "blobs" / "a+" / "b", 599_999)
    with pytest.raises(Corrupt):
        await content_of(store, "a/b")
    async with await store.get("a/b") as reader:
        seen = 0
        with pytest.raises(Corrupt):
            async for chunk in reader:
                seen += len(chunk)
        assert seen < len(CONTENT)
    with pytest.raises(Corrupt):
        await store.copy("a/b", "c", when=ANY)
    assert await store.head("c") is None
    assert await content_of(store, "a/b", length=500_000) == CONTENT[:500_000]


async def test_deep_health_names_what_is_damaged(store: Any, root: Path) -> None:
    """A probe that reads everything tells how many blobs are whole and which are not."""
    for key in ("good", "bad/one", "bad/two"):
        await store.put(key, CONTENT, when=ANY)
    assert (await store.health(deep=True)).facts == {"blobs": 3, "bytes": 3 * len(CONTENT), "damaged": 0}
    flip(root / "blobs" / "bad+" / "one", 0)
    flip(root / "blobs" / "bad+" / "two", -3)
    health = await store.health(deep=True)
    assert (health.ok, health.facts) == (False, {"blobs": 1, "bytes": len(CONTENT), "damaged": 2})
    assert "'bad/one', 'bad/two'" in health.detail
    assert (await store.health()).ok


@pytest.mark.parametrize("at", [-1, -2, -10, -20, -40, -100, 600_000])
async def test_a_flipped_bit_of_the_info_is_found(store: Any, root: Path, at: int) -> None:
    """Nothing that the info says is believed; writing the blob again or deleting it cures it."""
    await store.put("a", CONTENT, when=ANY)
    for cure in ("put", "delete"):
        flip(root / "blobs" / "a", at)
        for call in (store.head("a"), store.get("a"), store.entries()):
            with pytest.raises(Corrupt):
                await call
        with pytest.raises(AlreadyExists):
            await store.put("a", b"", when=ABSENT)
        if cure == "put":
            await store.put("a", CONTENT, when=ANY)
            assert await content_of(store, "a") == CONTENT
        else:
            assert await store.delete(["a"]) == [True]
            assert await store.head("a") is None


@pytest.mark.parametrize("size", [0, 1, 34, 35, 36, 599_999])
async def test_a_cut_file_is_damaged(store: Any, root: Path, size: int) -> None:
    """A file that lost its end is no shorter blob."""
    await store.put("a", CONTENT, when=ANY)
    os.truncate(root / "blobs" / "a", size)
    with pytest.raises(Corrupt):
        await store.get("a")


async def test_a_file_that_lost_a_part_is_damaged(store: Any, root: Path) -> None:
    """The info is whole and the content too short."""
    await store.put("a", CONTENT, when=ANY)
    path = root / "blobs" / "a"
    path.write_bytes(path.read_bytes()[10:])
    with pytest.raises(Corrupt):
        await store.head("a")


async def test_a_file_that_was_moved_by_hand_is_damaged(store: Any, root: Path) -> None:
    """A blob under another name than its own would be another blob."""
    await store.put("a", CONTENT, when=ANY)
    (root / "blobs" / "a").rename(root / "blobs" / "b")
    with pytest.raises(Corrupt):
        await store.head("b")


async def test_links_are_not_followed(store: Any, root: Path, tmp_path: Path) -> None:
    """Neither a link in the place of a file nor one among the folders leads out of the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    await store.put("safe", b"safe", when=ANY)
    (outside / "secret").write_bytes((root / "blobs" / "safe").read_bytes())
    (root / "blobs" / "link").symlink_to(outside / "secret")
    (root / "blobs" / "folder+").symlink_to(outside)
    for key in ("link", "folder/secret"):
        for call in (store.head(key), store.get(key)):
            with pytest.raises(Corrupt):
                await call
    for call in (store.put("folder/new", b"", when=ANY), store.delete(["folder/secret"])):
        with pytest.raises(Corrupt):
            await call
    assert [blob.key for blob in (await store.entries()).blobs] == ["safe"]
    await store.put("link", b"mine", when=ANY)
    assert await content_of(store, "link") == b"mine"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


async def test_each_of_several_deletions_has_its_outcome(store: Any, root: Path, tmp_path: Path) -> None:
    """What cannot be deleted is named, and keeps none of the others."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "blobs" / "folder+").symlink_to(outside)
    for key in ("a", "b"):
        await store.put(key, b"", when=ANY)
    with pytest.raises(PartialFailure, match="positions 1 ") as caught:
        await store.delete(["a", "folder/x", "missing", "b"])
    assert [type(outcome) for outcome in caught.value.outcomes] == [bool, Corrupt, bool, bool]
    assert (await store.head("a"), await store.head("b")) == (None, None)


async def test_what_is_not_ours_is_no_blob(store: Any, root: Path) -> None:
    """Files and folders with names that no key has are passed over, and so are pipes."""
    await store.put("a/b", b"", when=ANY)
    (root / "blobs" / ".DS_Store").write_bytes(b"x")
    (root / "blobs" / "a+" / "Thumbs.db").write_bytes(b"x")
    (root / "blobs" / "@eaDir").mkdir()
    (root / "blobs" / "plain").mkdir()
    os.mkfifo(root / "blobs" / "pipe")
    assert [blob.key for blob in (await store.entries()).blobs] == ["a/b"]
    for key in ("pipe", "plain"):
        with pytest.raises(Corrupt):
            await store.head(key)
    assert (await store.health(deep=True)).ok


async def test_a_missing_root_is_not_provisioned(harness: Harness) -> None:
    """Before ``ensure`` nothing opens; when the root vanishes every call says so instead of finding nothing."""
    with pytest.raises(NotProvisioned):
        await harness.make().open()
    store = await harness.started()
    await store.put("a", b"", when=ANY)
    (harness.path / "blobs").rename(harness.path / "elsewhere")
    calls = [store.head("a"), store.get("a"), store.put("a", b"", when=ANY), store.delete(["a"]), store.entries()]
    for call in calls:
        with pytest.raises(NotProvisioned):
            await call
    assert not (await store.health()).ok
    assert not (harness.path / "blobs").exists()
    await store.close()


async def test_another_layout_is_not_touched(harness: Harness) -> None:
    """A folder of a later version, or with a damaged marker, does not open."""
    await (await harness.started()).close()
    marker = harness.path / "blobs" / "storycore-files.json"
    marker.write_text('{"layout": "storycore-files", "version": 2}')
    with pytest.raises(SchemaMismatch):
        await harness.make().open()
    marker.write_text("{")
    with pytest.raises(Corrupt):
        await harness.make().open()
