"""The repositories of the story domain: every operation, the same over the reference and over SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from storycore.errors import InvalidArgument, NotFound, NotUnique, PartialFailure, VersionConflict
from storycore.layers.checks.forward import Forward
from storycore.ports import entities as records
from storycore.ports.entities import EntityStore
from storycore.ports.lifecycle import PortName
from storycore.story import (
    Content,
    Repositories,
    Session,
    SessionStatus,
    Story,
    StoryStatus,
    StoryStyle,
    Template,
    User,
    UserRole,
    repositories,
)
from storycore.testing.harness import Harness


@pytest.fixture(params=["memory", "sqlite"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path)


@pytest_asyncio.fixture
async def opened(harness: Harness) -> AsyncIterator[EntityStore]:
    store = await harness.started()
    yield store
    await store.close()


@pytest.fixture
def store(harness: Harness, opened: EntityStore) -> Repositories:
    return repositories(opened, harness.env, cursor_key=b"k" * 32)


def user(name: str = "ada", **fields: object) -> User:
    return User.model_validate({"user_id": name, "email": f"{name}@example.com", "username": name, **fields})


def story(name: str, **fields: object) -> Story:
    return Story.model_validate({"story_id": name, "user_id": "ada", "content": f"story {name}", **fields})


async def stories_over_time(store: Repositories, harness: Harness, count: int) -> None:
    for number in range(count):
        harness.clock.advance(1)
        status = StoryStatus.PUBLISHED if number % 2 else StoryStatus.DRAFT
        await store.stories.save(story(f"s{number}", status=status))


async def test_a_user_is_found_by_id_address_and_name(store: Repositories) -> None:
    """The address in any case of letters, the name exactly."""
    ada = await store.users.save(user())
    assert await store.users.get("ada") == ada
    assert await store.users.find("ada", consistent=True) == ada
    assert await store.users.by_email(" ADA@example.com") == ada
    assert await store.users.by_username("ada") == ada
    assert [await store.users.by_email("x@y"), await store.users.by_username("Ada"), await store.users.find("x")] == [
        None
    ] * 3
    with pytest.raises(NotFound):
        await store.users.get("bob")


async def test_a_user_who_moves_is_not_found_at_the_old_address(store: Repositories) -> None:
    """Indexes follow an update."""
    await store.users.save(user())
    moved = await store.users.update("ada", {"email": "New@Example.com", "role": UserRole.ADMIN})
    assert (moved.email, moved.role) == ("new@example.com", UserRole.ADMIN)
    assert await store.users.by_email("ada@example.com") is None
    assert await store.users.by_email("new@example.com") == moved


TAKEN = {
    "email": {"email": "ADA@example.com"},
    "username": {"username": "ada"},
    "username in another case": {"username": "Ada"},
}


@pytest.mark.parametrize("taken", TAKEN.values(), ids=TAKEN)
async def test_an_address_and_a_name_belong_to_one_user(store: Repositories, taken: dict[str, object]) -> None:
    """A new user with them is refused, and so is one who would take them later; neither leaves a trace."""
    ada = await store.users.save(user())
    bob = await store.users.save(user("bob"))
    with pytest.raises(NotUnique) as caught:
        await store.users.save(user("eve", **taken))
    assert (caught.value.kind, caught.value.fields) == ("user", tuple(taken))
    with pytest.raises(NotUnique):
        await store.users.update("bob", taken)
    assert await store.users.find("eve", consistent=True) is None
    assert await store.users.get("bob", consistent=True) == bob
    assert await store.users.by_email("ada@example.com") == ada


async def test_a_user_keeps_address_and_name_through_every_change(store: Repositories) -> None:
    """Saving again, counting and updating something else meet no other holder."""
    ada = await store.users.save(user())
    await store.users.update_stats("ada", {"stories_created": 1})
    await store.users.update("ada", {"display_name": "Ada", "username": "Ada"})
    again = await store.users.get("ada", consistent=True)
    again.display_name = "Countess"
    assert (await store.users.save(again)).stories_created == 1
    with pytest.raises(VersionConflict):
        await store.users.save(ada)


async def test_what_a_user_gives_up_is_free_for_others(store: Repositories) -> None:
    """By moving to another address or name, and by leaving."""
    await store.users.save(user())
    await store.users.update("ada", {"email": "new@example.com", "username": "lovelace"})
    await store.users.save(user("bob", email="ada@example.com", username="ada"))
    assert await store.users.delete("ada")
    await store.users.save(user("eve", email="new@example.com", username="lovelace"))
    found = [await store.users.by_email("new@example.com"), await store.users.by_username("ada")]
    assert [each.user_id for each in found if each is not None] == ["eve", "bob"]


async def test_of_many_who_sign_up_at_once_one_gets_the_address(store: Repositories) -> None:
    """The others hear of it, and no half of them is stored."""
    asked = [store.users.save(user(f"u{n}", email="ada@example.com")) for n in range(8)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcomes) == ["NotUnique"] * 7 + ["User"]
    assert len((await store.users.list()).items) == 1


async def test_any_number_of_guests_have_no_address(store: Repositories) -> None:
    """None is not a value that somebody holds."""
    guests = [user(f"g{n}", email=None, role=UserRole.GUEST) for n in range(3)]
    assert await store.users.save_batch(guests) == 3
    assert len((await store.users.list(role=UserRole.GUEST)).items) == 3


async def test_a_batch_tells_whose_address_was_taken(store: Repositories) -> None:
    """The others are stored."""
    await store.users.save(user())
    with pytest.raises(PartialFailure) as caught:
        await store.users.save_batch([user("bob"), user("eve", email="ada@example.com")])
    assert [type(each).__name__ for each in caught.value.outcomes][1] == "NotUnique"
    assert [await store.users.find(name, consistent=True) is None for name in ("bob", "eve")] == [False, True]


async def test_users_are_listed_newest_first_of_one_role_or_all(store: Repositories, harness: Harness) -> None:
    """With pages."""
    for number in range(5):
        harness.clock.advance(1)
        await store.users.save(user(f"u{number}", role=UserRole.ADMIN if number < 2 else UserRole.REGISTERED))
    first = await store.users.list(limit=3)
    rest = await store.users.list(limit=3, cursor=first.cursor)
    assert [each.user_id for each in (*first.items, *rest.items)] == ["u4", "u3", "u2", "u1", "u0"]
    assert [each.user_id for each in (await store.users.list(role=UserRole.ADMIN)).items] == ["u1", "u0"]


async def test_statistics_are_added_up_by_many_at_once(store: Repositories) -> None:
    """No count is lost, and nothing else of the user changes."""
    ada = await store.users.save(user())
    await asyncio.gather(
        *[store.users.update_stats("ada", {"stories_created": 1, "total_words": 500}) for _ in range(20)]
    )
    counted = await store.users.get("ada")
    assert (counted.statistics.stories_created, counted.statistics.total_words) == (20, 10_000)
    assert counted.model_copy(update={"stories_created": 0, "total_words": 0}) == ada
    with pytest.raises(InvalidArgument, match="Did you mean 'stories_created'"):
        await store.users.update_stats("ada", {"storys_created": 1})
    with pytest.raises(InvalidArgument):
        await store.users.update_stats("ada", {"stories_created": -21})


class Calls(Forward[EntityStore]):
    """A store that counts writes and forbids reads."""

    def __init__(self, inner: EntityStore) -> None:
        super().__init__(inner)
        self.writes: list[str] = []

    async def write(
        self, writes: list[records.Write], *, atomic: bool = False, token: str | None = None
    ) -> list[records.Written]:
        self.writes += [type(write).__name__ for write in writes]
        return await self.inner.write(writes, atomic=atomic, token=token)


async def test_counters_of_all_models_are_one_atomic_step(
    store: Repositories, opened: EntityStore, harness: Harness
) -> None:
    """Statistics, metrics and uses: one patch each, nothing read."""
    await store.users.save(user())
    await store.stories.save(story("s1"))
    await store.templates.save(Template(template_id="t1", name="t", style=StoryStyle.THREAD, body="x"))
    calls = Calls(opened)
    counting = repositories(calls, harness.env, cursor_key=b"k" * 32)  # type: ignore[arg-type]  # it cannot read
    await counting.users.update_stats("ada", {"total_tokens": 5})
    await counting.stories.add_metrics("s1", {"views": 1, "likes": 2})
    await counting.templates.count_use("t1")
    assert calls.writes == ["Patch", "Patch", "Patch"]
    assert (await store.stories.get("s1")).metrics.likes == 2
    assert (await store.templates.get("t1")).uses == 1


async def test_preferences_are_changed_one_by_one(store: Repositories) -> None:
    """What is not named stays; a wrong value changes nothing."""
    await store.users.save(user())
    await store.users.set_preferences("ada", {"language": "de", "topics": ["rivers"]})
    changed = await store.users.set_preferences("ada", {"style": StoryStyle.THREAD})
    assert (changed.preferences.language, changed.preferences.topics) == ("de", {"rivers"})
    assert changed.preferences.style is StoryStyle.THREAD
    with pytest.raises(InvalidArgument, match="style"):
        await store.users.set_preferences("ada", {"style": "poem"})
    assert await store.users.get("ada") == changed


async def test_a_deleted_user_is_gone(store: Repositories) -> None:
    """And can be deleted again without an error."""
    await store.users.save(user())
    assert (await store.users.delete("ada"), await store.users.delete("ada")) == (True, False)
    assert await store.users.by_email("ada@example.com") is None


async def test_a_session_lives_a_day_beyond_its_last_save(store: Repositories, harness: Harness) -> None:
    """Every save of an active one gives it the whole day again."""
    session = Session(session_id="x", user_id="ada")
    session.add_turn("kickoff", user_input="hello")
    await store.sessions.save(session)
    harness.clock.advance(timedelta(hours=23))
    session.add_turn("more")
    await store.sessions.save(session)
    harness.clock.advance(timedelta(hours=23))
    assert len((await store.sessions.get("x")).turns) == 2
    await store.sessions.update("x", {"title": "t"})
    harness.clock.advance(timedelta(hours=23))
    assert (await store.sessions.get("x")).title == "t"
    harness.clock.advance(timedelta(hours=1))
    with pytest.raises(NotFound):
        await store.sessions.get("x")


async def test_active_sessions_are_listed_the_last_saved_first(store: Repositories, harness: Harness) -> None:
    """Neither ended nor expired ones."""
    for name, hours in (("old", 1), ("a", 48), ("b", 48), ("c", 48)):
        harness.clock.advance(1)
        await store.sessions.save(Session(session_id=name, lifetime=timedelta(hours=hours)))
    await store.sessions.end("b")
    harness.clock.advance(timedelta(hours=2))
    await store.sessions.save(await store.sessions.get("a"))
    assert [session.session_id for session in (await store.sessions.active(limit=50)).items] == ["a", "c"]


async def test_an_ended_session_is_kept_until_it_expires(store: Repositories, harness: Harness) -> None:
    """Ending it twice, or saving it, moves neither its end nor its expiry."""
    await store.sessions.save_batch([Session(session_id="x", user_id="ada")])
    ended = await store.sessions.end("x")
    harness.clock.advance(60)
    again = await store.sessions.end("x")
    await store.sessions.save(again)
    assert (again.status, again.ended_at, again.expires_at) == (SessionStatus.ENDED, ended.ended_at, ended.expires_at)
    assert [session.session_id for session in (await store.sessions.by_user("ada")).items] == ["x"]
    with pytest.raises(NotFound):
        await store.sessions.end("y")


async def test_cleaning_up_removes_what_has_expired_and_counts_it(store: Repositories, harness: Harness) -> None:
    """And nothing that has not."""
    await store.sessions.save_batch([Session(session_id=f"x{number}") for number in range(5)])
    harness.clock.advance(timedelta(hours=12))
    await store.sessions.save(Session(session_id="live"))
    await store.users.save(user())
    harness.clock.advance(timedelta(hours=12))
    assert (await store.sessions.cleanup_expired(), await store.sessions.cleanup_expired()) == (5, 0)
    assert await store.sessions.find("live") is not None
    assert await store.users.find("ada") is not None


async def test_a_users_stories_are_listed_newest_first_in_one_state_or_all(
    store: Repositories, harness: Harness
) -> None:
    """Page by page, and only that user's."""
    await stories_over_time(store, harness, 6)
    await store.stories.save(story("other", user_id="bob"))
    first = await store.stories.by_user("ada", limit=4)
    rest = await store.stories.by_user("ada", limit=4, cursor=first.cursor)
    assert [each.story_id for each in (*first.items, *rest.items)] == ["s5", "s4", "s3", "s2", "s1", "s0"]
    assert rest.cursor is None
    published = await store.stories.by_user("ada", status=StoryStatus.PUBLISHED, limit=2)
    assert [each.story_id for each in published.items] == ["s5", "s3"]
    more = await store.stories.by_user("ada", status=StoryStatus.PUBLISHED, limit=2, cursor=published.cursor)
    assert [each.story_id for each in more.items] == ["s1"]


