"""Backups of stories in SQLite beside restic and borg, and beside zstd alone on the same bytes.

    python benchmarks/backup.py [--items 100000] [--days 6] [--json]

storycore's side is an opened store with its entities in SQLite and its backups in a folder, sealed with a key file.
Each day one percent of the items is written anew, and a daily backup is made. Every step runs in a process of its own;
CPU is that of all its threads: ``call`` without the start of Python and the opening of the store, ``program`` with it.
Memory is how far the process grew over what it took before the call. restic and borg read the same items from one file
of JSON lines, for that is how a program without their store's help would give them.

Each item has 1.5 KB of JSON with words in a natural distribution, made from its number and version, so that every run
has the same.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import random
import resource
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import orjson
from backports import zstd
from backup_peers import Done, Peer, folder_bytes, peers, run

import storycore
from storycore.app import Store
from storycore.ports.conditions import ANY
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.lifecycle import PortName

SHARE = 100
"""One of so many items changes from day to day."""
WORDS = [a + b + c for a in ("ri", "sto", "ven", "ja", "mer", "tal", "con", "bri", "can", "pul", "ford", "mo")
         for b in ("ch", "ri", "nal", "mes", "ta", "gen", "du", "po", "la")
         for c in ("mond", "es", "er", "ing", "y", "ion", "al", "s", "ed", "um")]  # fmt: skip
WEIGHTS = list(itertools.accumulate(1 / (i + 1) ** 0.9 for i in range(len(WORDS))))
FLOOR = ("full", "compress", "select")
"""A backup of everything, and the two things that none can do without; in turn, and the best of so many rounds."""
ROUNDS = 5
LIGHT = {"embedder": "memory://", "vectors": "memory://", "backup": {"ports": ["entities"]}}

Step = Callable[[Store, Path], Awaitable[object]]


def story(number: int, version: int) -> bytes:
    """The body of an item."""
    chance = random.Random(number * 1000003 + version)

    def words(count: int) -> str:
        return " ".join(chance.choices(WORDS, cum_weights=WEIGHTS, k=count))

    return orjson.dumps(
        {
            "user_id": f"user_{number % 5000}",
            "title": words(6),
            "status": chance.choice(["draft", "published", "archived"]),
            "content": words(150),
            "tags": [words(1) for _ in range(4)],
            "metrics": {"tokens": chance.randint(50, 4000), "cost": round(chance.random(), 6)},
            "version": version,
        }
    )


def place(number: int) -> Key:
    """Where an item lies: a hash, as ids are."""
    return Key("STORY#" + hashlib.md5(b"%d" % number).hexdigest(), "METADATA")


def changes(items: int, day: int) -> Iterator[tuple[int, int]]:
    """The numbers and versions of what is written on a day; all items on the first."""
    if day == 0:
        return ((number, 0) for number in range(items))
    chance = random.Random(day)
    return ((number, day) for number in chance.sample(range(items), items // SHARE))


async def write(folder: Path, items: int, day: int) -> None:
    """A day's work: into the store, and into the file that the other programs read."""
    async with storycore.open("local", dir=folder / "store", overrides=LIGHT) as store:
        if day == 0:
            await store.init(warm_cache=False)
        entities = cast(EntityStore, store.ports[PortName.ENTITIES])
        todo = changes(items, day)
        while some := list(itertools.islice(todo, 100)):
            await entities.write(
                [Put(key=place(n), kind="story", body=story(n, version), when=ANY) for n, version in some]
            )


def stage(folder: Path, items: int, day: int) -> int:
    """The same state as JSON lines; its bytes."""
    versions = [0] * items
    for each in range(1, day + 1):
        for number, version in changes(items, each):
            versions[number] = version
    (folder / "stage").mkdir(exist_ok=True)
    with (folder / "stage" / "items.jsonl").open("wb") as file:
        for number, version in enumerate(versions):
            file.write(b'{"pk":"%s","body":%s}\n' % (place(number).pk.encode(), story(number, version)))
        return file.tell()


