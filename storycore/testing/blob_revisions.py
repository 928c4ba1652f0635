"""What a blob store promises of revisions: what was replaced or deleted stays readable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from storycore.errors import AlreadyExists, InvalidArgument, NotFound, Unsupported
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.testing.blob_examples import content_of
from storycore.testing.harness import Harness

__all__ = ["BlobRevisions"]


class BlobRevisions:
    """The part of the BlobStore suite that looks back; most of it needs the feature ``blobs.versions``."""

    @pytest.mark.asyncio
    async def test_revisions_are_claimed_or_refused(self, store: BlobStore) -> None:
        """Without the feature every call that names a revision is ``Unsupported``, and infos have none."""
        info = await store.put("a", b"abc", when=ANY)
        if store.capabilities.has("blobs.versions"):
            assert info.revision
            return
        assert info.revision is None
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.revisions("a"),
            lambda: store.get("a", revision="1"),
            lambda: store.copy("a", "b", when=ANY, revision="1"),
        ]
        for call in calls:
            with pytest.raises(Unsupported) as caught:
                await call()
            assert caught.value.feature == "blobs.versions"
        assert await store.head("b") is None

    @pytest.mark.asyncio
    async def test_a_replaced_blob_stays_readable(self, store: BlobStore, harness: Harness) -> None:
        """Each write has a revision of its own, under which its content and its facts stay what they were."""
        harness.require(store, "blobs.versions")
        old = await store.put("a", b"old", when=ANY, content_type="text/plain", metadata={"k": "v"})
        new = await store.put("a", b"new" * 200_000, when=ANY)
        assert old.revision != new.revision
        async with await store.get("a", revision=old.revision) as reader:
            assert (await reader.read(), reader.info) == (b"old", old)
        async with await store.get("a", start=1, length=1, revision=old.revision) as reader:
            assert (await reader.read(), reader.info) == (b"l", old)
        assert (await store.head("a"), await content_of(store, "a")) == (new, b"new" * 200_000)

    @pytest.mark.asyncio
    async def test_revisions_are_listed_newest_first(self, store: BlobStore, harness: Harness) -> None:
        """All of one key and none of another, also of a deleted blob; a limit gives the newest ones."""
        harness.require(store, "blobs.versions")
        written = [await store.put("a", b"%d" % i, when=ANY, metadata={"i": str(i)}) for i in range(3)]
        for other in ("a/b", "aa", "A"):
            await store.put(other, b"", when=ANY)
        assert await store.revisions("a") == written[::-1]
        assert await store.revisions("a", limit=2) == written[:0:-1]
        await store.delete(["a"])
        assert await store.revisions("a") == written[::-1]
        last = await store.put("a", b"last", when=ABSENT)
        assert await store.revisions("a") == [last, *written[::-1]]
        assert await store.revisions("missing") == []

    @pytest.mark.asyncio
    async def test_a_deleted_blob_is_gone_but_for_its_revisions(self, store: BlobStore, harness: Harness) -> None:
        """Without a revision nothing finds it; with one it is read."""
        harness.require(store, "blobs.versions")
        info = await store.put("a", b"abc", when=ANY)
        assert await store.delete(["a"]) == [True]
        assert (await store.head("a"), list((await store.entries()).blobs)) == (None, [])
        with pytest.raises(NotFound):
            await store.get("a")
        async with await store.get("a", revision=info.revision) as reader:
            assert await reader.read() == b"abc"
        assert await store.delete(["a"]) == [False]

    @pytest.mark.asyncio
    async def test_a_copy_brings_a_revision_back(self, store: BlobStore, harness: Harness) -> None:
        """Onto the same key or another, with its type and metadata; it is a new revision, and conditions hold."""
        harness.require(store, "blobs.versions")
        old = await store.put("a", b"old", when=ANY, content_type="text/plain", metadata={"k": "v"})
        await store.put("a", b"new", when=ANY)
        with pytest.raises(AlreadyExists):
            await store.copy("a", "a", when=ABSENT, revision=old.revision)
        back = await store.copy("a", "a", when=PRESENT, revision=old.revision)
        assert await content_of(store, "a") == b"old"
        assert (back.sha256, back.content_type, dict(back.metadata)) == (old.sha256, "text/plain", {"k": "v"})
        assert back.revision not in (None, old.revision)
        await store.delete(["a"])
        await store.copy("a", "a", when=ABSENT, revision=old.revision)
        await store.copy("a", "b", when=ABSENT, revision=old.revision)
        assert [await content_of(store, key) for key in ("a", "b")] == [b"old", b"old"]

    @pytest.mark.asyncio
    async def test_a_revision_that_never_was_is_not_found(self, store: BlobStore, harness: Harness) -> None:
        """A text that nobody has issued, another key's revision, and a missing key; an empty one is refused."""
        harness.require(store, "blobs.versions")
        await store.put("a", b"a", when=ANY)
        other = await store.put("b", b"b", when=ANY)
        for key, revision in (("a", "never-issued"), ("a", other.revision), ("missing", other.revision)):
            with pytest.raises(NotFound):
                await store.get(key, revision=revision)
            with pytest.raises(NotFound):
                await store.copy(key, "c", when=ANY, revision=revision)
        with pytest.raises(InvalidArgument):
            await store.get("a", revision="")
        for limit in (0, 1001):
            with pytest.raises(InvalidArgument):
                await store.revisions("a", limit=limit)
