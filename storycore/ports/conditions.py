"""What a write demands of the stored state: four distinct conditions, never ``None`` or an empty string."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, TypeAlias

__all__ = ["ABSENT", "ANY", "PRESENT", "Condition", "Matches", "Presence", "Version"]

Version = NewType("Version", int)
"""Issued by an adapter with each write of a key: a positive integer below 2**63 that grows with every write of
that key, also across delete and re-create, so that an old version never matches again. Callers compare
versions; they do not compute them."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A condition on presence alone; use the constants ``ANY``, ``ABSENT`` and ``PRESENT``."""

    name: str

    def __repr__(self) -> str:
        return self.name


ANY = Presence("ANY")
"""Write whatever is stored."""
ABSENT = Presence("ABSENT")
"""Write only where nothing live is stored: else ``AlreadyExists``."""
PRESENT = Presence("PRESENT")
"""Write only where something live is stored: else ``NotFound``."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Write only over exactly this version: else ``VersionConflict`` with the current one."""

    version: Version


Condition: TypeAlias = Presence | Matches
