"""What the errors of the operating system mean to a caller: one table."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from storycore.errors import (
    AccessDenied,
    Corrupt,
    Effect,
    NotProvisioned,
    StorageFull,
    StorycoreError,
    Unavailable,
)

__all__ = ["translating"]

_MEANING: Final[dict[int | None, tuple[type[StorycoreError], str]]] = {
    errno.EACCES: (AccessDenied, "the file permissions do not allow it"),
    errno.EPERM: (AccessDenied, "the operating system does not allow it"),
    errno.EROFS: (AccessDenied, "the file system is read-only"),
    errno.ENOSPC: (StorageFull, "the disk is full; free some space"),
    errno.EDQUOT: (StorageFull, "the disk quota is used up"),
    errno.EFBIG: (StorageFull, "the file system does not allow files of that size"),
    errno.ENOENT: (NotProvisioned, "the folder is missing; create it with `storycore init` or ensure()"),
    errno.ELOOP: (Corrupt, "there is a symbolic link in the place of the file"),
    errno.EISDIR: (Corrupt, "there is a folder in the place of the file"),
    errno.ENOTDIR: (Corrupt, "there is a file in the place of a folder"),
    errno.ENAMETOOLONG: (Unavailable, "the path is too long; choose a root folder whose path is at most 900 bytes"),
}


@contextmanager
def translating(what: str, *, effect: Effect = Effect.NONE) -> Iterator[None]:
    """Turn an ``OSError`` inside into the storycore error that it means; ``what`` names the deed and the thing."""
    try:
        yield
    except OSError as exc:
        error, meaning = _MEANING.get(exc.errno, (Unavailable, exc.strerror or type(exc).__name__))
        raise error(f"Cannot {what}: {meaning}.", effect=effect) from exc
