"""A whole store over the table: what is set by configuration alone, and what is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import storycore
from storycore.entities import Explanation
from storycore.ports.metering import Meter
from storycore.story import Story, StoryStatus, User


def profile(server: Mapping[str, object], table: str) -> storycore.Opening:
    """A store whose entities are on the local server, and all else in memory."""
    return storycore.open("memory", overrides={"entities": {"adapter": "dynamodb", "table": table, **server}})


async def test_the_stats_of_a_store_tell_what_was_consumed(server: Mapping[str, object]) -> None:
    """By operation of the service, and growing with what is done; ports that consume nothing are not named.

    A story that is saved over whatever is there is looked at before, for the lists that it was in.
    """
    async with profile(server, "metered") as store:
        await store.init()
        before = (await store.stats())["consumed"]
        await store.stories.save(Story(story_id="s1", user_id="u1", content="Water falls."))
        await store.stories.get("s1", consistent=True)
        await store.stories.by_user("u1")
        after = (await store.stats())["consumed"]
    assert list(after) == ["entities"]
    assert {name: calls for name, calls in grown(before, after, "calls").items() if calls} == {
        "GetItem": 2,
        "PutItem": 1,
        "Query": 1,
    }
    assert grown(before, after, "write_units")["PutItem"] > 0
    assert grown(before, after, "read_units")["Query"] > 0


def grown(before: Any, after: Any, what: str) -> dict[str, float]:
    """Operation to how much more of something there is."""
    return {
        name: each[what] - before["entities"].get(name, {what: 0.0})[what] for name, each in after["entities"].items()
    }


async def test_the_meter_is_shown_while_the_store_is_open(server: Mapping[str, object]) -> None:
    """To programs that send the numbers elsewhere."""
    async with profile(server, "meter") as store:
        await store.init()
        await store.users.save(User(email="ada@example.com", username="ada"))
        meter = store.entities.native(Meter)
        assert meter.consumed()["TransactWriteItems"]["write_units"] > 0


async def test_a_new_table_has_no_drift(server: Mapping[str, object]) -> None:
    """And before it is there, all of it is to be done."""
    async with profile(server, "drifting") as store:
        assert len((await store.drift())["entities"].actions) > 1
        await store.init()
        assert await store.drift() == {}


async def test_the_story_domain_works_on_the_table(server: Mapping[str, object]) -> None:
    """Saved, listed over shards, and moved from one state to another."""
    async with profile(server, "domain") as store:
        await store.init()
        for number in range(5):
            await store.stories.save(Story(story_id=f"s{number}", user_id="u1", content="Water falls."))
        await store.stories.update_status("s3", StoryStatus.PUBLISHED)
        drafts = await store.stories.by_status(StoryStatus.DRAFT)
        published = await store.stories.by_status(StoryStatus.PUBLISHED)
    assert sorted(each.story_id for each in drafts.items) == ["s0", "s1", "s2", "s4"]
    assert [each.story_id for each in published.items] == ["s3"]


async def test_writes_consume_what_was_explained(server: Mapping[str, object]) -> None:
    """Unit for unit: of the table, of each index, of keys that move, and of values that have one holder."""
    async with profile(server, "explained") as store:
        await store.init()
        meter = store.entities.native(Meter)
        users, stories = store.users.repository, store.stories.repository

        def written() -> float:
            return sum(each["write_units"] for each in meter.consumed().values())

        ada = User(user_id="ada", email="ada@example.com", username="ada")
        text = Story(story_id="s1", user_id="ada", session_id="c1", content="Water falls. " * 120)
        steps: list[tuple[Explanation, Callable[[], Awaitable[object]]]] = [
            (users.explain.put(ada), lambda: store.users.save(ada)),
            (stories.explain.put(text), lambda: store.stories.save(text)),
            (stories.explain.patch(text, add={"views": 1}), lambda: store.stories.add_metrics("s1", {"views": 1})),
            (
                stories.explain.patch(text, set={"status": StoryStatus.ARCHIVED}),
                lambda: store.stories.update_status("s1", StoryStatus.ARCHIVED),
            ),
            (
                users.explain.patch(ada, set={"email": "new@example.com"}),
                lambda: store.users.update("ada", {"email": "new@example.com"}),
            ),
            (stories.explain.delete(text), lambda: store.stories.delete("s1")),
            (users.explain.delete(ada), lambda: store.users.delete("ada")),
        ]
        for told, do in steps:
            before = written()
            await do()
            assert (told.operation, written() - before) == (told.operation, told.write_units)


async def test_listings_send_as_many_requests_as_was_explained(server: Mapping[str, object]) -> None:
    """One for a partition, one for each shard, and another for the rare shard that holds more than its share."""
    async with profile(server, "requested") as store:
        await store.init()
        await store.stories.save_batch(
            [Story(story_id=f"s{number}", user_id="ada", content="Water falls.") for number in range(30)]
        )
        meter = store.entities.native(Meter)
        by_user = store.stories.repository.query("by_user", user_id="ada").limit(20)
        by_status = store.stories.repository.query("by_status", status=StoryStatus.DRAFT).limit(20)
        for query in (by_user, by_status):
            told = await query.explain(item_bytes=700)
            before = meter.consumed().get("Query", {"calls": 0})["calls"]
            page = await query.page()
            assert len(page.items) == 20
            more = meter.consumed()["Query"]["calls"] - before - told.requests
            assert 0 <= more <= (2 if query is by_status else 0)
