"""Provisioning: make the file with its tables, and tell whether a file is one of ours and fits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from storycore.errors import Corrupt, NotProvisioned, SchemaMismatch
from storycore.ports.lifecycle import Provision
from storycore.ports.vectors import IndexSpec
from storycore_faiss._sql import APPLICATION, LAYOUT, SCHEMA, connect, writing
from storycore_faiss.layouts import bring_up, changes, keep_text_fields
from storycore_faiss.truth import Truth

__all__ = ["provision", "require_file", "verified"]

T = TypeVar("T")

_OWNER_ALONE: Final = 0o600
_PATIENCE_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.01


def provision(path: Path, spec: IndexSpec, *, durability: str, dry_run: bool) -> Provision:
    """Make what is missing, and bring up what was made for less; what ``open()`` refuses is left as it is, and told."""
    if _patiently(lambda: _is_provisioned(path)):
        return _patiently(lambda: _brought_up(path, spec, durability, dry_run=dry_run))
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=_OWNER_ALONE, exist_ok=True)
        _patiently(lambda: _create(path, spec, durability))
    return Provision([f"create the vector index {path} ({spec.dimension} dimensions, {spec.metric})"])


def require_file(path: Path) -> None:
    """Raise ``NotProvisioned`` when there is no file."""
    if not path.exists():
        raise _missing(path)


def verified(connection: sqlite3.Connection, path: Path, asked: IndexSpec) -> IndexSpec:
    """The specification that the file was made with.

    Raises:
        NotProvisioned: the file has no tables yet.
        SchemaMismatch: the file is another application's, has another layout, was made for other vectors, keeps the
            words of other fields, or has a field of another type than is declared.
    """
    application, layout = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if not application and not _pragma(connection, "schema_version"):
        raise _missing(path)
    if application != APPLICATION:
        raise _foreign(path)
    if layout == 1:
        raise SchemaMismatch(f"The vector index {path} has layout 1; bring it up with `storycore init` or ensure().")
    if layout != LAYOUT:
        raise _of_layout(layout, path)
    _require_declared(connection, path, asked)
    held = replace(_held(connection, path, asked), text_fields=Truth(connection, 0).text_fields())
    return _fitting(held, asked, path)


def _held(connection: sqlite3.Connection, path: Path, asked: IndexSpec) -> IndexSpec:
    """The vectors that the file was made for; what is declared, and which words it keeps, is no part of it."""
    facts = dict(connection.execute("SELECT name, value FROM spec"))
    try:
        return replace(
            asked, dimension=int(facts["dimension"]), metric=facts["metric"], embedding=facts.get("embedding")
        )
    except (KeyError, ValueError) as exc:
        raise Corrupt(f"The vector index {path} has lost its specification; restore it from a backup.") from exc


def _require_declared(connection: sqlite3.Connection, path: Path, asked: IndexSpec) -> None:
    for namespace, name, kind in connection.execute("SELECT namespace, name, type FROM field"):
        if (declared := asked.fields.get(name, kind)) != kind:
            raise SchemaMismatch(
                f"The field {name!r} is of type {kind} in namespace {namespace!r} of the vector index {path}, and "
                f"declared as {declared}; declare it as it is, or delete all items of the namespace first."
            )


def _fitting(held: IndexSpec, asked: IndexSpec, path: Path) -> IndexSpec:
    wanted = _named(asked, held)
    if held == wanted:
        return held
    if held == replace(wanted, text_fields=held.text_fields):
        raise SchemaMismatch(
            f"The vector index {path} keeps the words of {_listed(held.text_fields)}; asked for are those of "
            f"{_listed(asked.text_fields)}. Set text_fields as it was, or keep the others with `storycore init` or "
            "ensure()."
        )
    raise _of_others(held, asked, path)


def _foreign(path: Path) -> SchemaMismatch:
    return SchemaMismatch(f"The file {path} belongs to another application; point the vector index elsewhere.")


def _of_layout(layout: int, path: Path) -> SchemaMismatch:
    return SchemaMismatch(
        f"The vector index {path} has layout {layout}, this version of storycore-faiss reads layout {LAYOUT}; "
        "install the version that wrote it, or ingest again into a new file."
    )


def _of_others(held: IndexSpec, asked: IndexSpec, path: Path) -> SchemaMismatch:
    return SchemaMismatch(
        f"The vector index {path} was made for {_shown(held)}; asked for is {_shown(asked)}. "
        "Open it as it was made, or ingest again into a new file."
    )


def _named(asked: IndexSpec, held: IndexSpec) -> IndexSpec:
    """What is asked for, by the model that fills the file where none is named."""
    return replace(asked, embedding=asked.embedding or held.embedding)


def _shown(spec: IndexSpec) -> str:
    return f"{spec.dimension} dimensions, metric {spec.metric}, model {spec.embedding or 'unnamed'}"


def _listed(fields: Sequence[str]) -> str:
    return ", ".join(map(repr, fields)) or "no fields"


def _is_provisioned(path: Path) -> bool:
    if not path.exists():
        return False
    connection = connect(path, create=False, durability="full")
    try:
        return bool(_pragma(connection, "schema_version"))
    finally:
        connection.close()


def _brought_up(path: Path, spec: IndexSpec, durability: str, *, dry_run: bool) -> Provision:
    """Nothing is done to another application's file, or one for other vectors, which ``open()`` will refuse."""
    with closing(connect(path, create=False, durability=durability)) as connection:
        if _pragma(connection, "application_id") != APPLICATION:
            return Provision((), [_foreign(path).message])
        if (layout := _pragma(connection, "user_version")) > LAYOUT:
            return Provision((), [_of_layout(layout, path).message])
        held = _held(connection, path, spec)
        if held != _named(spec, held):
            return Provision((), [_of_others(held, spec, path).message])
        steps = changes(connection, spec.text_fields)
        if steps and not dry_run:
            with writing(connection):
                bring_up(connection, spec.text_fields)
        done = tuple(f"{step}, in the vector index {path}" for step in steps)
        return Provision(done, _retyped(connection, path, spec))


def _retyped(connection: sqlite3.Connection, path: Path, spec: IndexSpec) -> list[str]:
    """A field of another type than is declared, as ``open()`` will refuse it."""
    try:
        if _pragma(connection, "user_version") == LAYOUT:
            _require_declared(connection, path, spec)
    except SchemaMismatch as refused:
        return [refused.message]
    return []


def _patiently(step: Callable[[], T]) -> T:
    """Repeat a step that another process's provisioning locks out; switching to WAL does not wait by itself."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return step()
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)


def _create(path: Path, spec: IndexSpec, durability: str) -> None:
    connection = connect(path, create=True, durability=durability)
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        with writing(connection):
            if not _pragma(connection, "schema_version"):
                _make_tables(connection, spec)
    finally:
        connection.close()


def _make_tables(connection: sqlite3.Connection, spec: IndexSpec) -> None:
    for statement in SCHEMA:
        connection.execute(statement)
    facts = {"dimension": str(spec.dimension), "metric": spec.metric, "embedding": spec.embedding}
    connection.executemany("INSERT INTO spec VALUES (?, ?)", [(k, v) for k, v in facts.items() if v is not None])
    keep_text_fields(connection, spec.text_fields)
    connection.execute(f"PRAGMA application_id={APPLICATION:d}")
    connection.execute(f"PRAGMA user_version={LAYOUT:d}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    [value] = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _missing(path: Path) -> NotProvisioned:
    return NotProvisioned(f"The vector index {path} does not exist yet; make it with `storycore init` or ensure().")
