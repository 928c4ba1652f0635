"""Exports: a whole trail in one file of JSON lines, which whoever has the key verifies anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from storycore.audit.chains import read
from storycore.audit.keys import AuditKey, sealed, unsealed
from storycore.audit.places import Mark, Place, marks, plain
from storycore.audit.records import read_line
from storycore.audit.verifying import AuditReport, Kind, Steps, Walk
from storycore.backup.new_files import is_full, publish
from storycore.errors import AccessDenied, AlreadyExists, Corrupt, NotFound, StorageFull, Unavailable

__all__ = ["AuditExported", "exported", "verified_file"]


@dataclass(frozen=True, slots=True)
class AuditExported:
    """What was written.

    Args:
        path: the file.
        chains: how many chains.
        records: how many records.
    """

    path: Path
    chains: int
    records: int


async def exported(place: Place, key: AuditKey, path: Path) -> AuditExported:
    """Write a trail into a new file, as it lies there: records as they are, then what guards them.

    A trail that is pruned meanwhile is written again.

    Raises:
        AlreadyExists: there is a file.
        NotFound, AccessDenied, StorageFull, Unavailable: it cannot be written.
        Corrupt: a record, or what guards the trail, bears no hash of this key; a verification says more.
    """
    if await asyncio.to_thread(path.exists):
        raise AlreadyExists(f"{path} exists already, and an export overwrites nothing.")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with _writing(path):
            file = await asyncio.to_thread(draft.open, "xb")
        with file:
            done = None
            while done is None:
                done = await _unless_pruned(place, key, path, file)
            with _writing(path):
                await asyncio.to_thread(_settle, file)
        with _writing(path):
            await asyncio.to_thread(publish, draft, path)
        return done
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            draft.unlink()


async def _unless_pruned(place: Place, key: AuditKey, path: Path, file: IO[bytes]) -> AuditExported | None:
    """Write it; ``None``: it was pruned meanwhile, and the file is empty again."""
    before = await place.content(place.pruned_name)
    try:
        done = await _written(place, key, path, file)
    except Corrupt:
        if await place.content(place.pruned_name) == before:
            raise
    else:
        if await place.content(place.pruned_name) == before:
            return done
    await asyncio.to_thread(_emptied, file)
    return None


def _emptied(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


async def _written(place: Place, key: AuditKey, path: Path, file: IO[bytes]) -> AuditExported:
    pruned, _ = await place.pruned(key)
    ends: dict[str, Mark] = {}
    heads: list[bytes] = []
    records = 0
    for chain in await place.chains():
        head = await place.content(place.head_name(chain))
        if head is None or unsealed(key, head) is None:
            raise Corrupt(f"The head of chain {chain} is not there, or bears no seal of this key.")
        heads.append(head)
        last = pruned.get(chain, Mark())
        for batch in await place.batches(chain):
            lines = [] if 0 < batch.first <= last.seq else await read(place, batch, key)
            for _, record in lines:
                if record is None:
                    raise Corrupt(f"A record in {batch.name} was changed; `storycore audit verify` says which.")
                last, records = Mark(record.seq, record.hash), records + 1
            with _writing(path):
                await asyncio.to_thread(file.writelines, [line + b"\n" for line, _ in lines])
        ends[chain] = last
    end = sealed(key, {"pruned": plain(pruned), "ends": plain(ends)})
    with _writing(path):
        await asyncio.to_thread(file.writelines, [line + b"\n" for line in (*heads, end)])
    return AuditExported(path, len(heads), records)


async def verified_file(path: Path, key: AuditKey) -> AuditReport:
    """Walk an export as a trail is walked.

    Raises:
        NotFound: there is no such file.
        AccessDenied: it cannot be read.
    """
    try:
        return await asyncio.to_thread(_verified, path, key)
    except FileNotFoundError as exc:
        raise NotFound(f"There is no file {path}.") from exc
    except OSError as exc:
        raise AccessDenied(f"{path} cannot be read ({exc.strerror}).") from exc


def _verified(path: Path, key: AuditKey) -> AuditReport:
    heads, end = _guards(path, key)
    walk = Walk(key, marks(end))
    if end is None:
        walk.find(Kind.CUT, "", f"{path.name} does not end as an export does; what is behind its last line is missing.")
    steps: dict[str, Steps] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            _line(walk, steps, line.removesuffix(b"\n"), f"line {number}")
    ends = end.get("ends") if end else None
    for chain, (seq, _) in ends.items() if isinstance(ends, dict) else ():
        walk.witnessed[chain] = max(seq, walk.witnessed.get(chain, 0))
        steps.setdefault(chain, walk.begin(chain))
    for chain in sorted(steps):
        walk.end(steps[chain], heads.get(chain), heads.get(chain))
    return walk.outcome()


def _guards(path: Path, key: AuditKey) -> tuple[dict[str, bytes], dict[str, object] | None]:
    """The heads in a file, and its last line, if that is an export's."""
    heads: dict[str, bytes] = {}
    last: dict[str, object] | None = None
    with path.open("rb") as file:
        for line in file:
            last = None
            state = unsealed(key, line.removesuffix(b"\n")) if b'"seal":' in line else None
            if state is not None and "ends" in state:
                last = state
            elif state is not None and "closed" in state:
                heads[str(state["chain"])] = line.removesuffix(b"\n")
    return heads, last


def _line(walk: Walk, steps: dict[str, Steps], line: bytes, where: str) -> None:
    """Walk one line, if it is not one that guards others."""
    if unsealed(walk.key, line) is not None:
        return
    record = read_line(line, walk.key)
    chain = record.chain if record is not None else _claimed(line)
    if chain is None:
        walk.find(Kind.CHANGED, "", f"{where} is neither a record nor a seal that was written with this key.")
        return
    if chain not in steps:
        steps[chain] = walk.begin(chain)
    steps[chain].line(where, line, record)


def _claimed(line: bytes) -> str | None:
    """The chain that a changed line says it is of."""
    try:
        chain = orjson.loads(line)["chain"]
    except (ValueError, KeyError, TypeError):
        return None
    return chain if isinstance(chain, str) else None


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as exc:
        raise AlreadyExists(f"{path} exists already, and an export overwrites nothing.") from exc
    except PermissionError as exc:
        raise AccessDenied(f"{path} cannot be written ({exc.strerror}).") from exc
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"The folder of {path} does not exist.") from exc
    except OSError as exc:
        problem = f"{path} cannot be written ({exc.strerror})."
        raise (StorageFull(problem) if is_full(exc) else Unavailable(problem)) from exc
