"""Two runs over one folder at the same time: whatever they do to each other, the next run finds everything in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from storycore.ingestion import Pipeline, Report
from storycore.layers.checks import checked
from storycore.memory.config import MemoryConfig, MemoryVectorConfig
from storycore.memory.embedder import MemoryEmbedder
from storycore.memory.entities import open_entities
from storycore.memory.vectors import open_vectors
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorIndex

DIMENSION = 8

Act = Callable[[], Awaitable[object]]


class Interrupted:
    """A port before whose nth call something else happens; then it goes on."""

    def __init__(self, inner: object, at: int, act: Act) -> None:
        self._inner, self._left, self._act = inner, at, act

    def __getattr__(self, name: str) -> Any:  # whatever the port has
        found = getattr(self._inner, name)

        async def call(*args: object, **options: object) -> object:
            self._left -= 1
            if self._left == 0:
                await self._act()
            return await found(*args, **options)

        return found if name in ("spec", "info", "capabilities") else call


@dataclass
class Place:
    """A folder with one document, and ports in memory."""

    root: Path
    entities: EntityStore
    vectors: VectorIndex
    embedder: MemoryEmbedder

    @property
    def document(self) -> Path:
        """The only document."""
        return self.root / "a.md"

    async def run(self, *, at: int = 0, meanwhile: Act | None = None, by: str = "entities") -> Report:
        """Run over the folder; ``meanwhile`` happens before the call number ``at`` of the port ``by``."""
        ports: dict[str, Any] = {"entities": self.entities, "vectors": self.vectors}
        if meanwhile is not None:
            ports[by] = Interrupted(ports[by], at, meanwhile)
        pipeline = Pipeline(**ports, embedder=self.embedder, env=Environment())
        return await pipeline.run(self.root, max_delete_fraction=1)

    async def texts(self) -> list[str]:
        """What the index holds."""
        return sorted(str(item.metadata["text"]) for item in (await self.vectors.scan(limit=1000)).items)


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """An empty folder and empty ports."""
    async with AsyncExitStack() as stack:
        env = Environment()
        entities = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
        vectors = checked(PortName.VECTORS, open_vectors(MemoryVectorConfig(dimension=DIMENSION), env))
        embedder = MemoryEmbedder(DIMENSION)
        for port in (entities, vectors, embedder):
            await stack.enter_async_context(port)
        yield Place(tmp_path / "docs", entities, vectors, embedder)


def _edit(place: Place, text: str | None) -> None:
    place.root.mkdir(exist_ok=True)
    if text is None:
        place.document.unlink(missing_ok=True)
    else:
        place.document.write_text(text)


HISTORIES = {
    "the same content": ("old", "new", "new"),
    "a first time": (None, "new", "new"),
    "two edits": ("old", "new", "newer"),
    "two first contents": (None, "new", "newer"),
    "an edit that is taken back": ("old", "new", "old"),
    "an edit and a removal": ("old", "new", None),
    "a removal that is taken back": ("old", None, "old"),
    "a removal and another content": ("old", None, "new"),
}


@pytest.mark.parametrize("by", ["entities", "vectors"])
@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("history", HISTORIES)
async def test_a_run_in_the_middle_of_another_loses_and_leaves_nothing(
    place: Place, history: str, at: int, by: str
) -> None:
    """Wherever the second run comes in, and whatever the file says by then, the next run gives what the file says."""
    before, first, second = HISTORIES[history]
    _edit(place, before)
    await place.run()
    _edit(place, first)

    async def other() -> None:
        _edit(place, second)
        await place.run()

    await place.run(at=at, meanwhile=other, by=by)
    assert (await place.run()).failed == []
    assert await place.texts() == ([place.document.read_text()] if place.document.exists() else [])


@pytest.mark.parametrize("at", range(1, 9))
async def test_two_runs_that_bring_the_same_content_both_succeed(place: Place, at: int) -> None:
    """What another run has brought in meanwhile is no failure."""
    _edit(place, "old")
    await place.run()
    _edit(place, "new")
    report = await place.run(at=at, meanwhile=place.run)
    assert (report.failed, await place.texts()) == ([], ["new"])


async def test_a_document_that_another_run_changes_is_named(place: Place) -> None:
    """Of two contents the slower run reports its document as failed, in words for people."""
    _edit(place, "old")
    await place.run()
    _edit(place, "new")

    async def other() -> None:
        _edit(place, "newer")
        await place.run()

    report = await place.run(at=2, meanwhile=other, by="vectors")
    [failure] = report.failed
    assert (failure.uri, failure.stage) == ("a.md", "state")
    assert failure.error == "another run is changing it at the same time; run again when that one has ended"
