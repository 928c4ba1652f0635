"""The pipeline keeps the index a function of files and settings, embeds nothing twice, and tells what failed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from storycore.corpus import richmond
from storycore.errors import InvalidArgument, NotFound
from storycore.ingestion import Chunk, Chunked, Chunker, Document, IngestionConfig, Piece, Pipeline, Progress, Report
from storycore.layers.checks import checked
from storycore.memory.config import MemoryConfig, MemoryVectorConfig
from storycore.memory.embedder import MemoryEmbedder
from storycore.memory.entities import open_entities
from storycore.memory.vectors import open_vectors
from storycore.ports.embeddings import Embedder, Purpose
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.field_types import type_of
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Vector, VectorIndex, VectorItem

DIMENSION = 16
SMALL = IngestionConfig(chunk_chars=120, min_chars=20, concurrency=3, batch_size=4)


class CountingEmbedder(MemoryEmbedder):
    """Notes which texts it was given, call by call."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.calls: list[list[str]] = []

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
        self.calls.append(list(texts))
        return await super().embed(texts, purpose=purpose)

    @property
    def texts(self) -> list[str]:
        """All texts so far."""
        return [text for call in self.calls for text in call]


@dataclass
class Sink:
    """A word index that is only a dictionary."""

    chunks: dict[str, Chunk] = field(default_factory=dict)

    async def save(self, chunks: Sequence[Chunk]) -> None:
        self.chunks.update((chunk.id, chunk) for chunk in chunks)

    async def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.chunks.pop(id_, None)


@dataclass
class Place:
    """A folder, and ports in memory."""

    root: Path
    entities: EntityStore
    vectors: VectorIndex
    counting: CountingEmbedder
    sink: Sink

    def pipeline(
        self,
        config: IngestionConfig = SMALL,
        *,
        name: str = "default",
        chunkers: Mapping[str, Chunker] | None = None,
        embedder: Embedder | None = None,
        namespace: str = "default",
    ) -> Pipeline:
        """A pipeline over the ports."""
        return Pipeline(
            entities=self.entities,
            vectors=self.vectors,
            embedder=embedder or checked(PortName.EMBEDDER, self.counting),
            env=Environment(),
            name=name,
            chunk_sink=self.sink,
            config=config,
            chunkers=chunkers,
            namespace=namespace,
        )

    async def run(self, **options: object) -> Report:
        """Run over the folder."""
        return await self.pipeline().run(self.root, **options)  # type: ignore[arg-type]  # options of any test

    def write(self, uri: str, text: str | bytes) -> Path:
        """Make a file."""
        path = self.root / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    async def items(self, namespace: str = "default") -> dict[str, VectorItem]:
        """The whole index."""
        found: dict[str, VectorItem] = {}
        after = None
        while True:
            page = await self.vectors.scan(after=after, limit=1000, namespace=namespace)
            found.update((item.id, item) for item in page.items)
            if page.next is None:
                return found
            after = page.next

    async def sources(self) -> dict[str, int]:
        """How many chunks of which document are in the index."""
        counts: dict[str, int] = {}
        for item in (await self.items()).values():
            counts[str(item.metadata["source"])] = counts.get(str(item.metadata["source"]), 0) + 1
        return counts


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """An empty folder and empty ports."""
    root = tmp_path / "docs"
    root.mkdir()
    async with AsyncExitStack() as stack:
        env = Environment()
        counting = CountingEmbedder(DIMENSION)
        entities = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
        config = MemoryVectorConfig(dimension=DIMENSION, embedding=counting.spec.model)
        vectors = checked(PortName.VECTORS, open_vectors(config, env))
        for port in (entities, vectors, counting):
            await stack.enter_async_context(port)
        yield Place(root, entities, vectors, counting, Sink())


RIVER = "# River\n\nThe river falls over ledges of granite.\n\n## Fish\n\nShad and sturgeon come up in spring.\n"
CANAL = "The canal\n\nMules drew the packet boats at four miles an hour.\n"


# What a run does


