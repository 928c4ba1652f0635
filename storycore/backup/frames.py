"""Frames: the bytes of a backup's objects, compressed, then sealed so that no change, move or cut goes unseen.

An object is a run of frames, each four bytes of length (big-endian) and so many bytes of AES-256-GCM. What is sealed
is a zstd frame. The nonce is the frame's number; the associated data names format, backup, object, number and whether
it is the last. So a frame that was swapped with another, left out, repeated or taken from elsewhere does not open, and
an object that ends early has no last frame.

Each object has a key of its own, derived from the backup's key by HKDF-SHA256 (RFC 5869) with the object's name.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING

from storycore.errors import Corrupt, TooLarge

if TYPE_CHECKING:
    from types import ModuleType

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["FRAME_BYTES", "KEY_BYTES", "FrameOpener", "FrameSealer", "contents", "sealed_frames", "whole_frames"]

FRAME_BYTES = 1024 * 1024
"""How much content is gathered into one frame: enough for zstd to see what repeats, little enough for memory."""
KEY_BYTES = 32
"""Of a backup's key (AES-256)."""

_FORMAT = b"storycore-backup-1"
_LEVEL = 3
_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">IQ")
_TAG_BYTES = 16
_PIECE_BYTES = 64 * 1024
_LARGEST = 256 * FRAME_BYTES
"""No frame is longer, sealed or open: one item may pass ``FRAME_BYTES``, and damage must not fill the memory."""
_LARGEST_CONTENT = 252 * FRAME_BYTES
"""What goes into a frame at most: bytes that do not get smaller by compressing grow a little."""


class FrameSealer:
    """Makes the frames of one object, in order.

    Args:
        key: the backup's, 32 bytes.
        backup: its id.
        name: the object's, unique in the backup.
    """

    def __init__(self, key: bytes, *, backup: str, name: str) -> None:
        self._cipher = _cipher(key, backup, name)
        self._place = _place(backup, name)
        self._zstd = _zstd()
        self._number = 0
        self._is_sealed = False

    def seal(self, content: bytes, *, last: bool) -> bytes:
        """The next frame; nothing comes behind the last one. Takes long enough to belong into a thread.

        Raises:
            TooLarge: no opener would take it.
        """
        if self._is_sealed:
            raise ValueError("the last frame has been sealed")
        if len(content) > _LARGEST_CONTENT:
            raise TooLarge(
                f"A backup takes items of {_LARGEST_CONTENT} bytes at most, and one of the store has {len(content)}; "
                "keep so large a content in a blob.",
                limit=_LARGEST_CONTENT,
                actual=len(content),
            )
        packed: bytes = self._zstd.compress(content, _LEVEL)
        sealed = self._cipher.encrypt(_NONCE.pack(0, self._number), packed, _about(self._place, self._number, last))
        self._number += 1
        self._is_sealed = last
        return _LENGTH.pack(len(sealed)) + sealed


class FrameOpener:
    """Opens the frames of one object, in order; the same arguments as the sealer's."""

    def __init__(self, key: bytes, *, backup: str, name: str) -> None:
        self._cipher = _cipher(key, backup, name)
        self._place = _place(backup, name)
        self._zstd = _zstd()
        self.name = name
        self.number = 0
        self.is_complete = False

    def open(self, sealed: bytes) -> bytes:
        """The content of the next frame, without its length in front. Belongs into a thread.

        Raises:
            Corrupt: the frame is not the one that was written here.
        """
        return b"".join(self.pieces(sealed))

    def pieces(self, sealed: bytes) -> Iterator[bytes]:
        """What ``open`` gives, in pieces of at most 64 KiB, all of which are to be taken.

        Twice as fast, for memory of larger pieces comes anew from the system, page by page, for every frame.

        Raises:
            Corrupt: as of ``open``.
        """
        if self.is_complete:
            raise Corrupt(f"The backup's object {self.name} goes on behind its last frame; {_CURE}")
        yield from self._zstd_content(self._unsealed(sealed))
        self.number += 1

    def _unsealed(self, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        nonce = _NONCE.pack(0, self.number)
        for last in (False, True):
            try:
                packed = self._cipher.decrypt(nonce, sealed, _about(self._place, self.number, last))
            except InvalidTag:
                continue
            self.is_complete = last
            return packed
        raise Corrupt(
            f"Frame {self.number} of the backup's object {self.name} was changed or belongs elsewhere; {_CURE}"
        )

    def _zstd_content(self, packed: bytes) -> Iterator[bytes]:
        unpacking, size = self._zstd.ZstdDecompressor(), 0
        while not unpacking.eof:
            piece: bytes = unpacking.decompress(packed, _PIECE_BYTES)
            packed, size = b"", size + len(piece)
            if size > _LARGEST:
                raise Corrupt(
                    f"Frame {self.number} of the backup's object {self.name} is larger than any frame may be."
                )
            if not piece and not unpacking.eof:
                raise Corrupt(f"Frame {self.number} of the backup's object {self.name} ends too early; {_CURE}")
            yield piece


async def contents(chunks: AsyncIterable[bytes], opener: FrameOpener) -> AsyncIterator[bytes]:
    """What the frames of an object hold, in order, from its bytes in pieces of any size.

    Raises:
        Corrupt: a frame is not the one that was written there, or the object ends before its last frame.
    """
    async for sealed in sealed_frames(chunks, opener):
        yield await asyncio.to_thread(opener.open, sealed)


async def sealed_frames(chunks: AsyncIterable[bytes], opener: FrameOpener) -> AsyncIterator[bytes]:
    """The frames of an object, in order, to be opened by this opener before the next one is asked for.

    Raises:
        Corrupt: a length is none that a frame has, or the object ends before its last frame.
    """
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while (size := _whole_frame(held, opener.name)) is not None:
            with memoryview(held) as view:
                sealed = bytes(view[_LENGTH.size : size])
            del held[:size]
            yield sealed
    if held or not opener.is_complete:
        raise Corrupt(f"The backup's object {opener.name} ends behind frame {opener.number}, before its end; {_CURE}")


def whole_frames(data: bytes, name: str, *, is_whole: bool) -> Iterator[bytes]:
    """The sealed frames of an object, or of its beginning, that lies in memory.

    Args:
        is_whole: whether nothing may be left over.

    Raises:
        Corrupt: a length is none that a frame has, or something is left over.
    """
    held = bytearray(data)
    while (size := _whole_frame(held, name)) is not None:
        yield bytes(held[_LENGTH.size : size])
        del held[:size]
    if held and is_whole:
        raise Corrupt(f"The backup's object {name} ends within a frame; {_CURE}")


_CURE = "restore from another backup, or restore what is left of this one."


def _whole_frame(held: bytearray, name: str) -> int | None:
    """How many bytes the frame at the beginning takes, its length included; ``None`` while some are missing."""
    if len(held) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack_from(held)
    if not _TAG_BYTES <= size <= _LARGEST:
        raise Corrupt(f"The backup's object {name} names a frame of {size} bytes, which none has; {_CURE}")
    return _LENGTH.size + size if len(held) >= _LENGTH.size + size else None


def _place(backup: str, name: str) -> bytes:
    return b"\n".join((_FORMAT, backup.encode(), name.encode()))


def _about(place: bytes, number: int, last: bool) -> bytes:
    return place + b"\n%d\n%d" % (number, last)


def _cipher(key: bytes, backup: str, name: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=_place(backup, name)).derive(key))


def _zstd() -> ModuleType:
    from backports import zstd

    return zstd
