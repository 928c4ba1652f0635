"""Content cut into parts, each in a buffer that is used again once its part was sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

__all__ = ["Parts", "part_size"]

_GROWTH: Final = 1000
"""Parts grow by their first size behind each so many; 10 000 (S3: multipart upload limits) hold 55 000 sizes."""


def part_size(number: int, first: int) -> int:
    """The size of the part of this number, from 1."""
    return first * (1 + (number - 1) // _GROWTH)


class Parts:
    """The parts of one content, from the first on.

    Args:
        data: the content, or an iterable that yields it in pieces.
        first: bytes in the first part.
    """

    def __init__(self, data: bytes | AsyncIterable[bytes], first: int) -> None:
        self._data = data
        self._first = first
        self._free: list[bytearray] = []

    def __aiter__(self) -> AsyncGenerator[memoryview, None]:
        return self._cut(self._data) if isinstance(self._data, bytes) else self._gathered(self._data)

    def give_back(self, part: memoryview) -> None:
        """Let the buffer of a part be filled again; nobody may look at the part any more."""
        buffer = part.obj
        part.release()
        if isinstance(buffer, bytearray):
            self._free.append(buffer)

    async def _cut(self, data: bytes) -> AsyncGenerator[memoryview, None]:
        number, at = 1, 0
        while at < len(data) or number == 1:
            size = part_size(number, self._first)
            yield memoryview(data)[at : at + size]
            number, at = number + 1, at + size

    async def _gathered(self, data: AsyncIterable[bytes]) -> AsyncGenerator[memoryview, None]:
        """Pieces as parts; the first is only cut off when more than it is there."""
        buffer, filled, number = bytearray(), 0, 1
        async for piece in data:
            rest = memoryview(piece)
            while rest:
                size = part_size(number, self._first)
                taken = rest[: size - filled]
                _write(buffer, filled, taken)
                filled, rest = filled + len(taken), rest[len(taken) :]
                if filled == size:
                    yield memoryview(buffer)[:filled]
                    buffer, filled, number = self._free.pop() if self._free else bytearray(), 0, number + 1
        if filled or number == 1:
            yield memoryview(buffer)[:filled]


def _write(buffer: bytearray, at: int, data: memoryview) -> None:
    """Write over what a buffer holds, and behind it."""
    over = min(len(data), len(buffer) - at)
    with memoryview(buffer) as view:
        view[at : at + over] = data[:over]
    buffer += data[over:]