async def test_a_run_fills_index_and_sink(place: Place) -> None:
    """Every chunk is in the index and in the sink, with the metadata that search reads."""
    place.write("river.md", RIVER)
    place.write("old/canal.txt", CANAL)
    report = await place.run()
    assert (report.added, report.changed, report.failed, report.ok) == (["old/canal.txt", "river.md"], [], [], True)
    items = await place.items()
    assert set(items) == set(place.sink.chunks)
    assert len(items) == report.chunks_embedded
    assert {id_: dict(item.metadata) for id_, item in items.items()} == {
        id_: chunk.metadata for id_, chunk in place.sink.chunks.items()
    }
    fish = next(chunk for chunk in place.sink.chunks.values() if "sturgeon" in chunk.text)
    assert (
        fish.source,
        fish.title,
        fish.section,
        fish.content_type,
        fish.source_type,
    ) == ("river.md", "River", "River > Fish", "text/markdown", "document")
    assert fish.text == RIVER[fish.start : fish.end]


async def test_whatever_a_document_says_of_itself_its_fields_have_one_type(place: Place) -> None:
    """Titles and types that look like numbers, truth values or lists never make two documents disagree on a field."""
    for number, value in enumerate(["7", "true", "2024-01-01", "[a, b]", "null", "1e5", "words"]):
        place.write(f"{number}.md", f"---\ntitle: {value}\ntype: {value}\nyear: {value}\n---\n\n{RIVER}")
    for number, value in enumerate(["7", "true", '"words"', '["a", 1]', "null", '{"a": 1}', "1.5"]):
        place.write(f"{number}.json", f'{{"title": {value}, "source_type": {value}, "text": "a record"}}')
    place.write("page.html", f"<title>7</title><meta name=type content=1>{CANAL}")
    report = await place.run()
    assert report.failed == []
    assert len(report.added) == 15
    kinds = {(name, type_of(value)) for item in (await place.items()).values() for name, value in item.metadata.items()}
    texts = {(name, "string") for name in ("source", "title", "content_type", "source_type", "section", "text")}
    assert kinds == texts | {(name, "number") for name in ("start", "end", "ordinal")}


async def test_vectors_are_those_of_title_section_and_text(place: Place) -> None:
    """What is embedded tells title and section too, so that a passage is found by what it is about."""
    place.write("river.md", RIVER)
    await place.run()
    assert "River > Fish\n## Fish\n\nShad and sturgeon come up in spring." in place.counting.texts
    for id_, item in (await place.items()).items():
        (expected,) = await place.counting.embed([place.sink.chunks[id_].embedded], purpose="document")
        assert item.values == expected


async def test_a_second_run_does_nothing(place: Place) -> None:
    """Unchanged files cost no embedding and no write; a new date alone changes nothing."""
    path = place.write("river.md", RIVER)
    place.write("empty.md", " \n")
    await place.run()
    calls, before = len(place.counting.calls), await place.items()
    os.utime(path, (1, 1))
    report = await place.run()
    assert (report.unchanged, report.chunks_embedded, report.chunks_deleted) == (["river.md"], 0, 0)
    assert (calls, before) == (len(place.counting.calls), await place.items())
    assert report.skipped == [("empty.md", "empty")]


async def test_a_file_that_was_emptied_is_skipped_and_leaves_nothing(place: Place) -> None:
    """It counts once, as what holds no document; its chunks go, and come back with its text."""
    place.write("river.md", RIVER)
    await place.run()
    place.write("river.md", "")
    report = await place.run()
    assert (report.skipped, report.documents, await place.items()) == ([("river.md", "empty")], 0, {})
    assert report.chunks_deleted > 0
    place.write("river.md", RIVER)
    assert (await place.run()).changed == ["river.md"]


async def test_only_new_chunks_are_embedded_after_an_edit(place: Place) -> None:
    """An edit embeds the chunks with new words; moved ones get new offsets and keep their vectors."""
    sections = [f"## Part {i}\n\nThis part tells of lock number {i} and of its keeper.\n\n" for i in range(8)]
    place.write("locks.md", "".join(sections))
    await place.run()
    before, count = await place.items(), len(place.counting.texts)
    sections[3] = "## Part 3\n\nThis part was written anew.\n\n"
    place.write("locks.md", "".join(sections))
    report = await place.run()
    assert (
        report.changed,
        report.chunks_embedded,
        report.chunks_kept,
        report.chunks_deleted,
    ) == (["locks.md"], 1, 7, 1)
    assert len(place.counting.texts) == count + 1
    after = await place.items()
    assert len(after) == 8
    for id_, item in after.items():
        text = str(item.metadata["text"])
        start, end = item.metadata["start"], item.metadata["end"]
        assert isinstance(start, int) and isinstance(end, int)
        assert "".join(sections)[start:end] == text
        if id_ in before:
            assert before[id_].values == item.values
    assert set(after) == set(place.sink.chunks)


