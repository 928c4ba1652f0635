"""The state machine that drives an event sink and the reference with one trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from storycore.ports.capabilities import Durability
from storycore.ports.events import Emitted, Event, EventPage, EventSink, Offset
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine

__all__ = ["machine_for"]

_START = datetime(2026, 1, 1, tzinfo=UTC)
_IDS = st.sampled_from([f"e{i}" for i in range(12)])
_TYPES = st.sampled_from(["a", "b", "c"])
_SUBJECTS = st.sampled_from(["", "u1", "u2"])
_INSTANTS = st.integers(0, 6).map(lambda hours: _START + timedelta(hours=hours))
_DATA = st.dictionaries(st.sampled_from("xyz"), st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3))
_EVENTS = st.builds(Event, id=_IDS, type=_TYPES, at=_INSTANTS, subject=_SUBJECTS, data=_DATA)
_PLANTED = [
    Event(
        id=f"p{i}",
        type="abc"[i % 3],
        subject=("", "u1", "u2")[i // 3 % 3],
        at=_START + timedelta(hours=i % 7),
        data={"x": i % 2 == 0, "y": i, "z": None},
    )
    for i in range(12)
]
_FILTERS = st.fixed_dictionaries(
    {"limit": st.integers(1, 5)},
    optional={
        "types": st.lists(_TYPES, max_size=2),
        "subject": _SUBJECTS,
        "since": _INSTANTS,
        "until": _INSTANTS,
    },
)


def machine_for(harness: Harness) -> type[EventMachine]:
    """The machine for one adapter; each run has a fresh place."""
    return type("EventMachineRun", (EventMachine,), {"origin": harness})


class EventMachine(StoreMachine):
    """Offsets may have gaps, so places are compared by the id of the event that is there."""

    origin: ClassVar[Harness]

    @initialize()
    def begin(self) -> None:
        """Open both sinks in empty places."""
        self.harness = self.origin.fresh()
        self.subject: EventSink = self.run(self.harness.started())
        self.model: EventSink = self.run(Harness(PortName.EVENTS, "memory", {}, self.harness.path).started())
        self.places: list[tuple[Offset, Offset]] = []
        self.emit(events=_PLANTED)

    @rule(events=st.lists(_EVENTS, max_size=5))
    def emit(self, events: list[Event]) -> None:
        """The same ids are duplicates; offsets of equal events correspond from then on."""
        model = self.run(self.model.emit(events))
        subject = self.run(self.subject.emit(events))
        assert _told(model) == _told(subject)
        self._correspond([(m.offset, s.offset) for m, s in zip(model, subject, strict=True)])

    @rule(where=_FILTERS, pick=st.none() | st.integers(0, 30))
    def read(self, where: dict[str, Any], pick: int | None) -> None:
        """A walk of pages from the same place gives the same pages."""
        places = [(None, None), *self.places] if pick is not None else [(None, None)]
        model_after, subject_after = places[(pick or 0) % len(places)]
        while True:
            model: EventPage = self.run(self.model.read(model_after, **where))
            subject: EventPage = self.run(self.subject.read(subject_after, **where))
            assert [_plain(stored.event) for stored in model.events] == [_plain(one.event) for one in subject.events]
            self._correspond([(m.offset, s.offset) for m, s in zip(model.events, subject.events, strict=True)])
            if len(model.events) < where["limit"]:
                return
            assert subject.next > (subject_after or 0), "the log does not get on"
            model_after, subject_after = model.next, subject.next

    @rule(before=_INSTANTS)
    def trim(self, before: datetime) -> None:
        """The same number of events goes."""
        assert self.run(self.model.trim(before)) == self.run(self.subject.trim(before))

    @rule()
    def reopen(self) -> None:
        """Closing and opening again changes nothing where durability is claimed."""
        if self.subject.capabilities.guarantees.durability is Durability.PROCESS:
            return
        self.run(self.subject.close())
        self.subject = self.run(self.harness.started())

    def teardown(self) -> None:
        """Close both sinks."""
        if hasattr(self, "subject"):
            self.run(self.subject.close())
            self.run(self.model.close())
        super().teardown()

    def _correspond(self, pairs: list[tuple[Offset, Offset]]) -> None:
        """Both sinks order the same events in the same way, for ever."""
        self.places = sorted({*self.places, *pairs})
        subject = [place for _, place in self.places]
        assert subject == sorted(set(subject)), "offsets of different events are equal or in another order"
        assert len(self.places) == len({place for place, _ in self.places}), "an event has two offsets"


def _told(emitted: list[Emitted]) -> list[tuple[str, bool]]:
    return [(one.id, one.duplicate) for one in emitted]


def _plain(event: Event) -> tuple[Event, str]:
    """An event and its data as text, which tells ``True`` from 1."""
    return event, json.dumps(event.data, sort_keys=True)
