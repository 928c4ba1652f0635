"""What the service of backups did, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from storycore.backup.manifest import Manifest

__all__ = ["Created", "ExportCreated", "ExportVerified", "Imported", "Pruned", "Restored", "Rotated"]


@dataclass(frozen=True, slots=True)
class Created:
    """A backup that was made.

    Args:
        manifest: what it consists of.
        reason: why it is a full one, where an increment would have been expected; ``""`` otherwise.
        notices: what somebody should know or do now, in sentences.
    """

    manifest: Manifest
    reason: str = ""
    notices: tuple[str, ...] = ()

    @property
    def backup_id(self) -> str:
        """By which it is restored."""
        return self.manifest.id


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored.

    Args:
        backup: the id.
        as_of: the moment whose state it is.
        written: items by port.
        erased: items by port that were left out, because the keys of those to whom they belonged were destroyed.
        without: ports of which the backup has items, and which the receiving store does not have.
        notices: what claims to be a later backup, and bears no seal of this profile's key, in sentences.
    """

    backup: str
    as_of: datetime
    written: Mapping[str, int]
    erased: Mapping[str, int] = field(default_factory=dict)
    without: Sequence[str] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportCreated:
    """An export that was written.

    Args:
        name: of the export in its place.
        backup: the id of the backup that it is of.
        as_of: the moment whose state it is.
        records: how many.
        files: of the export, without its manifests.
        bodies: how many bodies were too long for a record, and lie in files of their own under ``spill/``.
        erased: how many items were left out, because the keys of those to whom they belonged were destroyed.
        without: ports of which the backup has items, and which no export holds.
    """

    name: str
    backup: str
    as_of: datetime
    records: int
    files: int
    bodies: int = 0
    erased: int = 0
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportVerified:
    """What was found in an export.

    Args:
        name: of the export.
        as_of: the moment whose state it is.
        records: how many could be read.
        problems: one sentence for each part of which something is lost; empty when it is whole.
    """

    name: str
    as_of: datetime
    records: int
    problems: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Imported:
    """An export that was restored.

    Args:
        name: of the export.
        as_of: the moment whose state it is.
        written: how many records were written, or removed where the export tells that they are gone.
    """

    name: str
    as_of: datetime
    written: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """Whose keys were sealed anew.

    Args:
        backups: ids, finished or not.
        left: places whose keys neither the old provider nor the new one opens, with the reasons; they stay as they are.
    """

    backups: Sequence[str]
    left: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention did, or would do.

    Args:
        kept: ids with the reasons for which they stay.
        removed: ids that went, newest first.
        swept: ids of backups that were never finished, of which remains were removed.
        segments: how many recorded segments went, which no backup needs any more.
        unread: ids of backups that do not open, with the reasons; they were not counted and not touched.
        refused: ids of which something may not be removed, with the reasons; what they build on stayed too.
    """

    kept: Mapping[str, Sequence[str]]
    removed: Sequence[str]
    swept: Sequence[str] = field(default=())
    segments: int = 0
    unread: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
