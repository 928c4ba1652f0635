"""Where the body of a replaced record goes: three layouts of a feed in SQLite, in one run.

    python benchmarks/feed_sqlite.py [--records 20000] [--rounds 5] [--json]

``twice``: each change has the body that it stored, as the record has. ``back``: a change has none while the record is
the one that it stored; whoever replaces it moves the body back into the change's row. ``forward``: the replacing change
takes it over, and an index finds it there; so storycore-sqlite does it. Bodies have 1.6 KB; the statements are all that
runs, 20 writes a transaction. CPU is the best of the rounds; the file is told in bodies that it could hold, for each
record.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

BODY_BYTES = 1600
AT_ONCE = 20
TELL = "INSERT INTO feed (at, pk, sk, kind, body) VALUES (?, ?, ?, 'story', ?)"
FIND = "SELECT id, version FROM items WHERE pk = ? AND sk = ?"
STORED = "stored.pk = told.pk AND stored.sk = told.sk AND stored.version = told.seq"
TABLES = """
    CREATE TABLE items (id INTEGER PRIMARY KEY, pk TEXT, sk TEXT, version INTEGER, body BLOB, UNIQUE (pk, sk));
    CREATE TABLE feed (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER, pk TEXT, sk TEXT, kind TEXT,
        version INTEGER, body BLOB, former BLOB);
"""


@dataclass
class Layout:
    """One way to keep bodies: what it adds to the tables, how a change is told and a body found, what was measured."""

    name: str
    more: str
    has_body: bool
    replace: str
    body: str
    cpu: dict[str, list[float]] = field(default_factory=dict)
    size: dict[str, float] = field(default_factory=dict)


LAYOUTS = (
    Layout("twice", "", True, TELL, "told.body"),
    Layout(
        "back",
        """CREATE TRIGGER moved BEFORE UPDATE OF version ON items BEGIN
            UPDATE feed SET body = OLD.body WHERE seq = OLD.version; END;""",
        False,
        TELL,
        "coalesce(told.body, stored.body)",
    ),
    Layout(
        "forward",
        "CREATE INDEX former ON feed (version) WHERE former IS NOT NULL;",
        False,
        "INSERT INTO feed (at, pk, sk, kind, body, version, former) "
        "SELECT ?, ?, ?, 'story', ?, version, body FROM items WHERE id = ?",
        "coalesce(stored.body, (SELECT former FROM feed WHERE version = told.seq AND former IS NOT NULL))",
    ),
)


def put(connection: sqlite3.Connection, layout: Layout, number: int, turn: int) -> None:
    """Tell the feed of a record and store it."""
    pk, sk, body = f"user#{number // 20:06d}", f"story#{number:08d}", b"%016d" % turn * (BODY_BYTES // 16)
    told = (turn, pk, sk, body if layout.has_body else None)
    found = connection.execute(FIND, (pk, sk)).fetchone()
    if found is None:
        version = connection.execute(TELL, told).lastrowid
        connection.execute("INSERT INTO items (pk, sk, version, body) VALUES (?, ?, ?, ?)", (pk, sk, version, body))
        return
    arguments = (*told, found[0]) if layout.name == "forward" else told
    version = connection.execute(layout.replace, arguments).lastrowid
    connection.execute("UPDATE items SET version = ?, body = ? WHERE id = ?", (version, body, found[0]))


def write(connection: sqlite3.Connection, layout: Layout, numbers: Iterable[int], turns: count[int]) -> int:
    """Put these records, a few in each transaction; how many."""
    todo = list(numbers)
    for start in range(0, len(todo), AT_ONCE):
        connection.execute("BEGIN IMMEDIATE")
        for number in todo[start : start + AT_ONCE]:
            put(connection, layout, number, next(turns))
        connection.execute("COMMIT")
    return len(todo)


def read(connection: sqlite3.Connection, layout: Layout) -> int:
    """Read the feed to its end; how many changes."""
    sql = (
        f"SELECT told.seq, told.pk, told.sk, {layout.body} FROM feed AS told LEFT JOIN items AS stored "
        f"ON {STORED} WHERE told.seq > ? ORDER BY told.seq LIMIT 500"
    )
    if layout.has_body:
        sql = "SELECT seq, pk, sk, body FROM feed AS told WHERE seq > ? ORDER BY seq LIMIT 500"
    place, told = 0, 0
    while rows := connection.execute(sql, (place,)).fetchall():
        if any(row[3] is None for row in rows):
            raise RuntimeError(f"{layout.name} lost a body")
        place, told = rows[-1][0], told + len(rows)
    return told


def measure(path: Path, layout: Layout, records: int) -> None:
    """One round of a layout, in a file of its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -32768", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}").fetchone()
    connection.executescript(TABLES + layout.more)
    chance, turns = random.Random(1), count(1)
    steps: dict[str, Callable[[], int]] = {
        "new": lambda: write(connection, layout, range(records), turns),
        "read the feed of new ones": lambda: read(connection, layout),
        "replaced at random": lambda: write(connection, layout, chance.choices(range(records), k=records), turns),
        "replaced again and again": lambda: write(connection, layout, chance.choices(range(200), k=records), turns),
        "read the feed of all": lambda: read(connection, layout),
    }
    for name, step in steps.items():
        begun = time.process_time()
        done = step()
        layout.cpu.setdefault(name, []).append((time.process_time() - begun) / done * 1e6)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        layout.size[name] = path.stat().st_size / records / BODY_BYTES
    connection.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for _ in range(given.rounds):
        for layout in LAYOUTS:
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder) / "x.db", layout, given.records)
    if given.json:
        print(json.dumps({each.name: {"cpu_us": each.cpu, "file": each.size} for each in LAYOUTS}))
        return
    twice = LAYOUTS[0]
    for layout in LAYOUTS:
        for name, taken in layout.cpu.items():
            ratio = min(taken) / min(twice.cpu[name])
            print(
                f"{layout.name:8} {name:26} {min(taken):6.1f} us {ratio:6.2f} of twice   "
                f"file {layout.size[name]:5.2f} of the records' bodies"
            )


if __name__ == "__main__":
    main()
