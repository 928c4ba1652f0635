"""The folders that a pipeline has ingested, so that a single file finds the folder that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from storycore.entities.keys import encode
from storycore.errors import AccessDenied, InvalidArgument, NotFound
from storycore.ingestion.documents import digest
from storycore.ports.entities import EntityStore, Key, Put, QueryPlan

__all__ = ["Root", "Roots", "is_file"]

T = TypeVar("T")

_KIND = "ingest_root"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder.

    Args:
        id: tells it from other folders; its path, unless the caller named it.
        path: where it was when it was last used, resolved.
    """

    id: str
    path: Path


class Roots:
    """The folders of one pipeline.

    Args:
        store: where the records are.
        place: what tells this pipeline from all others.
    """

    def __init__(self, store: EntityStore, place: Iterable[str]) -> None:
        self._store = store
        self._pk = encode(("ingest", "roots", digest(place)))

    async def folder(self, path: str | Path, root_id: str | None = None) -> Root:
        """The folder at ``path``.

        Raises:
            NotFound: there is no folder.
        """
        found = await _looked(path, Path.resolve)
        if not await _looked(found, Path.is_dir):
            raise NotFound(f"There is no folder {str(path)!r}; give the folder that holds the documents.")
        return Root(root_id or _text(found), found)

    async def remember(self, root: Root) -> None:
        """Note that the folder has been used."""
        key = Key(self._pk, encode((digest([root.id]),)))
        await self._store.write([Put(key=key, kind=_KIND, fields={"id": root.id, "path": _text(root.path)})])

    async def all(self) -> list[Root]:
        """The folders that were used."""
        roots: list[Root] = []
        plan = QueryPlan(pk=self._pk, limit=1000, consistent=True)
        while True:
            page = await self._store.query(plan)
            roots += [Root(str(record.fields["id"]), Path(str(record.fields["path"]))) for record in page.records]
            if page.next is None:
                return roots
            plan = QueryPlan(pk=self._pk, limit=1000, consistent=True, after=page.next)

    async def holding(self, path: str | Path) -> tuple[Root, str]:
        """The innermost used folder above the file at ``path``, else the file's own folder; and the file's uri."""
        file = await _looked(path, _resolved_parent)
        above = [root for root in await self.all() if file.is_relative_to(root.path)]
        root = max(above, key=lambda root: len(root.path.parts), default=Root(_text(file.parent), file.parent))
        return root, _text(file.relative_to(root.path))


async def is_file(path: str | Path) -> bool:
    """Whether there is a regular file at ``path``.

    Raises:
        AccessDenied: this user may not look there.
        NotFound: it is no path on this system.
    """
    return await _looked(path, Path.is_file)


async def _looked(path: str | Path, look: Callable[[Path], T]) -> T:
    try:
        return await asyncio.to_thread(look, Path(path))
    except PermissionError as exc:
        message = f"The path {str(path)!r} may not be looked at; check the rights on the folders above it."
        raise AccessDenied(message) from exc
    except (OSError, RuntimeError, ValueError) as exc:  # too long, links in a circle, a NUL in it
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise NotFound(f"There is nothing to be found at {str(path)!r}: {reason}.") from exc


def _resolved_parent(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _text(path: Path) -> str:
    text = path.as_posix()
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgument(f"The path {text!a} is not valid Unicode; rename it.") from exc
    return text
