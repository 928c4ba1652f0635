"""The composition root: a profile becomes a store, and each way in which it cannot is told in one error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

import storycore
from storycore import F
from storycore.app import Store
from storycore.entities import Entity, Key, entity, part
from storycore.errors import (
    AccessDenied,
    AdapterNotFound,
    ConfigError,
    InvalidArgument,
    InvalidCursor,
    NotFound,
    NotProvisioned,
    SchemaMismatch,
    Unavailable,
)
from storycore.hooks import hookimpl
from storycore.ingestion import Chunked, Chunker, Piece
from storycore.layers.around import Interceptor
from storycore.layers.readonly import ReadOnly
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Health, PortName
from storycore.story import Session, Story, StoryStatus, StoryStyle, Template, User
from storycore.testing.clock import ManualClock

LIGHT = {"embedder": "memory://"}


def user(name: str = "ada") -> User:
    return User(user_id=name, email=f"{name}@example.com", username=name)


async def test_a_store_in_memory_serves_every_port() -> None:
    async with storycore.open("memory") as store:
        await store.init()
        await store.users.save(user())
        await store.blobs.put("a/b", b"content", when=ANY)
        await store.events.track("feature_used", user_id="ada")
        health = await store.health()
    assert {name: found.ok for name, found in health.items()} == {str(name): True for name in PortName}


async def test_a_local_store_keeps_everything(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "river.md").write_text("# The river\n\nThe James falls over rocks in the middle of town.\n")
    async with storycore.open("local", dir=tmp_path / "data", overrides=LIGHT) as store:
        await store.init()
        await store.users.save(user())
        await store.blobs.put("a/b", b"content", when=ANY)
        report = await store.ingest(tmp_path / "docs")
    assert report.added == ["river.md"]
    async with storycore.open("local", dir=tmp_path / "data", overrides=LIGHT) as store:
        assert (await store.users.get("ada")).username == "ada"
        async with await store.blobs.get("a/b") as reader:
            assert await reader.read() == b"content"
        [hit] = await store.search("rocks", where=F.source_type.exists(), top_k=1)
        assert "The James falls" in hit.text
        assert (await store.ingest(tmp_path / "docs")).unchanged == ["river.md"]


async def test_two_namespaces_in_one_index_do_not_see_each_other(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "river.md").write_text("The James falls over rocks in the middle of town.\n")
    blog = {**LIGHT, "namespace": "blog"}
    async with storycore.open("local", dir=tmp_path / "data", overrides=blog) as store:
        await store.init()
        await store.ingest(tmp_path / "docs")
        assert [hit.source for hit in await store.search("rocks")] == ["river.md"]
    async with storycore.open("local", dir=tmp_path / "data", overrides=LIGHT) as store:
        assert await store.search("rocks") == []


async def test_a_store_that_was_never_initialised_names_the_cure(tmp_path: Path) -> None:
    async with storycore.open("local", dir=tmp_path / "data", overrides=LIGHT) as store:
        with pytest.raises(NotProvisioned, match="storycore init"):
            await store.users.get("ada")
        health = await store.health()
        assert not health["entities"].ok
        assert "storycore init" in health["entities"].detail
    assert not (tmp_path / "data").exists()


async def test_init_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    async with storycore.open("local", dir=tmp_path / "data", overrides=LIGHT) as store:
        first = await store.init()
        second = await store.init()
    assert any(first.actions.values())
    assert not any(second.actions.values())


async def test_warming_brings_the_templates_into_the_cache() -> None:
    async with storycore.open("memory") as store:
        await store.init()
        await store.templates.save(
            Template(template_id="t1", name="news", style=StoryStyle.SHORT_POST, body="On {day} …")
        )
        assert (await store.init(create_tables=False)).warmed == 1
        before = store.cache.stats().total
        await store.templates.get("t1")
        assert store.cache.stats().total.hits == before.hits + 1


async def test_a_second_read_comes_from_the_cache_and_a_write_renews_it() -> None:
    async with storycore.open("memory") as store:
        await store.init()
        await store.stories.save(Story(story_id="s1", user_id="ada", session_id="x", content="words"))
        await store.stories.get("s1")
        await store.stories.get("s1")
        assert store.cache.stats().total.hits == 1
        await store.stories.update_status("s1", StoryStatus.PUBLISHED)
        assert (await store.stories.get("s1")).status is StoryStatus.PUBLISHED


async def test_an_expired_session_is_gone_at_once_and_removed_by_maintenance() -> None:
    clock = ManualClock()
    async with storycore.open("memory", env=Environment(clock=clock)) as store:
        await store.init()
        session = await store.sessions.save(Session(user_id="ada"))
        await store.sessions.get(session.session_id)
        clock.advance(timedelta(days=400))
        with pytest.raises(NotFound):
            await store.sessions.get(session.session_id)
        runs = [await store.maintain(dry_run=dry_run) for dry_run in (True, True, False, True)]
        assert [each["expired"] for each in runs] == [1, 1, 1, 0]


async def test_a_profile_with_a_missing_adapter_fails_with_one_error_that_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storycore.profiles.resolving.EXTRAS", {"aws": frozenset({"ghost"})})
    profiles = tmp_path / "storycore.toml"
    profiles.write_text('default = "haunted"\n[profile.haunted]\nextends = "memory"\nblobs = "ghost://x"\n')
    with pytest.raises(AdapterNotFound, match=r"pip install 'storycore\[ghost\]'") as caught:
        async with storycore.open(profiles):
            pass
    assert "not installed: ghost." in caught.value.message


@pytest.mark.parametrize("name", ["locl", "memry"])
def test_an_unknown_profile_comes_with_the_nearest_name(name: str) -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        storycore.open(name)


@pytest.mark.parametrize("option", ["durabilty", "pathh"])
async def test_an_unknown_setting_of_an_adapter_is_refused_when_the_store_opens(tmp_path: Path, option: str) -> None:
    opening = storycore.open("local", dir=tmp_path, overrides={**LIGHT, "entities": {option: "full"}})
    with pytest.raises(ConfigError, match=f"entities.{option}.*Did you mean"):
        await opening.__aenter__()


async def test_layers_of_a_profile_stand_around_its_port() -> None:
    overrides = {"blobs": {"adapter": "memory", "layers": [{"use": "readonly"}]}}
    async with storycore.open("memory", overrides=overrides) as store:
        with pytest.raises(AccessDenied):
            await store.blobs.put("a", b"1", when=ANY)


async def test_layers_in_a_file_are_named_with_their_settings(tmp_path: Path) -> None:
    (tmp_path / "storycore.toml").write_text(
        'default = "memory"\n[profile.memory]\n'
        'blobs = {url = "memory://", layers = ["readonly", {use = "retry", attempts = 3}, "timeout"]}\n'
    )
    async with storycore.open(tmp_path / "storycore.toml") as store:
        assert await store.blobs.head("a") is None
        with pytest.raises(AccessDenied):
            await store.blobs.delete(["a"])


def test_a_secret_that_is_not_there_is_named_when_the_store_opens() -> None:
    with pytest.raises(ConfigError, match="STORY_CURSOR_KEY"):
        storycore.open_sync("memory", overrides={"cursor_key": "secret://env/STORY_CURSOR_KEY"})


async def test_a_cursor_is_good_under_its_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def first_cursor(**overrides: object) -> str:
        async with storycore.open("memory", overrides=overrides) as store:
            await store.init()
            for number in range(3):
                await store.stories.save(Story(story_id=f"s{number}", user_id="ada", session_id="x", content="w"))
            return str((await store.stories.by_user("ada", limit=1)).cursor)

    monkeypatch.setenv("STORY_CURSOR_KEY", "a secret of the application")
    cursor = await first_cursor(cursor_key="secret://env/STORY_CURSOR_KEY")
    async with storycore.open("memory") as store:
        await store.init()
        with pytest.raises(InvalidCursor):
            await store.stories.by_user("ada", limit=1, cursor=cursor)


@pytest.mark.parametrize(
    ("need", "holds"),
    [
        ("entities.changes>=native", True),
        ("guarantees.durability>=disk", False),
        ("blobs.presign", False),
        ("nothing.known", False),
    ],
)
async def test_what_a_profile_requires_is_checked_when_the_store_opens(need: str, holds: bool) -> None:
    opening = storycore.open("memory", overrides={"requires": [need]})
    if holds:
        async with opening as store:
            assert isinstance(store, Store)
    else:
        with pytest.raises(ConfigError, match=need.split(">")[0]):
            await opening.__aenter__()


async def test_an_index_of_another_model_is_refused(tmp_path: Path) -> None:
    async with storycore.open("local", dir=tmp_path, overrides={"embedder": "memory://?dimension=64"}) as store:
        await store.init()
    async with storycore.open("local", dir=tmp_path, overrides={"embedder": "memory://?dimension=128"}) as store:
        with pytest.raises(SchemaMismatch, match="64"):
            await store.search("anything")


async def test_stats_count_the_operations() -> None:
    async with storycore.open("memory") as store:
        await store.init()
        await store.users.save(user())
        counted = (await store.stats())["operations"]["entities"]["write"]
    assert counted["calls"] == 1


async def test_a_closed_store_says_so() -> None:
    async with storycore.open("memory") as store:
        await store.init()
    with pytest.raises(Unavailable, match="closed"):
        await store.users.get("ada")


class Note(BaseModel):
    note_id: str
    text: str


NOTE = entity(Note, kind="note", schema=1, key=Key(pk=("note", part.note_id), sk=("note",)))


class Extension:
    """A plugin that uses every hook but the adapters'."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def storycore_entities(self) -> list[Entity[Note]]:
        return [NOTE]

    @hookimpl
    def storycore_layers(self, port: PortName) -> list[Interceptor]:
        return [ReadOnly()] if port is PortName.EVENTS else []

    @hookimpl
    def storycore_chunkers(self) -> Mapping[str, Chunker]:
        return {"text/plain": lambda document: Chunked([Piece(document.text.upper(), 0, len(document.text), "")])}

    @hookimpl
    def storycore_event_types(self) -> Mapping[str, type[BaseModel]]:
        return {"noted": Note}

    @hookimpl
    def storycore_health(self) -> Mapping[str, Health]:
        return {"extension": Health(ok=True, detail="fine")}

    @hookimpl
    def storycore_opened(self, store: Store) -> None:
        self.seen.append("opened")

    @hookimpl
    def storycore_closing(self, store: Store) -> None:
        self.seen.append("closing")


