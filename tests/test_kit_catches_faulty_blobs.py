"""The BlobStore suite catches stores that break one promise each."""

from __future__ import annotations

import asyncio
import posixpath
import unicodedata
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from storycore.memory.blobs import MemoryBlobStore
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.plugins import Adapter
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobMatches, BlobPage, BlobReader, BlobStore, BlobVersion
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_back_door import machine_with
from storycore.testing.blob_machine import machine_for
from storycore.testing.blobs import BlobStoreSuite
from storycore.testing.harness import Harness
from storycore.testing.machines import run_machine
from storycore.testing.verdicts import verdict


class Faulty(MemoryBlobStore):
    """The reference as an opener of its own; each class below breaks one promise."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        super().__init__(env)

    def rename(self, key: str) -> str:
        return key

    def relax(self, when: BlobCondition, key: str) -> BlobCondition:
        return when

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **headers: Any
    ) -> BlobInfo:
        return await super().put(self.rename(key), data, when=self.relax(when, key), **headers)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> BlobReader:
        return await super().get(self.rename(key), start=start, length=length)

    async def head(self, key: str) -> BlobInfo | None:
        return await super().head(self.rename(key))

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        return await super().delete([self.rename(key) for key in keys])


class AbsentOverwrites(Faulty):
    def relax(self, when: BlobCondition, key: str) -> BlobCondition:
        return ANY if when == ABSENT else when


class PresentCreates(Faulty):
    def relax(self, when: BlobCondition, key: str) -> BlobCondition:
        return ANY if when == PRESENT else when


class VersionsAreNotCompared(Faulty):
    def relax(self, when: BlobCondition, key: str) -> BlobCondition:
        return PRESENT if isinstance(when, BlobMatches) else when


class VersionMatchesNothing(Faulty):
    """A demanded version on a missing key creates it, as some object stores do."""

    def relax(self, when: BlobCondition, key: str) -> BlobCondition:
        return ANY if isinstance(when, BlobMatches) and key not in self._blobs else when


class EveryVersionIsTheSame(Faulty):
    def _next_version(self) -> BlobVersion:
        return BlobVersion("same")


class ConditionIsCheckedFirst(Faulty):
    """Decides before the content is in, so that two writers both win."""

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        self._require(key, when)
        return await super().put(key, data, when=ANY, **kw)


class HalfIsVisible(Faulty):
    """Stores the pieces as they come in."""

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        if isinstance(data, bytes):
            return await super().put(key, data, when=when, **kw)
        self._require(key, when)
        content = b""
        async for piece in data:
            content += piece
            await super().put(key, content, when=ANY, **{**kw, "sha256": None})
        return await super().put(key, content, when=ANY, **kw)


class HashIsNotCompared(Faulty):
    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        return await super().put(key, data, when=when, **{**kw, "sha256": None})


class HashIsComparedTooLate(Faulty):
    """Writes first and compares afterwards."""

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        info = await super().put(key, data, when=when, **{**kw, "sha256": None})
        return info if kw["sha256"] is None else await super().put(key, self._blobs[key].content, when=ANY, **kw)


class OldMetadataStays(Faulty):
    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        if not kw["metadata"] and key in self._blobs:
            kw["metadata"] = self._blobs[key].info.metadata
        return await super().put(key, data, when=when, **kw)


class TypeIsForgotten(Faulty):
    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        return await super().put(key, data, when=when, **{**kw, "content_type": None})


class MachineClock(Faulty):
    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        info = replace(await super().put(key, data, when=when, **kw), modified_at=datetime.now(UTC))
        self._blobs[key] = replace(self._blobs[key], info=info)
        return info


class RaceBetweenCheckAndWrite(Faulty):
    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        self._require(key, when)
        await asyncio.sleep(0)
        return await super().put(key, data, when=ANY, **kw)


class NamesAreNormalised(Faulty):
    def rename(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)


class NamesAreLowered(Faulty):
    def rename(self, key: str) -> str:
        return key.lower()


class NamesArePaths(Faulty):
    def rename(self, key: str) -> str:
        return posixpath.normpath(key)


class NamesAreStripped(Faulty):
    def rename(self, key: str) -> str:
        return key.strip() or key


class NamesAreCut(Faulty):
    def rename(self, key: str) -> str:
        return key[:255]


class LengthIsTheEnd(Faulty):
    """Takes the length for the position behind the range."""

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> BlobReader:
        return await super().get(key, start=start, length=None if length is None else max(0, length - start))


class NothingMeansEverything(Faulty):
    """Takes a length of nought for no length."""

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> BlobReader:
        return await super().get(key, start=start, length=length or None)


class ReaderBeginsAgain(Faulty):
    """``read`` gives the whole range once more."""

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> BlobReader:
        reader: Any = await super().get(key, start=start, length=length)
        whole = reader._rest
        read = reader.read

        async def again() -> bytes:
            reader._rest = whole
            return await read()  # type: ignore[no-any-return]  # bytes

        reader.read = again
        return reader  # type: ignore[no-any-return]  # a reader


class ReaderFollowsTheName(Faulty):
    """Reads whatever the key holds when it is read."""

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> BlobReader:
        reader: Any = await super().get(key, start=start, length=length)
        take = reader._take
        position = 0

        def latest(size_bytes: int) -> bytes:
            nonlocal position
            if key in self._blobs:
                end = None if length is None else start + length
                reader._rest = self._blobs[key].content[start:end][position:]
            chunk: bytes = take(max(size_bytes, len(reader._rest)) if size_bytes == 0 else size_bytes)
            position += len(chunk)
            return chunk

        reader._take = latest
        return reader  # type: ignore[no-any-return]  # a reader


class ReaderNeverCloses(Faulty):
    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> BlobReader:
        reader: Any = await super().get(key, start=start, length=length)

        async def close() -> None:
            return None

        reader.close = close
        return reader  # type: ignore[no-any-return]  # a reader


class DeleteAlwaysTellsTrue(Faulty):
    async def delete(self, keys: Sequence[str]) -> list[bool]:
        await super().delete(keys)
        return [True] * len(keys)


class DeleteTakesAThousand(Faulty):
    async def delete(self, keys: Sequence[str]) -> list[bool]:
        return await super().delete(keys[:1000])


class CopyForgetsMetadata(Faulty):
    async def copy(self, source: str, target: str, *, when: BlobCondition) -> BlobInfo:
        info = replace(await super().copy(source, target, when=when), metadata={})
        self._blobs[target] = replace(self._blobs[target], info=info)
        return info


class CopyIsAMove(Faulty):
    async def copy(self, source: str, target: str, *, when: BlobCondition) -> BlobInfo:
        info = await super().copy(source, target, when=when)
        await super().delete([source])
        return info


class CopyDemandsOfTheSource(Faulty):
    async def copy(self, source: str, target: str, *, when: BlobCondition) -> BlobInfo:
        self._find(source)
        self._require(source, when)
        return await super().copy(source, target, when=ANY)


class CopyHasTheOldInstant(Faulty):
    async def copy(self, source: str, target: str, *, when: BlobCondition) -> BlobInfo:
        before = self._find(source).info.modified_at
        info = replace(await super().copy(source, target, when=when), modified_at=before)
        self._blobs[target] = replace(self._blobs[target], info=info)
        return info


class Listing(Faulty):
    """Lists as ``page`` says."""

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        return self.page(await super().entries(prefix, delimiter=delimiter, after=after, limit=limit))

    def page(self, page: BlobPage) -> BlobPage:
        return page


class ListedAsWritten(Listing):
    def page(self, page: BlobPage) -> BlobPage:
        order = list(self._blobs)
        return replace(page, blobs=sorted(page.blobs, key=lambda blob: order.index(blob.key)))


class ListedWithoutCase(Listing):
    def page(self, page: BlobPage) -> BlobPage:
        return replace(page, blobs=sorted(page.blobs, key=lambda blob: blob.key.lower()))


class ListedInUtf16(Listing):
    """Orders as JavaScript and Java do: characters beyond the first plane come before the last of it."""

    def page(self, page: BlobPage) -> BlobPage:
        return replace(page, blobs=sorted(page.blobs, key=lambda blob: blob.key.encode("utf-16-be")))


class NextIsForgotten(Listing):
    def page(self, page: BlobPage) -> BlobPage:
        return replace(page, next=None)


class PrefixesAreForgotten(Listing):
    def page(self, page: BlobPage) -> BlobPage:
        return replace(page, prefixes=())


class AfterIsInclusive(Faulty):
    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        start = None if after is None or after not in self._blobs else after[:-1] or None
        return await super().entries(prefix, delimiter=delimiter, after=start or after, limit=limit)


class PrefixIsAFolder(Faulty):
    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        return await super().entries(folder, delimiter=delimiter, after=after, limit=limit)


class DelimiterIsOneCharacter(Faulty):
    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        return await super().entries(prefix, delimiter=delimiter and delimiter[0], after=after, limit=limit)


class PrefixesAreNotCounted(Faulty):
    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        page = await super().entries(prefix, delimiter=delimiter, after=after, limit=1000)
        cut = page.blobs[:limit]
        return BlobPage(cut, page.prefixes, cut[-1].key if len(cut) < len(page.blobs) else None)


class PrefixesRepeat(Faulty):
    """A prefix comes again on the page behind it, because keys with it are behind it too."""

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        page = await super().entries(prefix, delimiter=delimiter, after=after, limit=limit)
        if delimiter and after and after.endswith(delimiter):
            return replace(page, prefixes=[after, *page.prefixes][:limit])
        return page


class InfoIsNotStored(Faulty):
    async def head(self, key: str) -> BlobInfo | None:
        info = await super().head(key)
        return None if info is None else replace(info, metadata={})


class ServesWhenClosed(Faulty):
    def _require_open(self) -> None:
        return None


class ReopensEmpty(Faulty):
    async def open(self) -> None:
        self._blobs.clear()
        await super().open()


class EmptyIsMissing(Faulty):
    async def head(self, key: str) -> BlobInfo | None:
        info = await super().head(key)
        return info if info and info.size_bytes else None


class PiecesAreCounted(Faulty):
    """Keeps at most ten pieces of a stream."""

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        if isinstance(data, bytes):
            return await super().put(key, data, when=when, **kw)

        async def some() -> AsyncIterator[bytes]:
            count = 0
            async for piece in data:
                count += 1
                if count <= 10:
                    yield piece

        return await super().put(key, some(), when=when, **kw)


class Looking(Faulty):
    """The reference with revisions and locks."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        MemoryBlobStore.__init__(self, env, MemoryBlobConfig(versions=True, lock=True))

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, when: BlobCondition, **kw: Any) -> BlobInfo:
        return await MemoryBlobStore.put(self, key, data, when=when, **kw)

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        return await MemoryBlobStore.get(self, key, start=start, length=length, revision=revision)


