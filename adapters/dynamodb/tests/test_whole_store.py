"""A store on a DynamoDB table: what lies between entities and the port does its work there too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from pydantic import BaseModel

import storycore
from storycore.app import Store
from storycore.entities import Index, Key, entity, part
from storycore.errors import DeadlineExceeded
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness


class Note(BaseModel):
    id: str
    text: str = ""


KEY = Key(pk=("note", part.id), sk=("note",))
NOTE = entity(Note, kind="note", key=KEY, spill=2000)
LISTED = entity(Note, kind="note", key=KEY, spill=2000, indexes=[Index("all", slot=1, pk=("all",), sk=(part.id,))])


@pytest_asyncio.fixture
async def whole(harness: Harness) -> AsyncIterator[Store]:
    """A store in memory but for its entities."""
    entities = {"adapter": "dynamodb", **harness.settings()}
    async with storycore.open("memory", overrides={"entities": entities}) as opened:
        await opened.init()
        yield opened


async def test_long_instances_are_kept_followed_and_swept(whole: Store) -> None:
    """A body beyond the size of an item is read by key, told by the feed, and removed when nobody needs it."""
    notes = whole.repository(NOTE)
    await notes.create(Note(id="a", text="x" * 500_000))
    await notes.patch("a", set={"text": "y" * 600_000})
    assert (await notes.get("a", consistent=True)).text == "y" * 600_000
    told: list[int] = []
    async with asyncio.timeout(20), whole.changes(kinds=[NOTE], group="g", start="oldest", longest_pause=0.1) as stream:
        async for change in stream:
            assert change.instance is not None
            told.append(len(change.instance.text))
            if len(told) == 2:
                await stream.commit()
                break
    assert told == [500_000, 600_000]
    assert [change async for change in whole.changes(kinds=[NOTE], group="g", wait=False)] == []
    assert (await whole.maintain())["spilled"] == {"checked": 2, "waiting": 1, "deleted": 0}


async def test_an_index_is_added_to_what_is_there(whole: Store) -> None:
    """The upgrade writes the index keys, once."""
    await whole.repository(NOTE).save_batch([Note(id=f"n{i}") for i in range(5)])
    assert (await whole.upgrade(LISTED)).rewritten == 5
    assert (await whole.upgrade(LISTED)).outdated == 0
    listed = [note.id async for note in whole.repository(LISTED).all.iterate()]
    assert listed == [f"n{i}" for i in range(5)]


async def test_gets_of_one_moment_are_one_request(whole: Store) -> None:
    """Thirty readers cost one call of the adapter."""
    notes = whole.repository(NOTE)
    await notes.save_batch([Note(id=f"n{i}") for i in range(30)])
    before = whole.metrics.as_dict()["entities"].get("get", {"calls": 0})["calls"]
    found = await asyncio.gather(*(notes.get(f"n{i}", consistent=True) for i in range(30)))
    assert [note.id for note in found] == [f"n{i}" for i in range(30)]
    assert whole.metrics.as_dict()["entities"]["get"]["calls"] - before == 1


async def test_a_deadline_ends_a_request(whole: Store) -> None:
    """And the store serves the next one."""
    notes = whole.repository(NOTE)
    await notes.create(Note(id="a"))
    async with whole.deadline(timedelta(microseconds=50).total_seconds()):
        with pytest.raises(DeadlineExceeded):
            await notes.get("a", consistent=True)
    assert (await notes.get("a", consistent=True)).id == "a"


async def test_a_store_keeps_its_events_beside_its_entities(harness: Harness) -> None:
    """What is tracked is there for the next process, once."""
    tables = {port: {"adapter": "dynamodb", **harness.fresh().settings()} for port in ("entities", "events")}
    async with storycore.open("memory", overrides=tables) as first:
        await first.init()
        for _ in range(2):
            await first.events.track("feature_used", user_id="ada", properties={"feature": "export"}, event_id="once")
    async with storycore.open("memory", overrides=tables) as second:
        page = await second.ports[PortName.EVENTS].read()
        assert [(stored.event.type, stored.event.subject) for stored in page.events] == [("feature_used", "ada")]