async def test_a_plugin_without_packaging_takes_part_through_the_hooks() -> None:
    extension = Extension()
    async with storycore.open("memory", plugins=[extension]) as store:
        await store.init()
        notes = store.repository("note")
        await notes.put(Note(note_id="n1", text="hello"))
        assert (await notes.get("n1")).text == "hello"
        assert (await store.health())["extension"].detail == "fine"
        with pytest.raises(AccessDenied):
            await store.events.track("feature_used")
    assert extension.seen == ["opened", "closing"]


class Failing:
    """A plugin that counts how often the store closes, and fails each time."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def storycore_closing(self, store: Store) -> None:
        self.calls += 1
        raise ValueError("the plugin's own mistake")


async def test_every_port_is_closed_once_also_when_a_plugin_fails() -> None:
    failing = Failing()
    opening = storycore.open("memory", plugins=[failing])
    store = await opening.__aenter__()
    await store.users.find("ada")
    with pytest.raises(ValueError, match="own mistake"):
        await store.close()
    await store.close()
    assert failing.calls == 1
    assert not (await store.ports[PortName.ENTITIES].inner.health()).ok


async def test_a_cancelled_close_still_closes_every_port() -> None:
    store = await storycore.open("memory").__aenter__()
    await store.users.find("ada")
    begun = asyncio.Event()

    async def endless() -> str:
        begun.set()
        await asyncio.sleep(60)
        return ""

    loading = asyncio.create_task(store.cache.region("slow", str, ttl=60).get_or_load(load=endless))
    await begun.wait()
    closing = asyncio.create_task(store.close())
    asyncio.get_running_loop().call_soon(closing.cancel)
    await asyncio.wait([closing, loading])
    assert closing.cancelled()
    assert not (await store.ports[PortName.ENTITIES].inner.health()).ok


async def test_a_plugin_brings_chunkers_and_types_of_events(tmp_path: Path) -> None:
    (tmp_path / "river.txt").write_text("the james falls over rocks")
    extension = Extension()
    async with storycore.open("memory", plugins=[extension]) as store:
        await store.init()
        await store.ingest(tmp_path)
        assert [hit.text for hit in await store.search("rocks")] == ["THE JAMES FALLS OVER ROCKS"]
        with pytest.raises(InvalidArgument, match="noted"):
            await store.events.track("noted", properties={"text": "no id"})


async def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    async with storycore.open("memory") as store:
        with pytest.raises(InvalidArgument, match="story"):
            store.repository("stori")
