"""Tracking turns what happened into events of the log."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import BaseModel, Field

from storycore.analytics import Tracker
from storycore.errors import InvalidArgument, TooLarge
from storycore.ports.environment import Environment
from storycore.ports.events import Event
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def tracker(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Tracker]:
    ids = itertools.count(1)
    env = Environment(clock=clock, new_id=lambda: f"id{next(ids)}", random=random.Random(7))
    sink = await Harness(PortName.EVENTS, "memory", {}, tmp_path).started()
    yield Tracker(sink, env)
    await sink.close()


async def test_what_happened_is_an_event_of_the_present(tracker: Tracker, clock: ManualClock) -> None:
    """Type, user, properties, instant and a fresh id are kept."""
    emitted = await tracker.track("feature_used", user_id="u1", properties={"feature": "voice"})
    [stored] = (await tracker.read()).events
    expected = Event(id="id1", type="feature_used", at=clock.now(), subject="u1", data={"feature": "voice"})
    assert (stored.event, stored.offset, emitted.duplicate) == (expected, emitted.offset, False)


async def test_a_repeated_id_counts_once(tracker: Tracker) -> None:
    """A retry with the same event id is told as a duplicate, with the offset of the first."""
    first = await tracker.track("signup", event_id="e1")
    again = await tracker.track("signup", event_id="e1")
    assert (again.duplicate, again.offset) == (True, first.offset)
    assert len((await tracker.read()).events) == 1


async def test_an_empty_event_id_is_refused(tracker: Tracker) -> None:
    """``""`` is no way to ask for a fresh id."""
    with pytest.raises(InvalidArgument):
        await tracker.track("signup", event_id="")


async def test_an_api_call_has_its_facts(tracker: Tracker) -> None:
    """Endpoint, method, status and seconds become properties."""
    await tracker.track_api_call("/generate-story", "post", 200, 1.23, user_id="u1")
    [stored] = (await tracker.read(types=["api_call"], user_id="u1")).events
    expected = {"endpoint": "/generate-story", "method": "POST", "status_code": 200, "response_time_seconds": 1.23}
    assert stored.event.data == expected


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
async def test_an_impossible_response_time_is_refused(tracker: Tracker, seconds: float) -> None:
    """Less than nothing and what is no number are refused, and nothing is recorded."""
    with pytest.raises(InvalidArgument):
        await tracker.track_api_call("/", "GET", 200, seconds)
    assert (await tracker.read()).events == []


async def test_what_cannot_be_kept_is_refused(tracker: Tracker) -> None:
    """The limits of the log hold for what is tracked."""
    with pytest.raises(TooLarge):
        await tracker.track("big", properties={"x": "y" * 300_000})
    with pytest.raises(InvalidArgument):
        await tracker.track("")


async def test_recent_events_come_newest_first(tracker: Tracker, clock: ManualClock) -> None:
    """The last ones of the period, limited and filtered; older ones are left out."""
    await tracker.track("login", user_id="u0")
    clock.advance(timedelta(hours=24, seconds=1))
    for i in range(6):
        await tracker.track("login" if i % 2 else "logout", user_id=f"u{i % 3}")
        clock.advance(1)

    async def seen(limit: int = 50, **where: object) -> list[str]:
        return [stored.event.id for stored in await tracker.recent(limit, **where)]  # type: ignore[arg-type]  # table

    assert await seen() == ["id7", "id6", "id5", "id4", "id3", "id2"]
    assert await seen(2) == ["id7", "id6"]
    assert await seen(types=["login"]) == ["id7", "id5", "id3"]
    assert await seen(user_id="u0") == ["id5", "id2"]
    assert await seen(within=timedelta(seconds=2)) == ["id7", "id6"]
    assert await seen(types=["none"]) == []


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_a_limit_out_of_range_is_refused(tracker: Tracker, limit: int) -> None:
    """``recent`` keeps a bounded number of events in memory."""
    with pytest.raises(InvalidArgument):
        await tracker.recent(limit)


async def test_recent_events_are_found_behind_many_pages(tracker: Tracker, clock: ManualClock) -> None:
    """The newest are found however many events of the period lie before them."""
    await tracker.sink.emit([Event(id=f"e{i}", type="t", at=clock.now()) for i in range(10_001)])
    assert [stored.event.id for stored in await tracker.recent(2)] == ["e10000", "e9999"]


class Published(BaseModel):
    story_id: str
    words: int = Field(ge=0)


async def test_properties_of_a_known_type_are_checked_and_completed(tmp_path: Path) -> None:
    """A wrong one is refused by name before anything is kept; values are kept as the model reads them."""
    sink = await Harness(PortName.EVENTS, "memory", {}, tmp_path).started()
    tracker = Tracker(sink, Environment(), types={"published": Published})
    with pytest.raises(InvalidArgument, match=r"'published'.*words"):
        await tracker.track("published", properties={"story_id": "s1", "words": -1})
    await tracker.track("published", properties={"story_id": "s1", "words": "12"})
    await tracker.track("anything", properties={"words": -1})
    kept = [dict(stored.event.data) for stored in (await tracker.read()).events]
    assert kept == [{"story_id": "s1", "words": 12}, {"words": -1}]
    await sink.close()
