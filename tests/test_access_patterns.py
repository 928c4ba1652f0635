"""The page about access patterns says what is declared, and the domain's calls ask what the page says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from storycore.entities import Repository
from storycore.layers.checks.forward import Forward
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.entities import EntityStore, Key, QueryPlan, Record, RecordPage
from storycore.ports.environment import Environment
from storycore.story import Repositories, StoryStatus, StoryStyle, UserRole, repositories

ROOT = Path(__file__).resolve().parent.parent


def loaded() -> ModuleType:
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("access_patterns", ROOT / "scripts" / "access_patterns.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = loaded()


async def test_the_tables_are_what_the_declarations_say() -> None:
    """`python scripts/access_patterns.py` would change nothing."""
    page = (ROOT / "docs" / "access-patterns.md").read_text(encoding="utf-8")
    assert page == SCRIPT.filled(page, await SCRIPT.tables())


def test_every_index_of_the_domain_answers_a_call() -> None:
    """No index is paid for that nobody reads, or that the page leaves out."""
    assert list(SCRIPT.unlisted()) == []


class Asked(Forward[EntityStore]):
    """A store that remembers what it was asked."""

    def __init__(self, inner: EntityStore) -> None:
        super().__init__(inner)
        self.plans: set[tuple[int | None, str]] = set()
        self.keys: list[Key] = []

    async def get(self, keys: list[Key], *, consistent: bool = True) -> list[Record | None]:
        """Remember the keys."""
        self.keys += keys
        return await self.inner.get(keys, consistent=consistent)

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Remember the partition."""
        self.plans.add((plan.slot, plan.pk))
        return await self.inner.query(plan)


async def first(pages: Any) -> object:
    """The first of what is iterated, if there is one."""
    return [each async for each in pages][:1]


CALLS: Mapping[str, Callable[[Repositories], Awaitable[object]]] = {
    "users.get(user_id)": lambda store: store.users.find("u" * 32),
    "users.by_email(email)": lambda store: store.users.by_email("Ada@example.com"),
    "users.by_username(name)": lambda store: store.users.by_username("ada"),
    "users.list(role=…)": lambda store: store.users.list(role=UserRole.REGISTERED),
    "users.list()": lambda store: store.users.list(),
    "sessions.get(session_id)": lambda store: store.sessions.find("s" * 32),
    "sessions.by_user(user_id)": lambda store: store.sessions.by_user("u"),
    "sessions.active()": lambda store: store.sessions.active(),
    "stories.get(story_id)": lambda store: store.stories.find("t" * 32),
    "stories.by_user(user_id)": lambda store: store.stories.by_user("u"),
    "stories.by_user(user_id, status=…)": lambda store: store.stories.by_user("u", status=StoryStatus.PUBLISHED),
    "stories.summaries(user_id)": lambda store: first(store.stories.summaries("u")),
    "stories.by_status(status)": lambda store: store.stories.by_status(StoryStatus.PUBLISHED),
    "stories.by_session(session_id)": lambda store: store.stories.by_session("s"),
    "templates.get(template_id)": lambda store: store.templates.find("p" * 32),
    "templates.by_style(style)": lambda store: store.templates.by_style(StoryStyle.THREAD),
    "templates.list()": lambda store: store.templates.list(),
    "contents.get(content_id)": lambda store: store.contents.find("c" * 32),
    "contents.by_source(source)": lambda store: store.contents.by_source("docs/falls.md"),
    "contents.by_type(content_type)": lambda store: store.contents.by_type("markdown"),
    "contents.by_source_type(source_type)": lambda store: store.contents.by_source_type("news"),
}


@pytest.mark.parametrize("row", SCRIPT.READS, ids=lambda row: row.call)
async def test_the_call_asks_of_the_store_what_the_page_says(row: Any) -> None:
    """The same partitions of the same index, or the same key, and nothing else."""
    store = Asked(open_entities(MemoryConfig(), Environment()))
    await store.open()
    domain = repositories(store, Environment(), cursor_key=b"k" * 16)
    await CALLS[row.call](domain)
    told = row.explain(Repository(SCRIPT.entity_of(row.kind), store, Environment(), cursor_key=b"k" * 16))
    told = told if hasattr(told, "plans") else await told
    assert (store.plans, store.keys) == ({(plan.slot, plan.pk) for plan in told.plans}, list(told.keys))