class RevisionIsIgnored(Looking):
    """Reads what is there now."""

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        return await super().get(key, start=start, length=length)


class RevisionOfAnyKey(Looking):
    """Finds a revision whatever key it was of."""

    def _find(self, key: str, revision: str | None = None) -> Any:
        for blobs in self._history.values():
            for blob in blobs:
                if revision is not None and blob.info.revision == revision:
                    return blob
        return super()._find(key, revision)


class RevisionsGoWithTheBlob(Looking):
    """A deletion takes the history with it."""

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        for key in keys:
            self._history.pop(key, None)
        return await super().delete(keys)


class RevisionsOldestFirst(Looking):
    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        return (await super().revisions(key))[::-1][:limit]


class RevisionsOfAPrefix(Looking):
    """Lists what begins with the key, as the service's own listing does."""

    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        blobs = [blob for name in sorted(self._history) if name.startswith(key) for blob in self._history[name][::-1]]
        return [self._told(blob) for blob in blobs][:limit]


class RevisionIsTheVersion(Looking):
    """Copying a revision back gives its name again."""

    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        info = await super().copy(source, target, when=when, revision=revision)
        return info if revision is None else replace(info, revision=revision)


class LockOnlyForbidsDeleting(Looking):
    def _require(self, key: str, when: BlobCondition) -> None:
        blob = self._blobs.get(key)
        if blob is not None:
            self._blobs[key] = replace(blob, info=replace(blob.info, locked_until=None))
        super()._require(key, when)


