"""What reads above the port make of this adapter: the same pages and cursors as over memory, and true accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from storycore import F, Index, Key, Sharded, entity, part
from storycore.entities import Collection, Repository
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

SECRET = b"k" * 16


class Task(BaseModel):
    home: str
    task_id: str
    status: str = "open"
    rank: int = 0


class Home(BaseModel):
    home: str
    name: str


TASK = entity(
    Task,
    kind="task",
    key=Key(pk=("home", part.home), sk=("task", part.task_id)),
    indexes=[
        Index("by_rank", slot=1, pk=("status", part.status), sk=(part.rank,)),
        Index("by_status", slot=2, pk=("status", part.status, Sharded(5, by=part.task_id)), sk=(part.rank,)),
    ],
    promoted=("task_id", "rank"),
)
HOME = entity(Home, kind="home", key=Key(pk=("home", part.home), sk=("!",)))


async def told(store: EntityStore, index: str, reverse: bool) -> list[Any]:  # pages, as plain values
    """All pages of some queries, on and back again, with their cursors."""
    tasks = Repository(TASK, store, Environment(), cursor_key=SECRET)
    await tasks.save_batch([Task(home=f"h{n % 3}", task_id=f"t{n:02}", rank=n % 7) for n in range(40)])
    found: list[Any] = []
    for query in (
        tasks.query(index, status="open", reverse=reverse).limit(9),
        tasks.query(index, status="open", reverse=reverse, low=2, high=5).limit(4),
        tasks.query(index, status="open", reverse=reverse).where(F.rank == 3).limit(2),
    ):
        page = await query.page()
        pages = [page]
        while page.cursor is not None:
            page = await query.page(page.cursor)
            pages.append(page)
        while page.previous is not None:
            page = await query.page(page.previous)
            pages.append(page)
        found += [([task.task_id for task in page.items], page.cursor, page.previous) for page in pages]
    return found


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("index", ["by_rank", "by_status"])
async def test_pages_and_cursors_are_those_of_the_reference(
    store: EntityStore, tmp_path: Path, index: str, reverse: bool
) -> None:
    """Sharded or not, on and back: a walk begun here goes on over any other store that holds the same."""
    async with await Harness(PortName.ENTITIES, "memory", {}, tmp_path).started() as reference:
        assert await told(store, index, reverse) == await told(reference, index, reverse)


async def test_entities_of_one_partition_are_read_together(store: EntityStore) -> None:
    """One walk over the table gives instances of both."""
    await Repository(HOME, store, Environment(), cursor_key=SECRET).create(Home(home="h", name="Ada's"))
    tasks = [Task(home="h", task_id=f"t{n}") for n in range(3)]
    await Repository(TASK, store, Environment(), cursor_key=SECRET).save_batch(tasks)
    homes, found = await Collection([HOME, TASK], store, cursor_key=SECRET).query(home="h").split(HOME, TASK)
    assert ([home.name for home in homes], found) == (["Ada's"], tasks)
