"""A repository against a plain dictionary: whatever is done to both, they agree."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pydantic import AwareDatetime, BaseModel

from storycore.entities import Index, Key, Repository, entity, part
from storycore.errors import StorycoreError
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness


class Note(BaseModel):
    note_id: str
    owner: str = "ada"
    rank: int = 0
    stars: int = 0
    until: AwareDatetime | None = None


NOTE = entity(
    Note,
    kind="note",
    key=Key(pk=("note", part.note_id), sk=("note",)),
    indexes=[Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.rank,))],
    promoted=("owner",),
    counters=("stars",),
    ttl="until",
)

ids = st.sampled_from(["a", "b#", "c c"])
owners = st.sampled_from(["ada", "bob"])
ranks = st.integers(-2, 11)
lifetimes = st.none() | st.integers(1, 3)


@dataclass
class Held:
    """An instance that a caller keeps, and which write it knows; ``None``: none."""

    note: Note
    known: int | None


class RepositoryMachine(RuleBasedStateMachine):
    """The dictionary holds each live note and the number of the write that made it."""

    adapter: ClassVar[str] = "memory"

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.harness = Harness(PortName.ENTITIES, self.adapter, {}, Path(self.folder.name))
        self.store = self.loop.run(self.harness.started())
        self.notes: Repository[Note] = Repository(NOTE, self.store, self.harness.env, cursor_key=b"k" * 16)
        self.stored: dict[str, tuple[Note, int]] = {}
        self.held: list[Held] = []
        self.writes = 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run(self.store.close())
            self.loop.close()
            self.folder.cleanup()

    @rule(note_id=ids, owner=owners, rank=ranks, hours=lifetimes)
    def create(self, note_id: str, owner: str, rank: int, hours: int | None) -> None:
        """Succeeds exactly where nothing is."""
        note = Note(note_id=note_id, owner=owner, rank=rank, until=self._until(hours))
        expected = "AlreadyExists" if note_id in self.stored else None
        assert self._outcome(self.notes.create(note)) == expected
        if expected is None:
            self._wrote(note)
            self.held.append(Held(note, self.writes))

    @rule(note_id=ids, owner=owners, rank=ranks, hours=lifetimes)
    def put_unseen(self, note_id: str, owner: str, rank: int, hours: int | None) -> None:
        """An instance that was never stored replaces what is there."""
        note = Note(note_id=note_id, owner=owner, rank=rank, until=self._until(hours))
        assert self._outcome(self.notes.put(note)) is None
        self._wrote(note)

    @rule(note_id=ids)
    def load(self, note_id: str) -> None:
        """Gives what is stored, or nothing."""
        found = self.loop.run(self.notes.find(note_id))
        assert found == (self.stored[note_id][0] if note_id in self.stored else None)
        if found is not None:
            self.held.append(Held(found, self.stored[note_id][1]))

    @rule(data=st.data(), rank=ranks)
    def put_held(self, data: st.DataObject, rank: int) -> None:
        """Succeeds exactly when nobody wrote since."""
        if not self.held:
            return
        held = data.draw(st.sampled_from(self.held))
        held.note.rank = rank
        is_present = self._known(held.note.note_id) == held.known
        assert self._outcome(self.notes.put(held.note)) == (None if is_present else "VersionConflict")
        if is_present:
            self._wrote(held.note)
            held.known = self._known(held.note.note_id) or self.writes

    @rule(note_id=ids, owner=owners, rank=ranks)
    def patch(self, note_id: str, owner: str, rank: int) -> None:
        """Changes what is there, and never creates."""
        expected = None if note_id in self.stored else "NotFound"
        assert self._outcome(self.notes.patch(note_id, set={"owner": owner, "rank": rank})) == expected
        if expected is None:
            self._wrote(self.stored[note_id][0].model_copy(update={"owner": owner, "rank": rank}))

    @rule(note_id=ids, amount=st.integers(-3, 3))
    def count(self, note_id: str, amount: int) -> None:
        """Adds to what is there."""
        expected = None if note_id in self.stored else "NotFound"
        assert self._outcome(self.notes.count(note_id, {"stars": amount})) == expected
        if expected is None:
            note = self.stored[note_id][0]
            self._wrote(note.model_copy(update={"stars": note.stars + amount}))

    @rule(note_id=ids)
    def delete(self, note_id: str) -> None:
        """Tells whether there was one."""
        assert self.loop.run(self.notes.delete(note_id)) == (note_id in self.stored)
        self.stored.pop(note_id, None)

    @rule(data=st.data())
    def delete_held(self, data: st.DataObject) -> None:
        """Succeeds exactly when nobody wrote since."""
        if not self.held:
            return
        held = data.draw(st.sampled_from(self.held))
        is_present = self._known(held.note.note_id) == held.known
        assert self._outcome(self.notes.delete(held.note)) == (None if is_present else "VersionConflict")
        if is_present:
            self.stored.pop(held.note.note_id, None)

    @rule(hours=st.integers(1, 2), sweep=st.booleans())
    def wait(self, hours: int, sweep: bool) -> None:
        """What has expired is gone, whether it is removed or not."""
        self.harness.clock.advance(timedelta(hours=hours))
        now = self.harness.clock.now()
        self.stored = {k: v for k, v in self.stored.items() if v[0].until is None or v[0].until > now}
        if sweep:
            self.loop.run(self.store.expire(now))

    @invariant()
    def listings_agree(self) -> None:
        """Each listing is the sorted dictionary."""
        if not hasattr(self, "loop"):
            return
        notes = [note for note, _ in self.stored.values()]
        for owner in ("ada", "bob"):
            listed = self.loop.run(self.notes.by_owner.iterate(owner=owner, reverse=True).to_list())
            keyed = sorted(((n.rank, self.notes.address(n).pk, n) for n in notes if n.owner == owner), reverse=True)
            assert listed == [note for _, _, note in keyed]
        scanned = self.loop.run(self.notes.scan().to_list())
        assert sorted(n.note_id for n in scanned) == sorted(self.stored)

    def _until(self, hours: int | None) -> datetime | None:
        return None if hours is None else self.harness.clock.now() + timedelta(hours=hours)

    def _known(self, note_id: str) -> int | None:
        return self.stored[note_id][1] if note_id in self.stored else -1

    def _wrote(self, note: Note) -> None:
        self.writes += 1
        if note.until is None or note.until > self.harness.clock.now():
            self.stored[note.note_id] = (note.model_copy(), self.writes)
        else:
            self.stored.pop(note.note_id, None)

    def _outcome(self, call: Any) -> str | None:  # any coroutine
        try:
            self.loop.run(call)
        except StorycoreError as exc:
            return type(exc).__name__
        return None


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
def test_a_repository_agrees_with_a_dictionary(adapter: str) -> None:
    """Results and error classes, with stale instances, expiry and listings."""
    machine = type("Machine", (RepositoryMachine,), {"adapter": adapter})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None, derandomize=True, database=None),
    )
