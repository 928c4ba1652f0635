"""The reference event sink keeps the EventSink contract."""

from __future__ import annotations

from storycore.testing.events import EventSinkSuite


class TestMemoryEvents(EventSinkSuite):
    adapter = "memory"
