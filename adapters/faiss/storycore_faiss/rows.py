"""Rows: the vectors of a shelf by row number, in memory whole or halved, or left in the truth.

Rows are only added. One thread adds at a time; others read the rows that they were told of, and never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from storycore_faiss.flat import Floats, Piece, RowNumbers

__all__ = ["Blocks", "DiskRows", "FloatRows", "HalfRows", "Read", "Rows", "Storage", "rows_for"]

Storage: TypeAlias = Literal["float32", "bfloat16", "disk"]
Read: TypeAlias = Callable[[RowNumbers], Floats]
"""Fetches rows from the truth, in the form in which rows are kept."""

_SMALLEST, _GREATEST = 256, 65_536
_CHUNK = 4096


class Rows(Protocol):
    """What a search needs of the vectors."""

    rounding: float
    """How far the numbers that ``pieces()`` gives are off, relative."""

    def append(self, matrix: Floats) -> None:
        """Add rows; ``matrix`` has shape (n, dimension)."""
        ...

    def run(self, start: int, stop: int, read: Read) -> Iterator[Piece]:
        """All rows from ``start`` up to ``stop``."""
        ...

    def listed(self, rows: RowNumbers, read: Read) -> Iterator[Piece]:
        """Some rows, ascending."""
        ...

    def take(self, rows: RowNumbers, read: Read) -> Floats:
        """Some rows without any rounding."""
        ...


class Blocks:
    """Lines of numbers in arrays that never move: adding never copies what is there.

    Args:
        width: numbers in a line.
        dtype: their type.
        expected: how many lines will come soon; they lie in one array.
    """

    def __init__(self, width: int, dtype: type[np.generic], expected: int) -> None:
        self._width = width
        self._dtype = dtype
        self._next = max(_SMALLEST, expected)
        self._count = 0
        self._held: tuple[list[int], list[NDArray[np.generic]]] = ([], [])

    def append(self, lines: NDArray[np.generic]) -> None:
        """Add lines behind the last."""
        while len(lines):
            starts, blocks = self._held
            room = starts[-1] + len(blocks[-1]) - self._count if blocks else 0
            if not room:
                block = np.empty((self._next, self._width), self._dtype)
                self._held = ([*starts, self._count], [*blocks, block])
                self._next = min(max(_SMALLEST, self._count + self._next), _GREATEST)
                continue
            part = lines[:room]
            offset = self._count - starts[-1]
            blocks[-1][offset : offset + len(part)] = part
            self._count += len(part)
            lines = lines[room:]

    def run(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """The lines from ``start`` up to ``stop`` as they lie, each part with the number of its first."""
        for first, block in zip(*self._held, strict=True):
            low, high = max(start, first), min(stop, first + len(block))
            if low < high:
                yield low, block[low - first : high - first]

    def split(self, numbers: RowNumbers) -> Iterator[tuple[int, NDArray[np.generic], RowNumbers]]:
        """For ascending numbers: the number of each block's first line, the block, and the numbers within it."""
        starts, blocks = self._held
        if len(blocks) == 1:
            yield 0, blocks[0], numbers
            return
        bounds = np.searchsorted(numbers, starts).tolist()
        for first, block, low, high in zip(starts, blocks, bounds, [*bounds[1:], len(numbers)], strict=True):
            if low < high:
                yield first, block, numbers[low:high] - first

    def take(self, numbers: RowNumbers) -> NDArray[np.generic]:
        """Copies of some lines, in any order."""
        starts, blocks = self._held
        if len(blocks) == 1:
            return blocks[0].take(numbers, 0)
        taken = np.empty((len(numbers), self._width), self._dtype)
        which = np.searchsorted(starts, numbers, "right") - 1
        for block in set(which.tolist()):
            here = which == block
            taken[here] = blocks[block][numbers[here] - starts[block]]
        return taken


class FloatRows:
    """Vectors in memory, as they are."""

    rounding = 0.0

    def __init__(self, dimension: int, expected: int) -> None:
        self._blocks = Blocks(dimension, np.float32, expected)

    def append(self, matrix: Floats) -> None:
        """Add rows."""
        self._blocks.append(matrix)

    def run(self, start: int, stop: int, read: Read) -> Iterator[Piece]:
        """All rows from ``start`` up to ``stop``."""
        for first, matrix in self._blocks.run(start, stop):
            yield Piece(_floats(matrix), first)

    def listed(self, rows: RowNumbers, read: Read) -> Iterator[Piece]:
        """Some rows, ascending; they are not copied."""
        for first, block, among in self._blocks.split(rows):
            yield Piece(_floats(block), first, among)

    def take(self, rows: RowNumbers, read: Read) -> Floats:
        """Some rows."""
        return _floats(self._blocks.take(rows))


class HalfRows:
    """Vectors in memory with the upper half of each number (bfloat16), rounded; the truth has them whole."""

    rounding = 2.0**-8

    def __init__(self, dimension: int, expected: int) -> None:
        self._blocks = Blocks(dimension, np.uint16, expected)

    def append(self, matrix: Floats) -> None:
        """Add rows, rounded to the nearest, halves to even."""
        bits = np.ascontiguousarray(matrix).view(np.uint32)
        self._blocks.append(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))

    def run(self, start: int, stop: int, read: Read) -> Iterator[Piece]:
        """All rows from ``start`` up to ``stop``, a few thousand at a time."""
        for low in range(start, stop, _CHUNK):
            for first, halves in self._blocks.run(low, min(stop, low + _CHUNK)):
                yield Piece(_widened(halves), first)

    def listed(self, rows: RowNumbers, read: Read) -> Iterator[Piece]:
        """Some rows, ascending, a few thousand at a time."""
        for chunk in _chunks(rows):
            yield Piece(_widened(self._blocks.take(chunk)), chunk)

    def take(self, rows: RowNumbers, read: Read) -> Floats:
        """Some rows, from the truth."""
        return read(rows)


class DiskRows:
    """Vectors that stay in the truth."""

    rounding = 0.0

    def append(self, matrix: Floats) -> None:
        """Nothing is kept."""

    def run(self, start: int, stop: int, read: Read) -> Iterator[Piece]:
        """All rows from ``start`` up to ``stop``, a few thousand at a time."""
        return self.listed(np.arange(start, stop, dtype=np.int64), read)

    def listed(self, rows: RowNumbers, read: Read) -> Iterator[Piece]:
        """Some rows, a few thousand at a time."""
        for chunk in _chunks(rows):
            yield Piece(read(chunk), chunk)

    def take(self, rows: RowNumbers, read: Read) -> Floats:
        """Some rows."""
        return read(rows)


def rows_for(storage: Storage, dimension: int, expected: int) -> Rows:
    """Room for the vectors of a shelf.

    Args:
        storage: where, and how exactly.
        dimension: length of every vector.
        expected: how many will come soon.
    """
    if storage == "disk":
        return DiskRows()
    return FloatRows(dimension, expected) if storage == "float32" else HalfRows(dimension, expected)


def _chunks(rows: RowNumbers) -> Iterator[RowNumbers]:
    return (rows[low : low + _CHUNK] for low in range(0, len(rows), _CHUNK))


def _floats(lines: NDArray[np.generic]) -> Floats:
    return lines.view(np.float32)


def _widened(halves: NDArray[np.generic]) -> Floats:
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
