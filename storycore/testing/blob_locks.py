"""What a blob store promises of locks: until an instant a blob is neither replaced nor deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from storycore.errors import AccessDenied, AlreadyExists, InvalidArgument, NotFound, PartialFailure, Unsupported
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.testing.blob_examples import content_of, pieces
from storycore.testing.harness import Harness

__all__ = ["BlobLocks"]

LONG = timedelta(days=3650)
"""A service compares with its own clock, so the end of a lock lies far ahead of any clock."""


class BlobLocks:
    """The part of the BlobStore suite that locks; most of it needs the feature ``blobs.lock``."""

    @pytest.mark.asyncio
    async def test_locks_are_claimed_or_refused(self, store: BlobStore, harness: Harness) -> None:
        """Without the feature locking is ``Unsupported`` and writes nothing; infos tell of no lock."""
        until = harness.clock.now() + LONG
        info = await store.put("a", b"abc", when=ANY)
        assert info.locked_until is None
        if store.capabilities.has("blobs.lock"):
            return
        with pytest.raises(Unsupported) as caught:
            await store.lock("a", until)
        assert caught.value.feature == "blobs.lock"
        with pytest.raises(Unsupported):
            await store.put("b", b"", when=ANY, locked_until=until)
        assert (await store.head("a"), await store.head("b")) == (info, None)

    @pytest.mark.asyncio
    async def test_a_locked_blob_stays(self, store: BlobStore, harness: Harness) -> None:
        """Replacing, copying onto it and deleting are ``AccessDenied``, which names the instant; reading goes on."""
        harness.require(store, "blobs.lock")
        until = harness.clock.now() + LONG
        info = await store.put("a", b"abc", when=ANY, locked_until=until)
        assert info.locked_until == until
        await store.put("b", b"other", when=ANY)
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: store.put("a", b"new", when=ANY),
            lambda: store.put("a", pieces(b"n", b"ew"), when=PRESENT),
            lambda: store.copy("b", "a", when=ANY),
            lambda: store.copy("a", "a", when=ANY),
            lambda: store.delete(["a"]),
        ]
        for attempt in attempts:
            with pytest.raises(AccessDenied, match=str(until.year)):
                await attempt()
        assert (await store.head("a"), await content_of(store, "a")) == (info, b"abc")
        assert list((await store.entries("a")).blobs) == [info]

    @pytest.mark.asyncio
    async def test_a_condition_that_fails_comes_before_a_lock(self, store: BlobStore, harness: Harness) -> None:
        """``ABSENT`` over a locked blob is ``AlreadyExists``."""
        harness.require(store, "blobs.lock")
        await store.put("a", b"abc", when=ANY, locked_until=harness.clock.now() + LONG)
        with pytest.raises(AlreadyExists):
            await store.put("a", b"new", when=ABSENT)

    @pytest.mark.asyncio
    async def test_a_lock_ends(self, store: BlobStore, harness: Harness) -> None:
        """From its instant on the blob is replaced and deleted as any other, and tells of no lock."""
        harness.require(store, "blobs.lock")
        for key in ("a", "b"):
            await store.put(key, b"abc", when=ANY, locked_until=harness.clock.now() + LONG)
        harness.clock.advance(LONG)
        info = await store.head("a")
        assert info is not None
        assert info.locked_until is None
        await store.put("a", b"new", when=PRESENT)
        assert await store.delete(["a", "b"]) == [True, True]

    @pytest.mark.asyncio
    async def test_a_lock_is_extended_and_never_shortened(self, store: BlobStore, harness: Harness) -> None:
        """``lock`` gives an unlocked blob a lock, moves its end on, and refuses to move it back."""
        harness.require(store, "blobs.lock")
        until = harness.clock.now() + LONG
        written = await store.put("a", b"abc", when=ANY)
        locked = await store.lock("a", until)
        assert (locked.locked_until, locked.version) == (until, written.version)
        later = until + timedelta(days=1)
        assert (await store.lock("a", later)).locked_until == later
        assert (await store.lock("a", later)).locked_until == later
        with pytest.raises(AccessDenied, match=str(later.year)):
            await store.lock("a", until)
        found = await store.head("a")
        assert found is not None
        assert found.locked_until == later
        with pytest.raises(NotFound):
            await store.lock("missing", until)

    @pytest.mark.asyncio
    async def test_an_instant_is_aware_and_of_whole_seconds(self, store: BlobStore, harness: Harness) -> None:
        """Any time zone is read as UTC and a fraction is rounded up; what has passed locks nothing."""
        harness.require(store, "blobs.lock")
        until = (harness.clock.now() + LONG).astimezone(timezone(timedelta(hours=2))) + timedelta(microseconds=1)
        info = await store.put("a", b"", when=ANY, locked_until=until)
        assert info.locked_until == harness.clock.now() + LONG + timedelta(seconds=1)
        assert info.locked_until is not None
        assert info.locked_until.tzinfo is UTC
        passed = await store.put("b", b"", when=ANY, locked_until=harness.clock.now() - timedelta(seconds=1))
        assert passed.locked_until is None
        assert (await store.lock("b", harness.clock.now())).locked_until is None
        assert await store.delete(["b"]) == [True]
        for bad in (datetime(2036, 1, 1), "2036-01-01", datetime(9999, 12, 31, tzinfo=UTC)):  # noqa: DTZ001
            with pytest.raises(InvalidArgument):
                await store.put("c", b"", when=ANY, locked_until=bad)  # type: ignore[arg-type]  # what is refused
        assert await store.head("c") is None

    @pytest.mark.asyncio
    async def test_each_of_many_deletions_has_its_outcome(self, store: BlobStore, harness: Harness) -> None:
        """Where some blobs are locked the others are deleted, and the error tells of each position."""
        harness.require(store, "blobs.lock")
        for key in ("a", "c"):
            await store.put(key, b"", when=ANY)
        await store.put("b", b"", when=ANY, locked_until=harness.clock.now() + LONG)
        with pytest.raises(PartialFailure, match="1") as caught:
            await store.delete(["a", "b", "missing", "c"])
        outcomes = caught.value.outcomes
        assert [type(outcome) for outcome in outcomes] == [bool, AccessDenied, bool, bool]
        assert [outcome for outcome in outcomes if isinstance(outcome, bool)] == [True, False, True]
        assert [info.key for info in (await store.entries()).blobs] == ["b"]

    @pytest.mark.asyncio
    async def test_a_copy_has_no_lock(self, store: BlobStore, harness: Harness) -> None:
        """A locked blob is copied, and the copy can be replaced."""
        harness.require(store, "blobs.lock")
        await store.put("a", b"abc", when=ANY, locked_until=harness.clock.now() + LONG)
        assert (await store.copy("a", "b", when=ABSENT)).locked_until is None
        await store.put("b", b"new", when=PRESENT)
        assert await content_of(store, "b") == b"new"
