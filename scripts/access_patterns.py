"""Write the tables of docs/access-patterns.md from the declarations and their own accounts of what they cost.

python scripts/access_patterns.py [--check]

With --check nothing is written, and the exit status is 1 when the page is not up to date.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from storycore.entities import Entity, Explanation, Repository, Sharded
from storycore.entities.codec import to_put
from storycore.entities.templates import Part
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.environment import Environment
from storycore.ports.item_size import item_size
from storycore.story import (
    DECLARATIONS,
    Content,
    Session,
    SessionStatus,
    Story,
    StoryStatus,
    StoryStyle,
    Template,
    User,
    UserRole,
)
from storycore.testing.clock import ManualClock

PAGE = Path(__file__).resolve().parent.parent / "docs" / "access-patterns.md"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = "The James falls thirty metres over rocks in the middle of Richmond. "
PAGE_LENGTH = 20

USER = User(user_id="u" * 32, email="ada@example.com", username="ada", created_at=NOON, updated_at=NOON)
SESSION = Session(session_id="s" * 32, user_id="u" * 32, created_at=NOON, updated_at=NOON, expires_at=NOON)
for number in range(6):
    SESSION.add_turn("draft", user_input=TEXT, response=TEXT * 3, at=NOON + timedelta(minutes=number))
STORY = Story(
    story_id="t" * 32,
    user_id="u" * 32,
    session_id="s" * 32,
    title="The falls",
    content=TEXT * 15,
    tags={"river", "richmond"},
    created_at=NOON,
    updated_at=NOON,
)
TEMPLATE = Template(
    template_id="p" * 32,
    name="Place",
    style=StoryStyle.SHORT_POST,
    body="What {place} is known for. " * 8,
    created_at=NOON,
    updated_at=NOON,
)
CONTENT = Content(
    content_id="c" * 32,
    source="docs/falls.md",
    title="The falls",
    text=TEXT * 12,
    embedding_id="c" * 32,
    created_at=NOON,
    updated_at=NOON,
)
TYPICAL = {"user": USER, "session": SESSION, "story": STORY, "template": TEMPLATE, "content": CONTENT}
"""One instance of each kind, as large as they usually are."""

Explain = Callable[[Repository[Any]], Explanation | Awaitable[Explanation]]


@dataclass(frozen=True, slots=True)
class Row:
    """A call of the domain, and what tells its cost."""

    kind: str
    call: str
    explain: Explain
    index: str | None = None


def by_key(kind: str, call: str) -> Row:
    """A consistent read by id."""
    size = size_of(kind)
    return Row(kind, call, lambda found: found.explain.get(TYPICAL[kind], consistent=True, item_bytes=size), "")


def listed(kind: str, call: str, index: str, *, limit: int = PAGE_LENGTH, **parts: object) -> Row:
    """A page of an index."""
    size = size_of(kind)
    return Row(
        kind,
        call,
        lambda found: found.query(index, **parts).limit(limit).explain(item_bytes=size, native=False),
        index,
    )


def written(kind: str, call: str, **changes: Any) -> Row:
    """A change of a stored instance."""
    return Row(kind, call, lambda found: found.explain.patch(TYPICAL[kind], **changes))


def saved(kind: str, call: str, before: Any = None) -> Row:
    """An instance stored whole, in the place of nothing or of another state."""
    return Row(kind, call, lambda found: found.explain.put(TYPICAL[kind], before=before))


def removed(kind: str, call: str) -> Row:
    """A stored instance removed."""
    return Row(kind, call, lambda found: found.explain.delete(TYPICAL[kind]))


def entity_of(kind: str) -> Entity[Any]:
    """The declaration of a kind."""
    return next(entity for entity in DECLARATIONS if entity.kind == kind)


def size_of(kind: str) -> int:
    """The bytes that the typical instance counts in the store."""
    return item_size(to_put(entity_of(kind), TYPICAL[kind]))


READS: Sequence[Row] = (
    by_key("user", "users.get(user_id)"),
    listed("user", "users.by_email(email)", "by_email", limit=1, email="ada@example.com"),
    listed("user", "users.by_username(name)", "by_username", limit=1, username="ada"),
    listed("user", "users.list(role=…)", "by_role", role=UserRole.REGISTERED),
    listed("user", "users.list()", "everyone"),
    by_key("session", "sessions.get(session_id)"),
    listed("session", "sessions.by_user(user_id)", "by_user", user_id="u"),
    listed("session", "sessions.active()", "by_status", status=SessionStatus.ACTIVE),
    by_key("story", "stories.get(story_id)"),
    listed("story", "stories.by_user(user_id)", "by_user", user_id="u"),
    listed(
        "story",
        "stories.by_user(user_id, status=…)",
        "by_user_and_status",
        user_id="u",
        status=StoryStatus.PUBLISHED,
    ),
    listed("story", "stories.summaries(user_id)", "by_user", user_id="u"),
    listed("story", "stories.by_status(status)", "by_status", status=StoryStatus.PUBLISHED),
    listed("story", "stories.by_session(session_id)", "by_session", session_id="s"),
    by_key("template", "templates.get(template_id)"),
    listed("template", "templates.by_style(style)", "by_style", style=StoryStyle.THREAD),
    listed("template", "templates.list()", "everything"),
    by_key("content", "contents.get(content_id)"),
    listed("content", "contents.by_source(source)", "by_source", source="docs/falls.md"),
    listed("content", "contents.by_type(content_type)", "by_type", content_type="markdown"),
    listed("content", "contents.by_source_type(source_type)", "by_source_type", source_type="news"),
)

WRITES: Sequence[Row] = (
    saved("user", "users.save(user), a new one"),
    written("user", 'users.update(user_id, {"display_name": …})', set={"display_name": "Ada"}),
    written("user", 'users.update(user_id, {"email": …})', set={"email": "ada@example.org"}),
    written("user", 'users.update_stats(user_id, {"stories_created": 1})', add={"stories_created": 1}),
    removed("user", "users.delete(user_id)"),
    saved("session", "sessions.save(session), a new one"),
    saved(
        "session",
        "sessions.save(session), with one more turn",
        before=SESSION.model_copy(update={"turns": SESSION.turns[:-1], "updated_at": NOON - timedelta(minutes=1)}),
    ),
    written("session", "sessions.end(session_id)", set={"status": SessionStatus.ENDED, "ended_at": NOON}),
    saved("story", "stories.save(story), a new one"),
    written("story", "stories.update_status(story_id, status)", set={"status": StoryStatus.PUBLISHED}),
    written("story", "stories.revise(story_id, content)", set={"content": TEXT * 16, "revision": 2}),
    written("story", 'stories.add_metrics(story_id, {"views": 1})', add={"views": 1}),
    removed("story", "stories.delete(story_id)"),
    saved("template", "templates.save(template), a new one"),
    written("template", "templates.count_use(template_id)", add={"uses": 1}),
    saved("content", "contents.save_batch(contents), for each"),
    removed("content", "contents.delete_source(source), for each"),
)


async def tables() -> dict[str, list[str]]:
    """The lines of each table, by its name in the page."""
    store = open_entities(MemoryConfig(), Environment(clock=ManualClock(NOON + timedelta(hours=1))))
    env = Environment(clock=ManualClock(NOON + timedelta(hours=1)))
    found = {entity.kind: Repository(entity, store, env, cursor_key=b"k" * 16) for entity in DECLARATIONS}

    async def account(row: Row) -> Explanation:
        told = row.explain(found[row.kind])
        return told if isinstance(told, Explanation) else await told

    return {
        "instances": [
            "| kind | bytes |",
            "|---|---|",
            *(f"| {kind} | {size_of(kind)} |" for kind in TYPICAL),
        ],
        "reads": [
            "| call | index | slot | partition | order | requests | read units |",
            "|---|---|---|---|---|---|---|",
            *[read_line(row, await account(row)) for row in READS],
        ],
        "writes": [
            "| call | writes | read units | write units | why |",
            "|---|---|---|---|---|",
            *[write_line(row, await account(row)) for row in WRITES],
        ],
    }


def read_line(row: Row, told: Explanation) -> str:
    """One row of the table of reads."""
    entity = entity_of(row.kind)
    pattern = entity.indexes[row.index] if row.index else entity.table
    slot = "table" if pattern.slot is None else str(pattern.slot)
    cells = (
        f"`store.{row.call}`",
        pattern.name or "key",
        slot,
        template(pattern.pk),
        template(pattern.sk),
        str(told.requests),
        f"{told.read_units:g}",
    )
    return f"| {' | '.join(cells)} |"


def write_line(row: Row, told: Explanation) -> str:
    """One row of the table of writes."""
    why = " ".join(note for note in told.notes if "read again" not in note)
    return f"| `store.{row.call}` | {len(told.keys)} | {told.read_units:g} | {told.write_units} | {why} |"


def template(parts: Sequence[str | Part | Sharded]) -> str:
    """A key template for people: text in code style, fields plain."""
    return ", ".join(part_text(part) for part in parts)


def part_text(part: str | Part | Sharded) -> str:
    """One part of a key template."""
    if isinstance(part, Sharded):
        return f"{part.shards} shards by {part.by.field}"
    return part.field if isinstance(part, Part) else f"`{part}`"


def filled(page: str, made: dict[str, list[str]]) -> str:
    """The page with each table in its place, between the comments that name it."""
    for name, lines in made.items():
        body = "".join(f"{line}\n" for line in lines)
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        page = re.sub(pattern, lambda found, body=body: f"{found[1]}{body}{found[2]}", page, flags=re.DOTALL)
    return page


def unlisted() -> Iterator[str]:
    """The indexes that no row shows."""
    shown = {(row.kind, row.index) for row in READS}
    for entity in DECLARATIONS:
        yield from (f"{entity.kind}.{name}" for name in entity.indexes if (entity.kind, name) not in shown)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    made = filled(page, asyncio.run(tables()))
    if given.check:
        return 0 if made == page and not list(unlisted()) else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
