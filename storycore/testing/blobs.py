"""The conformance suite of the BlobStore port.

Derive from ``BlobStoreSuite``, set ``adapter`` (and ``options``), and pytest does the rest::

    class TestMine(BlobStoreSuite):
        adapter = "mine"
        options = {"path": "{path}/blobs"}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from storycore.errors import (
    InvalidArgument,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
)
from storycore.plugins import Adapter
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_back_door import BackDoor, machine_with
from storycore.testing.blob_durability import BlobDurability
from storycore.testing.blob_examples import (
    BAD_CALLS,
    BAD_PRESIGNS,
    CONTENTS,
    LONG_KEYS,
    METADATA,
    ODD_KEYS,
    content_of,
    digest,
    fetched,
    pieces,
    sent,
    status_of,
)
from storycore.testing.blob_listing import BlobListing
from storycore.testing.blob_locks import BlobLocks
from storycore.testing.blob_machine import machine_for
from storycore.testing.blob_revisions import BlobRevisions
from storycore.testing.blob_writes import BlobWrites
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite
from storycore.testing.machines import run_machine
from storycore.testing.removal import remove_tree

__all__ = ["BlobStoreSuite"]


class BlobStoreSuite(LifecycleSuite, BlobWrites, BlobListing, BlobDurability, BlobRevisions, BlobLocks):
    """Every sentence of the BlobStore port as a test."""

    adapter: ClassVar[str | Adapter]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Iterator[Harness]:
        """An empty place for the adapter, removed afterwards, for keys may make it too deep for pytest to remove."""
        yield Harness(PortName.BLOBS, self.adapter, self.options, tmp_path, served=served)
        remove_tree(tmp_path)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[BlobStore]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: BlobStore) -> object:
        """Look for a blob."""
        return await store.head("a")

    @staticmethod
    def back_door(store: BlobStore, harness: Harness) -> BackDoor | None:
        """A way past the adapter to what it keeps; ``None``: nobody else can reach it."""
        return None

    # What is put is read.

    @pytest.mark.asyncio
    @pytest.mark.parametrize("content", CONTENTS, ids=lambda content: f"{len(content)} bytes")
    async def test_content_comes_back_as_it_was(self, store: BlobStore, content: bytes) -> None:
        """Any bytes survive, from none to more than one piece, whether read at once or in pieces."""
        info = await store.put("a", content, when=ANY)
        assert (info.key, info.size_bytes, info.sha256) == ("a", len(content), digest(content))
        assert await store.head("a") == info
        assert await content_of(store, "a") == content
        async with await store.get("a") as reader:
            chunks = [chunk async for chunk in reader]
        assert b"".join(chunks) == content
        assert all(chunks)

    @pytest.mark.asyncio
    async def test_content_may_come_in_pieces(self, store: BlobStore) -> None:
        """An iterable of pieces gives the same blob as the bytes, whatever the sizes of the pieces are."""
        large = bytes(range(256)) * 4096
        for given in ([], [b""], [b"a", b"", b"bc"], [large, b"tail"], [b"x"] * 1000):
            info = await store.put("a", pieces(*given), when=ANY)
            whole = b"".join(given)
            assert (info.size_bytes, info.sha256) == (len(whole), digest(whole))
            assert await content_of(store, "a") == whole

    @pytest.mark.asyncio
    async def test_any_object_with_a_buffer_of_bytes_is_content(self, store: BlobStore) -> None:
        """``bytearray`` and ``memoryview`` are kept as they were when handed in."""
        buffer = bytearray(b"abc")
        await store.put("a", buffer, when=ANY)  # type: ignore[arg-type]  # more than the port asks for
        buffer[0] = 0
        assert await content_of(store, "a") == b"abc"
        await store.put("b", pieces(memoryview(b"abc")), when=ANY)  # type: ignore[arg-type]  # the same
        assert await content_of(store, "b") == b"abc"

    @pytest.mark.asyncio
    async def test_info_is_the_same_wherever_it_comes_from(self, store: BlobStore, harness: Harness) -> None:
        """``put``, ``head``, ``get`` and ``entries`` agree; the instant is the clock's, in UTC."""
        harness.clock.advance(timedelta(hours=1, microseconds=7))
        put = await store.put("a", b"abc", when=ANY, content_type="text/plain; charset=utf-8", metadata={"k": "v"})
        async with await store.get("a") as reader:
            read = reader.info
        assert [put] * 3 == [await store.head("a"), read, (await store.entries()).blobs[0]]
        assert (put.content_type, dict(put.metadata)) == ("text/plain; charset=utf-8", {"k": "v"})
        assert (put.modified_at, put.modified_at.tzinfo) == (harness.clock.now(), UTC)
        assert put.version

    @pytest.mark.asyncio
    async def test_what_was_not_given_has_its_default(self, store: BlobStore) -> None:
        """Without type and metadata a blob is ``application/octet-stream`` with none, also over an older one."""
        await store.put("a", b"", when=ANY, content_type="text/plain", metadata={"k": "v"})
        info = await store.put("a", b"", when=ANY)
        assert (info.content_type, dict(info.metadata)) == ("application/octet-stream", {})

    @pytest.mark.asyncio
    @pytest.mark.parametrize("metadata", METADATA, ids=lambda metadata: f"{len(metadata)} keys")
    async def test_metadata_comes_back_as_it_was(self, store: BlobStore, metadata: dict[str, str]) -> None:
        """Every allowed value survives, up to 2048 bytes of keys and values together."""
        await store.put("a", b"x", when=ANY, metadata=metadata)
        info = await store.head("a")
        assert info is not None
        assert dict(info.metadata) == metadata

    @pytest.mark.asyncio
    async def test_metadata_keys_are_read_in_lower_case(self, store: BlobStore) -> None:
        """Whatever case a key was given in; the values keep theirs."""
        assert dict((await store.put("a", b"", when=ANY, metadata={"X-Author": "Ada"})).metadata) == {"x-author": "Ada"}

    @pytest.mark.asyncio
    async def test_odd_keys_are_kept_apart(self, store: BlobStore) -> None:
        """No key means another, whatever dots, slashes, case or accents it has, and however long it is."""
        most = store.capabilities.limits.get("blobs.key_bytes", 1024)
        keys = [key for key in ODD_KEYS + LONG_KEYS if len(key.encode()) <= most]
        for key in keys:
            await store.put(key, key.encode(), when=ABSENT)
        for key in keys:
            assert await content_of(store, key) == key.encode(), key
        assert [one.key for one in (await store.entries()).blobs] == sorted(keys, key=str.encode)
        assert await store.delete(keys) == [True] * len(keys)
        assert (await store.entries()).blobs == []

    @pytest.mark.asyncio
    async def test_a_written_blob_is_seen_at_once(self, store: BlobStore) -> None:
        """Each put and each delete is seen by the reads and listings that begin after it returned."""
        for content in (b"1", b"22", b"333"):
            info = await store.put("a", content, when=ANY)
            assert await content_of(store, "a") == content
            assert (await store.head("a"), (await store.entries()).blobs) == (info, [info])
        await store.delete(["a"])
        assert (await store.head("a"), (await store.entries()).blobs) == (None, [])

    @pytest.mark.asyncio
    async def test_a_second_open_changes_nothing(self, store: BlobStore) -> None:
        """Opening a store that is open keeps its blobs and its readers."""
        info = await store.put("a", b"abc", when=ANY)
        async with await store.get("a") as reader:
            await store.open()
            assert await reader.read() == b"abc"
        assert await store.head("a") == info

    # Ranges and readers.

    @pytest.mark.asyncio
    async def test_a_range_is_what_it_says(self, store: BlobStore) -> None:
        """``length`` bytes from ``start``; less at the end, nothing behind it; the info is the whole blob's."""
        content = bytes(range(100))
        await store.put("a", content, when=ANY)
        for start in (0, 1, 50, 99, 100, 101, 2**40):
            for length in (None, 0, 1, 50, 99, 100, 101, 2**40):
                end = None if length is None else start + length
                assert await content_of(store, "a", start=start, length=length) == content[start:end], (start, length)
        async with await store.get("a", start=10, length=5) as reader:
            assert reader.info.size_bytes == 100

    @pytest.mark.asyncio
    async def test_reading_goes_on_where_it_stopped(self, store: BlobStore) -> None:
        """``read`` gives the rest behind the pieces that were taken, and nothing when all is read."""
        content = bytes(range(256)) * 4096
        await store.put("a", content, when=ANY)
        async with await store.get("a") as reader:
            first = await anext(aiter(reader))
            assert 0 < len(first) < len(content)
            assert first + await reader.read() == content
            assert await reader.read() == b""
            assert [chunk async for chunk in reader] == []

    @pytest.mark.asyncio
    async def test_an_open_reader_stays_with_its_version(self, store: BlobStore) -> None:
        """What is read is the blob as it was when opened, although it is replaced or deleted meanwhile."""
        old = await store.put("a", b"old" * 200_000, when=ANY)
        replaced, deleted = await store.get("a"), await store.get("a")
        await anext(aiter(replaced))
        await store.put("a", b"new", when=ANY)
        rest = await replaced.read()
        assert (rest[-3:], replaced.info) == (b"old", old)
        await store.delete(["a"])
        assert await deleted.read() == b"old" * 200_000
        for reader in (replaced, deleted):
            await reader.close()

    @pytest.mark.asyncio
    async def test_a_closed_reader_reads_no_more(self, store: BlobStore) -> None:
        """``close`` may be repeated; reading after it, or after the store was closed, is ``Unavailable``."""
        await store.put("a", b"abc", when=ANY)
        async with await store.get("a") as closed:
            pass
        await closed.close()
        left_open = await store.get("a")
        with pytest.raises(Unavailable):
            await closed.read()
        with pytest.raises(Unavailable):
            [chunk async for chunk in closed]
        await store.close()
        with pytest.raises(Unavailable):
            await left_open.read()
        await left_open.close()

    @pytest.mark.asyncio
    async def test_a_missing_blob_is_told_apart(self, store: BlobStore) -> None:
        """``get`` raises ``NotFound``, ``head`` gives ``None``, ``delete`` gives ``False``."""
        with pytest.raises(NotFound):
            await store.get("a")
        assert await store.head("a") is None
        assert await store.delete(["a"]) == [False]

    @pytest.mark.asyncio
    async def test_delete_tells_where_there_was_a_blob(self, store: BlobStore) -> None:
        """One answer per key in the order of the call; a key that is named twice was there once."""
        await store.put("a", b"", when=ANY)
        await store.put("b", b"", when=ANY)
        assert await store.delete(["b", "x", "a", "a"]) == [True, False, True, False]
        assert await store.delete([]) == []

    @pytest.mark.asyncio
    async def test_many_blobs_are_deleted_in_one_call(self, store: BlobStore) -> None:
        """A call has no limit of its own on the number of keys."""
        await store.put("there", b"", when=ANY)
        keys = [f"missing/{i}" for i in range(1100)]
        assert await store.delete([*keys, "there"]) == [False] * 1100 + [True]

    # Limits and what is not claimed.

    @pytest.mark.asyncio
    @pytest.mark.parametrize("operation", sorted({operation for operation, _, _ in BAD_CALLS.values()}))
    async def test_bad_calls_are_refused(self, store: BlobStore, operation: str) -> None:
        """An argument that breaks a rule is refused with its class of error, and nothing changes."""
        kept = await store.put("kept", b"kept", when=ANY)
        calls = {name: call for name, call in BAD_CALLS.items() if call[0] == operation}
        for name, (_, arguments, error) in calls.items():
            try:
                await getattr(store, operation)(**arguments)
            except error:
                continue
            pytest.fail(f"not refused: {name}")
        assert (await store.entries()).blobs == [kept]

    @pytest.mark.asyncio
    async def test_too_much_metadata_is_explained(self, store: BlobStore) -> None:
        """``TooLarge`` tells the limit, the size and the key that is to blame."""
        with pytest.raises(TooLarge) as caught:
            await store.put("a", b"", when=ANY, metadata={"small": "x", "Big": "y" * 2048})
        assert (caught.value.limit, caught.value.actual) == (2048, 2048 + 3 + 6)
        assert next(iter(caught.value.breakdown)) == "big"

    @pytest.mark.asyncio
    async def test_presigned_urls_are_claimed_or_refused(self, store: BlobStore) -> None:
        """Without the feature ``presign`` is ``Unsupported``; with it bad arguments are refused and a URL is given."""
        soon: dict[str, Any] = {"method": "GET", "expires": timedelta(minutes=1)}
        await store.put("a", b"abc", when=ANY)
        if not store.capabilities.has("blobs.presign"):
            with pytest.raises(Unsupported) as caught:
                await store.presign("a", **soon)
            assert caught.value.feature == "blobs.presign"
            return
        for arguments in BAD_PRESIGNS.values():
            with pytest.raises(InvalidArgument):
                await store.presign("a", **arguments)
        assert await asyncio.to_thread(fetched, await store.presign("a", **soon)) == b"abc"
        await asyncio.to_thread(sent, await store.presign("b", method="PUT", expires=timedelta(minutes=1)), b"by url")
        assert await content_of(store, "b") == b"by url"
        info = await store.head("b")
        assert info is not None
        assert (info.sha256, dict(info.metadata)) == ("", {})

    @pytest.mark.asyncio
    async def test_a_url_is_good_for_one_deed_and_ends(self, harness: Harness, store: BlobStore) -> None:
        """It serves no other method and no longer than it was signed for; what it has not changed stays."""
        harness.require(store, "blobs.presign")
        for key in ("a", "b"):
            await store.put(key, b"abc", when=ANY)
        soon = timedelta(seconds=1)
        read, write = [await store.presign("a", method=method, expires=soon) for method in ("GET", "PUT")]
        longer = read.replace("Expires=1", "Expires=9999")
        assert longer != read
        for url, method in ((read, "PUT"), (read, "DELETE"), (write, "GET"), (longer, "GET")):
            assert await asyncio.to_thread(status_of, url, method) == 403, (method, url)
        await _refused(read, "GET")
        await _refused(write, "PUT")
        assert [await content_of(store, key) for key in ("a", "b")] == [b"abc"] * 2

    # Agreement.

    @pytest.mark.asyncio
    async def test_it_agrees_with_the_reference(self, harness: Harness) -> None:
        """Any sequence of operations has the same results and errors as on the memory adapter."""
        await run_machine(machine_for(harness), examples=harness.fitting(None, 25), steps=20)

    @pytest.mark.asyncio
    async def test_what_others_do_behind_its_back_is_noticed(self, harness: Harness) -> None:
        """Content that was damaged or removed past the adapter is never given out, in any sequence of operations."""
        store = await harness.started()
        door = self.back_door(store, harness)
        await store.close()
        if door is None:
            pytest.skip("no back door: nobody else can reach what is kept")
        await run_machine(machine_with(harness, self.back_door), examples=harness.fitting(None, 15), steps=20)


async def _refused(url: str, method: str) -> None:
    """Return once a URL that lasts a second is not served any more."""
    for _ in range(400):
        if await asyncio.to_thread(status_of, url, method, b"abc") == 403:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{method} is still served by a URL that has expired")
