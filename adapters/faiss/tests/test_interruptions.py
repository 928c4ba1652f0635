"""Races, full disks and damage: items, types and words agree, and every call is there whole or not at all.

Run as a program, with a path and a name, this file is the process to race with.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storycore.errors import Corrupt, SchemaConflict, StorageFull, StorycoreError
from storycore.filters import F
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import TextQuery
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import found, item

FIELDS = ("kind", "text", "n0", "n1", "n2", "n3")
WORDS = ("mill", "fire", "night", "rain", "fox", "owl", "hill")
RACES = 25


def _place(path: Path, adapter: str = "faiss") -> Harness:
    return Harness(PortName.VECTORS, adapter, {"dimension": 4, "text_fields": ("title", "text")}, path)


async def _step(store: Any, number: int) -> str:
    """The call with this number, which is the same in every process; gives the error's name."""
    chance = random.Random(number)
    kind, name = F.kind == chance.randrange(3), f"n{chance.randrange(4)}"
    text = " ".join(chance.choices(WORDS, k=chance.choice([0, 3, 9, 200])))
    typed = chance.choice([1, "text", True])
    calls: list[Callable[[], Any]] = [
        lambda: store.upsert([item(f"i{chance.randrange(40)}", 1, n, kind=n % 3, text=text) for n in range(12)]),
        lambda: store.upsert([item(f"i{chance.randrange(40)}", 2, text=text, **{name: typed})]),
        lambda: store.update_where(kind, set={"title": [text, "more"], name: typed}),
        lambda: store.update_where(kind, unset=["text", name]),
        lambda: store.delete(where=kind),
        lambda: store.delete(all=True),
    ]
    try:
        await chance.choices(calls, [6, 6, 3, 2, 2, 1])[0]()
    except StorycoreError as error:
        return type(error).__name__
    return ""


async def _picture(store: Any) -> dict[str, object]:
    """Everything that can be seen of a store: items, words with their scores, and which types are fixed."""
    texts = await store.search_text([TextQuery(text=word, top_k=1000) for word in WORDS])
    fixed = {}
    for name in FIELDS:
        for value in (1, "text", True):
            try:
                await store.update_where(F.nowhere == 1, set={name: value})
            except SchemaConflict:
                fixed[name, value] = "refused"
    return {
        "items": [(each.id, list(each.values), each.metadata) for each in (await store.scan(limit=1000)).items],
        "words": [sorted((match.id, f"{match.score:.6g}") for match in matches) for matches in texts],
        "types": fixed,
    }


async def _race(path: str, name: str) -> None:
    async with _place(Path(path)).make(durability="normal") as store:
        _say("ready")
        sys.stdin.readline()
        accepted = []
        for number in range(RACES):
            try:
                await store.upsert([item(f"{name}{number}", **{f"f{number}": 1 if name == "a" else "one"})])
                accepted.append(number)
            except SchemaConflict:
                pass
        _say(json.dumps(accepted))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _other(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, stdin=pipe, stdout=pipe)


async def _said(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


async def test_of_two_types_written_at_the_same_moment_one_wins(tmp_path: Path) -> None:
    """Two processes that write new fields with different types never both succeed, and one of them always does."""
    async with await _place(tmp_path).started(durability="normal") as store:
        racers = [await _other(str(tmp_path), name) for name in "ab"]
        assert [await _said(racer) for racer in racers] == ["ready"] * 2
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(b"go\n")
        accepted = [json.loads(await _said(racer)) for racer in racers]
        for racer in racers:
            await racer.communicate()
        assert sorted(accepted[0] + accepted[1]) == list(range(RACES))
        expected = sorted(f"{name}{n}" for name, numbers in zip("ab", accepted, strict=True) for n in numbers)
        assert expected == await found(store)
        assert (await store.health(deep=True)).detail == ""


async def test_a_disk_that_fills_up_at_any_page_leaves_calls_whole(tmp_path: Path) -> None:
    """Whichever page is the first that does not fit, the call is ``StorageFull`` and nothing of it is there."""
    async with await _place(tmp_path).started(durability="normal") as store:
        raw = store.native(sqlite3.Connection)
        reference = await _place(tmp_path, "memory").started()
        refused = 0
        for number in range(50):
            raw.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
            [pages] = raw.execute("PRAGMA page_count").fetchone()
            raw.execute(f"PRAGMA max_page_count={pages + number % 5}").fetchone()
            outcome = await _step(store, number)
            raw.execute("PRAGMA max_page_count=100000").fetchone()
            if outcome == StorageFull.__name__:
                refused += 1
            else:
                assert outcome == await _step(reference, number)
            assert await _picture(reference) == await _picture(store)
        assert refused >= 3
        assert (await store.health(deep=True)).detail == ""


async def _refusal(store: Any) -> str:
    """What a search by words or else a deep look says; FTS5 has no checksums, and takes some damage for emptiness."""
    try:
        await store.search_text([TextQuery(text="fox")])
    except Corrupt as error:
        return error.message
    return str((await store.health(deep=True)).detail)


@pytest.mark.parametrize("block", ["x'ff'", "x'00000000'", "zeroblob(4050)"])
async def test_a_damaged_index_of_words_harms_nothing_else_and_is_mended(tmp_path: Path, block: str) -> None:
    """The cure is named, searches by vector go on, and after the cure all words are found again."""
    async with await _place(tmp_path).started() as store:
        await store.upsert([item("a", text="fox and owl"), item("b", title="fox"), item("c")])
        with closing(sqlite3.connect(tmp_path / "vectors.db", isolation_level=None)) as connection:
            connection.execute(f"UPDATE words_data SET block = {block} WHERE id > 10")
        assert "optimize" in await _refusal(store)
        assert await found(store) == ["a", "b", "c"]
        assert "optimize" in (await store.health(deep=True)).detail
        assert "words anew" in (await store.optimize()).detail
        [matches] = await store.search_text([TextQuery(text="fox")])
        assert [match.id for match in matches] == ["b", "a"]
        assert (await store.health(deep=True)).detail == ""
        assert "words" not in (await store.optimize()).detail


if __name__ == "__main__":
    asyncio.run(_race(*sys.argv[1:]))
