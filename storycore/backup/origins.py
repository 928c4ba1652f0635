"""Origins: what a restore takes its items from, a chain of backups or something that tells the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Protocol

from storycore.backup.archive import Archive
from storycore.backup.contents import Contents
from storycore.backup.entries import Entry
from storycore.backup.manifest import Manifest
from storycore.backup.recordings import Tail
from storycore.backup.replay import Replay
from storycore.backup.sources.contract import Contents as AnyContents
from storycore.ports.lifecycle import PortName

__all__ = ["BackupOrigin", "Origin", "Replayed"]


class Replayed(Protocol):
    """The items of one port."""

    @property
    def erased(self) -> list[bytes]:
        """The marks of keys whose items were left out because their owners were erased, as far as it was read."""
        ...

    def items(self) -> AsyncIterator[list[Entry]]:
        """All items, each key once, in lists. Where the origin is not whole, some of them are gone.

        Raises:
            Corrupt: something is missing or damaged.
        """
        ...


class Origin(Protocol):
    """A state of some ports."""

    @property
    def name(self) -> str:
        """What it is, for errors: ``the backup …``."""
        ...

    @property
    def ports(self) -> Mapping[str, Mapping[str, str | int]]:
        """The ports that it holds, with what a restore needs to know of each."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether it is all that there was; ``False``: only what changed since an earlier state."""
        ...

    @property
    def contents(self) -> AnyContents:
        """Gives what is too long for an entry."""
        ...

    def replayed(self, port: str, folder: Path) -> AbstractContextManager[Replayed]:
        """One port; its items can be asked for more than once.

        Args:
            folder: an empty temporary folder.
        """
        ...


class BackupOrigin:
    """The state at the end of a chain of backups.

    Args:
        archive: where they lie.
        chain: as ``Archive.chain`` gives them.
        tail: what was recorded behind the chain, for the entities alone.
    """

    is_whole = True

    def __init__(self, archive: Archive, chain: Sequence[Manifest], tail: Tail | None = None) -> None:
        self._archive = archive
        self._chain = chain
        self._tail = tail
        self.name = f"the backup {chain[-1].id}"
        self.ports = {name: content.facts for name, content in chain[-1].ports.items()}
        self.contents = Contents(archive, chain)

    def replayed(self, port: str, folder: Path) -> AbstractContextManager[Replay]:
        """One port of the chain."""
        return closing(Replay(self._archive, self._chain, port, folder, self._tail_of(port)))

    def _tail_of(self, port: str) -> Tail | None:
        return self._tail if port == PortName.ENTITIES else None
