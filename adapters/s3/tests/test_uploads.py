"""Large content: parts, conditions at the end, nothing left over."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from storycore_s3._parts import part_size

from storycore.errors import AlreadyExists, Corrupt, VersionConflict
from storycore.ports.blobs import BlobMatches, BlobStore
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.testing.blob_examples import content_of, pieces
from storycore.testing.harness import Harness

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096 * 12  # 12 MiB: two parts and a rest


def left_over(raw: Any, place: dict[str, str]) -> tuple[int, list[str]]:
    """Unfinished uploads, and objects that are the adapter's own."""
    prefix = place["Key"].removesuffix("a")
    uploads = raw.list_multipart_uploads(Bucket=place["Bucket"], Prefix=prefix).get("Uploads", [])
    objects = raw.list_objects_v2(Bucket=place["Bucket"], Prefix=prefix + "\U0010ffffi/notes/").get("Contents", [])
    return len(uploads), [each["Key"] for each in objects]


@pytest.mark.parametrize("is_stream", [True, False])
async def test_large_content_goes_in_parts(store: BlobStore, raw: Any, place: dict[str, str], is_stream: bool) -> None:
    """What is stored are the very bytes, in parts, with the hash of the whole; replacing and deleting leave nothing."""
    data = pieces(*(LARGE[at : at + 700_000] for at in range(0, len(LARGE), 700_000))) if is_stream else LARGE
    info = await store.put("a", data, when=ABSENT, metadata={"k": "v"}, content_type="text/plain")
    found = raw.get_object(**place)
    assert found["Body"].read() == LARGE
    assert (found["ContentType"], found["ETag"].endswith('-3"')) == ("text/plain", True)
    assert info.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert [await store.head("a"), (await store.entries()).blobs[0]] == [info, info]
    assert await content_of(store, "a") == LARGE
    assert await content_of(store, "a", start=5 * MIB - 1, length=2) == LARGE[5 * MIB - 1 : 5 * MIB + 1]
    assert await store.delete(["a"]) == [True]
    assert left_over(raw, place) == (0, [])


async def test_an_announced_hash_needs_no_note(store: BlobStore, raw: Any, place: dict[str, str]) -> None:
    """Where the caller says the hash it is in the headers; a wrong one leaves nothing."""
    digest = hashlib.sha256(LARGE).hexdigest()
    await store.put("a", pieces(LARGE), when=ANY, sha256=digest)
    assert left_over(raw, place) == (0, [])
    with pytest.raises(Corrupt):
        await store.put("b", pieces(LARGE, b"more"), when=ANY, sha256=digest)
    assert (await store.head("b"), left_over(raw, place)) == (None, (0, []))


async def test_conditions_hold_for_parts(store: BlobStore, raw: Any, place: dict[str, str]) -> None:
    """They are decided when the upload is completed, and one that fails leaves nothing."""
    first = await store.put("a", b"first", when=ANY)
    with pytest.raises(AlreadyExists):
        await store.put("a", pieces(LARGE), when=ABSENT)
    with pytest.raises(VersionConflict) as caught:
        await store.put("a", pieces(LARGE), when=BlobMatches(type(first.version)("stale")))
    assert (caught.value.current, left_over(raw, place)) == (first.version, (0, []))
    second = await store.put("a", pieces(LARGE), when=BlobMatches(first.version))
    third = await store.put("a", pieces(LARGE, b"!"), when=PRESENT)
    assert second.version != third.version


@pytest.mark.xfail(
    strict=False,
    reason="seaweedfs 4.48: of several uploads in parts that are completed at one moment with If-None-Match: *, "
    "in a quarter of the races more than one succeeds, also with nothing but boto3; S3 lets one win",
)
async def test_of_several_uploads_in_parts_one_comes_first(store: BlobStore) -> None:
    """The others, of which each wanted nothing to be there, are told that it exists."""
    results = await asyncio.gather(
        *(store.put("new", pieces(LARGE, b"%d" % i), when=ABSENT) for i in range(3)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["AlreadyExists", "AlreadyExists", "BlobInfo"]


async def test_an_upload_that_is_given_up_leaves_nothing(store: BlobStore, raw: Any, place: dict[str, str]) -> None:
    """Neither parts nor notes, whether the source fails or the task is cancelled."""
    old = await store.put("a", b"old", when=ANY)
    begun = asyncio.Event()

    async def failing() -> AsyncIterator[bytes]:
        yield LARGE
        raise ZeroDivisionError

    async def endless() -> AsyncIterator[bytes]:
        yield LARGE
        begun.set()
        await asyncio.Event().wait()

    with pytest.raises(ZeroDivisionError):
        await store.put("a", failing(), when=ANY)
    task = asyncio.create_task(store.put("a", endless(), when=ANY))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.head("a"), left_over(raw, place)) == (old, (0, []))


async def test_what_a_crash_has_left_is_removed(
    store: BlobStore, harness: Harness, raw: Any, place: dict[str, str]
) -> None:
    """``ensure`` finds old uploads and notes that no blob names, tells of them, and leaves young ones and used ones."""
    await store.put("kept", pieces(LARGE), when=ANY)
    used = left_over(raw, place)[1]
    raw.create_multipart_upload(**place)
    raw.put_object(Bucket=place["Bucket"], Key=used[0] + "-lost", Body=b"{}")
    assert list((await store.ensure()).actions) == []
    harness.clock.advance(timedelta(days=5000))
    told = list((await store.ensure(dry_run=True)).actions)
    assert told == ["abort 1 uploads that were never finished", "remove 1 notes of blobs that are no more"]
    assert list((await store.ensure()).actions) == told
    assert left_over(raw, place) == (0, used)
    assert await content_of(store, "kept") == LARGE


async def test_ranges_of_one_revision_are_fetched_at_once(harness: Harness) -> None:
    """Large content of a bucket with versions stays what it was, although it is replaced and deleted meanwhile."""
    store: BlobStore = await harness.started(bucket="storycore-locked", versions=True, lock=True)
    await store.put("a", pieces(LARGE), when=ANY)
    reader, other = await store.get("a"), await store.get("a", start=1)
    first = await anext(aiter(reader))
    await store.put("a", b"new", when=ANY)
    await store.delete(["a"])
    assert first + await reader.read() == LARGE
    assert await other.read() == LARGE[1:]
    await reader.close()
    left = await store.get("a", revision=other.info.revision)
    await anext(aiter(left))
    await left.close()
    await other.close()
    await store.close()


async def test_a_large_copy_is_made_part_by_part(store: BlobStore) -> None:
    """The copy has the content, the hash and the metadata, and obeys its condition."""
    content = LARGE * 7  # 84 MiB: more than sixteen parts
    source = await store.put("a", content, when=ANY, metadata={"k": "v"})
    copied = await store.copy("a", "b", when=ABSENT)
    assert (copied.sha256, dict(copied.metadata)) == (source.sha256, {"k": "v"})
    async with await store.get("b") as reader:
        digest = hashlib.sha256()
        async for chunk in reader:
            digest.update(chunk)
    assert digest.hexdigest() == source.sha256
    with pytest.raises(AlreadyExists):
        await store.copy("a", "b", when=ABSENT)


def test_ten_thousand_parts_hold_more_than_a_hundred_gigabytes() -> None:
    """Parts grow, so that a stream of unknown length can go on; none exceeds what the service takes."""
    sizes = [part_size(number, 8 * MIB) for number in range(1, 10_001)]
    assert sum(sizes) > 400 * 1024 * MIB
    assert max(sizes) <= 5 * 1024 * MIB
