"""restic and borg, as far as they are installed: six days of the same items in one file of JSON lines."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Done", "Peer", "folder_bytes", "peers", "run"]

_SECRETS = {
    "RESTIC_PASSWORD": "correct horse",
    "BORG_PASSPHRASE": "correct horse",
    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
}


@dataclass(frozen=True)
class Done:
    """What a program took.

    Args:
        cpu: seconds of all its threads, from its start to its end.
        output: what it wrote.
    """

    cpu: float
    output: str


@dataclass(frozen=True)
class Peer:
    """Commands of one program.

    Args:
        create: given the number of the day.
    """

    begin: Sequence[str]
    create: Callable[[int], Sequence[str]]
    verify: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    def make(self, day: int, stage: Path) -> Done:
        """Back up what is staged."""
        if day == 0:
            run(self.begin, self.environment, stage)
        return run(self.create(day), self.environment, stage)

    def check(self) -> Done:
        """Read everything that was kept."""
        return run(self.verify, self.environment, self.folder)


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Done:
    """Run a program to its end, in a folder."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None, "it was asked for"
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Done(used.ru_utime + used.ru_stime, output)


def folder_bytes(folder: Path) -> int:
    """What the files in a folder hold together."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def peers(folder: Path) -> dict[str, Peer]:
    """Those that are on the path, each with an empty repository; the others are named, and left out."""
    found = {}
    for name, peer in {"restic": _restic(folder / "restic"), "borg": _borg(folder / "borg")}.items():
        if shutil.which(name) is None:
            print(f"{name} is not on the path and is left out; on Debian: apt-get install restic borgbackup")
            continue
        peer.folder.mkdir(parents=True)
        found[name] = replace(peer, environment=_SECRETS | {"HOME": str(folder)})
    return found


def _restic(folder: Path) -> Peer:
    call = ["restic", "--quiet", "--repo", str(folder)]
    return Peer(
        begin=[*call, "init", "--repository-version", "2"],
        create=lambda day: [*call, "backup", "--compression", "auto", "--tag", f"day{day}", "."],
        verify=[*call, "check", "--read-data"],
        folder=folder,
        environment={},
    )


def _borg(folder: Path) -> Peer:
    return Peer(
        begin=["borg", "init", "--encryption", "repokey", str(folder)],
        create=lambda day: ["borg", "create", "--compression", "zstd,3", f"{folder}::day{day}", "."],
        verify=["borg", "check", "--verify-data", str(folder)],
        folder=folder,
        environment={},
    )
