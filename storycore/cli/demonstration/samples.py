"""What the demonstration saves. Ids and times are fixed, so that a second run changes what the first one made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storycore.story import Session, Story, StoryStyle, Template, User, UserRole

__all__ = ["DELETED", "PUBLISHED", "READER", "WRITER", "sessions", "stories", "templates", "users"]

WRITER = "demo-ada"
READER = "demo-maggie"
PUBLISHED = "demo-story-canal"
DELETED = "demo-story-murals"

_BEGIN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

_STORIES = (
    (PUBLISHED, WRITER, "The canal that George Washington wanted", "Boats were to climb past the falls of the James."),
    ("demo-story-iron", WRITER, "Iron on the river", "Tredegar rolled rails, cannons and armour beside the rapids."),
    (
        "demo-story-fire",
        WRITER,
        "The night of the fire",
        "In April 1865 the warehouses burned, and the city with them.",
    ),
    ("demo-story-bank", READER, "A bank of one's own", "Maggie Walker told her neighbours to turn nickels to dollars."),
    (
        DELETED,
        WRITER,
        "Walls that talk",
        "Every summer painters climb scaffolds from Carytown to Manchester.",
    ),
    (
        "demo-story-trains",
        READER,
        "Three trains, one spot",
        "At the Triple Crossing three lines pass above each other.",
    ),
)


def users() -> list[User]:
    """A writer and a reader."""
    return [
        User(user_id=WRITER, email="ada@example.com", username="ada", role=UserRole.REGISTERED),
        User(user_id=READER, email="maggie@example.com", username="maggie", role=UserRole.PREMIUM),
    ]


def sessions() -> list[Session]:
    """A conversation of each user, with turns."""
    writing = Session(session_id="demo-session-canal", user_id=WRITER, title="A post on the canals")
    writing.add_turn("kickoff", user_input="I want to write about the canals.", response="For whom, and how long?")
    writing.add_turn("details", user_input="A short post for newcomers.", response="Here is a first draft.")
    reading = Session(session_id="demo-session-trains", user_id=READER, title="Railroads")
    reading.add_turn("kickoff", user_input="What is special about the railroads here?", response="The Triple Crossing.")
    return [writing, reading]


def templates() -> list[Template]:
    """Two beginnings of stories."""
    return [
        Template(
            template_id="demo-template-post",
            name="short post",
            style=StoryStyle.SHORT_POST,
            body="Did you know that {fact}? Next time you pass {place}, look for {detail}.",
        ),
        Template(
            template_id="demo-template-long",
            name="long read",
            style=StoryStyle.LONG_POST,
            body="It began at {place}. {opening} And it is not over yet: {ending}",
        ),
    ]


def stories() -> list[Story]:
    """Several drafts, an hour apart."""
    return [
        Story(
            story_id=story_id,
            user_id=user_id,
            session_id="demo-session-canal" if story_id == PUBLISHED else None,
            title=title,
            content=content,
            style=StoryStyle.SHORT_POST,
            created_at=_BEGIN + timedelta(hours=hour),
        )
        for hour, (story_id, user_id, title, content) in enumerate(_STORIES)
    ]
