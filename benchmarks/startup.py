"""How long starting takes: imports, `--help`, opening a store with a read, and `storycore backup list`, against peers.

    python benchmarks/startup.py [--rounds 15] [--json]

The bare program imports click, declares as many empty commands as storycore has, and prints its help. The program of
parts imports what every such program stands on (click, pydantic with one model, asyncio, sqlite3), reads a row by its
key, and does nothing else. restic lists the snapshots of an empty repository of its own, where it is installed. Each
program runs in a process of its own and finds its modules compiled, as every installed one does; rounds alternate
between the programs, and the least of each is taken, since other work on the machine can only add to it. Times are CPU
seconds of the whole process, for those do not wait for others' work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence

__all__ = ["SMALL", "least", "measure", "summary", "with_store"]

BARE = """
import sys
import click
@click.group()
def main(): "A program."
for name in "demo init ingest search get list health stats doctor plugins config conformance".split():
    main.add_command(click.Command(name, callback=lambda: None, help="A command."))
sys.argv = ["bare", "--help"]
main()
"""
PARTS = """
import asyncio, sqlite3, sys
import click, pydantic
class User(pydantic.BaseModel):
    name: str
async def main():
    with sqlite3.connect(sys.argv[1] + "/parts.db") as file:
        file.execute("create table if not exists users (id text primary key, body text)")
        file.execute("select body from users where id = ?", ("nobody",)).fetchone()
asyncio.run(main())
"""
COMMAND = """
import sys
from storycore.cli import main
sys.argv[0] = "storycore"
main()
"""
PREPARE = """
import sys
import storycore
with storycore.open_sync("local", dir=sys.argv[1]) as store:
    store.init(warm_cache=False, enable_backups=True)
"""
READ = """
import sys
import storycore
with storycore.open_sync("local", dir=sys.argv[1]) as store:
    store.users.find("nobody")
"""


_PYTHON = (sys.executable, "-c")
SMALL: Mapping[str, Sequence[str]] = {
    "python": [*_PYTHON, "pass"],
    "import storycore": [*_PYTHON, "import storycore"],
    "bare --help": [*_PYTHON, BARE],
    "storycore --help": [*_PYTHON, COMMAND, "--help"],
}
"""Name to command, of those that need no store."""


def with_store(folder: str) -> dict[str, Sequence[str]]:
    """The same of those that use a store."""
    found: dict[str, Sequence[str]] = {
        "parts": [*_PYTHON, PARTS, folder],
        "open + get": [*_PYTHON, READ, folder],
        "backup list": [*_PYTHON, COMMAND, "backup", "list", "--dir", folder],
    }
    if shutil.which("restic"):
        found["restic snapshots"] = ["restic", "--no-cache", "--repo", f"{folder}/restic", "snapshots"]
    return found


def _run(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """CPU seconds of a program, from its start to its end."""
    nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    where = shutil.which(command[0]) or command[0]
    process = os.posix_spawn(where, list(command), environment, file_actions=nowhere)
    _, status, used = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime


def least(programs: Mapping[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """Program to its least CPU time, in seconds."""
    with tempfile.TemporaryDirectory(prefix="storycore-benchmark-") as compiled:
        environment = _environment(compiled)
        for command in programs.values():
            _run(command, environment)  # compiles
        times = [{name: _run(command, environment) for name, command in programs.items()} for _ in range(rounds)]
    return {name: min(each[name] for each in times) for name in programs}


def measure(rounds: int) -> dict[str, float]:
    """All programs, on a new store."""
    with tempfile.TemporaryDirectory(prefix="storycore-benchmark-") as folder:
        _run([*_PYTHON, PREPARE, folder], _environment(f"{folder}/compiled"))
        programs = {**SMALL, **with_store(folder)}
        if "restic snapshots" in programs:
            _run(["restic", "--no-cache", "--repo", f"{folder}/restic", "init"], _environment(f"{folder}/compiled"))
        return least(programs, rounds)


def _environment(compiled: str) -> dict[str, str]:
    """With which modules are kept compiled, in that folder."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPYCACHEPREFIX": compiled, "RESTIC_PASSWORD": "correct horse"}


def summary(took: Mapping[str, float]) -> dict[str, float]:
    """What matters: milliseconds that the import adds to Python, the ratio of the helps, and of whole programs."""
    return {
        "import_ms": round((took["import storycore"] - took["python"]) * 1000, 1),
        "help_ratio": round(took["storycore --help"] / took["bare --help"], 3),
        "open_ratio": round(took["open + get"] / took["parts"], 2),
        "backup_list_ratio": round(took["backup list"] / took["parts"], 2),
        **{f"{name} ms": round(each * 1000, 1) for name, each in took.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how long starting takes.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = summary(measure(options.rounds))
    print(json.dumps(result) if options.json else "\n".join(f"{name:22} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
