"""What this process has seen of records: so that a change that does not tell what was before outdates it all the same.

A deletion in the change feed tells neither fields nor body. But a list that this process has loaded holds only records
that it has read, so it is enough to remember the tags of those.
"""

from __future__ import annotations

from dataclasses import dataclass

from storycore.ports.conditions import Version
from storycore.ports.entities import Change, Key, Record

__all__ = ["Sightings"]

_NO_TAGS: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Sighting:
    tags: frozenset[str] = _NO_TAGS
    changed: Version | None = None
    is_gone: bool = False

    def is_older(self, version: Version) -> bool:
        """Whether a record of ``version`` is older than the last change that was told."""
        if self.changed is None:
            return False
        return version <= self.changed if self.is_gone else version < self.changed


class Sightings:
    """The tags of records that were read, and the last change of each that the feed told.

    Args:
        most: of how many records; those that were seen first are forgotten.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._seen: dict[Key, _Sighting] = {}

    def read(self, record: Record, tags: frozenset[str]) -> frozenset[str]:
        """Remember a record that was read; the tags that are outdated because the feed has told a later change."""
        sighting = self._of(record.key)
        sighting.tags |= tags
        return tags if sighting.is_older(record.version) else _NO_TAGS

    def told(self, change: Change, tags: frozenset[str]) -> frozenset[str]:
        """Remember a change with the tags of what is there now; the tags that it outdates."""
        sighting = self._of(change.key)
        outdated = sighting.tags | tags
        sighting.tags, sighting.changed, sighting.is_gone = tags, change.version, change.record is None
        return outdated

    def _of(self, key: Key) -> _Sighting:
        sighting = self._seen.get(key)
        if sighting is None:
            sighting = self._seen[key] = _Sighting()
            if len(self._seen) > self._most:
                del self._seen[next(iter(self._seen))]
        return sighting