async def test_stories_are_listed_by_state_and_by_session(store: Repositories, harness: Harness) -> None:
    """Of all users."""
    await stories_over_time(store, harness, 4)
    harness.clock.advance(1)
    await store.stories.save(story("bobs", user_id="bob", session_id="x"))
    assert [each.story_id for each in (await store.stories.by_status(StoryStatus.DRAFT)).items] == ["bobs", "s2", "s0"]
    assert [each.story_id for each in (await store.stories.by_session("x")).items] == ["bobs"]


async def test_summaries_have_everything_but_the_text(store: Repositories, harness: Harness) -> None:
    """Newest first, in one state or all, with counters and tags."""
    await stories_over_time(store, harness, 3)
    await store.stories.update("s2", {"tags": {"x"}, "title": "T"})
    await store.stories.add_metrics("s2", {"views": 4})
    found = await store.stories.summaries("ada").to_list()
    assert [summary.story_id for summary in found] == ["s2", "s1", "s0"]
    assert (found[0].title, found[0].tags, found[0].views, found[0].word_count) == ("T", {"x"}, 4, 2)
    only = await store.stories.summaries("ada", status=StoryStatus.PUBLISHED).to_list()
    assert [summary.story_id for summary in only] == ["s1"]


async def test_a_story_changes_its_state_by_its_id_alone(store: Repositories, harness: Harness) -> None:
    """When it is first published is remembered, also when it is published again."""
    await store.stories.save(story("s1"))
    first = await store.stories.update_status("s1", StoryStatus.PUBLISHED)
    assert first.published_at == harness.clock.now()
    harness.clock.advance(60)
    archived = await store.stories.update_status("s1", StoryStatus.ARCHIVED)
    assert (await store.stories.by_user("ada", status=StoryStatus.PUBLISHED)).items == []
    again = await store.stories.update_status("s1", StoryStatus.PUBLISHED)
    assert again.published_at == archived.published_at == first.published_at
    with pytest.raises(NotFound):
        await store.stories.update_status("s2", StoryStatus.PUBLISHED)