class LockOnlyForbidsReplacing(Looking):
    def _delete(self, key: str) -> bool:
        return self._blobs.pop(key, None) is not None


class LockNeverEnds(Looking):
    def _told(self, blob: Any) -> BlobInfo:
        return blob.info  # type: ignore[no-any-return]  # an info


class LockComesFirst(Looking):
    """Looks at the lock before the condition."""

    def _require(self, key: str, when: BlobCondition) -> None:
        self._require_unlocked(key)
        super()._require(key, when)


class LockIsShortened(Looking):
    async def lock(self, key: str, until: datetime) -> BlobInfo:
        blob = self._find(key)
        self._blobs[key] = replace(blob, info=replace(blob.info, locked_until=None))
        return await super().lock(key, until)


class LockIsCopied(Looking):
    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        until = self._told(self._find(source, revision)).locked_until
        info = await super().copy(source, target, when=when, revision=revision)
        return info if until is None else await super().lock(target, until)


class OneLockStopsAllDeletions(Looking):
    async def delete(self, keys: Sequence[str]) -> list[bool]:
        for key in keys:
            self._require_unlocked(key)
        return await super().delete(keys)


class RefusedDeletionsAreHidden(Looking):
    async def delete(self, keys: Sequence[str]) -> list[bool]:
        return [self._delete(key) is True for key in keys]


