"""From a file to a document: bytes, text, content type. Blocks; call it in a thread."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from storycore.ingestion.chunkers import content_type_of
from storycore.ingestion.documents import Document
from storycore.ingestion.listing import SourceFile

__all__ = ["NoDocument", "ReadDocument", "decode", "read_document"]

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NoDocument(Exception):
    """A file holds nothing that could be ingested; the message says why. Stays inside this package."""


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document and the bytes that it was read from."""

    document: Document
    raw: bytes


def read_document(file: SourceFile, max_bytes: int) -> ReadDocument:
    """Read a whole file.

    Raises:
        NoDocument: it is too large, binary, not UTF-8, or has vanished.
        OSError: it cannot be read.
    """
    try:
        with file.path.open("rb") as opened:
            raw = opened.read(max_bytes + 1)
    except FileNotFoundError as exc:
        raise NoDocument("vanished while the folder was being read") from exc
    if len(raw) > max_bytes:
        raise NoDocument(f"larger than {max_bytes} bytes; raise max_file_bytes to read it")
    text = decode(raw)
    return ReadDocument(Document(file.uri, text, content_type_of(file.uri, text)), raw)


def decode(raw: bytes) -> str:
    """The text in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        NoDocument: the bytes are something else.
    """
    encoding = "utf-16" if raw.startswith(_UTF16) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as exc:
        raise NoDocument("binary" if b"\0" in raw else "not UTF-8 text") from exc
    if "\0" in text:
        raise NoDocument("binary")
    return text
