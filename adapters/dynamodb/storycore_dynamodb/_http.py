"""Answers of HTTP/1.1 as they arrive: bytes go in as they come, a whole answer comes out, or a word about the fault.

Nothing here reads or writes. An answer that does not say how long it is, is taken for a broken one: the service always
says it, and an end of the connection cannot be told from a cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["AnswerReader", "Garbled", "HttpAnswer"]

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?")
_DIGITS: Final = re.compile(rb"[0-9]{1,15}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?")
_END_OF_HEAD: Final = b"\r\n\r\n"
_MOST_HEAD_BYTES: Final = 64 * 1024
_MOST_LINE_BYTES: Final = 4096


class Garbled(Exception):
    """What arrived is no answer of HTTP/1.1; the connection cannot be used any more."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One whole answer.

    Args:
        status: 200 to 599.
        headers: by name in lower case.
        body: without chunks.
        keeps_alive: whether another request may follow on the connection.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    keeps_alive: bool


class AnswerReader:
    """Puts together the answers of one connection, one after the other."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._start_over()

    @property
    def is_empty(self) -> bool:
        """Whether nothing of a following answer has arrived."""
        return not self._held

    def feed(self, data: bytes) -> HttpAnswer | None:
        """Take what arrived; the answer, when it is whole.

        Raises:
            Garbled: it is no answer.
        """
        self._held += data
        while self._headers is None:
            end = self._held.find(_END_OF_HEAD)
            if end < 0 or end > _MOST_HEAD_BYTES:
                if len(self._held) > _MOST_HEAD_BYTES:
                    raise Garbled("a head without end")
                return None
            self._read_head(bytes(self._held[:end]))
            del self._held[: end + len(_END_OF_HEAD)]
        return self._chunked() if self._is_chunked else self._counted()

    def _start_over(self) -> None:
        self._headers: dict[bytes, bytes] | None = None
        self._status = 0
        self._length = 0
        self._is_chunked = False
        self._keeps_alive = True
        self._chunks = bytearray()
        self._is_behind_last_chunk = False

    def _read_head(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        first = _STATUS.fullmatch(lines[0])
        if first is None:
            raise Garbled("a first line that is none")
        headers = _headers(lines[1:])
        self._status = int(first[2])
        if self._status == 101:
            raise Garbled("another protocol")
        if self._status < 200:  # an interim answer, which another one follows
            return
        self._headers = headers
        asked = headers.get(b"connection", b"").lower()
        self._keeps_alive = b"close" not in asked and (first[1] == b"1" or b"keep-alive" in asked)
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise Garbled("an unknown transfer encoding")
        self._is_chunked = coding is not None
        self._length = 0 if self._is_chunked else self._said_length(headers)

    def _said_length(self, headers: Mapping[bytes, bytes]) -> int:
        if self._status in (204, 304):
            return 0
        said = headers.get(b"content-length", b"")
        if _DIGITS.fullmatch(said) is None:
            raise Garbled("an answer that does not say how long it is")
        return int(said)

    def _counted(self) -> HttpAnswer | None:
        if len(self._held) < self._length:
            return None
        body = bytes(self._held[: self._length])
        del self._held[: self._length]
        return self._whole(body)

    def _chunked(self) -> HttpAnswer | None:
        while not self._is_behind_last_chunk:
            line = self._line()
            if line is None:
                return None
            size = _CHUNK.fullmatch(line)
            if size is None:
                raise Garbled("a chunk without a size")
            if not self._take_chunk(len(line) + 2, int(size[1], 16)):
                return None
        while (line := self._line()) is not None:  # trailers, which say nothing that counts here
            del self._held[: len(line) + 2]
            if not line:
                return self._whole(bytes(self._chunks))
        return None

    def _take_chunk(self, begin: int, size: int) -> bool:
        """Move one chunk, if it is here as a whole."""
        end = begin + size
        if size == 0:
            self._is_behind_last_chunk = True
            del self._held[:begin]
            return True
        if len(self._held) < end + 2:
            return False
        if self._held[end : end + 2] != b"\r\n":
            raise Garbled("a chunk of another size")
        self._chunks += self._held[begin:end]
        del self._held[: end + 2]
        return True

    def _line(self) -> bytes | None:
        end = self._held.find(b"\r\n", 0, _MOST_LINE_BYTES)
        if end < 0:
            if len(self._held) >= _MOST_LINE_BYTES:
                raise Garbled("a line without end")
            return None
        return bytes(self._held[:end])

    def _whole(self, body: bytes) -> HttpAnswer:
        assert self._headers is not None
        answer = HttpAnswer(self._status, self._headers, body, self._keeps_alive and self.is_empty)
        self._start_over()
        return answer


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise Garbled("a header without a name")
        value = value.strip(b" \t")
        if headers.setdefault(name, value) != value and name in (b"content-length", b"transfer-encoding"):
            raise Garbled("an answer of two lengths")
    return headers
