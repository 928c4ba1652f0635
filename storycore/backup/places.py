"""Places of exports: a plain folder, whose files other programs read as they are, or a blob store."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from storycore.backup.new_files import is_full
from storycore.errors import AccessDenied, InvalidArgument, NotFound, StorageFull, Unavailable
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY

__all__ = ["BlobPlace", "FolderPlace"]

_PIECE_BYTES = 1024 * 1024
_DRAFT = ".draft-"


class BlobPlace:
    """The whole of a blob store.

    Args:
        blobs: open; borrowed.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def put(self, name: str, data: bytes) -> None:
        """Write a blob."""
        await self._blobs.put(name, data, when=ANY)

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """A blob's content in pieces."""
        async with await self._blobs.get(name) as reader:
            async for piece in reader:
                yield piece

    async def names(self, prefix: str = "") -> list[str]:
        """The keys that begin so."""
        found: list[str] = []
        after: str | None = None
        while True:
            page = await self._blobs.entries(prefix, after=after)
            found += [blob.key for blob in page.blobs]
            if (after := page.next) is None:
                return found

    async def remove(self, names: Sequence[str]) -> None:
        """Remove blobs."""
        if names:
            await self._blobs.delete(names)


class FolderPlace:
    """A folder. Every call blocks in a thread.

    Args:
        root: made with the first file; ``~`` is the home of the user.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser()

    async def put(self, name: str, data: bytes) -> None:
        """Write a file by way of a draft.

        Raises:
            StorageFull: there is no room.
        """
        await asyncio.to_thread(self._put, self._path(name), data)

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """A file's content in pieces."""
        path = self._path(name)
        with _told(path):
            try:
                file = await asyncio.to_thread(path.open, "rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
                raise NotFound(f"There is no file {path}.") from exc
            with file:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    yield piece

    async def names(self, prefix: str = "") -> list[str]:
        """The files that begin so, drafts left out."""
        return await asyncio.to_thread(self._names, prefix)

    async def remove(self, names: Sequence[str]) -> None:
        """Remove files; folders stay."""
        for name in names:
            path = self._path(name)
            with _told(path), suppress(FileNotFoundError):
                await asyncio.to_thread(path.unlink)

    def _path(self, name: str) -> Path:
        """The path of a name, which a manifest of somebody else's may have given: it leads nowhere else."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
            raise InvalidArgument(f"The name {name!r} leads out of the folder {self._root}.")
        return self._root.joinpath(*parts)

    def _put(self, path: Path, data: bytes) -> None:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{_DRAFT}{secrets.token_hex(8)}")
            try:
                with draft.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)

    def _names(self, prefix: str) -> list[str]:
        with _told(self._root):
            found = [path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file()]
        return sorted(
            name for name in found if name.startswith(prefix) and not name.rpartition("/")[2].startswith(_DRAFT)
        )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the operating system says, as the errors of storycore."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
        raise InvalidArgument(f"{path}: a file stands where a folder should be, or the other way round.") from exc
    except PermissionError as exc:
        raise AccessDenied(f"{path}: {exc.strerror}; change its permissions.") from exc
    except OSError as exc:
        if is_full(exc):
            raise StorageFull(f"There is no room for {path}; free some space.") from exc
        raise Unavailable(f"{path}: {exc.strerror}.") from exc
