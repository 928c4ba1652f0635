"""Several processes on one file under load: no lost update, and one order of versions."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities

from storycore.ports.entities import FeedPosition, Key, Put, QueryPlan
from storycore.ports.environment import Environment

CHILDREN, TASKS, ROUNDS = 3, 8, 12

WORK = f"""
import asyncio, json, sys
from pathlib import Path
from storycore.ports.entities import Key, Patch, Put, QueryPlan
from storycore.ports.environment import Environment
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import open_entities

async def main(path, name):
    heard = []
    async with open_entities(SqliteConfig(path=Path(path)), Environment()) as store:
        print("ready", flush=True)
        sys.stdin.readline()

        async def task(number):
            for turn in range({ROUNDS}):
                own = Key("own", f"{{name}}-{{number}}")
                shared = await store.write([
                    Patch(key=Key("p", "counter"), add={{"n": 1}}),
                    Put(key=own, kind="k", fields={{"turn": turn}}),
                ], atomic=True)
                assert (await store.get([own]))[0].fields["turn"] == turn
                heard.append([shared[0].version, shared[0].record.fields["n"]])
                await store.query(QueryPlan(pk="own"))

        await asyncio.gather(*(task(number) for number in range({TASKS})))
    print(json.dumps(heard), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_under_load_lose_no_update(tmp_path: Path) -> None:
    """Each addition that was heard of has a number and a version of its own, and they grow together."""
    path = tmp_path / "x.db"
    store = open_entities(SqliteConfig(path=path), Environment())
    await store.ensure()
    async with store:
        await store.write([Put(key=Key("p", "counter"), kind="k", fields={"n": 0})])
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                WORK,
                str(path),
                f"{n}",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for n in range(CHILDREN)
        ]
        heard = sorted([pair for answer in await asyncio.gather(*map(_answer, children)) for pair in answer])
        count = CHILDREN * TASKS * ROUNDS
        assert [n for _, n in heard] == list(range(1, count + 1))
        assert len({version for version, _ in heard}) == count
        counter = (await store.get([Key("p", "counter")]))[0]
        assert counter is not None
        assert (counter.fields["n"], [counter.version, count]) == (count, heard[-1])
        assert len((await store.query(QueryPlan(pk="own", limit=1000))).records) == CHILDREN * TASKS
        told = await _versions_told(store)
        assert told == sorted(set(told))
        assert len(told) == 2 * count + 1


async def _answer(child: asyncio.subprocess.Process) -> list[list[int]]:
    assert child.stdin is not None
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    child.stdin.write(b"go\n")
    answer = await asyncio.wait_for(child.stdout.readline(), 60)
    assert await child.wait() == 0
    return list(json.loads(answer))


async def _versions_told(store: SqliteEntityStore) -> list[int]:
    told: list[int] = []
    after: FeedPosition | None = None
    while (page := await store.changes(after, limit=1000)).changes:
        told += [change.version for change in page.changes]
        after = page.next
    return told
