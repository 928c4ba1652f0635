"""The places that adapters keep files in, as types of settings: told to be wrong before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator

__all__ = ["FilePath", "FolderPath"]


def _expanded(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path has no NUL character")
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ValueError(f"the home folder {path.parts[0]!r} is not known; write the path in full") from exc


def _a_file(path: Path) -> Path:
    if str(path) in (".", ":memory:"):
        raise ValueError("give the path of a file; for a store without a file use the adapter 'memory'")
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        raise ValueError("SQLite takes a path in Unicode; rename the file or its folder") from exc
    return path


def _named(given: object) -> object:
    if given == "":
        raise ValueError("give the path of a folder, '.' for the one that the program runs in")
    return given


FilePath: TypeAlias = Annotated[Path, AfterValidator(_a_file), AfterValidator(_expanded)]
"""The file of a database; ``~`` is the home folder."""

FolderPath: TypeAlias = Annotated[Path, BeforeValidator(_named), AfterValidator(_expanded)]
"""A folder; ``~`` is the home folder."""
