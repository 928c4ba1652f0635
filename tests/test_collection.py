"""The suite itself: workers that share it have to find the same tests in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def collecting(seed: int) -> subprocess.Popen[str]:
    """A process that lists all tests."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONHASHSEED": str(seed)}
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)


def test_names_of_tests_change_neither_with_time_nor_with_hashes() -> None:
    """Else two workers disagree, and none of the suite is run: a name must hold no moment and no order of a set."""
    first = collecting(1)
    time.sleep(3)  # what compresses with gzip writes the second down
    listed = [process.communicate(timeout=300)[0].splitlines() for process in (first, collecting(2))]
    names = [[line for line in lines if "::" in line] for lines in listed]
    assert (names[0], len(names[0]) > 1000) == (names[1], True)
