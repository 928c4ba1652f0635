"""The form of a blob's file: its content, then one line of JSON with its info, then a line of fixed length.

Content and info change together because they are one file. The last line names the form, the length of everything
behind the content and a checksum of the info, so that a file that was cut or altered is told from a whole one.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from datetime import datetime
from typing import Final

from storycore.errors import Corrupt
from storycore.ports.blobs import BlobInfo, BlobVersion

__all__ = ["read_info", "tail_of"]

_MARK: Final = b"storycore-blob-1"
_LAST_LINE: Final = re.compile(_MARK + rb" ([0-9a-f]{8}) ([0-9a-f]{8})\n")
_LAST_BYTES: Final = len(_MARK) + 19
_GUESS_BYTES: Final = 2048


def tail_of(info: BlobInfo) -> bytes:
    """What stands behind the content."""
    fields = {
        "key": info.key,
        "size_bytes": info.size_bytes,
        "version": info.version,
        "sha256": info.sha256,
        "modified_at": info.modified_at.isoformat(),
        "content_type": info.content_type,
        "metadata": dict(info.metadata),
    }
    line = b"\n" + json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return line + b"%s %08x %08x\n" % (_MARK, len(line) + _LAST_BYTES, zlib.crc32(line))


def read_info(fd: int, key: str) -> BlobInfo:
    """The info in an open file, whose position moves.

    Raises:
        Corrupt: the file is not what ``tail_of`` has finished, or belongs to another key.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise _damage(key, "it is no regular file")
    tail = _end(fd, status.st_size, _GUESS_BYTES)
    last = _LAST_LINE.fullmatch(tail[-_LAST_BYTES:])
    if last is None:
        raise _damage(key, "its last line is missing or altered")
    length = int(last[1], 16)
    if length > len(tail):
        tail = _end(fd, status.st_size, length)
    line = tail[-length:-_LAST_BYTES]
    if zlib.crc32(line) != int(last[2], 16):
        raise _damage(key, "its info does not match its checksum")
    return _info(line, key, status.st_size - length)


def _end(fd: int, size_bytes: int, length: int) -> bytes:
    os.lseek(fd, max(0, size_bytes - length), os.SEEK_SET)
    return os.read(fd, length)


def _info(line: bytes, key: str, size_bytes: int) -> BlobInfo:
    try:
        fields = json.loads(line)
        info = BlobInfo(
            key=fields["key"],
            size_bytes=fields["size_bytes"],
            version=BlobVersion(fields["version"]),
            sha256=fields["sha256"],
            modified_at=datetime.fromisoformat(fields["modified_at"]),
            content_type=fields["content_type"],
            metadata=fields["metadata"],
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise _damage(key, "its info cannot be read") from exc
    if info.key != key:
        raise _damage(key, f"it belongs to the blob {info.key!r}")
    if info.size_bytes != size_bytes:
        raise _damage(key, f"its content has {size_bytes} bytes, expected {info.size_bytes}")
    return info


def _damage(key: str, what: str) -> Corrupt:
    return Corrupt(f"The file of blob {key!r} is damaged: {what}. Put the blob again, or restore it from a backup.")
