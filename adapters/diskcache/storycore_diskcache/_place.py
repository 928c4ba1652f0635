"""The cache's directory: made private, checked before every batch, and begun anew when it is damaged."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from storycore.errors import NotProvisioned

__all__ = ["Place", "boot_id"]

_DATABASE = "cache.db"
_DAMAGED = "damaged"
_VALUE_FOLDER = re.compile(r"[0-9a-f]{2}\Z")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Place:
    """Where diskcache keeps its files.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / _DATABASE

    @property
    def damaged(self) -> Path:
        """Where the last damaged database was put."""
        return self.path / _DAMAGED

    def missing(self) -> list[str]:
        """What would have to be made, in words."""
        if not self.path.is_dir():
            return [f"create the directory {self.path}, readable by its owner alone, with an empty cache"]
        return [] if self.database.exists() else [f"create an empty cache in {self.path}"]

    def make(self) -> None:
        """Create the directory."""
        if not self.path.is_dir():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)

    def require(self) -> None:
        """Raise ``NotProvisioned`` unless the cache has been made."""
        if not self.database.exists():
            raise NotProvisioned(
                f"There is no cache in {self.path}; `storycore init` or ensure() makes it.",
            )

    def identity(self) -> tuple[int, int] | None:
        """Which database file is there now; another process may have begun a new one."""
        try:
            found = self.database.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def set_aside(self) -> None:
        """Move the database away and drop the values' files; one damaged database is kept for inspection."""
        shutil.rmtree(self.damaged, ignore_errors=True)
        self.damaged.mkdir(mode=0o700, exist_ok=True)
        for name in (_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm"):
            source = self.path / name
            if source.exists():
                source.replace(self.damaged / name)
        for folder in self.path.iterdir():
            if _VALUE_FOLDER.match(folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def boot_id() -> str:
    """What names this run of the machine; ``""`` where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
