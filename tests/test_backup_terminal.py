"""Backups at a terminal: a count that goes on while they run, and is gone when they are done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import storycore
from storycore.story import User

pty = pytest.importorskip("pty", reason="pseudo-terminals are of Unix")


def at_terminal(folder: Path, *arguments: str) -> str:
    """Everything that a command prints there."""
    own, its = pty.openpty()
    command = [sys.executable, "-m", "storycore", *arguments]
    with subprocess.Popen(command, cwd=folder, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        text = b""
        try:
            while chunk := os.read(own, 65536):
                text += chunk
        except OSError:  # how Linux says that the other side is closed
            pass
        finally:
            os.close(own)
    assert process.returncode == 0, text
    return text.decode()


def test_it_counts_what_is_done(tmp_path: Path) -> None:
    """Each command tells what it has done so far, takes that away, and says what came of it."""
    (tmp_path / "storycore.toml").write_text('[profile.local.backup]\nports = ["entities"]\n', encoding="utf-8")
    with storycore.open_sync("local", dir=tmp_path / "storycore-data") as store:
        store.init(enable_backups=True)
        store.users.save(User(email="ada@example.com", username="ada"))
    for arguments, counted in (
        (["create"], "entities: 3 items"),
        (["verify", "--level", "restore"], "restored: 3 items"),
    ):
        *shown, last = at_terminal(tmp_path, "backup", *arguments).split("\x1b[2K")
        assert any(counted in each for each in shown)
        assert (counted in last, "manual_" in last) == (False, True)
