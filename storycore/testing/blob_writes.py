"""What a blob store promises about writes: conditions, copies, and nothing half written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from storycore.errors import AlreadyExists, Corrupt, InvalidArgument, NotFound, VersionConflict
from storycore.ports.blobs import BlobInfo, BlobMatches, BlobStore, BlobVersion
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.testing.blob_examples import content_of, digest, pieces
from storycore.testing.harness import Harness

__all__ = ["BlobWrites"]

STALE = BlobMatches(BlobVersion("never issued"))


class BlobWrites:
    """The part of the BlobStore suite that writes under conditions, copies, fails and is cancelled."""

    # Conditions.

    @pytest.mark.asyncio
    async def test_absent_creates_only(self, store: BlobStore) -> None:
        """``ABSENT`` writes where nothing is, also after a delete, and is ``AlreadyExists`` elsewhere."""
        await store.put("a", b"1", when=ABSENT)
        with pytest.raises(AlreadyExists):
            await store.put("a", b"2", when=ABSENT)
        assert await content_of(store, "a") == b"1"
        await store.delete(["a"])
        await store.put("a", b"3", when=ABSENT)
        assert await content_of(store, "a") == b"3"

    @pytest.mark.asyncio
    async def test_present_replaces_only(self, store: BlobStore) -> None:
        """``PRESENT`` writes over a blob and is ``NotFound`` where there is none."""
        with pytest.raises(NotFound):
            await store.put("a", b"1", when=PRESENT)
        assert await store.head("a") is None
        await store.put("a", b"1", when=ANY)
        await store.put("a", b"2", when=PRESENT)
        assert await content_of(store, "a") == b"2"

    @pytest.mark.asyncio
    async def test_a_version_is_replaced_once(self, store: BlobStore) -> None:
        """``BlobMatches`` writes over that version alone: neither over a newer one, which the error names, nor none."""
        first = await store.put("a", b"1", when=ANY)
        second = await store.put("a", b"2", when=BlobMatches(first.version))
        assert first.version != second.version
        for stale in (BlobMatches(first.version), STALE):
            with pytest.raises(VersionConflict) as caught:
                await store.put("a", b"3", when=stale)
            assert caught.value.current == second.version
        assert await store.head("a") == second
        await store.delete(["a"])
        for gone in (BlobMatches(second.version), STALE):
            with pytest.raises(VersionConflict) as caught:
                await store.put("a", b"4", when=gone)
            assert caught.value.current is None
        assert await store.head("a") is None

    @pytest.mark.asyncio
    async def test_of_concurrent_creators_one_wins(self, store: BlobStore) -> None:
        """Of many tasks that put with ``ABSENT`` exactly one succeeds, and its content stays."""
        puts = [store.put("a", pieces(b"%d" % i, b"!"), when=ABSENT) for i in range(12)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        winners = [i for i, result in enumerate(results) if isinstance(result, BlobInfo)]
        assert [type(r) for r in results if not isinstance(r, BlobInfo)] == [AlreadyExists] * 11
        assert await content_of(store, "a") == b"%d!" % winners[0]

    # Nothing half written.

    @pytest.mark.asyncio
    async def test_content_with_another_hash_is_refused(self, store: BlobStore) -> None:
        """A ``sha256`` that is not the content's is ``Corrupt`` and leaves what was there; the right one passes."""
        old = await store.put("a", b"old", when=ANY, sha256=digest(b"old"))
        for data in (b"new", pieces(b"n", b"ew")):
            with pytest.raises(Corrupt):
                await store.put("a", data, when=ANY, sha256=digest(b"other"))
        with pytest.raises(Corrupt):
            await store.put("b", b"new", when=ABSENT, sha256=digest(b"other"))
        assert (await store.head("a"), await store.head("b")) == (old, None)
        await store.put("a", pieces(b"n", b"ew"), when=ANY, sha256=digest(b"new"))
        assert await content_of(store, "a") == b"new"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("error", [ZeroDivisionError("the source failed"), InvalidArgument("a bad piece")], ids=str)
    async def test_a_failing_source_leaves_what_was_there(self, store: BlobStore, error: Exception) -> None:
        """When the pieces end in an error it comes out as it is, and the old blob stays whole and alone."""
        old = await store.put("a", b"old", when=ANY)

        async def failing() -> AsyncIterator[bytes]:
            yield b"x" * 600_000
            raise error

        for key in ("a", "b"):
            with pytest.raises(type(error)):
                await store.put(key, failing(), when=ANY)
        assert (await store.entries()).blobs == [old]
        assert await content_of(store, "a") == b"old"

    @pytest.mark.asyncio
    async def test_a_piece_that_is_no_bytes_is_refused(self, store: BlobStore) -> None:
        """It is refused as it passes, and nothing is written."""
        with pytest.raises(InvalidArgument):
            await store.put("a", pieces(b"a", "b"), when=ANY)  # type: ignore[arg-type]  # what is refused
        assert await store.head("a") is None

    @pytest.mark.asyncio
    async def test_a_cancelled_put_leaves_what_was_there(self, store: BlobStore) -> None:
        """A put that is cancelled while its pieces come in leaves the old blob, and nothing of the new one."""
        old = await store.put("a", b"old", when=ANY)
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * 600_000
            begun.set()
            await asyncio.Event().wait()

        for key in ("a", "b"):
            begun.clear()
            task = asyncio.create_task(store.put(key, endless(), when=ANY))
            await begun.wait()
            assert await store.head(key) == (old if key == "a" else None)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await store.entries()).blobs == [old]

    @pytest.mark.asyncio
    async def test_a_put_that_is_cancelled_at_any_moment_is_whole_or_not_there(self, store: BlobStore) -> None:
        """The old blob or the new one is read afterwards, never a mixture, and listing tells the same."""
        content = {b"old" * 40_000, b"new" * 50_000}
        for turn in range(24):
            await store.put("a", b"old" * 40_000, when=ANY)
            task = asyncio.create_task(store.put("a", b"new" * 50_000, when=ANY))
            await asyncio.sleep(turn * 0.0003)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            found = await content_of(store, "a")
            assert found in content
            assert [blob.size_bytes for blob in (await store.entries()).blobs] == [len(found)]

    @pytest.mark.asyncio
    async def test_a_slow_put_decides_its_condition_at_the_end(self, store: BlobStore) -> None:
        """What is written while the pieces still come in is seen by the condition."""
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"slow"
            begun.set()
            await may_end.wait()

        task = asyncio.create_task(store.put("a", slow(), when=ABSENT))
        await begun.wait()
        await store.put("a", b"fast", when=ABSENT)
        may_end.set()
        with pytest.raises(AlreadyExists):
            await task
        assert await content_of(store, "a") == b"fast"

    # Copies.

    @pytest.mark.asyncio
    async def test_a_copy_has_content_type_and_metadata(self, store: BlobStore, harness: Harness) -> None:
        """All but the key, the version and the instant is the source's, and the two are apart from then on."""
        source = await store.put("a", b"abc" * 200_000, when=ANY, content_type="text/plain", metadata={"k": "v"})
        harness.clock.advance(60)
        target = await store.copy("a", "b/c", when=ANY)
        assert (target.key, target.modified_at) == ("b/c", harness.clock.now())
        assert [target.size_bytes, target.sha256, target.content_type, target.metadata] == [
            source.size_bytes,
            source.sha256,
            source.content_type,
            source.metadata,
        ]
        assert (await store.head("a"), await store.head("b/c")) == (source, target)
        await store.put("a", b"new", when=ANY)
        assert await content_of(store, "b/c") == b"abc" * 200_000
        await store.delete(["a"])
        assert await store.head("b/c") == target

    @pytest.mark.asyncio
    async def test_the_condition_of_a_copy_is_about_the_target(self, store: BlobStore) -> None:
        """Every condition holds and fails on the target as with ``put``, whatever the source is."""
        await store.put("a", b"a", when=ANY)
        with pytest.raises(NotFound):
            await store.copy("a", "b", when=PRESENT)
        with pytest.raises(VersionConflict):
            await store.copy("a", "b", when=STALE)
        await store.copy("a", "b", when=ABSENT)
        with pytest.raises(AlreadyExists):
            await store.copy("a", "b", when=ABSENT)
        other = await store.put("b", b"other", when=PRESENT)
        with pytest.raises(VersionConflict):
            await store.copy("a", "b", when=STALE)
        assert await content_of(store, "b") == b"other"
        await store.copy("a", "b", when=BlobMatches(other.version))
        assert await content_of(store, "b") == b"a"

    @pytest.mark.asyncio
    async def test_nothing_is_copied_from_nothing(self, store: BlobStore) -> None:
        """Without a source ``copy`` is ``NotFound`` and the target stays."""
        old = await store.put("b", b"old", when=ANY)
        with pytest.raises(NotFound):
            await store.copy("a", "b", when=ANY)
        assert (await store.entries()).blobs == [old]

    @pytest.mark.asyncio
    async def test_a_blob_may_be_copied_onto_itself(self, store: BlobStore) -> None:
        """Content, type and metadata stay; the key is there, so ``ABSENT`` fails."""
        await store.put("a", b"abc", when=ANY, metadata={"k": "v"})
        copied = await store.copy("a", "a", when=PRESENT)
        assert (await content_of(store, "a"), dict(copied.metadata)) == (b"abc", {"k": "v"})
        with pytest.raises(AlreadyExists):
            await store.copy("a", "a", when=ABSENT)