async def test_a_story_that_is_saved_or_updated_as_published_has_its_time(
    store: Repositories, harness: Harness
) -> None:
    """However it comes to be published."""
    saved = await store.stories.save(story("s1", status=StoryStatus.PUBLISHED))
    await store.stories.save_batch([story("s2", status=StoryStatus.PUBLISHED), story("s3")])
    updated = await store.stories.update("s3", {"status": "published", "title": "t"})
    assert updated.title == "t"
    moments = [each.published_at for each in (saved, await store.stories.get("s2"), updated)]
    assert moments == [harness.clock.now()] * 3
    assert await store.stories.update("s3", {}) == updated


async def test_a_revision_keeps_what_was_before(store: Repositories, harness: Harness) -> None:
    """Of the last ten; words are counted again and the indexes stay."""
    await store.stories.save(story("s1", title="one", content="a b"))
    revised = await store.stories.revise("s1", "a b c", title="two", note="longer")
    [old] = revised.versions
    assert (revised.title, revised.content, revised.word_count, revised.revision) == ("two", "a b c", 3, 2)
    assert (old.title, old.content, old.word_count, old.revision, old.note) == ("one", "a b", 2, 1, "longer")
    assert old.replaced_at == harness.clock.now()
    for number in range(12):
        revised = await store.stories.revise("s1", f"text {number}")
    assert [version.revision for version in revised.versions] == list(range(4, 14))
    assert (revised.title, revised.revision) == ("two", 14)
    with pytest.raises(InvalidArgument, match="content"):
        await store.stories.revise("s1", "")


