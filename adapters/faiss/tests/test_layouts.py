"""Files of the earlier layout, for other words or declared types: what is refused, and what ``ensure`` does."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from storycore_faiss._sql import APPLICATION, SCHEMA, SECOND

from storycore.errors import Corrupt, SchemaConflict, SchemaMismatch
from storycore.filters import F
from storycore.ports.field_types import FieldType
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import TextQuery, VectorItem
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import found, item

TEXTS: Sequence[VectorItem] = [
    item("a", text="the old mill", title="fox", year=1),
    item("b", text=["two", "mill mill"], title="owl"),
    item("c", year=2),
]


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.VECTORS, "faiss", {"dimension": 4}, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


def _layout_1(file: Path, rows: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """What the first version wrote; its tables are those of today without the later ones."""
    blob = array("f", [1, 0, 0, 0]).tobytes()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for statement in SCHEMA:
            if statement not in SECOND:
                connection.execute(statement)
        connection.executemany("INSERT INTO spec VALUES (?, ?)", [("dimension", "4"), ("metric", "cosine")])
        connection.executemany(
            "INSERT INTO item VALUES (?, ?, ?, ?, ?)",
            [(slot, name, id_, blob, orjson.dumps(metadata)) for slot, (name, id_, metadata) in enumerate(rows, 1)],
        )
        connection.execute("UPDATE state SET lsn = 1, last_slot = ?", (len(rows),))
        connection.execute(f"PRAGMA application_id={APPLICATION:d}")
        connection.execute("PRAGMA user_version=1")


async def _words(index: Any, text: str, namespace: str = "default") -> list[str]:
    [matches] = await index.search_text([TextQuery(text=text, namespace=namespace)])
    return [match.id for match in matches]


async def _deep(index: Any) -> str:
    health = await index.health(deep=True)
    assert health.ok == (not health.detail)
    return str(health.detail)


async def test_the_earlier_layout_says_what_to_run(harness: Harness, file: Path) -> None:
    """A file of layout 1 is not opened, and not changed by the attempt or by a rehearsal."""
    _layout_1(file, [("default", "a", {"x": 1})])
    before = file.read_bytes()
    with pytest.raises(SchemaMismatch, match=r"storycore init.*ensure"):
        await harness.make().open()
    provision = await harness.make().ensure(dry_run=True)
    assert [("layout 1 to 2" in step, str(file) in step) for step in provision.actions] == [(True, True)]
    assert before == file.read_bytes()


async def test_ensure_moves_the_earlier_layout(harness: Harness, file: Path) -> None:
    """Items stay, types are those of the oldest values, words are found, and a second time there is nothing to do."""
    rows = [
        ("default", "a", {"x": 1, "text": "the old mill"}),
        ("default", "b", {"x": "mixed", "text": "a mill"}),
        ("other", "a", {"x": "text"}),
    ]
    _layout_1(file, rows)
    assert len((await harness.make().ensure()).actions) == 1
    assert (await harness.make().ensure()).actions == ()
    async with harness.make() as index:
        assert [each.metadata for each in await index.fetch(["a", "b"])] == [rows[0][2], rows[1][2]]
        assert (await found(index, F.x == 1), await found(index, F.x == "mixed")) == (["a"], ["b"])
        assert await _words(index, "mill") == ["b", "a"]
        for namespace, bad in (("default", "text"), ("other", 1)):
            with pytest.raises(SchemaConflict):
                await index.update("a", set={"x": bad}, namespace=namespace)
        await index.update("b", set={"y": 1})
        assert await _deep(index) == ""


async def test_the_words_of_other_fields_are_made_by_ensure(harness: Harness) -> None:
    """Opening for the words of other fields is refused with the cure; after ``ensure`` those are found, in order."""
    async with await harness.started() as index:
        await index.upsert(TEXTS)
        assert (await _words(index, "mill"), await _words(index, "fox")) == (["b", "a"], [])
    other = {"text_fields": ("title", "text")}
    with pytest.raises(SchemaMismatch, match=r"'text'.*'title', 'text'.*ensure") as caught:
        await harness.make(**other).open()
    assert str(harness.path) in caught.value.message
    assert len((await harness.make(**other).ensure()).actions) == 1
    async with harness.make(**other) as index:
        assert index.spec.text_fields == ("title", "text")
        assert (await _words(index, "fox"), await _words(index, "old mill")) == (["a"], ["a", "b"])
        assert await _deep(index) == ""
    await harness.make(text_fields=()).ensure()
    async with harness.make(text_fields=()) as index:
        await index.upsert([item("d", text="mill")])
        assert (await _words(index, "mill"), await _deep(index)) == ([], "")


async def test_an_index_that_is_open_notices_that_other_words_are_kept(harness: Harness) -> None:
    """A writer that still has the earlier fields in mind is refused, so that no item has the wrong words."""
    async with await harness.started() as index:
        await index.upsert(TEXTS)
        await harness.make(text_fields=("title",)).ensure()
        with pytest.raises(SchemaMismatch, match="anew"):
            await index.upsert([item("d", text="mill")])
        with pytest.raises(SchemaMismatch, match="anew"):
            await _words(index, "mill")
        await index.delete(ids=["a"])
        assert await _deep(index) == ""
        assert "words" not in (await index.optimize()).detail
    async with harness.make(text_fields=("title",)) as index:
        assert (await _words(index, "owl"), await found(index)) == (["b"], ["b", "c"])
        assert await _deep(index) == ""


@pytest.mark.parametrize("other", [{"dimension": 5}, {"metric": "dot"}, {"embedding": "another"}])
async def test_ensure_leaves_a_file_for_other_vectors_as_it_is(harness: Harness, other: dict[str, Any]) -> None:
    """A profile that names the wrong file has none of its words made anew: opening it will be refused."""
    async with await harness.started(embedding="a model") as index:
        await index.upsert(TEXTS)
        asked = harness.make(**{"text_fields": ("title",), **other})
        assert ((await asked.ensure(dry_run=True)).actions, (await asked.ensure()).actions) == ((), ())
        assert (await _words(index, "mill"), await _words(index, "fox")) == (["b", "a"], [])
        with pytest.raises(SchemaMismatch, match="was made for"):
            await asked.open()


@pytest.mark.parametrize("written", ["{", "5", "null"])
async def test_text_fields_that_cannot_be_read_are_corrupt(harness: Harness, file: Path, written: str) -> None:
    """What the file says of its words is read as carefully as everything else, before and after it was opened."""
    async with await harness.started() as index:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("UPDATE spec SET value = ? WHERE name = 'text_fields'", (written,))
        with pytest.raises(Corrupt, match="specification"):
            await index.upsert(TEXTS)
        for each in (harness.make().ensure, harness.make().open):
            with pytest.raises(Corrupt, match="specification"):
                await each()


async def test_declared_types_hold_everywhere_and_outlive_the_declaration(harness: Harness) -> None:
    """A declared field has its type in every namespace from the first write on, also for who does not declare it."""
    declared: dict[str, FieldType] = {"year": "number", "never": "bool"}
    async with await harness.started(fields=declared) as index, harness.make() as other:
        assert index.spec.fields == declared
        with pytest.raises(SchemaConflict) as caught:
            await index.upsert([item("a", year="1999")], namespace="n2")
        assert caught.value.field == "year"
        await index.upsert([item("a", year=1999)])
        with pytest.raises(SchemaConflict):
            await other.upsert([item("b", year="1999")])
        await other.upsert([item("b", never="free")])
        with pytest.raises(SchemaConflict):
            await index.upsert([item("c", never=True)])
    with pytest.raises(SchemaMismatch, match=r"'never'.*string.*bool"):
        await harness.make(fields=declared).open()
    [difference] = (await harness.make(fields=declared).ensure()).differences
    assert "'never'" in difference


async def test_types_are_forgotten_with_all_items_alone(harness: Harness) -> None:
    """Deleting every item by id keeps the types, in the file too; deleting all forgets them, declared ones excepted."""
    fields = {"declared": "number"}
    async with await harness.started(fields=fields) as index:
        await index.upsert([item("a", x=1, declared=1)])
        await index.delete(ids=["a"])
    async with harness.make(fields=fields) as index:
        with pytest.raises(SchemaConflict):
            await index.upsert([item("a", x="1")])
        assert (await index.delete(all=True)).count == 0
        await index.upsert([item("a", x="1")])
        with pytest.raises(SchemaConflict):
            await index.upsert([item("a", declared="1")])


async def test_a_refused_write_leaves_no_type_behind(harness: Harness) -> None:
    """A call that fails fixes nothing, neither a batch nor an update by filter that becomes too large."""
    async with await harness.started() as index:
        with pytest.raises(SchemaConflict):
            await index.upsert([item("a", new=1), item("b", new="1")])
        await index.upsert([item("a", big="x" * 30_000, n=1), item("b", n=1)])
        with pytest.raises(Exception, match="limit"):
            await index.update_where(F.n == 1, set={"new": "y" * 20_000})
        await index.update_where(F.n == 9, set={"new": "y"})
        await index.upsert([item("c", new=True)])
        assert [each.metadata.get("new") for each in await index.fetch(["a", "b", "c"])] == [None, None, True]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE words SET text = 'other words' WHERE rowid = 1", "words"),
        ("DELETE FROM words WHERE rowid = 2", "words"),
        ("INSERT INTO words(rowid, text) VALUES (99, 'ghost')", "gone"),
        ("INSERT INTO words(rowid, text) VALUES (-1, 'ghost')", "gone"),
        ("INSERT INTO words(rowid, text) VALUES (3, 'ghost')", "words of"),
        ("UPDATE words_content SET c0 = 'the old mill'", "words of"),
        ("UPDATE words_data SET block = x'00' WHERE id > 10", ""),
        ("DELETE FROM field", "type"),
        ("UPDATE field SET type = 'bool' WHERE name = 'year'", "year"),
        ("UPDATE item SET metadata = '{\"year\":\"1\"}' WHERE id = 'c'", "year"),
        ("UPDATE item SET vector = x'00000000' WHERE id = 'c'", "dimensions"),
    ],
)
async def test_a_deep_look_finds_what_does_not_agree(
    harness: Harness, file: Path, statement: str, expected: str
) -> None:
    """Words without items, items without words, types that are not so, broken vectors: each is named, with the cure."""
    async with await harness.started() as index:
        await index.upsert(TEXTS)
        assert await _deep(index) == ""
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute(statement)
        detail = await _deep(index)
        assert detail != ""
        assert expected in detail


async def test_a_deep_look_finds_an_index_of_words_that_is_not_that_of_the_texts(harness: Harness, file: Path) -> None:
    """Where the words are right and what finds them is not, FTS5's own check tells."""
    async with await harness.started() as index:
        await index.upsert(TEXTS)
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            [kept] = connection.execute("SELECT c0 FROM words_content WHERE id = 1").fetchone()
            connection.execute("UPDATE words SET text = 'entirely different' WHERE rowid = 1")
            connection.execute("UPDATE words_content SET c0 = ? WHERE id = 1", (kept,))
        assert "index of the words" in await _deep(index)
        await index.optimize()
        assert (await _deep(index), await _words(index, "old")) == ("", ["a"])


async def test_all_words_of_the_only_namespace_go_at_once(harness: Harness) -> None:
    """Deleting all makes the words' table anew, also under another open index, and undone when the call fails."""
    async with await harness.started() as index, harness.make() as other:
        await index.upsert(TEXTS)
        assert await _words(other, "mill") == ["b", "a"]
        raw = index.native(sqlite3.Connection)
        raw.execute("CREATE TEMP TRIGGER no BEFORE DELETE ON item BEGIN SELECT RAISE(ABORT, 'not now'); END")
        with pytest.raises(Corrupt, match="not now"):
            await index.delete(all=True)
        raw.execute("DROP TRIGGER no")
        assert (await _words(index, "mill"), await _deep(other)) == (["b", "a"], "")
        assert (await index.delete(all=True)).count == 3
        assert (await _words(other, "mill"), await _words(index, "mill")) == ([], [])
        await other.upsert([item("d", text="a mill")])
        await index.upsert([item("e", text="a mill")], namespace="n2")
        assert (await index.delete(all=True)).count == 1
        assert (await _words(other, "mill"), await _words(other, "mill", "n2")) == ([], ["e"])
        assert (await _deep(index), await _deep(other)) == ("", "")
