"""The world outside: formats of exports that plugins bring, and the places where exports lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias, cast

from storycore.backup.places import BlobPlace, FolderPlace
from storycore.errors import InvalidArgument, NotProvisioned
from storycore.plugins import Plugins
from storycore.ports.backup_formats import BackupFormat, ExportPlace
from storycore.ports.blobs import BlobStore
from storycore.ports.lifecycle import Port, PortName
from storycore.profiles import PortSettings
from storycore.profiles.redaction import redacted_url
from storycore.suggestions import did_you_mean

__all__ = ["Outside", "Where", "shown"]

Where: TypeAlias = str | Path | BlobStore
"""A folder, the URL of a blob store such as ``s3://bucket?prefix=exports/``, or an open blob store."""

_FOLDERS = ("file", "files")


def shown(where: Where) -> str:
    """A place for people; never a secret."""
    if isinstance(where, str):
        return redacted_url(where) if "://" in where else where
    return str(where) if isinstance(where, Path) else where.info.place or f"the {where.info.adapter} store"


class Outside:
    """Finds formats and opens places.

    Args:
        plugins: of the store; what they do not bring is looked for in all that are installed.
        another: makes a port of settings; ``None``: there are folders and open stores alone.
    """

    def __init__(
        self, plugins: Plugins | None = None, another: Callable[[PortName, PortSettings], Port] | None = None
    ) -> None:
        self._plugins = plugins or Plugins()
        self._another = another

    def format(self, name: str) -> BackupFormat:
        """The format of that name.

        Raises:
            InvalidArgument: no plugin brings it.
        """
        known = _formats(self._plugins)
        if name not in known:
            installed = Plugins()
            installed.found()
            known = {**_formats(installed), **known}
        if name not in known:
            raise InvalidArgument(
                f"There is no format {name!r}. {did_you_mean(name, known)} Formats come with plugins: dynamodb-json "
                "with `pip install 'storycore[dynamodb]'`."
            )
        return known[name]()

    @asynccontextmanager
    async def place(self, where: Where, *, create: bool = False) -> AsyncIterator[ExportPlace]:
        """A place, open as long as the context lasts.

        Args:
            create: make the blob store where it does not exist; folders are made with their first file.

        Raises:
            InvalidArgument, ConfigError: it is no place.
        """
        if not isinstance(where, str | Path):
            yield BlobPlace(where)
        elif isinstance(where, str) and "://" in where:
            async with self._store(where) as blobs:
                if create:
                    await _ensured(blobs)
                yield BlobPlace(blobs)
        elif not str(where):
            raise InvalidArgument("The place of the export is empty; name a folder or the URL of a blob store.")
        else:
            yield FolderPlace(Path(where))

    @asynccontextmanager
    async def _store(self, url: str) -> AsyncIterator[BlobStore]:
        adapter = url.partition("://")[0]
        if adapter in _FOLDERS:
            raise InvalidArgument(
                f"{shown(url)}: an export lies in a plain folder; name the folder itself, without {adapter}://."
            )
        if self._another is None:
            raise InvalidArgument(f"{shown(url)}: only a store that was opened by a profile opens URLs; name a folder.")
        port = self._another(PortName.BLOBS, PortSettings(adapter=adapter, url=url))
        try:
            yield cast(BlobStore, port)
        finally:
            await port.close()


def _formats(plugins: Plugins) -> Mapping[str, Callable[[], BackupFormat]]:
    return {name: make for given in plugins.hook.storycore_backup_formats() for name, make in given.items()}


async def _ensured(blobs: BlobStore) -> None:
    """Make a blob store that does not exist; of one that does, nobody needs to have the right to do that."""
    try:
        await blobs.entries(limit=1)
    except NotProvisioned:
        await blobs.ensure()
