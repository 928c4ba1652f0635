"""Snapshots: codes kept beside the file, so that opening need not make them again. Only a cache.

The truth never depends on them: what is missing, damaged, of another file or of another version is passed over, and
made anew from the truth. Codes belong to rows whose slot and vector are the same as when they were made.
"""

from __future__ import annotations

import math
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from hashlib import blake2b, sha256
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import orjson
from numpy.typing import NDArray

from storycore.ports.vectors import IndexSpec
from storycore_faiss.centres import Centres
from storycore_faiss.codes import Codebook, Coded, Effort
from storycore_faiss.flat import RowNumbers
from storycore_faiss.planner import Costs

__all__ = ["Snapshot", "Snapshots", "carried"]

_MAGIC = b"storycore codes2"
_SEAL = 32
_FOLDER_MODE = 0o700
_TMP = ".tmp"
_COSTS = "costs.json"

Prints = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Codes, and the rows that they belong to.

    Args:
        lsn: the state of the truth that they were made at, or a later one.
        slots: of each row, ascending.
        prints: of each row's vector.
    """

    lsn: int
    slots: RowNumbers
    prints: Prints
    coded: Coded

    def for_rows(self, slots: RowNumbers, prints: Prints) -> Coded | None:
        """The codes of rows that begin with some of these; ``None`` when they are other rows."""
        coded = carried(self.coded, self.slots, slots)
        if coded is None:
            return None
        at = np.searchsorted(self.slots, slots[: len(coded)])
        return coded if np.array_equal(self.prints[at], prints[: len(coded)]) else None


class Snapshots:
    """The snapshots of one file, one for each namespace that has codes.

    Args:
        folder: made when the first is written.
        spec: what the file is made for.
    """

    def __init__(self, folder: Path, spec: IndexSpec) -> None:
        self._folder = folder
        self._spec = spec
        self.note = ""
        """Why the last one could not be read or written; ``""`` when it could, or there was none."""

    def read(self, namespace: str) -> Snapshot | None:
        """The snapshot of a namespace, if there is one and it is whole."""
        try:
            content = self._file(namespace).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            self.note = f"not read: {exc.strerror}"
            return None
        try:
            found = self._parsed(content, namespace)
        except (ValueError, KeyError, TypeError) as exc:
            self.note = f"passed over: {exc}"
            return None
        self.note = ""
        return found

    def write(self, namespace: str, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of the last; a failure is noted, and the last one stays."""
        try:
            self._folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            self._replace(self._file(namespace), self._content(namespace, snapshot))
        except OSError as exc:
            self.note = f"not written: {exc.strerror}"
        else:
            self.note = ""

    def read_costs(self) -> Costs | None:
        """What this machine takes, if it was measured with this version of FAISS."""
        try:
            found = orjson.loads((self._folder / _COSTS).read_bytes())
            return Costs(**found["costs"]) if found["machine"] == _machine() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_costs(self, costs: Costs) -> None:
        """Keep what this machine takes; a failure is noted."""
        try:
            self._folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            self._replace(self._folder / _COSTS, orjson.dumps({"machine": _machine(), "costs": asdict(costs)}))
        except OSError as exc:
            self.note = f"not written: {exc.strerror}"

    def keep_only(self, namespaces: set[str]) -> None:
        """Remove what belongs to other namespaces, and what a crash has left."""
        wanted = {_COSTS, *(self._file(name).name for name in namespaces)}
        try:
            for entry in self._folder.iterdir():
                if entry.name not in wanted:
                    entry.unlink(missing_ok=True)
        except OSError as exc:
            self.note = "" if isinstance(exc, FileNotFoundError) else f"not removed: {exc.strerror}"

    def _file(self, namespace: str) -> Path:
        return self._folder / f"{blake2b(namespace.encode(), digest_size=16).hexdigest()}.codes"

    def _replace(self, file: Path, content: bytes) -> None:
        descriptor, name = tempfile.mkstemp(_TMP, dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _content(self, namespace: str, snapshot: Snapshot) -> bytes:
        coded = snapshot.coded
        facts = {
            **self._facts(namespace),
            "lsn": snapshot.lsn,
            "rows": len(coded),
            "width": coded.book.width,
            "lists": len(coded.centres),
            "reach": coded.effort.reach,
            "probes": coded.effort.probes,
            "trained_rows": coded.trained_rows,
        }
        arrays = (
            snapshot.slots.astype("<i8"),
            snapshot.prints.astype("<u4"),
            coded.book.centroids.astype("<f4"),
            coded.centres.matrix.astype("<f4"),
            coded.lists.astype("<u2"),
            coded.codes,
        )
        body = [orjson.dumps(facts) + b"\n", *(array.tobytes() for array in arrays)]
        sealed = b"".join(body)
        return _MAGIC + sha256(sealed).digest() + sealed

    def _parsed(self, content: bytes, namespace: str) -> Snapshot:
        body = memoryview(content)[len(_MAGIC) + _SEAL :]
        if content[: len(_MAGIC)] != _MAGIC or sha256(body).digest() != content[len(_MAGIC) : len(_MAGIC) + _SEAL]:
            raise ValueError("it is damaged, or of another version")
        start = content.index(b"\n", len(_MAGIC) + _SEAL) + 1
        facts = orjson.loads(content[len(_MAGIC) + _SEAL : start])
        if any(facts[key] != value for key, value in self._facts(namespace).items()):
            raise ValueError("it belongs to another index, or another version of FAISS made it")
        return self._arranged(facts, memoryview(content)[start:])

    def _arranged(self, facts: dict[str, Any], data: memoryview) -> Snapshot:
        rows, dimension, metric = facts["rows"], self._spec.dimension, self._spec.metric
        empty = Codebook(dimension, metric, facts["width"], np.empty((0, 16, facts["width"]), np.float32))
        words, points = (empty.groups, 16, empty.width), (facts["lists"], dimension)
        sizes = [8 * rows, 4 * rows, 4 * math.prod(words), 4 * math.prod(points), 2 * rows, rows * empty.code_bytes]
        ends = [0, *accumulate(sizes)]
        if ends[-1] != len(data):
            raise ValueError("it has another length")
        slots, prints, centroids, middles, lists, codes = (data[a:b] for a, b in pairwise(ends))
        book = Codebook(dimension, metric, empty.width, np.frombuffer(centroids, "<f4").reshape(words).copy())
        coded = Coded(
            book,
            Centres(metric, np.frombuffer(middles, "<f4").reshape(points).copy()),
            np.frombuffer(codes, np.uint8).reshape(rows, empty.code_bytes).copy(),  # lest it keeps the whole file
            np.frombuffer(lists, "<u2").copy(),
            effort=Effort(_pair(facts["reach"]), _pair(facts["probes"])),
            trained_rows=facts["trained_rows"],
        )
        return Snapshot(facts["lsn"], np.frombuffer(slots, "<i8"), np.frombuffer(prints, "<u4"), coded)

    def _facts(self, namespace: str) -> dict[str, str | int]:
        spec = self._spec
        return {"namespace": namespace, "dimension": spec.dimension, "metric": spec.metric, "faiss": faiss.__version__}


def _pair(numbers: list[int]) -> tuple[int, int]:
    near, far = numbers
    return near, far


def _machine() -> str:
    return f"{platform.node()} {platform.machine()} {os.cpu_count()} faiss {faiss.__version__}"


def carried(coded: Coded, slots: RowNumbers, fresh: RowNumbers) -> Coded | None:
    """The codes of rows that begin with some of those that have codes; ``None`` when they begin with others.

    Args:
        slots: the slots of the rows that have codes, ascending.
        fresh: the slots of the rows that will have them, ascending.
    """
    covered = int(np.searchsorted(fresh, slots[-1], "right")) if len(slots) else 0
    at = np.searchsorted(slots, fresh[:covered])
    if not covered or not np.array_equal(slots[at], fresh[:covered]):
        return None
    return coded if covered == len(coded) else coded.with_rows(coded.codes[at], coded.lists[at])
