"""The commands that look into the cache, empty it and fill it; and invalidation by the change feed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest

import storycore
from storycore import Store
from storycore.caching.following import Following
from storycore.cli.program import run
from storycore.errors import FeedGap, Unavailable
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.cache import Cache
from storycore.ports.entities import ChangePage, EntityStore, FeedPosition, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import StoryStyle, Template

Call = Callable[..., tuple[int, Any]]


def template() -> Template:
    """One that is not stored yet."""
    return Template(template_id="t1", name="One", style=StoryStyle.BLOG_POST, body="Tell me.")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line on a local layer in ./data; gives the status and the JSON document."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "storycore.toml").write_text(
        'default = "quick"\n[profile.quick]\nextends = "local"\ndir = "data"\nembedder = "memory://"\n'
    )

    def called(*arguments: str) -> tuple[int, Any]:
        status = run([*arguments, "--json"])
        out = capsys.readouterr().out
        return status, json.loads(out) if out else None

    return called


def within(work: Callable[[Store], Any]) -> Any:
    """Do something with the store of the working directory."""

    async def opened() -> Any:
        async with storycore.open() as store:
            await store.init(warm_cache=False)
            return await work(store)

    return asyncio.run(opened())


async def _save(store: Store) -> None:
    await store.templates.save(template())


def test_the_cache_is_filled_looked_into_and_emptied(call: Call) -> None:
    """Warm, count, explain and invalidate, each in a process of its own."""
    within(_save)
    assert call("cache", "stats")[1]["values"] == {}
    assert call("cache", "warm", "--plan") == (0, {"plan": True, "records": {"template": 1}})
    assert call("cache", "stats")[1]["values"] == {}
    assert call("cache", "warm", "templates") == (0, {"plan": False, "records": {"template": 1}})
    status, found = call("cache", "stats")
    assert (status, found["values"], found["adapter"], found["ok"]) == (0, {"record": 1}, "diskcache", True)
    key = within(_key_of_the_template)
    status, found = call("cache", "explain", key)
    assert (status, found["held"], found["readable"], found["regions"]) == (0, True, True, ["record:{pk}:{sk}"])
    assert (found["stale"], found["absent"], found["tags"]) == (False, False, 0)
    assert call("cache", "invalidate", key)[1]["confirmed"] is True
    assert call("cache", "explain", key) == (1, {"key": key, "held": False})
    call("cache", "warm")
    assert call("cache", "invalidate", "--all")[0] == 0
    assert call("cache", "stats")[1]["values"] == {}


async def _key_of_the_template(store: Store) -> str:
    prefix = f"{store.profile.namespace}:"
    page = await cast(Cache, store.ports[PortName.CACHE]).keys(prefix)
    (key,) = page.keys
    return key.removeprefix(prefix)


def test_a_tag_is_invalidated_by_name(call: Call) -> None:
    """What carries it is a miss for every later reader."""

    async def fill(store: Store) -> int | None:
        region = store.cache.region("n:{k}", int, ttl=60, tags=("all",))
        return await region.get_or_load(k=1, load=lambda k: k)

    async def held(store: Store) -> bool:
        return await store.cache.region("n:{k}", int, ttl=60, tags=("all",)).entry(k=1) is not None

    within(fill)
    assert within(held)
    assert call("cache", "invalidate", "--tag", "all")[0] == 0
    assert not within(held)


@pytest.mark.parametrize("arguments", [(), ("k", "--all"), ("--tag", "t", "--all"), ("",), ("--tag", "")])
def test_invalidate_wants_exactly_one_thing(call: Call, arguments: tuple[str, ...]) -> None:
    """Neither nothing nor two, nor what is empty, as an unset variable of the shell is."""
    assert run(["cache", "invalidate", *arguments]) == 2


def test_what_cannot_be_read_is_explained_by_its_size(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed with a key that is not ours, say."""

    async def fill(store: Store) -> None:
        await store.cache.region("n:{k}", int, ttl=60).get_or_load(k=1, load=lambda k: k)

    with monkeypatch.context() as signing:
        signing.setenv("STORYCORE__CACHING__SIGNING_KEYS", "mine, older")
        within(fill)
        assert call("cache", "explain", "n:1")[1]["readable"] is True
    status, found = call("cache", "explain", "n:1")
    assert (status, found["readable"], found["payload"]) == (0, False, None)
    assert found["size_bytes"] > 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("follows", [True, False])
async def test_a_write_past_the_cache_is_followed_by_the_change_feed(tmp_path: Path, follows: bool) -> None:
    """Another process wrote and died before it could invalidate; with ``follow_changes`` the next read is fresh."""
    overrides = {"dir": str(tmp_path), "embedder": "memory://", "caching": {"follow_changes": follows}}
    async with storycore.open("local", overrides=overrides) as store:
        await store.init()
        await store.templates.save(template())
        assert (await store.templates.get("t1")).name == "One"
        await asyncio.sleep(0.02)
        past = storycore.open("local", overrides={**overrides, "cache": "memory://", "caching": {"entities": False}})
        async with past as other:
            found = await other.templates.get("t1")
            await other.templates.save(found.model_copy(update={"name": "Two"}))
        if follows:
            await until(lambda: store.cache.stats().memory_entries == 0)
        assert (await store.templates.get("t1")).name == ("Two" if follows else "One")


class Feed:
    """A change feed in a test's hands: it fails, or has a gap, as often as told."""

    def __init__(self, store: EntityStore, errors: Iterable[Exception]) -> None:
        self.store = store
        self.errors = list(errors)

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        if self.errors:
            raise self.errors.pop(0)
        return await self.store.changes(after, limit=limit)


@pytest.mark.parametrize(
    ("error", "cleared"), [(Unavailable("down"), 0), (RuntimeError("bug"), 0), (FeedGap("trimmed"), 1)]
)
async def test_following_goes_on_whatever_the_feed_does(error: Exception, cleared: int) -> None:
    """It is asked again; after a gap everything is invalidated, for nobody knows what was missed."""
    env = Environment()
    forgotten: list[Key] = []
    times = 0

    async def forget(keys: Iterable[Key]) -> None:
        forgotten.extend(keys)

    async def forget_all() -> None:
        nonlocal times
        times += 1

    async with open_entities(MemoryConfig(), env) as store:
        feed: Any = Feed(store, [error])

        async def latest() -> FeedPosition | None:
            return None

        following = Following(feed, latest=latest, forget=forget, forget_all=forget_all)
        following.begin()
        await store.write([Put(key=Key("a", "b"), kind="thing", fields={}, body=b"{}")])
        await until(lambda: forgotten == [Key("a", "b")])
        await following.close()
        await following.close()
    assert (times, following.followed) == (cleared, 1)


async def test_after_a_gap_everything_is_invalidated_even_if_the_feed_fails_just_then() -> None:
    """Going on at the end without that would leave in the cache what changed unseen."""
    failures = [Unavailable("down")]
    cleared = asyncio.Event()

    async def forget(keys: Iterable[Key]) -> None:
        return None

    async def forget_all() -> None:
        cleared.set()

    async with open_entities(MemoryConfig(), Environment()) as store:
        feed: Any = Feed(store, [FeedGap("trimmed")])

        async def latest() -> FeedPosition | None:
            if failures and not feed.errors:
                raise failures.pop()
            return None

        following = Following(feed, latest=latest, forget=forget, forget_all=forget_all)
        following.begin()
        await until(lambda: cleared.is_set() or not failures)
        async with asyncio.timeout(1):
            await cleared.wait()
        await following.close()
    assert failures == []
