"""The EntityStore suite catches the reference with one thing wrong in its writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.errors import InvalidArgument, PartialFailure, StorycoreError, TransactionConflict, VersionConflict
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.conditions import ANY, Matches, Version
from storycore.ports.entities import (
    Check,
    Delete,
    Key,
    Patch,
    Put,
    Record,
    Write,
    Written,
)
from storycore.ports.lifecycle import PortName
from storycore.ports.records import put_record
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.trials import demand_caught


class Faulty(MemoryEntityStore):
    """A store with one fault, and the test that must catch it."""

    caught_by: ClassVar[str]


class MixesUpTypes(Faulty):
    """Stores a bool as a number."""

    caught_by = "test_a_field_comes_back_equal_and_of_its_type"

    def _store(self, record: Record) -> Record:
        fields = {k: int(v) if isinstance(v, bool) else v for k, v in record.fields.items()}
        return super()._store(replace(record, fields=fields))


class RoundsNumbers(Faulty):
    """Stores whole numbers as doubles."""

    caught_by = "test_a_field_comes_back_equal_and_of_its_type"

    def _store(self, record: Record) -> Record:
        fields = {k: int(float(v)) if type(v) is int else v for k, v in record.fields.items()}
        return super()._store(replace(record, fields=fields))


class MergesPuts(Faulty):
    """Keeps the fields that a put no longer names."""

    caught_by = "test_a_put_replaces_everything"

    def _store(self, record: Record) -> Record:
        old = self._records.get(record.key)
        return super()._store(replace(record, fields={**(old.fields if old else {}), **record.fields}))


class SharesItsRecords(Faulty):
    """Hands out the very objects that it keeps."""

    caught_by = "test_a_stored_record_is_nobody_elses"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        self._require_open()
        return [self._live(key) for key in keys]


class FoldsKeys(Faulty):
    """Takes keys for the same that differ in case."""

    caught_by = "test_keys_are_kept_apart_character_by_character"

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        found = {Key(k.pk.lower(), k.sk.lower()): r for k, r in self._records.items()}
        return [found.get(Key(k.pk.lower(), k.sk.lower())) for k in keys]


class IgnoresVersions(Faulty):
    """Writes over any version."""

    caught_by = "test_a_refused_write_leaves_no_trace"

    def _refusal(self, write: Write) -> StorycoreError | None:
        return super()._refusal(replace(write, when=ANY) if isinstance(write.when, Matches) else write)


class HidesTheCurrentVersion(Faulty):
    """Says of a conflict that nothing was there."""

    caught_by = "test_a_refused_write_leaves_no_trace"

    def _refusal(self, write: Write) -> StorycoreError | None:
        error = super()._refusal(write)
        if isinstance(error, VersionConflict):
            error.current = None
        return error


class WritesBeforeItJudges(Faulty):
    """Refuses a write only after having done it."""

    caught_by = "test_a_refused_write_leaves_no_trace"

    def _refusal(self, write: Write) -> StorycoreError | None:
        error = super()._refusal(write)
        if error is not None and isinstance(write, Put):
            self._store(put_record(write, self._next_version()))
        return error


class StartsVersionsAgain(Faulty):
    """Counts versions from 1 after a delete."""

    caught_by = "test_an_old_version_never_matches_again"

    def _apply(self, write: Write) -> Written:
        self._last_version = self._records[write.key].version if write.key in self._records else Version(0)
        return super()._apply(write)


class KeepsTheVersionOfPatches(Faulty):
    """A patch does not issue a version."""

    caught_by = "test_versions_grow_with_every_write_of_a_key"

    def _apply(self, write: Write) -> Written:
        if isinstance(write, Patch):
            self._last_version = self._records[write.key].version - 1
        return super()._apply(write)


class ForgetsWhatItDeleted(Faulty):
    """Tells no version of a deleted record."""

    caught_by = "test_delete_removes_and_tells_what_was_there"

    def _apply(self, write: Write) -> Written:
        written = super()._apply(write)
        return replace(written, version=None) if isinstance(write, Delete) else written


class CreatesByPatching(Faulty):
    """A patch of nothing creates a record."""

    caught_by = "test_a_patch_never_creates"

    def _refusal(self, write: Write) -> StorycoreError | None:
        return None if isinstance(write, Patch) and self._live(write.key) is None else super()._refusal(write)

    def _apply(self, write: Write) -> Written:
        if isinstance(write, Patch) and self._live(write.key) is None:
            return super()._apply(Put(key=write.key, kind="k", fields=write.set))
        return super()._apply(write)


class AddsInFloats(Faulty):
    """Adds numbers as doubles."""

    caught_by = "test_a_sum_is_exact"

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        if isinstance(write, Patch) and current is not None:
            sums = {k: float(current.fields.get(k, 0)) + float(v) for k, v in write.add.items()}  # type: ignore[arg-type]  # numbers
            write = replace(write, add={}, set={**write.set, **sums})
        return super()._apply(write)


class AddsToText(Faulty):
    """Takes a field that is no number for 0 instead of refusing."""

    caught_by = "test_what_cannot_be_added_is_refused"

    def _refusal(self, write: Write) -> StorycoreError | None:
        error = super()._refusal(write)
        return None if type(error) is InvalidArgument else error

    def _apply(self, write: Write) -> Written:
        return super()._apply(replace(write, add={}) if isinstance(write, Patch) else write)


class DropsBodiesOnPatch(Faulty):
    """A patch that does not name the body empties it."""

    caught_by = "test_a_patch_changes_what_it_names_and_nothing_else"

    def _apply(self, write: Write) -> Written:
        return super()._apply(replace(write, body=b"") if isinstance(write, Patch) else write)


class StopsAtTheFirstFailure(Faulty):
    """A failed write of a batch keeps the later ones from being done."""

    caught_by = "test_a_failed_write_does_not_hold_up_the_others"

    def _write_each(self, writes: Sequence[Write]) -> list[Written]:
        outcomes: list[object] = []
        for write in writes:
            if (error := self._refusal(write)) is not None:
                raise PartialFailure("stopped", outcomes=[*outcomes, error])
            outcomes.append(self._apply(write))
        return [outcome for outcome in outcomes if isinstance(outcome, Written)]


class AnswersInTheOrderOfKeys(Faulty):
    """Sorts the results of a batch."""

    caught_by = "test_results_come_in_the_order_of_the_writes"

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        return sorted(await super().write(writes, atomic=atomic, token=token), key=lambda written: written.key)


class AtomicInNameOnly(Faulty):
    """Does the writes of an atomic call that stand before the one that is refused."""

    caught_by = "test_a_refused_atomic_write_does_nothing"

    def _write_all(self, writes: Sequence[Write]) -> list[Written]:
        results = []
        for i, write in enumerate(writes):
            if (error := self._refusal(write)) is not None:
                raise TransactionConflict("refused", reasons={i: error})
            results.append(self._apply(write))
        return results


class NamesOneReason(Faulty):
    """Names only the first failing position."""

    caught_by = "test_a_refused_atomic_write_does_nothing"

    def _write_all(self, writes: Sequence[Write]) -> list[Written]:
        try:
            return super()._write_all(writes)
        except TransactionConflict as exc:
            raise TransactionConflict("refused", reasons=dict([*exc.reasons.items()][:1])) from exc


class WritesOnCheck(Faulty):
    """A check issues a new version of the record that it guards."""

    caught_by = "test_a_check_guards_without_writing"

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        if isinstance(write, Check) and current is not None:
            self._store(replace(current, version=self._next_version()))
        return super()._apply(write)


class ForgetsTokens(Faulty):
    """Does an atomic write again in spite of its token."""

    caught_by = "test_a_token_makes_an_atomic_write_idempotent"

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        return self._write_all(writes)


class TrustsTokens(Faulty):
    """Gives the first result for a token whatever the writes are."""

    caught_by = "test_a_token_with_other_writes_is_refused"

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        known = self._tokens.get(token)
        return super()._write_once(writes if known is None else known.writes, token)


class AnswersTokensFromTheStore(Faulty):
    """Gives the present record instead of the first result."""

    caught_by = "test_a_replayed_token_gives_the_first_result_also_later"

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        return [replace(w, record=self._live(w.key)) for w in super()._write_once(writes, token)]


FAULTY = Faulty.__subclasses__()


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_the_fault_is_caught(kind: type[Faulty], tmp_path: Path, record_property: Any) -> None:
    """The named test passes over the reference and fails over the faulty store."""
    await demand_caught(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, kind, MemoryEntityStore, tmp_path)
    record_property("faulty stores caught", 1)


def test_the_sample_is_large_enough() -> None:
    """No class escapes the list."""
    assert len(FAULTY) >= 20
