"""Real programs that are killed at any moment of what they do to backups: what was committed holds, and nothing grows.

Each round takes a quarter of a minute, so they are asked for: ``STORYCORE_TEST_KILLS=20``. Every round has its seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import storycore as library
from storycore.ports.conditions import ANY
from storycore.story import User

_ROUNDS = int(os.environ.get("STORYCORE_TEST_KILLS", "0"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_ROUNDS == 0, reason="STORYCORE_TEST_KILLS says how many rounds"),
    pytest.mark.skipif(os.name == "nt", reason="Windows kills no process in these ways"),
]

_PROFILES = """
default = "here"
[profile.here]
extends = "local"
dir = "here"
embedder = "memory://"
cache = "memory://"
vectors = "memory://"
[profile.here.backup]
ports = ["blobs", "entities", "events"]
blobs = "files:///archive"
max_chain = 4
keep_last = 3
keep_daily = 0
keep_weekly = 0
keep_monthly = 0
[profile.there]
extends = "here"
dir = "there"
"""
_COMMANDS = (
    ("backup", "create"),
    ("backup", "create", "--full"),
    ("backup", "record"),
    ("backup", "verify", "--level", "restore"),
    ("backup", "prune", "--yes"),
    ("backup", "rotate", "--key-file", "new.key"),
    ("restore", "run", "--into", "there"),
    ("restore", "run", "--into", "there", "--mode", "replace", "--yes"),
    ("jobs", "run", "backup.daily"),
)
_ENDS = {signal.SIGKILL: {-9, 0}, signal.SIGTERM: {130, -15, 0}, signal.SIGINT: {130, -2, 0}}
"""How a program may end that was told so at any moment, also before its first line and after its last."""


@dataclass
class Place:
    """A working directory, its programs, and a temporary folder of its own."""

    folder: Path

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """The command line, as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "storycore", *arguments],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *arguments: str) -> Any:
        """What a command that has to end well prints."""
        process = self.started(*arguments, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (arguments, out, err)
        return json.loads(out)

    @property
    def temporary(self) -> Path:
        """Where temporary folders go."""
        return self.folder / "temporary"

    def save(self, name: str) -> None:
        """A user with a blob, and twenty more."""

        async def work() -> None:
            async with library.open(self.folder / "storycore.toml") as store:
                for number in range(20):
                    each = f"{name}-{number}"
                    await store.users.save(User(user_id=each, email=f"{each}@example.com", username=each))
                await store.blobs.put(f"photos/{name}", os.urandom(90_000), when=ANY)

        asyncio.run(work())

    def require_all(self) -> None:
        """Every committed backup is whole, and the newest comes back."""
        listed = self.json("backup", "list")
        assert listed["damaged"] == {}
        for number, each in enumerate(listed["backups"]):
            level = "full" if number else "restore"
            assert self.json("backup", "verify", each["id"], "--level", level)["is_whole"] is True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """With a full backup and an increment."""
    monkeypatch.chdir(tmp_path)
    made = Place(tmp_path)
    made.temporary.mkdir()
    (tmp_path / "storycore.toml").write_text(_PROFILES, encoding="utf-8")
    made.json("init")
    for name in ("first", "second"):
        made.save(name)
        made.json("backup", "create")
    return made


@pytest.mark.parametrize("seed", range(max(_ROUNDS, 1)))
def test_what_was_committed_outlives_every_kill(place: Place, seed: int) -> None:
    """A few programs in turn, each told to end at some moment; then the last one is run again, and completes."""
    chance = random.Random(seed)
    for number in range(3):
        place.save(f"{seed}-{number}")
        command = chance.choice(_COMMANDS)
        how = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        process = place.started(*command)
        time.sleep(chance.uniform(0.2, 1.2))
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
        assert process.returncode in _ENDS[how], (command, how, process.returncode, err)
        assert "Traceback" not in err or process.returncode < 0, err
        place.json(*command)
        if command[1] == "rotate":
            shutil.move(place.folder / "new.key", place.folder / "here" / "backup.key")
        place.require_all()
        shutil.rmtree(place.folder / "there", ignore_errors=True)
    assert [*place.temporary.iterdir()] == []