async def test_saving_counts_the_words_of_changed_content(store: Repositories) -> None:
    """Alone, in a batch and by an update."""
    one = await store.stories.save(story("s1"))
    one.content = "now four words here"
    two = story("s2")
    two.content = "two words"
    assert await store.stories.save_batch([one, two]) == 2
    assert [(await store.stories.get(name)).word_count for name in ("s1", "s2")] == [4, 2]
    assert (await store.stories.update("s1", {"content": "one"})).word_count == 1


async def test_two_editors_do_not_overwrite_each_other(store: Repositories) -> None:
    """The second is told, and an update by field is not in the way."""
    await store.stories.save(story("s1"))
    mine, yours = await store.stories.get("s1"), await store.stories.get("s1")
    mine.title = "mine"
    await store.stories.save(mine)
    yours.title = "yours"
    with pytest.raises(VersionConflict):
        await store.stories.save(yours)
    assert (await store.stories.update("s1", {"language": "de"})).title == "mine"
    assert await store.stories.delete("s1")


async def test_templates_are_listed_by_name_and_style(store: Repositories) -> None:
    """In the order of their names; warming reads each once."""
    for name, style in (("b", StoryStyle.THREAD), ("a", StoryStyle.THREAD), ("c", StoryStyle.SCRIPT)):
        await store.templates.save(Template(name=name, style=style, body="x"))
    assert [template.name for template in (await store.templates.list()).items] == ["a", "b", "c"]
    assert [template.name for template in (await store.templates.by_style(StoryStyle.THREAD)).items] == ["a", "b"]
    assert await store.templates.warm() == 3
    [first] = (await store.templates.list(limit=1)).items
    assert await store.templates.delete(first.template_id)