async def test_a_removed_file_takes_its_chunks_along(place: Place) -> None:
    """Index, sink and state forget it; when it comes back it is new."""
    for i in range(10):
        place.write(f"{i}.txt", f"Document {i}\n\n{CANAL}")
    await place.run()
    (place.root / "3.txt").unlink()
    report = await place.run()
    assert (report.removed, len(report.unchanged), report.withheld) == (["3.txt"], 9, [])
    assert "3.txt" not in await place.sources()
    assert set(await place.items()) == set(place.sink.chunks)
    place.write("3.txt", CANAL)
    assert (await place.run()).added == ["3.txt"]


async def test_too_many_removals_are_withheld(place: Place) -> None:
    """When a large part is gone, as after a failed mount, nothing is removed until the caller says so."""
    for i in range(10):
        place.write(f"{i}.txt", f"Document {i}\n\n{CANAL}")
    await place.run()
    before = await place.items()
    for i in range(3):
        (place.root / f"{i}.txt").unlink()
    report = await place.run()
    assert (report.withheld, report.removed) == (["0.txt", "1.txt", "2.txt"], [])
    assert "3 of 10 documents are gone" in report.withheld_reason
    assert before == await place.items()
    report = await place.run(delete=False, max_delete_fraction=1)
    assert ("delete=False" in report.withheld_reason, before) == (True, await place.items())
    report = await place.run(max_delete_fraction=0.3)
    assert (len(report.removed), report.withheld_reason) == (3, "")


async def test_nothing_is_removed_when_a_folder_cannot_be_read(place: Place) -> None:
    """A listing that was cut short says nothing about what is gone."""
    if os.geteuid() == 0:
        pytest.skip("root reads every folder")
    for name in ("a/1.txt", "b/2.txt", "c.txt", "d.txt", "e.txt", "f.txt"):
        place.write(name, f"{name}\n\n{CANAL}")
    await place.run()
    (place.root / "c.txt").unlink()
    (place.root / "a").chmod(0)
    try:
        report = await place.run()
    finally:
        (place.root / "a").chmod(0o700)
    assert (report.removed, report.withheld, report.complete) == ([], ["a/1.txt", "c.txt"], False)
    assert [failure.stage for failure in report.failed] == ["list"]


async def test_the_same_text_in_two_files_is_two_documents(place: Place) -> None:
    """Removing one of two equal files leaves the other whole."""
    for name in "abcdefgh":
        place.write(f"{name}.txt", CANAL)
    await place.run()
    assert {f"{name}.txt": 1 for name in "abcdefgh"} == await place.sources()
    (place.root / "b.txt").unlink()
    await place.run()
    assert {f"{name}.txt": 1 for name in "acdefgh"} == await place.sources()


