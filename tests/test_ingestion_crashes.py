"""A run may end anywhere, as by a crash or Ctrl-C: the next one brings index, sink and state to what the files say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storycore.errors import NotFound, Unavailable
from storycore.ingestion import Chunk, IngestionConfig, Pipeline, Report
from storycore.layers.checks import checked
from storycore.memory.config import MemoryConfig, MemoryVectorConfig
from storycore.memory.embedder import MemoryEmbedder
from storycore.memory.entities import open_entities
from storycore.memory.vectors import open_vectors
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

CONFIG = IngestionConfig(chunk_chars=100, min_chars=10, concurrency=2, batch_size=2)
DIMENSION = 8

BEFORE = {
    "kept.md": "# Kept\n\nThis stays as it is.\n\n## More\n\nAnd this as well, to the last word.\n",
    "edited.md": "# Edited\n\nThe first one.\n\n## Second\n\nAnother one that stays.\n\n## Third\n\nThis one goes.\n",
    "moved.txt": "A paragraph that will move down by a little when another comes before it, and no more than that.\n",
    "gone.txt": "This file is removed.\n",
    "emptied.txt": "Nothing of this remains.\n",
}
AFTER = {
    "kept.md": BEFORE["kept.md"],
    "edited.md": "# Edited\n\nThe first one.\n\n## New\n\nSomething new.\n\n## Second\n\nAnother one that stays.\n",
    "moved.txt": "A new paragraph before it that is long enough to fill a piece of its own.\n\n" + BEFORE["moved.txt"],
    "emptied.txt": " \n",
    "added.txt": "A new file.\n\nWith two paragraphs.\n",
}


class Crash(BaseException):
    """The process ends."""


@dataclass
class Fuse:
    """Counts the points at which a run can end, before and after the effect of every call, and ends it at one."""

    at: int = 0
    points: int = 0
    error: Callable[[], BaseException] = Crash

    def burn(self) -> None:
        """Pass a point."""
        self.points += 1
        if self.points == self.at:
            raise self.error()


class Fused:
    """A port or sink whose calls pass a fuse."""

    def __init__(self, inner: object, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:  # whatever the port has
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: object, **options: object) -> object:
            self._fuse.burn()
            result = await found(*args, **options)
            self._fuse.burn()
            return result

        return call


@dataclass
class Words:
    """A word index that is only a dictionary."""

    chunks: dict[str, Chunk] = field(default_factory=dict)

    async def save(self, chunks: Sequence[Chunk]) -> None:
        self.chunks.update((chunk.id, chunk) for chunk in chunks)

    async def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.chunks.pop(id_, None)


class World:
    """A folder and what was made of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.words = Words()
        env = Environment()
        self.entities = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
        config = MemoryVectorConfig(dimension=DIMENSION, embedding="hash")
        self.vectors = checked(PortName.VECTORS, open_vectors(config, env))
        self.embedder = checked(PortName.EMBEDDER, MemoryEmbedder(DIMENSION))

    async def __aenter__(self) -> World:
        self._stack = AsyncExitStack()
        for port in (self.entities, self.vectors, self.embedder):
            await self._stack.enter_async_context(port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def write(self, files: Mapping[str, str]) -> None:
        """Make the folder hold exactly ``files``."""
        self.root.mkdir(exist_ok=True)
        for path in self.root.iterdir():
            path.unlink()
        for name, text in files.items():
            (self.root / name).write_text(text)

    async def run(self, fuse: Fuse | None = None) -> Report:
        """Run over the folder, to the end or to the fuse's point."""
        return await self._pipeline(fuse or Fuse()).run(self.root, max_delete_fraction=1)

    async def update(self, name: str) -> None:
        """Bring one file up to date, if it was ever heard of."""
        with suppress(NotFound):
            await self._pipeline(Fuse()).update(self.root / name)

    def _pipeline(self, fuse: Fuse) -> Pipeline:
        ports = (self.entities, self.vectors, self.embedder, self.words)
        entities, vectors, embedder, words = (Fused(port, fuse) for port in ports)
        return Pipeline(
            entities=entities,  # type: ignore[arg-type]  # as the port, with a fuse
            vectors=vectors,  # type: ignore[arg-type]
            embedder=embedder,  # type: ignore[arg-type]
            env=Environment(),
            chunk_sink=words,  # type: ignore[arg-type]
            config=CONFIG,
        )

    async def state(self) -> tuple[object, object]:
        """Index and sink."""
        items = (await self.vectors.scan(limit=1000)).items
        return {item.id: (item.metadata, item.values) for item in items}, self.words.chunks


async def _what_it_should_be(root: Path) -> tuple[object, object]:
    async with World(root) as oracle:
        await oracle.run()
        return await oracle.state()


async def _points(root: Path) -> int:
    async with World(root) as world:
        world.write(BEFORE)
        await world.run()
        world.write(AFTER)
        fuse = Fuse()
        await world.run(fuse)
        return fuse.points


async def _converges(world: World) -> None:
    """A run to the end, and another one that has nothing to do."""
    report = await world.run()
    assert report.ok
    assert await _what_it_should_be(world.root) == await world.state()
    again = await world.run()
    assert (again.chunks_embedded, again.chunks_deleted, again.changed, again.added) == (0, 0, [], [])


async def test_a_crash_at_any_point_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    """After each of all points of a run, the next one ends as if nothing had happened."""
    points = await _points(tmp_path / "docs")
    assert points > 60
    for at in range(1, points + 1):
        async with World(tmp_path / "docs") as world:
            world.write(BEFORE)
            await world.run()
            world.write(AFTER)
            with pytest.raises(Crash):
                await world.run(Fuse(at))
            await _converges(world)


async def test_a_crash_at_any_point_of_the_first_run_is_made_good(tmp_path: Path) -> None:
    """Also when the files are others by then, nothing is left of what the first run had begun."""
    async with World(tmp_path / "docs") as world:
        world.write(BEFORE)
        fuse = Fuse()
        await world.run(fuse)
    for at in range(1, fuse.points + 1):
        async with World(tmp_path / "docs") as world:
            world.write(BEFORE)
            with pytest.raises(Crash):
                await world.run(Fuse(at))
            world.write(AFTER)
            await _converges(world)


@pytest.mark.parametrize("single", [False, True], ids=["whole run", "single files"])
async def test_files_that_go_back_after_a_crash_are_not_taken_for_unchanged(tmp_path: Path, single: bool) -> None:
    """The old content is what the state says, but not what the interrupted run left behind."""
    points = await _points(tmp_path / "docs")
    for at in range(1, points + 1, 2):
        async with World(tmp_path / "docs") as world:
            world.write(BEFORE)
            await world.run()
            expected = await world.state()
            world.write(AFTER)
            with pytest.raises(Crash):
                await world.run(Fuse(at))
            world.write(BEFORE)
            for name in {**BEFORE, **AFTER} if single else ():
                await world.update(name)
            if not single:
                await world.run()
            assert expected == await world.state()


async def test_a_refusal_at_any_point_fails_one_document_or_the_run(tmp_path: Path) -> None:
    """A store that is unavailable for one call costs at most a document, which the next run brings in."""
    points = await _points(tmp_path / "docs")
    for at in range(1, points + 1, 3):
        async with World(tmp_path / "docs") as world:
            world.write(BEFORE)
            await world.run()
            world.write(AFTER)
            try:
                report = await world.run(Fuse(at, error=lambda: Unavailable("The store is away.")))
            except Unavailable:
                pass  # while the state was listed
            else:
                assert 1 <= len(report.failed) <= CONFIG.batch_size
            await _converges(world)


Step = Callable[[World], Awaitable[None]]
NAMES = ["a.md", "b.md", "c.txt"]
PARAGRAPHS = ["# One\n", "Same words.\n", "Other words, and some more of them.\n", "Same words.\n", "Last ones.\n" * 12]
FILES = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(PARAGRAPHS), max_size=4).map("\n".join), max_size=3
)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(st.tuples(FILES, st.integers(1, 90)), min_size=1, max_size=5))
def test_any_history_of_edits_and_crashes_converges(tmp_path: Path, history: list[tuple[dict[str, str], int]]) -> None:
    """However files change between however many runs that ended early, the last run gives what the files say."""

    async def live() -> None:
        async with World(tmp_path / "docs") as world:
            for files, at in history:
                world.write(files)
                try:
                    await world.run(Fuse(at))
                except Crash:
                    continue
            await _converges(world)

    asyncio.run(live())