async def test_contents_are_listed_by_source_and_type(store: Repositories, harness: Harness) -> None:
    """The pieces of a source in their order."""
    pieces = [
        Content(content_id=f"c{n}", source="a.md", text=f"t{n}", ordinal=n, content_type="markdown", source_type="news")
        for n in (2, 10, 0)
    ]
    assert await store.contents.save_batch([*pieces, Content(content_id="z", source="b.txt", text="z")]) == 4
    assert [piece.ordinal for piece in (await store.contents.by_source("a.md")).items] == [0, 2, 10]
    assert len((await store.contents.by_type("markdown")).items) == 3
    assert len((await store.contents.by_source_type("news")).items) == 3
    assert (await store.contents.get("z")).text == "z"


async def test_a_source_is_removed_as_a_whole(store: Repositories) -> None:
    """And nothing of another."""
    batch = [Content(source="a", text="x", ordinal=number) for number in range(250)]
    await store.contents.save_batch([*batch, Content(content_id="z", source="b", text="z")])
    assert (await store.contents.delete_source("a"), await store.contents.delete_source("a")) == (250, 0)
    assert await store.contents.find("z") is not None


@dataclass(frozen=True)
class Piece:
    """What ingestion hands over."""

    id: str
    source: str = "a.md"
    title: str = "T"
    content_type: str = "markdown"
    source_type: str = "document"
    section: str = "S"
    text: str = "words"
    start: int = 0
    end: int = 5
    ordinal: int = 0


async def test_ingested_pieces_become_contents(store: Repositories) -> None:
    """Again and again without an error; removed by id, whether there or not."""
    sink = store.chunk_sink
    await sink.save([Piece("p1"), Piece("p2", ordinal=1)])
    await sink.save([Piece("p1", text="old"), Piece("p1", text="other")])
    found = (await store.contents.by_source("a.md")).items
    assert [(piece.content_id, piece.text, piece.embedding_id) for piece in found] == [
        ("p1", "other", "p1"),
        ("p2", "words", "p2"),
    ]
    await sink.delete(["p1", "p2", "p1", "p3"])
    assert (await store.contents.by_source("a.md")).items == []
    with pytest.raises(InvalidArgument, match="cannot be kept"):
        await sink.save([Piece("p1", source="x" * 501)])


def test_the_domain_knows_its_declarations(store: Repositories) -> None:
    """Five kinds, each once, and every slot's partitions begin with a literal of their own."""
    assert sorted(declared.kind for declared in store.entities) == ["content", "session", "story", "template", "user"]
    partitions = [
        (pattern.slot, pattern.pk[0], len(pattern.pk))
        for declared in store.entities
        for pattern in (declared.table, *declared.indexes.values())
    ]
    assert len(set(partitions)) == len(partitions)