CAUGHT_BY: Mapping[type[Faulty], str] = {
    AbsentOverwrites: "test_absent_creates_only",
    PresentCreates: "test_present_replaces_only",
    VersionsAreNotCompared: "test_a_version_is_replaced_once",
    VersionMatchesNothing: "test_a_version_is_replaced_once",
    EveryVersionIsTheSame: "test_a_version_is_replaced_once",
    ConditionIsCheckedFirst: "test_a_slow_put_decides_its_condition_at_the_end",
    HalfIsVisible: "test_a_failing_source_leaves_what_was_there",
    HashIsNotCompared: "test_content_with_another_hash_is_refused",
    HashIsComparedTooLate: "test_content_with_another_hash_is_refused",
    OldMetadataStays: "test_what_was_not_given_has_its_default",
    TypeIsForgotten: "test_info_is_the_same_wherever_it_comes_from",
    MachineClock: "test_info_is_the_same_wherever_it_comes_from",
    RaceBetweenCheckAndWrite: "test_of_concurrent_creators_one_wins",
    NamesAreNormalised: "test_odd_keys_are_kept_apart",
    NamesAreLowered: "test_odd_keys_are_kept_apart",
    NamesArePaths: "test_odd_keys_are_kept_apart",
    NamesAreStripped: "test_odd_keys_are_kept_apart",
    NamesAreCut: "test_odd_keys_are_kept_apart",
    LengthIsTheEnd: "test_a_range_is_what_it_says",
    NothingMeansEverything: "test_a_range_is_what_it_says",
    ReaderBeginsAgain: "test_reading_goes_on_where_it_stopped",
    ReaderFollowsTheName: "test_an_open_reader_stays_with_its_version",
    ReaderNeverCloses: "test_a_closed_reader_reads_no_more",
    DeleteAlwaysTellsTrue: "test_delete_tells_where_there_was_a_blob",
    DeleteTakesAThousand: "test_many_blobs_are_deleted_in_one_call",
    CopyForgetsMetadata: "test_a_copy_has_content_type_and_metadata",
    CopyIsAMove: "test_a_copy_has_content_type_and_metadata",
    CopyHasTheOldInstant: "test_a_copy_has_content_type_and_metadata",
    CopyDemandsOfTheSource: "test_the_condition_of_a_copy_is_about_the_target",
    ListedAsWritten: "test_keys_are_in_the_order_of_their_bytes",
    ListedWithoutCase: "test_odd_keys_are_kept_apart",
    ListedInUtf16: "test_odd_keys_are_kept_apart",
    NextIsForgotten: "test_a_page_is_full_while_something_is_left",
    PrefixesAreForgotten: "test_a_delimiter_folds",
    AfterIsInclusive: "test_a_listing_begins_behind_after",
    PrefixIsAFolder: "test_a_prefix_is_text_and_no_folder",
    DelimiterIsOneCharacter: "test_any_text_may_be_a_delimiter",
    PrefixesAreNotCounted: "test_pages_add_up",
    PrefixesRepeat: "test_pages_add_up",
    InfoIsNotStored: "test_metadata_comes_back_as_it_was",
    ServesWhenClosed: "test_a_closed_store_is_unavailable",
    ReopensEmpty: "test_a_second_open_changes_nothing",
    EmptyIsMissing: "test_content_comes_back_as_it_was",
    PiecesAreCounted: "test_content_may_come_in_pieces",
    RevisionIsIgnored: "test_a_replaced_blob_stays_readable",
    RevisionOfAnyKey: "test_a_revision_that_never_was_is_not_found",
    RevisionsGoWithTheBlob: "test_revisions_are_listed_newest_first",
    RevisionsOldestFirst: "test_revisions_are_listed_newest_first",
    RevisionsOfAPrefix: "test_revisions_are_listed_newest_first",
    RevisionIsTheVersion: "test_a_copy_brings_a_revision_back",
    LockOnlyForbidsDeleting: "test_a_locked_blob_stays",
    LockOnlyForbidsReplacing: "test_a_locked_blob_stays",
    LockNeverEnds: "test_a_lock_ends",
    LockComesFirst: "test_a_condition_that_fails_comes_before_a_lock",
    LockIsShortened: "test_a_lock_is_extended_and_never_shortened",
    LockIsCopied: "test_a_copy_has_no_lock",
    OneLockStopsAllDeletions: "test_each_of_many_deletions_has_its_outcome",
    RefusedDeletionsAreHidden: "test_each_of_many_deletions_has_its_outcome",
}