async def create(store: Store, folder: Path) -> object:
    """A daily backup."""
    made = await store.backups.create("daily")
    return {"full": made.manifest.is_full, "items": made.manifest.ports["entities"].items, "reason": made.reason}


async def full(store: Store, folder: Path) -> object:
    """One more backup of everything, for weekly ones build on none."""
    made = await store.backups.create("weekly")
    return {"items": made.manifest.ports["entities"].items}


async def verify(store: Store, folder: Path) -> object:
    """Read the newest chain whole."""
    found = await store.backups.verify(level="full")
    return {"problems": found.problems, "objects": found.objects}


async def restore(store: Store, folder: Path) -> object:
    """The newest state into an empty store."""
    async with storycore.open("local", dir=folder / f"restored-{time.time_ns()}", overrides=LIGHT) as target:
        begun = time.perf_counter()
        done = await store.backups.restore(into=target)
        return {"written": dict(done.written), "seconds": time.perf_counter() - begun}


async def compress(store: Store, folder: Path) -> object:
    """zstd alone, on the staged file, in pieces as large as a backup's."""
    with (folder / "stage" / "items.jsonl").open("rb") as file:
        return sum(len(zstd.compress(piece, 3)) for piece in iter(lambda: file.read(4 << 20), b""))


async def select(store: Store, folder: Path) -> object:
    """The store's file read by plain SQL in the order of keys, without making anything of the rows."""
    connection = sqlite3.connect(folder / "store" / "entities.db")
    columns = "pk, sk, kind, version, expires_at, index_keys, fields, body"
    cursor = connection.execute(f"SELECT {columns} FROM storycore_items ORDER BY pk, sk")
    rows = sum(len(some) for some in iter(lambda: cursor.fetchmany(500), []))
    connection.close()
    return {"rows": rows}


async def plain(store: Store, folder: Path) -> object:
    """The staged items into a plain table, in one transaction, read line by line."""
    path = folder / f"plain-{time.time_ns()}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE record(pk TEXT, sk TEXT, body BLOB, PRIMARY KEY(pk, sk))")
    begun = time.perf_counter()
    with (folder / "stage" / "items.jsonl").open("rb") as file:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO record VALUES (?, 'METADATA', ?)", ((line[7:45], line) for line in file))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - begun
    connection.close()
    return {"seconds": seconds}


STEPS: dict[str, Step] = {each.__name__: each for each in (create, verify, restore, plain, full, compress, select)}


class Growth:
    """How far this process's memory grows: looked at a hundred times a second."""

    def __init__(self) -> None:
        self._before = self.peak = self._now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """MiB."""
        self._over.set()
        self._thread.join()
        return (self.peak - self._before) / 2**20

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, self._now())

    def _now(self) -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


async def measured(name: str, folder: Path) -> dict[str, Any]:
    """One step in this process."""
    async with storycore.open("local", dir=folder / "store", overrides=LIGHT) as store:
        await store.backups.list()
        growth, cpu, wall = Growth(), time.process_time(), time.perf_counter()
        result = await STEPS[name](store, folder)
        taken = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        return {**taken, "mib": growth.end(), "result": result}


def step(name: str, folder: Path) -> dict[str, Any]:
    """One step in a process of its own, which finds its modules compiled, as every installed program does."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    done = run([sys.executable, __file__, "--step", name, "--folder", str(folder)], compiled, Path.cwd())
    found: dict[str, Any] = orjson.loads(done.output)
    return {**found, "program": done.cpu}


def days(folder: Path, items: int, count: int, others: dict[str, Peer]) -> Iterator[dict[str, Any]]:
    """Each day's work and backups."""
    for day in range(count):
        asyncio.run(write(folder, items, day))
        size = stage(folder, items, day)
        row: dict[str, Any] = {"day": day, "staged": size, "ours": step("create", folder)}
        row["ours"]["bytes"] = folder_bytes(folder / "store" / "blobs")
        for name, peer in others.items():
            row[name] = {"program": peer.make(day, folder / "stage").cpu, "bytes": folder_bytes(peer.folder)}
        yield row