async def test_folders_do_not_mix(place: Place, tmp_path: Path) -> None:
    """Two folders with the same file names are kept apart, and neither removes the other's documents."""
    place.write("a.txt", CANAL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("Something else.")
    await place.run()
    await place.pipeline().run(other)
    assert await place.sources() == {"a.txt": 2}
    (other / "a.txt").unlink()
    report = await place.pipeline().run(other, max_delete_fraction=1)
    assert (report.removed, await place.sources()) == (["a.txt"], {"a.txt": 1})


async def test_a_folder_keeps_its_identity_when_it_moves(place: Place, tmp_path: Path) -> None:
    """With a ``root_id`` the same documents elsewhere are unchanged."""
    place.write("a.txt", CANAL)
    await place.run(root_id="docs")
    place.root.rename(tmp_path / "moved")
    report = await place.pipeline().run(tmp_path / "moved", root_id="docs")
    assert (report.unchanged, report.added) == (["a.txt"], [])


async def test_pipelines_and_namespaces_are_apart(place: Place) -> None:
    """Another name or namespace begins from nothing and leaves the first alone."""
    place.write("a.txt", CANAL)
    await place.run()
    before = await place.items()
    assert (await place.pipeline(name="second").run(place.root)).added == ["a.txt"]
    assert (await place.pipeline(namespace="apart").run(place.root)).added == ["a.txt"]
    items = await place.items()
    assert (len(items), len(await place.items("apart"))) == (2, 1)
    assert before.items() <= items.items()


# What changes when settings change


async def test_other_limits_cut_anew_but_embed_only_new_pieces(place: Place) -> None:
    """A setting of a chunker touches its documents; pieces that come out the same keep their vectors."""
    place.write("short.txt", CANAL)
    place.write("long.txt", CANAL * 4)
    place.write("data.json", '[{"a": 1}]')
    await place.run()
    count = len(place.counting.texts)
    report = await place.pipeline(SMALL.model_copy(update={"chunk_chars": 200})).run(place.root)
    assert report.changed == ["data.json", "long.txt", "short.txt"]
    before, after = set(place.counting.texts[:count]), place.counting.texts[count:]
    assert (report.chunks_embedded, True) == (len(after), before.isdisjoint(after))
    report = await place.pipeline(SMALL.model_copy(update={"chunk_chars": 200, "concurrency": 1})).run(place.root)
    assert len(report.unchanged) == 3


def _shouting(document: Document) -> Chunked:
    return Chunked([Piece(document.text.upper(), 0, len(document.text))], source_type="shout")


async def test_a_chunker_of_ones_own_takes_the_place_of_the_built_in_one(place: Place) -> None:
    """It concerns the documents of its type alone."""
    place.write("a.md", "quiet words")
    place.write("b.txt", "other words")
    await place.run()
    report = await place.pipeline(chunkers={"text/markdown": _shouting}).run(place.root)
    assert (report.changed, report.unchanged) == (["a.md"], ["b.txt"])
    texts = {item.metadata["source"]: item.metadata["text"] for item in (await place.items()).values()}
    assert texts == {"a.md": "QUIET WORDS", "b.txt": "other words"}


async def test_another_model_embeds_everything_anew(place: Place) -> None:
    """Vectors of different models are never mixed: all chunks get new ids and the old ones go."""
    place.write("a.txt", CANAL)
    await place.run()
    before = await place.items()

    class Other(CountingEmbedder):
        @property
        def spec(self):  # type: ignore[no-untyped-def]  # the reference's, renamed
            from dataclasses import replace

            return replace(super().spec, model="another")

    async with Other(DIMENSION) as other:
        report = await place.pipeline(embedder=other).run(place.root)
    assert (report.changed, report.chunks_embedded, report.chunks_deleted) == (["a.txt"], 1, 1)
    assert set(before).isdisjoint(await place.items())


# What it tells


async def test_a_plan_tells_what_the_run_then_does(place: Place) -> None:
    """Plan and report agree, and planning writes nothing."""
    for i in range(10):
        place.write(f"{i}.txt", f"Document {i}\n\n{CANAL}")
    plan = await place.pipeline().plan(place.root)
    assert (len(plan.added), len(place.counting.calls), await place.items()) == (10, 0, {})
    await place.run()
    place.write("1.txt", "Document 1\n\nWas written anew.")
    (place.root / "2.txt").unlink()
    place.write("3.bin", b"\0\1")
    plan, report = await place.pipeline().plan(place.root), await place.run()
    for name in ("added", "changed", "unchanged", "removed", "failed", "skipped", "complete"):
        assert getattr(plan, name) == getattr(report, name), name
    for name in ("chunks_embedded", "chunks_kept", "chunks_deleted", "characters_embedded"):
        assert getattr(plan, name) == getattr(report, name), name
    assert plan.characters_embedded == len(place.counting.texts[-1])


async def test_progress_is_told_once_per_document(place: Place) -> None:
    """Each call names a document and its outcome; the last one says that all are done."""
    place.write("a.txt", CANAL)
    place.write("b.bin", b"\0")
    place.write("c.json", "{")
    told: list[Progress] = []
    await place.run(progress=told.append)
    assert [now.done for now in told] == [1, 2, 3]
    assert {("a.txt", "added"), ("b.bin", "skipped"), ("c.json", "failed")} == {(now.uri, now.outcome) for now in told}
    assert {3} == {now.total for now in told}


async def test_what_progress_raises_ends_the_run(place: Place) -> None:
    """A caller may stop a run that way, and the next run goes on."""
    for i in range(10):
        place.write(f"{i}.txt", f"Document {i}\n\n{CANAL}")

    def stop(now: Progress) -> None:
        if now.done == 4:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        await place.run(progress=stop)
    report = await place.run()
    assert (report.documents, len(await place.sources())) == (10, 10)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "image.png": (b"\x89PNG\r\n\x1a\n\0\0\0", "binary"),
    "latin.txt": ("Göteborg".encode("latin-1"), "not UTF-8 text"),
    "zeros.txt": (b"text\0text", "binary"),
    "half.txt": (b"\xff\xfea", "not UTF-8 text"),
    "utf32.txt": ("Zürich".encode("utf-32"), "binary"),
    "large.txt": (b"x" * 2001, "larger than 2000 bytes; raise max_file_bytes to read it"),
    "empty.txt": (b"", "empty"),
    "blank.md": (b"\xef\xbb\xbf \r\n\t\n", "empty"),
    "empty.json": (b"[]", "empty"),
}