CAUGHT_BY_AGREEMENT = [
    AbsentOverwrites,
    PresentCreates,
    VersionsAreNotCompared,
    OldMetadataStays,
    NamesArePaths,
    NamesAreNormalised,
    LengthIsTheEnd,
    DeleteAlwaysTellsTrue,
    CopyForgetsMetadata,
    CopyDemandsOfTheSource,
    NextIsForgotten,
    PrefixesRepeat,
    PrefixIsAFolder,
]


def adapter_of(fault: type[Faulty]) -> Adapter:
    return Adapter(
        name="memory",
        ports={PortName.BLOBS: f"{__name__}:{fault.__name__}"},
        config=MemoryConfig,
        summary=fault.__name__,
    )


@pytest.mark.parametrize("fault", CAUGHT_BY, ids=lambda fault: fault.__name__)
async def test_the_suite_catches(fault: type[Faulty], tmp_path: Path) -> None:
    """The named test fails on the faulty store."""
    found = await verdict(BlobStoreSuite, CAUGHT_BY[fault], PortName.BLOBS, adapter_of(fault), tmp_path)
    assert found is not None, f"{fault.__name__} passes {CAUGHT_BY[fault]}"


@pytest.mark.parametrize("fault", CAUGHT_BY_AGREEMENT, ids=lambda fault: fault.__name__)
async def test_the_machine_catches(fault: type[Faulty], tmp_path: Path) -> None:
    """The comparison with the reference alone finds the fault."""
    machine = machine_for(Harness(PortName.BLOBS, adapter_of(fault), {}, tmp_path))
    with pytest.raises(Exception, match=r".*"):  # an assertion, or an error that the reference did not raise
        await run_machine(machine, examples=400, steps=20, shrink=False)


class Inside:
    """A way into the reference, which compares nothing when it is read."""

    def __init__(self, store: BlobStore, harness: Harness) -> None:
        self._blobs: dict[str, Any] = store.inner._blobs  # type: ignore[attr-defined]  # the checks' and the memory's own

    def content(self, key: str) -> bytes | None:
        return self._blobs[key].content if key in self._blobs else None

    def damage(self, key: str, change: Callable[[bytes], bytes]) -> None:
        self._blobs[key] = replace(self._blobs[key], content=change(self._blobs[key].content))

    def remove(self, key: str) -> None:
        self._blobs.pop(key, None)


async def test_the_machine_catches_what_gives_out_damaged_content(tmp_path: Path) -> None:
    """A store that does not compare what it reads with its hash does not pass with a back door."""
    machine = machine_with(Harness(PortName.BLOBS, adapter_of(Faulty), {}, tmp_path), Inside)
    with pytest.raises(AssertionError):
        await run_machine(machine, examples=15, steps=20, shrink=False)


@pytest.mark.parametrize("test", sorted(set(CAUGHT_BY.values())))
async def test_a_faultless_store_passes(test: str, tmp_path: Path) -> None:
    """What catches the faults does not fail on the harness that they are put into."""
    fault = next(fault for fault, name in CAUGHT_BY.items() if name == test)
    faultless = Looking if issubclass(fault, Looking) else Faulty
    assert await verdict(BlobStoreSuite, test, PortName.BLOBS, adapter_of(faultless), tmp_path) is None
