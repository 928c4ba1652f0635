"""The models of the story domain: what they accept, what they make of it, and that a store keeps all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from storycore.entities.codec import from_record, to_put
from storycore.errors import InvalidArgument
from storycore.ports.conditions import Version
from storycore.ports.records import put_record
from storycore.story import (
    DECLARATIONS,
    Content,
    GenerationMetrics,
    Session,
    SessionStatus,
    Story,
    StoryStyle,
    StorySummary,
    StoryVersion,
    Template,
    Turn,
    User,
    UserPreferences,
    UserRole,
)

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)

FULL: list[BaseModel] = [
    User(
        email="ada@example.com",
        username="ada",
        role=UserRole.PREMIUM,
        preferences=UserPreferences(style=StoryStyle.THREAD, topics={"rivers"}, custom={"theme": ["dark", 1]}),
        stories_created=3,
        last_seen_at=WHEN,
    ),
    Session(
        user_id="u1",
        turns=[Turn(kind="kickoff", user_input="hello", response="hi", at=WHEN, metadata={"k": 1})],
        context={"a": [1, {"b": None}]},
        story_ids=["s1"],
        lifetime=timedelta(minutes=5),
        ended_at=WHEN,
    ),
    Story(
        user_id="u1",
        title="The falls",
        content="It drops.",
        tags={"river", "trade"},
        generation=GenerationMetrics(model="m", seconds=1.25, prompt_tokens=3, cost=Decimal("0.0012")),
        versions=[StoryVersion(revision=1, title="", content="x", word_count=1, replaced_at=WHEN, note="n")],
        revision=2,
        published_at=WHEN,
        views=7,
    ),
    Template(name="Kickoff", style=StoryStyle.SHORT_POST, body="{topic} in {city}", tags={"t"}, uses=2),
    Content(source="docs/a.md", text="words", section="A > B", tags={"x"}, metadata={"page": 3}, embedding_id="e1"),
]


@pytest.mark.parametrize("instance", FULL, ids=lambda instance: type(instance).__name__)
def test_a_store_keeps_every_field(instance: BaseModel) -> None:
    """Through its declaration, each model comes back as it was."""
    [declared] = [each for each in DECLARATIONS if each.model is type(instance)]
    assert from_record(declared, put_record(to_put(declared, instance), Version(1))) == instance


def test_ids_are_fresh_and_times_are_in_utc() -> None:
    """Nothing is shared between two instances."""
    first, second = User(email="a@b", username="a"), User(email="a@b", username="a")
    assert first.user_id != second.user_id
    assert first.preferences is not second.preferences
    elsewhere = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    session = Session(created_at=elsewhere)
    assert session.created_at == WHEN
    assert session.created_at.tzinfo is UTC


def test_an_email_address_is_kept_in_lower_case_without_spaces() -> None:
    """So that it can be found again however it is typed."""
    assert User(email="  Ada@Example.COM ", username="ada").email == "ada@example.com"


@pytest.mark.parametrize("email", ["", "ada", "@example.com", "ada@", "a b@c", "a@b@c", "a@.b", None])
def test_what_is_no_email_address_is_refused(email: str | None) -> None:
    """Also none at all, unless the user is a guest."""
    with pytest.raises(ValidationError):
        User(email=email, username="ada")


def test_a_guest_needs_no_email_address() -> None:
    """Guests have a name only."""
    assert User(username="guest-7", role=UserRole.GUEST).email is None


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (User, {"email": "a@b", "username": "a b"}),
        (User, {"email": "a@b", "username": ""}),
        (User, {"email": "a@b", "username": "a", "stories_created": -1}),
        (User, {"email": "a@b", "username": "a", "created_at": "2026-01-01T00:00:00"}),
        (Session, {"lifetime": timedelta(0)}),
        (Session, {"session_id": ""}),
        (Story, {"user_id": "u", "content": ""}),
        (Story, {"user_id": "", "content": "x"}),
        (Story, {"user_id": "u", "content": "x", "style": "poem"}),
        (Story, {"user_id": "u", "content": "x", "tags": [" "]}),
        (Template, {"name": "t", "style": "thread", "body": ""}),
        (Template, {"name": "t", "style": "thread", "body": "{a.b}"}),
        (Template, {"name": "t", "style": "thread", "body": "{a!r}"}),
        (Template, {"name": "t", "style": "thread", "body": "{a:>9}"}),
        (Template, {"name": "t", "style": "thread", "body": "{}"}),
        (Template, {"name": "t", "style": "thread", "body": "{open"}),
        (Content, {"source": "", "text": "x"}),
        (Content, {"source": "s", "text": ""}),
        (Content, {"source": "s", "text": "x", "start": 5, "end": 4}),
        (Content, {"source": "s", "text": "x", "ordinal": -1}),
        (GenerationMetrics, {"seconds": float("nan")}),
    ],
)
def test_invalid_values_are_refused(model: type[BaseModel], fields: dict[str, Any]) -> None:
    """Each rule of each model."""
    with pytest.raises(ValidationError):
        model.model_validate(fields)


def test_the_words_of_a_story_are_counted() -> None:
    """From its content, whatever is given."""
    assert Story(user_id="u", content="one  two\nthree", word_count=99).word_count == 3


def test_counters_can_be_read_together() -> None:
    """As the statistics of a user and the metrics of a story."""
    user = User(email="a@b", username="a", stories_created=1, total_words=500)
    assert (user.statistics.stories_created, user.statistics.total_words) == (1, 500)
    assert Story(user_id="u", content="x", views=3).metrics.views == 3
    assert GenerationMetrics(prompt_tokens=2, completion_tokens=3).total_tokens == 5


def test_a_summary_has_no_field_that_a_story_lacks() -> None:
    """It is a story without its text."""
    missing = set(Story.model_fields) - set(StorySummary.model_fields)
    assert set(StorySummary.model_fields) <= set(Story.model_fields)
    assert {"content", "versions", "generation"} <= missing


def test_turns_are_appended_until_a_session_ends() -> None:
    """An ended conversation does not go on."""
    session = Session()
    turn = session.add_turn("kickoff", user_input="hello")
    assert session.turns == [turn]
    session.status = SessionStatus.ENDED
    with pytest.raises(InvalidArgument, match="has ended"):
        session.add_turn("more")


def test_a_template_names_its_gaps_and_is_filled() -> None:
    """Braces that are doubled are text; a missing value is named."""
    template = Template(name="t", style=StoryStyle.THREAD, body="{topic} in {city}, {{sic}}: {topic}")
    assert template.variables == ("topic", "city")
    assert template.render(topic="trade", city="Richmond", more=1) == "trade in Richmond, {sic}: trade"
    with pytest.raises(InvalidArgument, match="needs city"):
        template.render(topic="trade")


def test_the_end_of_a_content_follows_from_its_text() -> None:
    """Unless it is given."""
    assert Content(source="s", text="words", start=3).end == 8
    assert Content(source="s", text="words", start=3, end=20).end == 20