def checked(others: dict[str, Peer]) -> dict[str, Done]:
    """The other programs' verification of everything they keep."""
    return {name: peer.check() for name, peer in others.items()}


def told(row: dict[str, Any]) -> str:
    """A day in a line."""
    ours = row["ours"]
    line = (
        f"day {row['day']}: storycore {ours['cpu']:.2f} s call, {ours['program']:.2f} s program, "
        f"{ours['bytes'] / 1e6:.1f} MB in all, +{ours['mib']:.0f} MiB"
    )
    others = [
        f"{name} {row[name]['program']:.2f} s, {row[name]['bytes'] / 1e6:.1f} MB"
        for name in ("restic", "borg")
        if name in row
    ]
    return "; ".join([line, *others])


def report(folder: Path, items: int, count: int) -> dict[str, Any]:
    """Everything, told as it comes."""
    others = peers(folder)
    found: dict[str, Any] = {"items": items, "days": []}
    for row in days(folder, items, count, others):
        found["days"].append(row)
        print(told(row), file=sys.stderr, flush=True)
    for name in ("verify", "restore", "plain", *FLOOR * ROUNDS):
        done = step(name, folder)
        found[name] = min(done, found.get(name, done), key=lambda each: float(each["cpu"]))
        print(f"{name}: {done}", file=sys.stderr, flush=True)
    for name, check in checked(others).items():
        found[f"{name} check"] = {"program": check.cpu}
        print(f"{name} check: {check.cpu:.2f} s", file=sys.stderr, flush=True)
    return found


def ratios(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """What was reached, and the most that it should be."""
    first, last = found["days"][0], found["days"][-1]
    whole, packing, reading = (found[name]["cpu"] for name in FLOOR)
    kept = {"full / zstd-3, CPU": (whole / packing, 1.3)}
    kept["full / (zstd-3 + SELECT), CPU"] = (whole / (packing + reading), 1.3)
    kept["memory of a full one, MiB"] = (first["ours"]["mib"], 64)
    kept["memory of verifying, MiB"] = (found["verify"]["mib"], 64)
    kept["memory of a restore, MiB"] = (found["restore"]["mib"], 64)
    kept["plain executemany / restore, rate"] = (
        found["restore"]["result"]["seconds"] / found["plain"]["result"]["seconds"],
        2.0,
    )
    if "restic" in last:
        kept["bytes / restic"] = (last["ours"]["bytes"] / last["restic"]["bytes"], 0.2)
        later = [(row["ours"]["program"], row["restic"]["program"]) for row in found["days"][1:]]
        kept["later day / restic, CPU"] = (sum(a for a, _ in later) / sum(b for _, b in later), 0.2)
        kept["verify / restic check, CPU of all"] = (found["verify"]["cpu"] / found["restic check"]["program"], 0.5)
        per_byte = found["verify"]["cpu"] / last["ours"]["bytes"]
        kept["verify / restic check, CPU per byte kept"] = (
            per_byte / (found["restic check"]["program"] / last["restic"]["bytes"]),
            0.5,
        )
    return kept


def main() -> None:
    """Run everything, or one step for the process that asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(asyncio.run(measured(asked.step, asked.folder))))
        return
    with tempfile.TemporaryDirectory(prefix="storycore-benchmark-") as folder:
        found = report(Path(folder), asked.items, asked.days)
    if asked.json:
        print(json.dumps(found))
        return
    for name, (value, goal) in ratios(found).items():
        print(f"{name:42} {value:8.2f}   goal at most {goal}")


if __name__ == "__main__":
    main()
