"""Recording: one store's changes, sealed by one recorder that is made when it is first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from storycore.backup.archive import Archive
from storycore.backup.entries import OwnerOf
from storycore.backup.recorder import Recorder, Sealed
from storycore.backup.recordings import Recordings
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.errors import InvalidArgument
from storycore.ports.environment import Environment

__all__ = ["Recording"]


class Recording:
    """The recording of a store.

    Args:
        archive: where it lies.
        sources: the store's ports, of which the entities are recorded.
        env: time.
        store: the store's namespace.
        owner_of: says to whom an entry belongs, where owners have keys of their own.
    """

    def __init__(
        self, archive: Archive, sources: Sequence[Source], env: Environment, *, store: str, owner_of: OwnerOf | None
    ) -> None:
        self.recordings = Recordings(archive, store)
        self._archive = archive
        self._sources = sources
        self._env = env
        self._store = store
        self._owner_of = owner_of
        self._recorder: Recorder | None = None

    def recorder(self) -> Recorder:
        """A new one.

        Raises:
            InvalidArgument: the store's entities are not backed up.
        """
        for source in self._sources:
            if isinstance(source, EntitySource):
                return Recorder(self._archive, source, self._env, store=self._store, owner_of=self._owner_of)
        raise InvalidArgument("Only the changes of entities can be recorded, and they are left out of these backups.")

    async def record(self, renew: Callable[[], Awaitable[object]]) -> Sealed:
        """Seal the changes since the last time; ``renew`` makes a backup where one is needed first."""
        self._recorder = self._recorder or self.recorder()
        return await self._recorder.seal(renew)

    async def seal_before_erasure(self) -> None:
        """Record what the feed tells with the keys that there are, so that nothing of it meets a new key later."""
        if self._owner_of is not None:
            with suppress(InvalidArgument):
                self._recorder = self._recorder or self.recorder()
                await (self._recorder.flush() if await self.recordings.places() else self._recorder.settle())
