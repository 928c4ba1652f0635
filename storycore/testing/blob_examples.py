"""Keys and arguments that the BlobStore suite tries: what must be kept, and what must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from storycore.errors import InvalidArgument, InvalidKey, TooLarge
from storycore.ports.blobs import BlobInfo, BlobMatches, BlobStore, BlobVersion
from storycore.ports.conditions import ANY

__all__ = [
    "BAD_CALLS",
    "BAD_PRESIGNS",
    "CONTENTS",
    "LONG_KEYS",
    "METADATA",
    "ODD_KEYS",
    "content_of",
    "digest",
    "fetched",
    "pieces",
    "sent",
    "status_of",
    "walk",
]

ODD_KEYS = [
    "a",
    "A",
    "a/b",
    "a/b/c.json",
    "a-b",
    "a.b",
    "a+",
    "a+/b",
    "a~",
    "a%2fb",
    "a%",
    "%",
    "%61",
    "^a",
    "..",
    ".",
    "../a",
    "../../etc/passwd",
    "a/../b",
    "a/./b",
    "a/..",
    "/",
    "//",
    "///",
    "/a",
    "a/",
    "a//b",
    "/etc/passwd",
    ".hidden",
    "a/.hidden",
    "con",
    "CON.txt",
    "nul",
    "aux.json",
    "com1",
    "lpt9.tar.gz",
    "a.",
    "a..",
    "a ",
    " a",
    " ",
    "C:\\windows",
    "a:b",
    "a*?",
    "a<b>|c",
    "a\nb",
    "\n",
    "\r\n",
    "\t",
    "\x01",
    "\x7f",
    "é",
    "e\u0301",
    "É",
    "漢字/かな",
    "👩‍🚀",
    "\U0010ffff",
    "\ufeff",
    "\u202e",
    "a\u2028b",
    "ı",
    "ß",
    "ss",
    "'; drop table blobs; --",
    '"',
    "&amp;",
    "a=1/b=2",
    "a?b=c",
    "a#b",
    "~",
    "~root",
    "-rf",
    "$HOME",
    "x" * 179,
    "x" * 180,
    "x" * 181,
    "x" * 180 + "/y",
    "x" * 180 + "-y",
    "x" * 255,
    "x" * 256,
]

LONG_KEYS = ["x" * 1024, "X" * 1024, "é" * 512, "/" * 1024, "a/" * 512, "!" * 1024]

CONTENTS = [b"", b"a", b"\0", b"\r\n", bytes(range(256)), b"storycore-blob-1 00000000 00000000\n", b"x" * 300_000]

METADATA: list[dict[str, str]] = [
    {},
    {"a": ""},
    {"author": "Ada Lovelace", "x-y": "~!@#$%^&*()_+=", "0": '"quoted"'},
    {"k" * 48: "v" * 2000},
]


def _put(**changes: Any) -> dict[str, Any]:
    return {"key": "a", "data": b"", "when": ANY, **changes}


_BAD_KEYS: dict[str, Any] = {
    "empty": "",
    "of 1025 bytes": "x" * 1025,
    "of 513 accents": "é" * 513,
    "with NUL": "a\0b",
    "with half a surrogate pair": "\ud83d",
    "of bytes": b"a",
    "None": None,
}

BAD_CALLS: dict[str, tuple[str, dict[str, Any], type[InvalidArgument]]] = {
    **{f"put: key {name}": ("put", _put(key=key), InvalidKey) for name, key in _BAD_KEYS.items()},
    **{f"get: key {name}": ("get", {"key": key}, InvalidKey) for name, key in _BAD_KEYS.items()},
    **{f"head: key {name}": ("head", {"key": key}, InvalidKey) for name, key in _BAD_KEYS.items()},
    **{f"delete: key {name}": ("delete", {"keys": ["kept", key]}, InvalidKey) for name, key in _BAD_KEYS.items()},
    **{
        f"copy: source {name}": ("copy", {"source": key, "target": "b", "when": ANY}, InvalidKey)
        for name, key in _BAD_KEYS.items()
    },
    **{
        f"copy: target {name}": ("copy", {"source": "kept", "target": key, "when": ANY}, InvalidKey)
        for name, key in _BAD_KEYS.items()
    },
    "delete: one key": ("delete", {"keys": "kept"}, InvalidArgument),
    "put: text": ("put", _put(data="text"), InvalidArgument),
    "put: a list of pieces": ("put", _put(data=[b"a"]), InvalidArgument),
    "put: no content": ("put", _put(data=None), InvalidArgument),
    "put: condition None": ("put", _put(when=None), InvalidArgument),
    "put: condition as text": ("put", _put(when="ABSENT"), InvalidArgument),
    "put: an empty version": ("put", _put(when=BlobMatches(BlobVersion(""))), InvalidArgument),
    "put: content type with a line break": ("put", _put(content_type="text/plain\r\nx: y"), InvalidArgument),
    "put: content type with an accent": ("put", _put(content_type="té"), InvalidArgument),
    "put: empty content type": ("put", _put(content_type=""), InvalidArgument),
    "put: content type of 256 characters": ("put", _put(content_type="x" * 256), InvalidArgument),
    "put: hash in upper case": ("put", _put(sha256="A" * 64), InvalidArgument),
    "put: short hash": ("put", _put(sha256="a" * 63), InvalidArgument),
    "put: metadata as pairs": ("put", _put(metadata=[("a", "b")]), InvalidArgument),
    "put: metadata key with a space": ("put", _put(metadata={"a b": "c"}), InvalidArgument),
    "put: metadata key with an underscore": ("put", _put(metadata={"a_b": "c"}), InvalidArgument),
    "put: empty metadata key": ("put", _put(metadata={"": "c"}), InvalidArgument),
    "put: metadata keys that differ in case": ("put", _put(metadata={"A": "1", "a": "2"}), InvalidArgument),
    "put: metadata value with an accent": ("put", _put(metadata={"a": "é"}), InvalidArgument),
    "put: metadata value with a line break": ("put", _put(metadata={"a": "b\nc"}), InvalidArgument),
    "put: metadata value with an outer space": ("put", _put(metadata={"a": " b"}), InvalidArgument),
    "put: metadata value that is a number": ("put", _put(metadata={"a": 1}), InvalidArgument),
    "put: metadata of 2049 bytes": ("put", _put(metadata={"k" * 49: "v" * 2000}), TooLarge),
    "get: start below nought": ("get", {"key": "kept", "start": -1}, InvalidArgument),
    "get: start as text": ("get", {"key": "kept", "start": "0"}, InvalidArgument),
    "get: length below nought": ("get", {"key": "kept", "length": -1}, InvalidArgument),
    "get: length True": ("get", {"key": "kept", "length": True}, InvalidArgument),
    "copy: condition None": ("copy", {"source": "kept", "target": "b", "when": None}, InvalidArgument),
    "entries: limit 0": ("entries", {"limit": 0}, InvalidArgument),
    "entries: limit 1001": ("entries", {"limit": 1001}, InvalidArgument),
    "entries: limit 1.0": ("entries", {"limit": 1.0}, InvalidArgument),
    "entries: empty delimiter": ("entries", {"delimiter": ""}, InvalidArgument),
    "entries: prefix None": ("entries", {"prefix": None}, InvalidArgument),
    "entries: prefix of 1025 bytes": ("entries", {"prefix": "x" * 1025}, InvalidArgument),
    "entries: after with NUL": ("entries", {"after": "\0"}, InvalidArgument),
}

BAD_PRESIGNS: dict[str, dict[str, Any]] = {
    "another method": {"method": "DELETE", "expires": timedelta(minutes=1)},
    "no time at all": {"method": "GET", "expires": timedelta(0)},
    "eight days": {"method": "GET", "expires": timedelta(days=8)},
    "seconds as a number": {"method": "GET", "expires": 60},
}


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def fetched(url: str) -> bytes:
    """What a URL serves to somebody without any credentials."""
    with urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
        return content


def sent(url: str, content: bytes) -> None:
    """Write by a URL."""
    with urlopen(Request(url, data=content, method="PUT"), timeout=10):
        pass


def status_of(url: str, method: str, content: bytes = b"") -> int:
    """The status with which a request by a URL is answered."""
    data = content if method == "PUT" else None
    try:
        with urlopen(Request(url, data=data, method=method), timeout=10) as answer:
            status: int = answer.status
            return status
    except HTTPError as exc:
        with exc:
            return exc.code


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    """The chunks one after the other."""
    for chunk in chunks:
        yield chunk


async def content_of(store: BlobStore, key: str, *, start: int = 0, length: int | None = None) -> bytes:
    """The content of a blob, or a range of it."""
    async with await store.get(key, start=start, length=length) as reader:
        return await reader.read()


async def walk(store: BlobStore, prefix: str = "", *, limit: int = 1000, **where: Any) -> list[BlobInfo | str]:
    """All blobs and prefixes of a listing in one order, page by page."""
    found: list[BlobInfo | str] = []
    after: str | None = where.pop("after", None)
    while True:
        page = await store.entries(prefix, after=after, limit=limit, **where)
        assert len(page.blobs) + len(page.prefixes) <= limit
        found += _merged(page.blobs, page.prefixes)
        if page.next is None:
            return found
        assert after is None or page.next.encode() > after.encode(), "the listing does not get on"
        after = page.next


def _merged(blobs: Sequence[BlobInfo], prefixes: Sequence[str]) -> list[BlobInfo | str]:
    for names in ([blob.key for blob in blobs], list(prefixes)):
        assert names == sorted(set(names), key=str.encode), "a page is not in the order of its bytes"
    return sorted([*blobs, *prefixes], key=lambda one: (one if isinstance(one, str) else one.key).encode())
