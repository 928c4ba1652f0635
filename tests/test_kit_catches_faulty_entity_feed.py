"""The EntityStore suite catches the reference with a feed that does not keep what its changes stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.memory.entities import MemoryEntityStore
from storycore.ports.entities import Action, Change, ChangePage, FeedPosition
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.trials import demand_caught


class Faulty(MemoryEntityStore):
    """A store that tells some changes with another body than they stored."""

    caught_by: ClassVar[str] = "test_a_change_keeps_what_it_stored"

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        page = await super().changes(after, limit=limit)
        return replace(page, changes=tuple(map(self._altered, page.changes)))

    def _altered(self, change: Change) -> Change:
        ended_by = next((each for each in self._changes if is_successor(each, change)), None)
        if change.record is None or ended_by is None:
            return change
        body = self._body(change.record.body, ended_by)
        return replace(change, record=replace(change.record, body=body))

    def _body(self, body: bytes, ended_by: Change) -> bytes:
        raise NotImplementedError


def is_successor(later: Change, change: Change) -> bool:
    """Whether a change is of the same key and comes behind another."""
    return later.key == change.key and _place(later) > _place(change)


def _place(change: Change) -> int:
    return int(change.position.rpartition(".")[2])


class TellsTheNextBody(Faulty):
    """Tells of a change that was written over what was written over it."""

    def _body(self, body: bytes, ended_by: Change) -> bytes:
        return body if ended_by.record is None else ended_by.record.body


class LosesWhatWasWrittenOver(Faulty):
    """Has no body for a change that another put or patch came over."""

    def _body(self, body: bytes, ended_by: Change) -> bytes:
        return b"" if ended_by.action is Action.PUT else body


class LosesWhatWasDeleted(Faulty):
    """Has no body for the last change of a record that was deleted."""

    def _body(self, body: bytes, ended_by: Change) -> bytes:
        return b"" if ended_by.action is Action.DELETE else body


class LosesWhatExpired(Faulty):
    """Has no body for the last change of a record that a sweep removed."""

    def _body(self, body: bytes, ended_by: Change) -> bytes:
        return b"" if ended_by.action is Action.EXPIRE else body


FAULTY = Faulty.__subclasses__()


@pytest.mark.parametrize("kind", FAULTY, ids=lambda kind: kind.__name__)
async def test_the_fault_is_caught(kind: type[Faulty], tmp_path: Path, record_property: Any) -> None:
    """The named test passes over the reference and fails over the faulty store."""
    await demand_caught(EntityStoreSuite, PortName.ENTITIES, kind.caught_by, kind, MemoryEntityStore, tmp_path)
    record_property("faulty stores caught", 1)