async def test_what_holds_no_text_is_named_and_the_rest_goes_on(place: Place) -> None:
    """Binary, foreign, oversize and empty files are skipped with the reason."""
    for name, (content, _) in BAD_FILES.items():
        place.write(name, content)
    place.write("good.txt", CANAL)
    report = await place.pipeline(SMALL.model_copy(update={"max_file_bytes": 2000})).run(place.root)
    assert {name: reason for name, (_, reason) in BAD_FILES.items()} == dict(report.skipped)
    assert (await place.sources(), report.failed) == ({"good.txt": 1}, [])
    assert (report.added, report.documents) == (["good.txt"], 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le+bom", "utf-16-be+bom"])
async def test_unicode_files_are_read(place: Place, encoding: str) -> None:
    """UTF-8 with and without a mark, and UTF-16 with one."""
    plain, _, bom = encoding.partition("+")
    place.write("a.txt", ("\ufeffZürich 河" if bom else "Zürich 河").encode(plain))
    await place.run()
    assert [item.metadata["text"] for item in (await place.items()).values()] == ["Zürich 河"]


async def test_failures_are_named_and_leave_the_old_state(place: Place) -> None:
    """A file that becomes unreadable or breaks its format keeps what was known of it, and recovers."""
    place.write("a.json", '[{"name": "old"}]')
    place.write("b.txt", CANAL)
    await place.run()
    before = await place.items()
    place.write("a.json", '[{"name": "new"')
    place.write("b.txt", b"\xff\xff")
    report = await place.run()
    assert [(failure.uri, failure.stage) for failure in report.failed] == [("a.json", "chunk")]
    assert ([("b.txt", "not UTF-8 text")], before, False) == (report.skipped, await place.items(), report.ok)
    place.write("a.json", '[{"name": "new"}]')
    report = await place.run()
    assert (report.changed, report.failed) == (["a.json"], [])


async def test_a_failing_embedder_fails_its_documents_and_no_others(place: Place) -> None:
    """Documents that share a call with a refused text are embedded all the same; the next run does the rest."""

    class Refusing(CountingEmbedder):
        async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> list[Vector]:
            if any("poison" in text for text in texts):
                raise InvalidArgument("Poison is not embedded.")
            return await super().embed(texts, purpose=purpose)

    for i in range(6):
        place.write(f"{i}.txt", "poison" if i == 2 else f"Document {i}")
    async with Refusing(DIMENSION) as embedder:
        report = await place.pipeline(embedder=embedder).run(place.root)
    assert (report.failed, len(report.added)) == ([("2.txt", "embed", "Poison is not embedded.")], 5)
    report = await place.run()
    assert (report.added, len(report.unchanged), report.chunks_embedded) == (["2.txt"], 5, 1)


async def test_a_chunker_that_raises_fails_its_document(place: Place) -> None:
    """Whatever a plugin's chunker raises is told with the document's name."""

    def broken(document: Document) -> Chunked:
        raise ZeroDivisionError("by nothing")

    place.write("a.md", RIVER)
    place.write("b.txt", CANAL)
    report = await place.pipeline(chunkers={"text/markdown": broken}).run(place.root)
    assert report.failed == [("a.md", "chunk", "cannot be cut: ZeroDivisionError: by nothing")]
    assert report.added == ["b.txt"]


# What it reads


async def test_hidden_files_and_excluded_ones_are_left_out(place: Place) -> None:
    """Settings decide what belongs to the folder; what leaves it leaves the index."""
    for name in (".git/config", ".hidden.md", "drafts/a.md", "drafts/deep/b.md", "c.md", "d.md", "note.tmp"):
        place.write(name, f"{name}\n\n{CANAL}")
    report = await place.pipeline(SMALL.model_copy(update={"include_hidden": True})).run(place.root)
    assert len(report.added) == 7
    excluding = SMALL.model_copy(update={"exclude": ("drafts", "*.tmp")})
    report = await place.pipeline(excluding).run(place.root, max_delete_fraction=1)
    assert ({"c.md", "d.md"}, 5) == (set(await place.sources()), len(report.removed))


@pytest.mark.skipif(sys.platform == "win32", reason="needs the right to make links")
async def test_what_is_the_ports_own_is_no_document(place: Place) -> None:
    """The data of a store may lie among the documents; names that only look like it are documents."""
    for uri in ("data/x.db", "data/x.db-wal", "data/x.db-notes.txt", "data/blobs/a.md", "data/blobs-2/b.md"):
        place.write(uri, CANAL)
    own = [place.root / "data/x.db", place.root / "data/blobs"]
    pipeline = Pipeline(
        entities=place.entities, vectors=place.vectors, embedder=place.counting, env=Environment(), own=own
    )
    planned, report = await pipeline.plan(place.root), await pipeline.run(place.root)
    assert report.added == planned.added == ["data/blobs-2/b.md", "data/x.db-notes.txt"]
    assert report.skipped == planned.skipped == []


async def test_links_are_followed_only_when_wanted_and_never_in_circles(place: Place, tmp_path: Path) -> None:
    """Links are named and passed over; with ``follow_symlinks`` they are read, and circles end."""
    outside = tmp_path / "outside.txt"
    outside.write_text("Outside of the folder.")
    place.write("sub/a.txt", CANAL)
    (place.root / "link.txt").symlink_to(outside)
    (place.root / "gone.txt").symlink_to(tmp_path / "nothing")
    (place.root / "sub" / "loop").symlink_to(place.root)
    (place.root / "self").symlink_to(place.root / "self")
    report = await place.run()
    nowhere = dict.fromkeys(("gone.txt", "self"), "symbolic link to nothing")
    reasons = {"link.txt": "symbolic link", "sub/loop": "symbolic link", **nowhere}
    assert (["sub/a.txt"], reasons) == (report.added, dict(report.skipped))
    following = SMALL.model_copy(update={"follow_symlinks": True})
    report = await place.pipeline(following).run(place.root)
    assert (report.added, dict(report.skipped)["sub/loop"]) == (["link.txt"], "symbolic link to a folder above it")


@pytest.mark.skipif(sys.platform == "win32", reason="paths are shorter than calls are deep")
async def test_folders_may_nest_as_deep_as_the_system_lets_them(place: Place) -> None:
    """Deeper than Python's calls, to the longest path; what is deeper still is told."""
    here, longest = Path.cwd(), (os.pathconf("/", "PC_PATH_MAX") - len(str(place.root))) // 2 - 10
    try:
        os.chdir(place.root)
        for depth in range(longest + 20):
            if depth == longest:
                Path("deep.md").write_text(RIVER)
            Path("d").mkdir()
            os.chdir("d")
        report = await place.run()
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", place.root / "d"], check=True)
    assert (len(report.added), report.complete, "too long" in report.failed[0].error) == (1, False, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
async def test_what_is_no_file_is_not_opened(place: Place) -> None:
    """A named pipe would block for ever."""
    os.mkfifo(place.root / "pipe.txt")
    report = await asyncio.wait_for(place.run(), 5)
    assert report.skipped == [("pipe.txt", "not a regular file")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
async def test_names_that_are_not_unicode_are_reported(place: Place) -> None:
    """A name that cannot be written down is a failure of that file, and nothing is removed meanwhile."""
    for name in ("good.txt", "gone.txt"):
        place.write(name, f"{name}\n\n{CANAL}")
    await place.run()
    (place.root / "gone.txt").unlink()
    Path(os.fsdecode(os.fsencode(place.root) + b"/b\xffd.txt")).write_text("text")
    report = await place.run(max_delete_fraction=1)
    assert [(failure.uri, failure.stage) for failure in report.failed] == [("'b\\udcffd.txt'", "list")]
    assert (report.unchanged, report.withheld, report.removed) == (["good.txt"], ["gone.txt"], [])
    assert "could not be read" in report.withheld_reason


async def test_a_file_that_vanishes_meanwhile_is_passed_over(place: Place) -> None:
    """Between listing and reading a file may go."""
    for i in range(6):
        place.write(f"{i}.txt", f"Document {i}")

    def remove(now: Progress) -> None:
        (place.root / "5.txt").unlink(missing_ok=True)

    config = SMALL.model_copy(update={"concurrency": 1})
    report = await place.pipeline(config).run(place.root, progress=remove)
    assert (report.skipped, len(report.added)) == ([("5.txt", "vanished while the folder was being read")], 5)


async def test_odd_names_are_kept(place: Place) -> None:
    """Spaces, signs and letters of any script survive as uris, and the longest names too."""
    names = ["with space.txt", "a#b%20.txt", "Straße/河.txt", "'quoted'.txt", "x" * 240 + ".txt"]
    for name in names:
        place.write(name, f"Document {name[:20]}")
    await place.run()
    assert set(names) == set(await place.sources())
    assert len((await place.run()).unchanged) == 5


async def test_a_document_with_too_many_chunks_is_refused(place: Place) -> None:
    """A state record has a largest size, which is checked before anything is written."""

    def crumbs(document: Document) -> Chunked:
        return Chunked([Piece(str(i), 0, 1) for i in range(12_001)])

    place.write("a.md", RIVER)
    report = await place.pipeline(chunkers={"text/markdown": crumbs}).run(place.root)
    assert report.failed == [("a.md", "chunk", "gives 12001 chunks, 12000 are possible; split the file")]
    assert await place.items() == {}


# Single files


async def test_one_file_is_updated_within_its_folder(place: Place) -> None:
    """A file below a known folder belongs to it; the folder's next run finds nothing to do."""
    path = place.write("sub/a.txt", CANAL)
    place.write("b.txt", CANAL)
    await place.run()
    place.write("sub/a.txt", "Written anew.")
    report = await place.pipeline().update(path)
    assert (report.changed, await place.sources()) == (["sub/a.txt"], {"sub/a.txt": 1, "b.txt": 1})
    assert len((await place.run()).unchanged) == 2
    path.unlink()
    assert (await place.pipeline().update(path)).removed == ["sub/a.txt"]
    assert await place.sources() == {"b.txt": 1}


async def test_a_run_over_a_file_is_an_update(place: Place) -> None:
    """A single file that belongs to no known folder gets its own folder as root, and no neighbours."""
    path = place.write("a.txt", CANAL)
    place.write("b.txt", CANAL)
    assert (await place.pipeline().plan(path)).added == ["a.txt"]
    assert (await place.pipeline().run(path)).added == ["a.txt"]
    assert await place.sources() == {"a.txt": 1}
    report = await place.run()
    assert (report.added, report.unchanged) == (["b.txt"], ["a.txt"])


async def test_a_file_that_settings_leave_out_is_not_updated(place: Place) -> None:
    """A single file follows the same rules as a run."""
    path = place.write(".secret/a.txt", CANAL)
    link = place.root / "link.txt"
    link.symlink_to(path)
    await place.pipeline().run(place.root)
    assert (await place.pipeline().plan(link)).skipped == [("link.txt", "symbolic link")]
    assert (await place.pipeline().update(link)).skipped == [("link.txt", "symbolic link")]
    report = await place.pipeline().update(path)
    assert (report.skipped, await place.sources()) == ([(".secret/a.txt", "left out by the settings")], {})


async def test_a_document_is_removed_by_its_uri(place: Place, tmp_path: Path) -> None:
    """It goes from index, sink and state; two folders with one of that name must be told apart."""
    place.write("a.txt", CANAL)
    await place.run()
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("Something else.")
    await place.pipeline().run(other)
    with pytest.raises(InvalidArgument, match="root_id"):
        await place.pipeline().remove("a.txt")
    assert (await place.pipeline().remove("a.txt", root_id=other.as_posix())).removed == ["a.txt"]
    assert (await place.pipeline().remove("a.txt")).removed == ["a.txt"]
    assert (await place.items(), place.sink.chunks) == ({}, {})
    with pytest.raises(NotFound):
        await place.pipeline().remove("a.txt")
    assert (await place.run()).added == ["a.txt"]


# What is refused


async def test_what_is_not_there_is_not_found(place: Place) -> None:
    """A missing folder is an error and never a reason to remove everything."""
    place.write("a.txt", CANAL)
    await place.run()
    for act in (place.pipeline().run, place.pipeline().plan, place.pipeline().update):
        with pytest.raises(NotFound):
            await act(place.root / "nothing")
    assert await place.sources() == {"a.txt": 1}


@pytest.mark.parametrize("path", ["no\0path", "x" * 5000, "circle", "circle/a.md"])
async def test_what_is_no_path_is_not_found(place: Place, path: str) -> None:
    """A name that the system refuses, or a link to itself, is nothing that could be read."""
    (place.root / "circle").symlink_to(place.root / "circle")
    for act in (place.pipeline().plan, place.pipeline().run, place.pipeline().update):
        with pytest.raises(NotFound):
            await act(place.root / path)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
async def test_a_fraction_out_of_range_is_refused(place: Place, fraction: float) -> None:
    """``max_delete_fraction`` is from 0 to 1."""
    with pytest.raises(InvalidArgument):
        await place.run(max_delete_fraction=fraction)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65, "ä", "a/b"])
async def test_a_name_that_is_no_name_is_refused(place: Place, name: str) -> None:
    """Names are short and plain."""
    with pytest.raises(InvalidArgument):
        place.pipeline(name=name)


def test_settings_that_contradict_are_refused() -> None:
    """A piece cannot have to be longer than it may be."""
    with pytest.raises(ValueError, match="min_chars"):
        IngestionConfig(chunk_chars=200, min_chars=200)


# State and index


async def test_an_index_that_was_lost_is_filled_again(place: Place) -> None:
    """When the index is empty although the state says otherwise, everything is put back without being asked."""
    place.write("a.txt", CANAL)
    place.write("b.md", RIVER)
    await place.run()
    before = await place.items()
    await place.vectors.delete(all=True)
    report = await place.run()
    assert (before, len(before)) == (await place.items(), report.chunks_embedded)
    assert (report.unchanged, (await place.run()).chunks_embedded) == (["a.txt", "b.md"], 0)


async def test_verifying_puts_back_what_is_missing(place: Place) -> None:
    """With ``verify`` each chunk is looked up, and only missing ones are embedded."""
    place.write("a.txt", CANAL)
    place.write("b.md", RIVER)
    await place.run()
    before = await place.items()
    lost = sorted(before)[0]
    await place.vectors.delete(ids=[lost])
    assert (await place.run()).chunks_embedded == 0
    report = await place.run(verify=True)
    assert (1, len(before) - 1, before) == (report.chunks_embedded, report.chunks_kept, await place.items())


async def test_two_runs_at_the_same_time_end_in_one_state(place: Place) -> None:
    """Both want the same, so neither reports a failure, and the next run finds all in order."""
    for i in range(12):
        place.write(f"{i}.txt", f"Document {i}\n\n{CANAL}")
    reports = await asyncio.gather(place.run(), place.run())
    assert [report.failed for report in reports] == [[], []]
    final = await place.run()
    assert (final.failed, final.documents, len(await place.items())) == ([], 12, 12)


async def test_a_cancelled_run_leaves_no_task_behind(place: Place) -> None:
    """Cancelling ends all that was begun; the next run goes on."""
    for i in range(20):
        place.write(f"{i}.txt", f"Document {i}")
    before = asyncio.all_tasks()
    running = asyncio.create_task(place.run(progress=lambda now: running.cancel() if now.done == 3 else None))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert before == asyncio.all_tasks()
    assert (await place.run()).documents == 20
    assert len(await place.items()) == 20


async def test_the_corpus_is_ingested_whole(place: Place) -> None:
    """Every document of the corpus is read, and says where it comes from."""
    report = await place.pipeline(IngestionConfig()).run(richmond())
    assert (report.failed, report.skipped, len(report.added)) == ([], [], 20)
    types = {str(item.metadata["source_type"]) for item in (await place.items()).values()}
    assert {"document", "data", "news", "history", "place"} <= types
    assert all(isinstance(item.metadata["text"], str) for item in (await place.items()).values())
