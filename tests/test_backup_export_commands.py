"""``storycore backup export`` and ``storycore restore import``: what they do, what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import storycore as library
from storycore.cli.program import run
from storycore.story import Story, User

_PROFILE = """
default = "here"
[profile.here]
extends = "local"
dir = "here"
embedder = "memory://"
cache = "memory://"
vectors = "memory://"
blobs = "memory://"
[profile.here.backup]
blobs = "files:///{dir}/backups"
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in a folder with a profile; its status, and what it printed."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "storycore.toml").write_text(_PROFILE, encoding="utf-8")

    def called(*arguments: str) -> tuple[int, str, str]:
        status = run(arguments)
        captured = capsys.readouterr()
        return status, " ".join(captured.out.split()), " ".join(captured.err.split())

    return called


async def _filled() -> None:
    async with library.open("here") as store:
        await store.init(enable_backups=True)
        await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
        await store.stories.save(Story(story_id="s1", user_id="ada", title="t", content="c"))
        await store.events.track("seen")
        await store.backups.create()


def test_entities_leave_and_come_in(call: Call) -> None:
    """Planned, written, verified, planned and imported; in words and as JSON; what is left out is told."""
    asyncio.run(_filled())
    assert "would be exported" in call("backup", "export", "--to", "out", "--dry-run")[1]
    assert not Path("out").exists()
    status, out, _ = call("backup", "export", "--to", "out")
    assert status == 0
    assert "4 entities in 1 file," in out
    assert "They are not encrypted" in out
    assert "left out: all events" in out
    made = json.loads(call("backup", "export", "--to", "users", "--kind", "user", "--json")[1])["exported"]
    assert (made["records"], made["without"]) == (3, ["events"])
    assert json.loads(call("restore", "import", "users", "--verify", "--json")[1])["is_whole"]
    assert "story 1 0 0 0" in call("restore", "import", "out", "--into-dir", "there", "--dry-run")[1]
    assert "4 written" in call("restore", "import", "out", "--into-dir", "there")[1]
    planned = json.loads(call("restore", "import", "out", "--dir", "there", "--dry-run", "--json")[1])
    assert planned["plan"]["entities"]["unchanged"] == {"story": 1, "user": 1, "user~unique": 2}
    done = call("restore", "import", "out", "--dir", "there", "--mode", "replace", "--yes", "--json")
    assert json.loads(done[1])["imported"]["written"] == 4


def test_mistakes_are_told(call: Call) -> None:
    """A format that nobody brings, an empty place, an unasked overwriting, damage: status 2 or 1 and a sentence."""
    asyncio.run(_filled())
    status, _, err = call("backup", "export", "--to", "out", "--format", "csv")
    assert (status, "There is no format 'csv'" in err) == (2, True)
    status, _, err = call("restore", "import", "nowhere")
    assert (status, "nowhere: There is no finished export" in err) == (1, True)
    assert call("backup", "export", "--to", "out")[0] == 0
    status, _, err = call("restore", "import", "out", "--mode", "replace")
    assert (status, "--yes does it" in err) == (2, True)
    [path] = Path("out").rglob("*.json.gz")
    path.write_bytes(path.read_bytes()[:-1])
    status, out, _ = call("restore", "import", "out", "--verify")
    assert (status, path.name in out.replace(" ", "")) == (1, True)
    status, _, err = call("restore", "import", "out", "--into-dir", "there")
    assert (status, path.name in err) == (1, True)
